"""The arithmetic of pauses: when transactions were submitted and finished, and what a fault did to that. No clock, no I/O.

All times are seconds since the load began.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

BIN_SECONDS: Final = 0.25
"""Of the timeline."""


@dataclass(frozen=True)
class Span:
    """One transaction, as its client saw it."""

    submitted_at: float
    finished_at: float | None
    """When its final outcome had come; None: it has not."""


def longest_gap(finishes: Sequence[float], *, begin: float, end: float) -> float:
    """The longest time in which nothing finished, of those that touch the time from `begin` to `end`.

    The one that `begin` lies in counts from the finish before it on; the one that `end` lies in, up to `end`.

    Args:
        finishes: when transactions finished, sorted.
        begin: of the time that is looked at.
        end: of it.
    """
    first = bisect_right(finishes, begin)
    inside = finishes[first : bisect_right(finishes, end)]
    marks = [finishes[first - 1] if first else begin, *inside, end]
    return max(later - earlier for earlier, later in pairwise(marks))


def first_finish(spans: Iterable[Span], *, after: float) -> float | None:
    """How long it took from `after` until a transaction was finished that was submitted then or later; None: none is."""
    finishes = [span.finished_at for span in spans if span.submitted_at >= after and span.finished_at is not None]
    return min(finishes) - after if finishes else None


def slowest(spans: Iterable[Span], *, begin: float, end: float) -> float | None:
    """How long the slowest transaction took of those that were under way from `begin` to `end`, and have finished; None: there was none."""
    took = [
        span.finished_at - span.submitted_at
        for span in spans
        if span.finished_at is not None and span.submitted_at < end and span.finished_at > begin
    ]
    return max(took, default=None)


def timeline(finishes: Sequence[float]) -> list[int]:
    """How many finished in each quarter of a second, from the begin to the last one."""
    counts = [0] * (int(finishes[-1] / BIN_SECONDS) + 1 if finishes else 0)
    for finish in finishes:
        counts[int(finish / BIN_SECONDS)] += 1
    return counts


def between(moments: Sequence[float], *, begin: float, end: float) -> int:
    """How many of the sorted moments lie at `begin` or later, and before `end`."""
    return bisect_left(moments, end) - bisect_left(moments, begin)
