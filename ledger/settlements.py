"""Transactions that nobody carries any more, and how a sweep settles them. Pure data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from ledger.holds import HoldRequest
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import TransactionRequest

_AT_MOST = 100
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


class AbandonedHold(BaseModel):
    """A hold of whose expiry no event tells, or whose events are not published, and that no workflow carries."""

    model_config = ConfigDict(frozen=True)

    request: HoldRequest
    found: str
    """How the hold's workflow stands, as above."""


class SweepOrder(BaseModel):
    """What a sweep looks for."""

    model_config = ConfigDict(frozen=True)

    older_than_seconds: float = Field(default=60.0, ge=0)
    """What happened since then is left alone: whoever ended a workflow may be about to reset it."""
    at_most: int = Field(default=100, ge=1, le=1000)
    """Transactions that one sweep settles; the next one goes on."""
    holds_at_most: int = Field(default=0, ge=0, le=1000)
    """Holds that one sweep has told of. 0 in the orders of sweeps from before there were any."""
    moves_at_most: int = Field(default=0, ge=0, le=1000)
    """Runs that one sweep moves to the current version of the workers, since nobody serves theirs. 0 as above."""


def whole_sweep(*, older_than_seconds: float) -> SweepOrder:
    """An order to look for all that a sweep knows, so much at once that a sweep stays small."""
    return SweepOrder(older_than_seconds=older_than_seconds, holds_at_most=_AT_MOST, moves_at_most=_AT_MOST)


class SweepFindings(BaseModel):
    """What a sweep has found."""

    model_config = ConfigDict(frozen=True)

    abandoned: tuple[AbandonedTransaction, ...] = ()
    more: bool = False
    """Whether there was more than one sweep may settle."""


class SweepHoldFindings(BaseModel):
    """Holds that a sweep has found."""

    model_config = ConfigDict(frozen=True)

    abandoned: tuple[AbandonedHold, ...] = ()
    more: bool = False


class MovedRun(BaseModel):
    """A run that a sweep has moved to the current version of the workers."""

    model_config = ConfigDict(frozen=True)

    workflow_id: str
    build_id: str
    """Of the version that nobody serves any more."""


class SweptHold(BaseModel):
    """One hold that a sweep has found."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    hold_id: str
    found: str
    started: bool
    """False: a workflow of the hold was under way again."""


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
    """Whether there is more of anything; the next sweep goes on."""
    holds: tuple[SweptHold, ...] = ()
    moved: tuple[MovedRun, ...] = ()


def abandoned(found: str) -> Refusal:
    """The reason of a transaction of which nothing is posted, and whose workflow was found so."""
    how = _KNOWN_ENDS.get(found, f"its workflow is {found}")
    return Refusal(code=RefusalCode.ABANDONED, detail=f"{how} before anything was posted")
