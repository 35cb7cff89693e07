"""How a transaction stands or ended."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict

from ledger.commands import OperatorAction
from ledger.decisions import Decision
from ledger.rates import Conversion  # noqa: TC001
from ledger.refusals import Refusal
from ledger.requests import TransactionRequest


class TransactionStatus(StrEnum):
    """Exactly one of these; `processing` and `parked` are not final."""

    PROCESSING = "processing"
    COMPLETED = "completed"
    REJECTED = "rejected"
    """Nothing was posted."""
    REVERSED = "reversed"
    """The posted legs were compensated."""
    PARKED = "parked"
    """No retry can settle it; an operator has to."""


FINAL_STATUSES: Final = frozenset({TransactionStatus.COMPLETED, TransactionStatus.REJECTED, TransactionStatus.REVERSED})


class WaitingKind(StrEnum):
    """What a transaction can wait for."""

    APPROVAL = "approval"
    """A second person."""
    EXECUTION_DATE = "execution-date"
    """The day that was asked for."""


class WaitingFor(BaseModel):
    """What a transaction waits for, and until when: then an approval expires, and an execution date begins."""

    model_config = ConfigDict(frozen=True)

    what: WaitingKind
    until: dt.datetime


class TransactionResult(BaseModel):
    """What a transaction came to: the answer of the workflow, of the API, and of every repeat."""

    model_config = ConfigDict(frozen=True)

    transaction_id: str
    status: TransactionStatus
    reason: Refusal | None = None
    """Why it was rejected or reversed."""
    legs: tuple[Decision, ...] = ()
    """Decisions in the order in which they were made."""
    waiting_for: WaitingFor | None = None
    """While it is `processing`, and nothing of casaflow's moves it on before."""

    @property
    def final(self) -> bool:
        """Whether the status will never change."""
        return self.status in FINAL_STATUSES

    @property
    def conversion(self) -> Conversion | None:
        """The transaction's conversion, if its accounts have different currencies."""
        return next((leg.conversion for leg in self.legs if leg.conversion is not None), None)


class TransactionRecord(BaseModel):
    """A transaction as the ledger keeps it: what was asked, and how it stands."""

    model_config = ConfigDict(frozen=True)

    request: TransactionRequest
    fingerprint: str
    result: TransactionResult
    finished_at: dt.datetime | None = None
    reversed_amount: int = 0
    """What its reversals took back, in minor units of the request's currency."""
    actions: tuple[OperatorAction, ...] = ()
    """What operators did with it, in that order."""


class Rejection(BaseModel):
    """An outcome without any leg: the instruction to record a transaction as rejected before anything was posted."""

    model_config = ConfigDict(frozen=True)

    request: TransactionRequest
    refusal: Refusal
