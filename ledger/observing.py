"""What the ledger tells whoever watches it: how batches go, and what they refuse. Nobody has to watch, and nothing depends on it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ledger.refusals import RefusalCode


class Arrival(NamedTuple):
    """When a posting came, and on whose behalf."""

    at_seconds: float
    """Of a clock that only the observer reads."""
    transaction_id: str
    trace: object | None = None
    """Of the observer's own kind; None when the posting isn't traced."""


@dataclass(frozen=True, kw_only=True)
class BatchCounts:
    """One batch, once all its postings have their answers or errors."""

    side: Literal["debit", "credit"]
    postings: int
    """Transactions of which legs went together."""
    legs: int
    repeats: int
    """Callers that asked for the same legs meanwhile, and got the same answers."""
    refusals: Mapping[RefusalCode, int] = field(default_factory=dict)
    errors: int = 0
    """Postings that got an error instead of an answer."""


class LedgerObserver(Protocol):
    """Watches a ledger. Each method returns at once, and raises nothing."""

    def arrived(self, transaction_id: str) -> Arrival:
        """A posting joins the queue; the ledger keeps what this returns, and hands it back with the batch."""
        ...

    def began(self, arrivals: Sequence[Arrival]) -> object:
        """A batch begins, in the order of arrival; what this returns is handed back at its end, in the same task."""
        ...

    def ended(self, began: object, batch: BatchCounts) -> None:
        """A batch is over, whatever came of it."""
        ...

    def overtaken(self) -> None:
        """A batch is decided again, since another connection was faster with something of it."""
        ...

    def rejected(self, reason: RefusalCode) -> None:
        """A transaction was rejected before any leg was tried."""
        ...

    def folded(self, credits_folded: int) -> None:
        """Maintenance has folded the tail of an account, of so many credits."""
        ...
