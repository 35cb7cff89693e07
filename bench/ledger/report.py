"""What is printed: JSON for programs, tables for people."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from bench.ledger.cases import Figures, Throughput, Tpcb
from bench.ledger.loads import Mix
from bench.ledger.ratios import GOALS, locked_row_best, ratios
from bench.ledger.sides import SideName
from bench.rounds import Rounds
from bench.tables import circumstances, console, table

if TYPE_CHECKING:
    from rich.table import Table

    from bench.ledger.cases import Case

_PRINTED_WIDTH: Final = 160
_LEG_OF_MIX: Final = {
    Mix.CREDITS: ("credit",),
    Mix.DEBITS: ("debit",),
    Mix.HALF: ("credit", "debit"),
    Mix.MOSTLY_REFUSED: ("debit", *("refused debit",) * 9),
}


@dataclass(kw_only=True)
class Report(Rounds):
    """What a run found."""

    server: dict[str, str]
    """The server's settings, and the machine."""
    rows: dict[str, dict[str, int]]
    """By side and leg, then by table: the rows that a lone leg writes, inserted or changed."""

    @property
    def versions(self) -> dict[str, str]:
        """What took part, besides the server."""
        return {
            "casaflow": version("casaflow"),
            "python": platform.python_version(),
            "sqlalchemy": version("sqlalchemy"),
            "psycopg": version("psycopg"),
        }

    def rows_of(self, case: Case) -> float | None:
        """Rows that one leg of a case (of TPC-B: one transaction) writes, when it is alone.

        The mean, where the legs are mixed; None, where none were counted. A batch writes the balance row, or the online row, once for all
        legs of its account.
        """
        if isinstance(case, Tpcb):
            counted = self.rows["pgbench, TPC-B"] if case.side is SideName.LOCKED_ROW else self.rows[f"{case.side}, debit"]
            return sum(counted.values()) * (1 if case.side is SideName.LOCKED_ROW else 3)
        if not isinstance(case, Throughput):
            return None
        legs = _LEG_OF_MIX[case.mix]
        return sum(sum(self.rows[f"{case.side}, {leg}"].values()) for leg in legs) / len(legs)


def as_json(report: Report, cases: tuple[Case, ...]) -> str:
    """The ratios by their keys, then everything that they come from."""
    found = report.medians
    rows = {case.name: count for case in cases if (count := report.rows_of(case)) is not None}
    content: dict[str, Any] = {name: round(ratio, 3) for name, ratio in ratios(found).items()}
    content |= {
        "fsync_ms": round(found["one fsync"]["fsync_ms"], 3) if "one fsync" in found else None,
        "rows_of_a_lone_leg": report.rows,
        "rows_per_leg": rows,
        **circumstances(report, server=report.server, versions=report.versions),
    }
    return json.dumps(content, indent=1)


def show(report: Report, cases: tuple[Case, ...]) -> None:
    """Print the tables."""
    screen = console(printed_width=_PRINTED_WIDTH)
    found = report.medians
    screen.print(_rates(report, cases, found))
    if "one fsync" in found:
        screen.print(f"one fsync in this run: {found['one fsync']['fsync_ms']:.2f} ms", highlight=False)
    screen.print()
    screen.print(_others(report, cases, found))
    screen.print()
    screen.print(_ratios(found))
    server = ", ".join(f"{name} {value}" for name, value in {**report.server, **report.versions}.items())
    screen.print(f"\n{server}", highlight=False)


def _rates(report: Report, cases: tuple[Case, ...], found: dict[str, Figures]) -> Table:
    try:
        best = locked_row_best(found)
    except KeyError:
        best = None
    shown = table("case", "rows", "per second", "lowest", "highest", "p50 ms", "p99 ms", "x locked row")
    for case in cases:
        if not isinstance(case, Throughput | Tpcb) or case.name not in found:
            continue
        figures, of_rounds = found[case.name], report.rounds[case.name]
        rate = "legs_per_second" if "legs_per_second" in figures else "transactions_per_second"
        shown.add_row(
            case.name,
            f"{report.rows_of(case):g}",
            f"{figures[rate]:,.0f}",
            f"{min(one[rate] for one in of_rounds):,.0f}",
            f"{max(one[rate] for one in of_rounds):,.0f}",
            f"{figures['p50_ms']:.2f}" if "p50_ms" in figures else f"mean {figures['mean_ms']:.2f}",
            f"{figures['p99_ms']:.2f}" if "p99_ms" in figures else "",
            f"{figures[rate] / best:.2f}" if best and isinstance(case, Throughput) else "",
        )
    return shown


def _others(report: Report, cases: tuple[Case, ...], found: dict[str, Figures]) -> Table:
    told = {case.name for case in cases if isinstance(case, Throughput | Tpcb)}
    shown = table("what", "figure", "median", "lowest", "highest")
    for name, figures in found.items():
        if name in told:
            continue
        for figure, median in figures.items():
            values = [of_round[figure] for of_round in report.rounds[name]]
            shown.add_row(name, figure.replace("_", " "), f"{median:,.2f}", f"{min(values):,.2f}", f"{max(values):,.2f}")
    return shown


def _ratios(found: dict[str, Figures]) -> Table:
    shown = table("ratio", "figure", "goal")
    for name, ratio in ratios(found).items():
        shown.add_row(name, f"{ratio:.2f}", GOALS.get(name, ""))
    return shown
