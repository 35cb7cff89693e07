"""The workflows that casaflow's is compared with."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow

from activities.casa import CasaActivities
from activities.exchange_rate import ExchangeRateActivities, RateInquiry
from activities.notification import NotificationActivities, Publication
from ledger.decisions import Decision
from ledger.postings import first_posting
from ledger.requests import TransactionRequest

_ATTEMPT: Final = timedelta(seconds=10)


@workflow.defn
class EmptyWorkflow:
    """Nothing: one workflow task, no command but the end."""

    @workflow.run
    async def run(self) -> None:
        """Return at once."""


@workflow.defn
class PlainWorkflow:
    """A deposit as it is usually written: every step an ordinary activity, a rate asked for whether or not one is needed."""

    @workflow.run
    async def run(self, request: TransactionRequest) -> Decision:
        """Ask, post, publish."""
        today = workflow.now().date()
        whose = {"tenant": request.tenant, "transaction_id": request.transaction_id}
        inquiry = RateInquiry(**whose, base=request.amount.currency, quote="USD", booking_date=today)
        await workflow.execute_activity_method(ExchangeRateActivities.quote, inquiry, start_to_close_timeout=_ATTEMPT)
        posting = first_posting(request, conversion=None, booking_date=today)
        decision = await workflow.execute_activity_method(CasaActivities.post, posting, start_to_close_timeout=_ATTEMPT)
        await workflow.execute_activity_method(NotificationActivities.publish, Publication(**whose), start_to_close_timeout=_ATTEMPT)
        return decision
