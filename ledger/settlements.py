"""Transactions that nobody carries any more, and how a sweep settles them. Pure data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ledger.refusals import Refusal, RefusalCode
from ledger.requests import TransactionRequest

_KNOWN_ENDS = {
    "terminated": "its workflow was terminated",
    "failed": "its workflow failed",
    "timed_out": "its workflow timed out",
    "canceled": "its workflow was cancelled",
    "completed": "its workflow ended without an outcome",
}


class AbandonedTransaction(BaseModel):
    """A transaction without an outcome, or with unpublished events, that no workflow carries."""

    model_config = ConfigDict(frozen=True)

    request: TransactionRequest
    found: str
    """How the transaction's own workflow stands: ``terminated``, ``failed``, ``timed_out``, ``canceled``, ``unknown to Temporal``…"""


class SweepOrder(BaseModel):
    """What a sweep looks for."""

    model_config = ConfigDict(frozen=True)

    older_than_seconds: float = Field(default=60.0, ge=0)
    """What happened since then is left alone: whoever ended a workflow may be about to reset it."""
    at_most: int = Field(default=100, ge=1, le=1000)
    """Transactions that one sweep settles; the next one goes on."""


class SweepFindings(BaseModel):
    """What a sweep has found."""

    model_config = ConfigDict(frozen=True)

    abandoned: tuple[AbandonedTransaction, ...] = ()
    more: bool = False
    """Whether there was more than one sweep may settle."""


class SweptTransaction(BaseModel):
    """One transaction that a sweep has found."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    transaction_id: str
    found: str
    workflow_id: str
    """Of the run that settles it."""
    started: bool
    """False: that run was under way already."""


class SweepReport(BaseModel):
    """What a sweep has found and begun to settle."""

    model_config = ConfigDict(frozen=True)

    swept: tuple[SweptTransaction, ...] = ()
    more: bool = False


def abandoned(found: str) -> Refusal:
    """The reason of a transaction of which nothing is posted, and whose workflow was found so."""
    how = _KNOWN_ENDS.get(found, f"its workflow is {found}")
    return Refusal(code=RefusalCode.ABANDONED, detail=f"{how} before anything was posted")
