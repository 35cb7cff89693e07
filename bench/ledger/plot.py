"""The picture of a run: rates over what is in flight, the storm, and what very many credits cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bench.ledger.cases import IN_FLIGHT, Figures, Throughput, after_figure, storm_figure
from bench.ledger.loads import Accounts, Mix
from bench.ledger.preparing import CREDITS_BEFORE
from bench.ledger.server import BenchError
from bench.ledger.sides import SideName

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

_COLOURS: Final = {
    SideName.CASAFLOW: "#0b6e4f",
    SideName.BATCHED_ROW: "#d17a22",
    SideName.ONE_BY_ONE: "#7a4ea3",
    SideName.LOCKED_ROW: "#b3261e",
}
_PLACES: Final = ("alone", "other account", "own account")
_AFTER: Final = {
    "first_debit_ms": "first debit",
    "debit_ms": "debits after it",
    "balance_before_any_debit_ms": "balance before any debit",
    "balance_ms": "balance after it",
}


def load_matplotlib() -> Any:  # noqa: ANN401  a module
    """The module that draws without a screen.

    Raises:
        BenchError: it isn't installed.
    """
    try:
        from matplotlib import figure  # noqa: PLC0415  only a plot needs it, and only the checkout has it
    except ImportError as error:
        message = "a plot needs matplotlib, which comes with the checkout's development packages"
        raise BenchError(message) from error
    return figure


def draw(medians: Mapping[str, Figures], target: Path, *, title: str) -> None:
    """Write a PNG.

    Args:
        medians: of the figures of each case, by the case's name; what a filtered run lacks is left out.
        target: the file; its ending decides the format.
        title: what was measured where.

    Raises:
        BenchError: matplotlib isn't installed.
        OSError: the file can't be written.
    """
    drawing = load_matplotlib().Figure(figsize=(14, 10), layout="constrained")
    drawing.suptitle(title, fontsize=10)
    axes = drawing.subplots(2, 2)
    _rates(axes[0][0], medians, Mix.DEBITS)
    _rates(axes[0][1], medians, Mix.CREDITS)
    _storm(axes[1][0], medians)
    _after_credits(axes[1][1], medians)
    drawing.savefig(target, dpi=120)


def _rates(axes: Any, medians: Mapping[str, Figures], mix: Mix) -> None:  # noqa: ANN401  matplotlib's
    for side in SideName:
        for accounts, style in ((Accounts.ONE, "-o"), (Accounts.ZIPF, ":s"), (Accounts.EVEN, "--^")):
            # A locked row does the same work for a credit as for the debit that pgbench's scripts post.
            posted = Mix.DEBITS if side is SideName.LOCKED_ROW else mix
            points = [
                (in_flight, medians[name]["legs_per_second"])
                for in_flight in IN_FLIGHT
                if (name := Throughput(side, posted, accounts, in_flight).name) in medians
            ]
            if points:
                axes.plot(*zip(*points, strict=True), style, color=_COLOURS[side], label=f"{side}, {accounts}")
    axes.set_xscale("log", base=2)
    axes.set_xticks(IN_FLIGHT, [str(in_flight) for in_flight in IN_FLIGHT])
    axes.set_ylim(bottom=0)
    axes.set_title(f"{mix} per second")
    axes.set_xlabel("in flight")
    axes.grid(visible=True, alpha=0.3)
    # Below, where it hides no line.
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.12))


def _storm(axes: Any, medians: Mapping[str, Figures]) -> None:  # noqa: ANN401
    width = 0.38
    for offset, side in enumerate((SideName.CASAFLOW, SideName.BATCHED_ROW)):
        found = [medians.get(storm_figure(side, place)) for place in _PLACES]
        if all(found):
            heights = [figures["p99_ms"] for figures in found if figures]
            bars = axes.bar([number + offset * width for number in range(len(_PLACES))], heights, width, color=_COLOURS[side], label=side)
            axes.bar_label(bars, fmt="%.1f")
    axes.set_xticks([number + width / 2 for number in range(len(_PLACES))], ["alone", "storm on another account", "storm on its account"])
    axes.set_title("p99 of a credit, ms, with 64 debits in flight")
    _legend(axes)


def _after_credits(axes: Any, medians: Mapping[str, Figures]) -> None:  # noqa: ANN401
    for figure, label in _AFTER.items():
        points = [(count, medians[name][figure]) for count in CREDITS_BEFORE if (name := after_figure(count)) in medians]
        if points:
            axes.plot(*zip(*points, strict=True), "-o", label=label)
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title("a debit and a balance, ms")
    axes.set_xlabel("credits on the account before")
    axes.grid(visible=True, alpha=0.3)
    _legend(axes)


def _legend(axes: Any) -> None:  # noqa: ANN401
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8)
