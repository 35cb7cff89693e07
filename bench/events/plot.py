"""The picture of a run: rates beside those of plain aiokafka, and lags."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.events.cases import LOAD_PER_SECOND, Lag
from bench.events.place import ALL_GROUPS
from bench.ledger.plot import load_matplotlib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.events.cases import Figures

_HEIGHT: Final = 0.38


def draw(medians: Mapping[str, Figures], target: Path, *, title: str) -> None:
    """Write a picture.

    Args:
        medians: of the figures of each case, by the case's name; what a filtered run lacks is left out.
        target: the file; its ending decides the format.
        title: what was measured where.

    Raises:
        BenchError: matplotlib isn't installed.
        OSError: the file can't be written.
    """
    drawing = load_matplotlib().Figure(figsize=(13, 5), layout="constrained")
    drawing.suptitle(title, fontsize=10)
    rates, lags = drawing.subplots(1, 2)
    names = [name for name, figures in medians.items() if "events_per_second" in figures][::-1]
    for side, label, colour, offset in (
        ("events_per_second", "casaflow", "#0b6e4f", _HEIGHT / 2),
        ("plain_events_per_second", "plain aiokafka", "#9a9a9a", -_HEIGHT / 2),
    ):
        shown = [(number + offset, medians[name][side]) for number, name in enumerate(names) if side in medians[name]]
        bars = rates.barh([at for at, _ in shown], [rate for _, rate in shown], _HEIGHT, color=colour, label=label)
        rates.bar_label(bars, fmt="{:,.0f}", fontsize=8, padding=2)
    rates.set_yticks(range(len(names)), names)
    rates.set_title("events per second")
    if names:
        rates.legend(fontsize=8)
    if lag := medians.get(Lag.name):
        for percent, colour, offset in (("p50", "#336791", _HEIGHT / 2), ("p99", "#d17a22", -_HEIGHT / 2)):
            places = [number + offset for number in range(len(ALL_GROUPS))]
            bars = lags.barh(places, [lag[f"{group}_{percent}_ms"] for group in ALL_GROUPS], _HEIGHT, color=colour, label=percent)
            lags.bar_label(bars, fmt="%.0f", fontsize=8)
        lags.set_yticks(range(len(ALL_GROUPS)), ALL_GROUPS)
        lags.legend(fontsize=8)
    lags.set_title(f"lag at {LOAD_PER_SECOND} events per second, ms")
    drawing.savefig(target, dpi=120)
