"""Changes of the workflow that break running transactions, as somebody might make them in good faith."""

from __future__ import annotations

import datetime as dt
from typing import Any

from temporalio import workflow

from activities.notification import NotificationActivities, Publication
from ledger.requests import TransactionRequest
from ledger.results import TransactionResult
from workflows import policies
from workflows.services import call
from workflows.transaction import TransactionWorkflow, _Prepared


@workflow.defn(name="TransactionWorkflow")
class PublishesBeforePosting(TransactionWorkflow):
    """Two activities in another order."""

    @workflow.init
    def __init__(self, request: TransactionRequest) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: TransactionRequest) -> TransactionResult:
        return await super().run(request)

    async def _settle(self, request: TransactionRequest, prepared: _Prepared, booking_date: dt.date) -> TransactionResult:
        publication = Publication(tenant=request.tenant, transaction_id=request.transaction_id)
        await call(NotificationActivities.publish, publication, policy=policies.PUBLISHING, summary="publish")
        return await super()._settle(request, prepared, booking_date)


@workflow.defn(name="TransactionWorkflow")
class WaitsBeforePublishing(TransactionWorkflow):
    """One timer more."""

    @workflow.init
    def __init__(self, request: TransactionRequest) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: TransactionRequest) -> TransactionResult:
        return await super().run(request)

    async def _finish(self) -> TransactionResult:
        await workflow.sleep(dt.timedelta(seconds=1))
        return await super()._finish()


@workflow.defn(name="TransactionWorkflow")
class ForgetsTheStatus(TransactionWorkflow):
    """One command less: nothing is upserted."""

    @workflow.init
    def __init__(self, request: TransactionRequest) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: TransactionRequest) -> TransactionResult:
        return await super().run(request)

    async def _finish(self) -> TransactionResult:
        publication = Publication(tenant=self._request.tenant, transaction_id=self._request.transaction_id)
        await call(NotificationActivities.publish, publication, policy=policies.PUBLISHING, summary="publish")
        return self._result


@workflow.defn(name="TransactionWorkflow")
class ExpectsAnotherAnswer(TransactionWorkflow):
    """The same commands, but a stored answer that can't be read any more."""

    @workflow.init
    def __init__(self, request: TransactionRequest) -> None:
        super().__init__(request)

    @workflow.run
    async def run(self, request: TransactionRequest) -> TransactionResult:
        return await super().run(request)

    async def _post(self, posting: Any) -> Any:
        decision: Any = await super()._post(posting)
        return decision.overdraft_used  # there is no such field
