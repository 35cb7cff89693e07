"""The scheduled sweep: finds transactions that nobody carries, and starts a run for each that settles it. See decision record 0014."""

from __future__ import annotations

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from activities.sweep import SweepActivities
from ledger.ids import settlement_id
from ledger.settlements import AbandonedTransaction, SweepOrder, SweepReport, SweptTransaction
from ledger.visibility import FINGERPRINT_MEMO
from workflows import policies, visibility
from workflows.transaction import TransactionWorkflow


@workflow.defn
class SweepWorkflow:
    """Settles what terminated, failed and forgotten workflows have left. Two sweeps at once do no harm: one run settles each."""

    @workflow.run
    async def run(self, order: SweepOrder) -> SweepReport:
        """Find what is abandoned, and start its settlement; the settlements go on by themselves."""
        findings = await workflow.execute_activity_method(
            SweepActivities.find,
            order,
            start_to_close_timeout=policies.SWEEPING_ATTEMPT,
            retry_policy=policies.SWEEPING_RETRY,
            summary="find what nobody carries",
        )
        swept = [await _settled_by_a_run_of_its_own(transaction) for transaction in findings.abandoned]
        workflow.set_current_details(visibility.swept_details(swept, more=findings.more))
        return SweepReport(swept=tuple(swept), more=findings.more)


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
