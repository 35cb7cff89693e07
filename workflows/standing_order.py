"""The story of one due date of a standing order: its transaction, and what follows when that is refused."""

from __future__ import annotations

import datetime as dt
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict
from temporalio import workflow
from temporalio.common import SearchAttributeKey, WorkflowIDReusePolicy
from temporalio.exceptions import ChildWorkflowError, WorkflowAlreadyStartedError

from activities.standing_orders import DueInquiry, DueTransaction, RunReport, StandingOrderActivities
from ledger.ids import workflow_id
from ledger.results import TransactionResult
from ledger.standing_orders import OrderKey, RefusalRule, RunKey, is_worth_retrying
from ledger.visibility import FINGERPRINT_MEMO
from workflows import policies, visibility
from workflows.services import call
from workflows.transaction import TransactionWorkflow

if TYPE_CHECKING:
    from ledger.requests import TransactionRequest

SCHEDULED_AT: Final = SearchAttributeKey.for_datetime("TemporalScheduledStartTime")
"""Set by Temporal on what a Schedule starts: the time that was meant, however late it is started."""
_FIRST_LOOK_AFTER: Final = timedelta(seconds=1)
_LOOK_AT_LEAST_EVERY: Final = timedelta(hours=1)
_LOOK_FOR: Final = timedelta(days=30)
"""How long the outcome of a transaction is waited for whose workflow has ended without one."""


class OrderRunOutcome(BaseModel):
    """What a run came to."""

    model_config = ConfigDict(frozen=True)

    run: RunKey | None = None
    """The last attempt; None: nothing was to be done."""
    result: TransactionResult | None = None
    """Of the last attempt; None: nothing was to be done, or nothing is known of it yet."""
    why: str = ""
    """Why nothing was to be done."""


# It may wait for hours between two attempts, and a Schedule can't say that it goes on with each new version of the workers: promoting one,
# or the sweep, moves it. So its code changes by `workflow.patched` only.
@workflow.defn
class StandingOrderWorkflow:
    """Starts the transaction of the due date that its Schedule meant. However often it is started, that is one transaction.

    The transaction is an abandoned child: what becomes of this workflow makes no difference to it.
    """

    @workflow.run
    async def run(self, key: OrderKey) -> OrderRunOutcome:
        """Carry one due date out, and leave the Schedule as the register says."""
        outcome = await self._carry_out(key)
        await call(StandingOrderActivities.keep, key, policy=policies.POSTING, summary="renew the Schedule")
        return outcome

    async def _carry_out(self, key: OrderKey) -> OrderRunOutcome:
        scheduled_at = workflow.info().typed_search_attributes.get(SCHEDULED_AT) or workflow.info().start_time
        first_at = workflow.now()
        last = OrderRunOutcome()
        again: RunKey | None = None
        while True:
            inquiry = DueInquiry(key=key, at=scheduled_at.astimezone(dt.UTC), again=again)
            due = await call(StandingOrderActivities.due, inquiry, policy=policies.POSTING, summary="what is due")
            if due.run is None or due.request is None:
                return self._ended(last if last.run is not None else OrderRunOutcome(why=due.why))
            result = await self._transaction(due.run, due.request)
            last = OrderRunOutcome(run=due.run, result=result)
            if result is None:
                return self._ended(last)
            # Counted from the first attempt, so that what an attempt takes doesn't cost the last one.
            next_at = first_at + due.run.attempt * timedelta(hours=due.on_refusal.every_hours or 1)
            retries = is_worth_retrying(due.on_refusal, result, first_at=first_at, next_at=next_at)
            await self._record(due, result)
            if not retries:
                return self._ended(last)
            workflow.set_current_details(visibility.order_retry_details(due.run, result, next_at=next_at))
            await workflow.sleep(max(next_at - workflow.now(), timedelta(0)), summary="until the next attempt")
            again = due.run.model_copy(update={"attempt": due.run.attempt + 1})

    async def _transaction(self, run: RunKey, request: TransactionRequest) -> TransactionResult | None:
        """The result of the due transaction, which this starts, or finds started."""
        workflow.set_current_details(visibility.order_details(run))
        try:
            child = await workflow.start_child_workflow(
                TransactionWorkflow.run,
                request,
                id=workflow_id(request.tenant, request.transaction_id),
                # As the API starts it, so that both join what the other has started.
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                memo={FINGERPRINT_MEMO: request.fingerprint},
                search_attributes=visibility.attributes_at_start(request),
                static_summary=visibility.static_summary(request),
                static_details=visibility.static_details(request),
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                cancellation_type=workflow.ChildWorkflowCancellationType.ABANDON,
            )
            return await child
        except (WorkflowAlreadyStartedError, ChildWorkflowError) as error:
            workflow.logger.warning("transaction %s is looked for in the ledger: %s", request.transaction_id, type(error).__name__)
        return await self._recorded(run)

    async def _recorded(self, run: RunKey) -> TransactionResult | None:
        """The result as the ledger has it, once it is final: another run carries the transaction, or somebody settles it."""
        pause, until = _FIRST_LOOK_AFTER, workflow.now() + _LOOK_FOR
        while True:
            found = await call(StandingOrderActivities.outcome, run, policy=policies.POSTING, summary="look for the outcome")
            if found is not None or workflow.now() >= until:
                return found
            await workflow.sleep(pause, summary="until the next look")
            pause = min(pause * 2, _LOOK_AT_LEAST_EVERY)

    async def _record(self, due: DueTransaction, result: TransactionResult) -> None:
        if due.run is None:
            return
        stops = due.on_refusal.rule is RefusalRule.STOP
        report = RunReport(run=due.run, result=result, stops=stops)
        await call(StandingOrderActivities.record, report, policy=policies.POSTING, summary=f"record: {result.status}")

    def _ended(self, outcome: OrderRunOutcome) -> OrderRunOutcome:
        workflow.upsert_search_attributes(visibility.attributes_of_run(outcome.result))
        workflow.set_current_details(visibility.order_outcome_details(outcome.run, outcome.result, why=outcome.why))
        return outcome
