"""Tables and figures as the benchmarks print them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.rounds import Rounds


def console(*, printed_width: int) -> Console:
    """Where tables go: as wide as the terminal, and of a fixed width where there is none."""
    found = Console()
    return found if found.is_terminal else Console(width=printed_width)


def table(*headers: str) -> Table:
    """A table without lines, names on the left and figures on the right."""
    made = Table(box=None, header_style="bold", pad_edge=False)
    for number, header in enumerate(headers):
        made.add_column(header, justify="left" if number == 0 else "right")
    return made


def figures_of(report: Rounds) -> dict[str, Any]:
    """Every figure of every case, its median and each round, for JSON."""
    return {
        name: {
            figure: {"median": round(median, 3), "rounds": [round(of_round[figure], 3) for of_round in report.rounds[name]]}
            for figure, median in figures.items()
        }
        for name, figures in report.medians.items()
    }


def circumstances(report: Rounds, *, server: Mapping[str, str], versions: Mapping[str, str]) -> dict[str, Any]:
    """What every report says of its run besides its own keys, for JSON: where it was, and every figure."""
    return {
        "rounds": max(map(len, report.rounds.values()), default=0),
        "server": server,
        "versions": versions,
        "load_average_after": f"{os.getloadavg()[0]:.2f}",
        "figures": figures_of(report),
    }
