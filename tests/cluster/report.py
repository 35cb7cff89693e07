"""What a fault cost: how long nothing was completed, and how long it took until all was whole again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.cluster.load import Done


@dataclass(frozen=True)
class Pause:
    """What one fault cost the clients."""

    fault: str
    longest_gap_seconds: float
    """The longest time in which no client was told of a completed transaction, from just before the fault until all was whole again."""
    first_after_seconds: float
    """From the fault until the first completion of a transaction that was submitted after it."""
    whole_after_seconds: float
    """From the fault until each part did its work again, the one that was away included."""
    completed: int
    """Transactions in that time."""
    slowest_seconds: float
    """The longest that one of them took its client, all repetitions included."""
    repeated: int
    """Of them those that their clients had to send more than once."""


def pause(fault: str, done: Sequence[Done], *, began: float, whole: float, ended: float) -> Pause:
    """The pause around a fault.

    Args:
        fault: what was done.
        done: every transaction whose outcome was told.
        began: when the fault was made, in seconds of the monotonic clock, as below.
        whole: when all was whole again.
        ended: when looking at it ended: some seconds after that.
    """
    told = sorted(each.told for each in done)
    before = [instant for instant in told if instant <= began]
    window = [each for each in done if began < each.told <= ended]
    instants = [before[-1] if before else began, *sorted(each.told for each in window), ended]
    after = [each.told for each in window if each.submitted > began]
    return Pause(
        fault=fault,
        longest_gap_seconds=round(max(later - earlier for earlier, later in pairwise(instants)), 2),
        first_after_seconds=round(min(after, default=float("inf")) - began, 2),
        whole_after_seconds=round(whole - began, 2),
        completed=len(window),
        slowest_seconds=round(max((each.told - each.submitted for each in window), default=0.0), 2),
        repeated=sum(each.attempts > 1 for each in window),
    )


def write(path: Path, pauses: Sequence[Pause], **more: object) -> None:
    """Write the report for programs."""
    path.write_text(json.dumps({"faults": [asdict(each) for each in pauses], **more}, indent=1) + "\n")


def show(pauses: Sequence[Pause]) -> None:
    """Print the report for people."""
    table = Table(
        "fault", "longest pause", "first new one", "whole again", "completed", "slowest", "sent again", box=None, header_style="bold"
    )
    for each in pauses:
        seconds = (each.longest_gap_seconds, each.first_after_seconds, each.whole_after_seconds)
        table.add_row(
            each.fault, *(f"{one:.1f} s" for one in seconds), str(each.completed), f"{each.slowest_seconds:.1f} s", str(each.repeated)
        )
    Console(width=140).print(table)
