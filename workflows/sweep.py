"""The scheduled sweep: finds what nobody carries, and starts a run for each that settles it. See decision records 0014, 0016, 0018."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.sweep import SweepActivities
from ledger.ids import hold_workflow_id, settlement_id
from ledger.settlements import AbandonedHold, AbandonedTransaction, SweepOrder, SweepReport, SweptHold, SweptTransaction
from ledger.visibility import FINGERPRINT_MEMO
from workflows import policies, visibility
from workflows.hold import HoldInstruction, HoldWorkflow
from workflows.transaction import TransactionWorkflow

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_Answer = TypeVar("_Answer")


@workflow.defn
class SweepWorkflow:
    """Settles what terminated, failed and forgotten workflows have left. Two sweeps at once do no harm: one run settles each."""

    @workflow.run
    async def run(self, order: SweepOrder) -> SweepReport:
        """Find what is abandoned, and start its settlement; the settlements go on by themselves."""
        findings = await _asked(SweepActivities.find, order, summary="find what nobody carries")
        swept = [await _settled_by_a_run_of_its_own(transaction) for transaction in findings.abandoned]
        report = SweepReport(swept=tuple(swept), more=findings.more)
        if order.holds_at_most:
            report = await _with_holds(report, order)
        if order.moves_at_most:
            report = await _with_moves(report, order)
        workflow.set_current_details(visibility.swept_details(report))
        return report


async def _asked(method: Callable[[SweepActivities, SweepOrder], Awaitable[_Answer]], order: SweepOrder, *, summary: str) -> _Answer:
    """Ordinary activities only: a sweep is nobody's wait, and looks through more than a workflow task has time for."""
    return await workflow.execute_activity_method(
        method, order, start_to_close_timeout=policies.SWEEPING_ATTEMPT, retry_policy=policies.SWEEPING_RETRY, summary=summary
    )


async def _with_holds(report: SweepReport, order: SweepOrder) -> SweepReport:
    findings = await _asked(SweepActivities.find_holds, order, summary="find holds that nobody told of")
    holds = [await _told_of_by_a_run(hold) for hold in findings.abandoned]
    return report.model_copy(update={"holds": tuple(holds), "more": report.more or findings.more})


async def _with_moves(report: SweepReport, order: SweepOrder) -> SweepReport:
    moved = await _asked(SweepActivities.move_unserved, order, summary="move what no worker serves")
    return report.model_copy(update={"moved": moved, "more": report.more or len(moved) == order.moves_at_most})


async def _told_of_by_a_run(hold: AbandonedHold) -> SweptHold:
    """It finds the hold instead of authorising it, and stores and publishes what is missing."""
    request = hold.request
    started = True
    try:
        await workflow.start_child_workflow(
            HoldWorkflow.run,
            HoldInstruction(request=request),
            id=hold_workflow_id(request.tenant, request.hold_id),
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            search_attributes=visibility.attributes_of_new_hold(request),
            static_summary=visibility.hold_summary(request),
        )
    except WorkflowAlreadyStartedError:
        started = False
    return SweptHold(tenant=request.tenant, hold_id=request.hold_id, found=hold.found, started=started)


async def _settled_by_a_run_of_its_own(transaction: AbandonedTransaction) -> SweptTransaction:
    request = transaction.request
    identifier = settlement_id(request.tenant, request.transaction_id)
    started = True
    try:
        await workflow.start_child_workflow(
            TransactionWorkflow.run,
            request.model_copy(update={"settles": transaction.found}),
            id=identifier,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            # A settlement that was terminated is settled by the next one.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            memo={FINGERPRINT_MEMO: request.fingerprint},
            search_attributes=visibility.attributes_of_settlement(request, transaction.found),
            static_summary=visibility.settlement_summary(request),
            static_details=visibility.settlement_details(request, transaction.found),
        )
    except WorkflowAlreadyStartedError:
        started = False
    return SweptTransaction(
        tenant=request.tenant,
        transaction_id=request.transaction_id,
        found=transaction.found,
        workflow_id=identifier,
        started=started,
    )
