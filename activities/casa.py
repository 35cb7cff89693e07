"""The CASA service: books legs, one by one or all together, and records outcomes that have none."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities.call import transaction_call
from ledger.commands import OperatorAction
from ledger.decisions import Decision
from ledger.postings import Posting, linked_posting
from ledger.rates import Conversion
from ledger.requests import TransactionRequest
from ledger.results import Rejection, TransactionResult

if TYPE_CHECKING:
    from ledger.ports import CasaLedger


class LinkedInstruction(BaseModel):
    """What all legs of a transaction are made of. The legs themselves would each carry the request, too much for a history."""

    model_config = ConfigDict(frozen=True)

    request: TransactionRequest
    conversion: Conversion | None = None
    booking_date: dt.date


class CasaActivities:
    """Hands instructions to the ledger. A refusal is an answer; every method is safe to repeat with the same argument."""

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

    @activity.defn(name="casa.post_linked")
    async def post_linked(self, instruction: LinkedInstruction) -> TransactionResult:
        """Decide and book all legs of a transaction, or none; a repeat gets the stored result.

        A transaction of which legs were posted one by one before is answered as it stands, which may be `processing`.

        Raises:
            ApplicationError: as :meth:`post` says; where it isn't retryable, no leg is posted.
        """
        with transaction_call(instruction.request.tenant, instruction.request.transaction_id):
            linked = linked_posting(instruction.request, conversion=instruction.conversion, booking_date=instruction.booking_date)
            return await self._ledger.post_linked(linked)

    @activity.defn(name="casa.record_action")
    async def record_action(self, action: OperatorAction) -> None:
        """Record what an operator did with a transaction or a hold; a repeat changes nothing.

        Raises:
            ApplicationError: UnavailableError, retryable.
        """
        with transaction_call(action.tenant, action.transaction_id):
            await self._ledger.record_action(action)

    @activity.defn(name="casa.reject")
    async def reject(self, rejection: Rejection) -> TransactionResult:
        """Record that nothing is posted, with the event; an id that was settled before gets its stored result.

        Raises:
            ApplicationError: UnavailableError, retryable; TransactionConflictError, not retryable.
        """
        with transaction_call(rejection.request.tenant, rejection.request.transaction_id):
            return await self._ledger.reject(rejection)
