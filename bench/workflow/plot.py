"""The picture of a run: rates and the CPU time that each transaction takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.ledger.plot import load_matplotlib

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from bench.workflow.cases import Figures

_PARTS: Final = {
    "temporal": "#141414",
    "here": "#0b6e4f",
    "api": "#5fa777",
    "postgres": "#336791",
    "kafka": "#d17a22",
    "consumers": "#7a4ea3",
    "dbos": "#b3261e",
}


def draw(medians: Mapping[str, Figures], target: Path, *, title: str) -> None:
    """Write a PNG.

    Args:
        medians: of the figures of each case, by the case's name.
        target: the file; its ending decides the format.
        title: what was measured where.

    Raises:
        BenchError: matplotlib isn't installed.
        OSError: the file can't be written.
    """
    drawing = load_matplotlib().Figure(figsize=(16, 8), layout="constrained")
    drawing.suptitle(title, fontsize=10)
    rates, spent = drawing.subplots(1, 2, sharey=True)
    names = list(medians)[::-1]
    bars = rates.barh(names, [medians[name]["transactions_per_second"] for name in names], color="#0b6e4f")
    rates.bar_label(bars, fmt="%.0f")
    rates.set_title("transactions per second")
    left = [0.0] * len(names)
    for part, colour in _PARTS.items():
        widths = [medians[name][f"{part}_cpu_ms"] for name in names]
        spent.barh(names, widths, left=left, color=colour, label="starting and carrying" if part == "here" else part)
        left = [before + width for before, width in zip(left, widths, strict=True)]
    spent.set_title("CPU ms for each transaction")
    spent.legend(fontsize=8)
    drawing.savefig(target, dpi=120)
