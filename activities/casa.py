"""The CASA service: books legs, and records outcomes that have none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from temporalio import activity

from activities.call import transaction_call
from ledger.decisions import Decision
from ledger.postings import Posting
from ledger.results import Rejection, TransactionResult

if TYPE_CHECKING:
    from ledger.ports import CasaLedger


class CasaActivities:
    """Hands instructions to the ledger. A refusal is an answer; both methods are safe to repeat with the same argument."""

    def __init__(self, ledger: CasaLedger) -> None:
        self._ledger = ledger

    @activity.defn(name="casa.post")
    async def post(self, posting: Posting) -> Decision:
        """Decide and book one leg; a repeat gets the stored decision.

        Raises:
            ApplicationError: UnavailableError, retryable: the outcome is unknown, and posting the same leg again settles it.
                TransactionConflictError, UnknownAccountError, LedgerIntegrityError, not retryable: this leg is not posted.
        """
        with transaction_call(posting.request.tenant, posting.request.transaction_id):
            return await self._ledger.post(posting)

    @activity.defn(name="casa.reject")
    async def reject(self, rejection: Rejection) -> TransactionResult:
        """Record that nothing is posted, with the event; an id that was settled before gets its stored result.

        Raises:
            ApplicationError: UnavailableError, retryable; TransactionConflictError, not retryable.
        """
        with transaction_call(rejection.request.tenant, rejection.request.transaction_id):
            return await self._ledger.reject(rejection)
