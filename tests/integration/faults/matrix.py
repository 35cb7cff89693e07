"""Each step of a transaction with each fault at that step, and how the transaction has to end.

The table is read by `test_matrix.py`, which carries out every cell that names an end, with real processes and real signals. A cell that
makes no sense says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

BEFORE, DURING, AFTER = "worker killed before the commit", "worker killed during the commit", "worker killed after the commit"
POSTGRES_BEFORE, POSTGRES_DURING = "PostgreSQL killed before the commit", "PostgreSQL killed during the commit"
KAFKA, TEMPORAL = "Kafka killed", "Temporal killed"
CANCEL, TERMINATE, RESET = "cancel", "terminate", "reset"
TERMINATE_AND_KILL = "terminate, and worker killed"
"""Together they cut a posting off before it is done, while a worker that lives finishes what it has in hand."""
PASSING, FOR_GOOD = "exception that passes", "exception for good"
FAULTS: Final = (
    BEFORE,
    DURING,
    AFTER,
    POSTGRES_BEFORE,
    POSTGRES_DURING,
    KAFKA,
    TEMPORAL,
    CANCEL,
    TERMINATE,
    TERMINATE_AND_KILL,
    RESET,
    PASSING,
    FOR_GOOD,
)
"""The columns. "During the commit": the server has committed, and the answer has not arrived."""

APPROVAL, APPROVAL_OF_CREDIT, DATE = "approval before posting", "approval before the credit", "execution date"
RATE, SINGLE, LINKED = "rate", "single leg", "linked legs"
DEBIT, CREDIT, COMPENSATION = "debit leg", "credit leg", "compensation"
REJECTION, PUBLISHING, PARKED = "rejection", "publishing", "parked"

COMPLETED, REJECTED, REVERSED = "completed", "rejected", "reversed"
PARKED_THEN_COMPLETED = "parked, then completed"
"""It parks, an operator mends the cause and asks for another try."""
PARKED_THEN_REVERSED = "parked, then reversed"
FAILED_THEN_REJECTED = "failed, then rejected"
"""Nothing is posted, so the workflow fails; the sweep gives the id an answer."""
"""Everything was posted; the sweep publishes what is left."""


@dataclass(frozen=True)
class Because:
    """Why a cell is not tested."""

    reason: str


_NOTHING_COMMITTED = Because("nothing is committed at this step")
_AS_NEXT = Because("the same moment as before the next step's commit")
_MARKED_TWICE = Because("marking an event as published twice is marking it once; a lost answer is the same as the killed worker's")
_NOTHING_FOR_GOOD = Because("Kafka refuses nothing for good, and the workflow doesn't wait until it is marked what it has published")
_STANDS_STILL = Because("nothing is called or committed while it stands still, so there is one moment, and nothing that could raise")

MATRIX: Final[Mapping[str, tuple[str | Because, ...]]] = {
    # Worker before, during, after; PostgreSQL before, during, Kafka, Temporal; cancel, terminate, and killed, reset; passing, for good.
    APPROVAL: (
        *(COMPLETED, _STANDS_STILL, _STANDS_STILL),
        *(COMPLETED, _STANDS_STILL, COMPLETED, COMPLETED),
        *(REJECTED, REJECTED, REJECTED, COMPLETED),
        *(_STANDS_STILL, _STANDS_STILL),
    ),
    APPROVAL_OF_CREDIT: (
        *(COMPLETED, _STANDS_STILL, _STANDS_STILL),
        *(COMPLETED, _STANDS_STILL, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        *(_STANDS_STILL, _STANDS_STILL),
    ),
    DATE: (
        *(COMPLETED, _STANDS_STILL, _STANDS_STILL),
        *(COMPLETED, _STANDS_STILL, COMPLETED, COMPLETED),
        *(REJECTED, REJECTED, REJECTED, COMPLETED),
        *(_STANDS_STILL, _STANDS_STILL),
    ),
    RATE: (
        *(COMPLETED, _NOTHING_COMMITTED, _AS_NEXT),
        *(COMPLETED, _NOTHING_COMMITTED, COMPLETED, COMPLETED),
        *(REJECTED, REJECTED, REJECTED, COMPLETED),
        *(COMPLETED, REJECTED),
    ),
    SINGLE: (
        *(COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, REJECTED, COMPLETED),
        *(COMPLETED, FAILED_THEN_REJECTED),
    ),
    LINKED: (
        *(COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, REJECTED, COMPLETED),
        *(COMPLETED, FAILED_THEN_REJECTED),
    ),
    DEBIT: (
        *(COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, REJECTED, COMPLETED),
        *(COMPLETED, FAILED_THEN_REJECTED),
    ),
    CREDIT: (
        *(COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, PARKED_THEN_COMPLETED),
    ),
    COMPENSATION: (
        *(REVERSED, REVERSED, REVERSED),
        *(REVERSED, REVERSED, REVERSED, REVERSED),
        *(REVERSED, REVERSED, REVERSED, REVERSED),
        *(REVERSED, PARKED_THEN_REVERSED),
    ),
    REJECTION: (
        *(REJECTED, REJECTED, REJECTED),
        *(REJECTED, REJECTED, REJECTED, REJECTED),
        *(REJECTED, REJECTED, REJECTED, REJECTED),
        *(REJECTED, FAILED_THEN_REJECTED),
    ),
    # Before: nothing is sent to Kafka. During: Kafka has it. After: Kafka said so. The commit is that of the mark in the outbox.
    PUBLISHING: (
        *(COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, _MARKED_TWICE, COMPLETED, COMPLETED),
        *(COMPLETED, COMPLETED, COMPLETED, COMPLETED),
        *(COMPLETED, _NOTHING_FOR_GOOD),
    ),
    PARKED: (
        *(PARKED_THEN_COMPLETED, _STANDS_STILL, _STANDS_STILL),
        *(PARKED_THEN_COMPLETED, _STANDS_STILL, PARKED_THEN_COMPLETED, PARKED_THEN_COMPLETED),
        *(PARKED_THEN_COMPLETED, PARKED_THEN_COMPLETED, PARKED_THEN_COMPLETED, PARKED_THEN_COMPLETED),
        *(_STANDS_STILL, _STANDS_STILL),
    ),
}
"""By step, an end for each of :data:`FAULTS`."""

IN_THE_FAST_SET: Final = frozenset(
    {
        (LINKED, DURING),
        (SINGLE, POSTGRES_BEFORE),
        (CREDIT, BEFORE),
        (DEBIT, AFTER),
        (CREDIT, POSTGRES_DURING),
        (PUBLISHING, KAFKA),
        (LINKED, TEMPORAL),
        (CREDIT, CANCEL),
        (DEBIT, TERMINATE),
        (LINKED, TERMINATE_AND_KILL),
        (CREDIT, RESET),
        (COMPENSATION, PASSING),
        (CREDIT, FOR_GOOD),
    }
)
"""One cell for each fault at least; all others are slow."""


def cells() -> list[tuple[str, str, str]]:
    """Step, fault and end of every cell that is tested."""
    return [(step, fault, end) for step, ends in MATRIX.items() for fault, end in zip(FAULTS, ends, strict=True) if isinstance(end, str)]
