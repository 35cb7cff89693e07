"""The report of `casaflow chaos` as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer
from rich.table import Table
from rich.text import Text

from starter.cli.reports import check_table, console

if TYPE_CHECKING:
    from starter.chaos.report import ChaosReport, FaultReport

FAULT_COLUMNS: Final = (
    "round",
    "fault",
    "process",
    "back after s",
    "nothing finished for s",
    "first after it s",
    "slowest s",
    "finished",
    "errors seen",
    "outcome",
)
_NUMBERS: Final = frozenset(FAULT_COLUMNS[3:9]) | {FAULT_COLUMNS[0]}
_SHOWN_BLOWS: Final = 4


def show_report(report: ChaosReport) -> None:
    """For people: what happened on standard output, what is not as it has to be on standard error."""
    screen = console()
    screen.print(_titled(_fault_table(report), "Faults"))
    screen.print()
    screen.print(_titled(_proof_table(report), "Outcomes"))
    screen.print()
    if report.proof.check is not None:
        screen.print(check_table(report.proof.check))
        screen.print()
    typer.echo(in_words(report))
    typer.echo(verdict(report))
    for offender in report.offending:
        typer.echo(offender, err=True)


def in_words(report: ChaosReport) -> str:
    """How much was submitted, and what the calm before the first fault looked like."""
    calm = report.calm
    p50, p99 = (f"{value * 1000:.0f} ms" if value is not None else "-" for value in (calm.p50_seconds, calm.p99_seconds))
    return (
        f"{report.seconds:.0f} s, seed {report.seed}, {report.per_second:g} transactions submitted a second; in {calm.seconds:.0f} s before"
        f" the first fault {calm.finished} finished, p50 {p50}, p99 {p99}, nothing for {calm.longest_gap_seconds:.2f} s at most"
    )


def verdict(report: ChaosReport) -> str:
    """In one sentence."""
    if report.proven:
        return f"All of it is proven: {len(report.faults)} faults, and nothing is lost, doubled or wrong."
    return f"NOT all of it is proven: {len(report.offending)} things are not as they have to be."


def fault_rows(report: ChaosReport) -> list[list[str]]:
    """A row for each fault, of :data:`FAULT_COLUMNS`."""
    return [
        [
            str(fault.round),
            fault.fault,
            _blows(fault),
            _seconds(fault.back_after_seconds),
            _seconds(fault.longest_gap_seconds),
            _seconds(fault.first_finish_seconds),
            _seconds(fault.slowest_seconds),
            str(fault.finished),
            str(sum(fault.errors.values())),
            "work goes on" if fault.recovered else fault.problem or "no work since",
        ]
        for fault in report.faults
    ]


def _fault_table(report: ChaosReport) -> Table:
    table = _table()
    for name in FAULT_COLUMNS:
        table.add_column(name, justify="right" if name in _NUMBERS else "left")
    for row in fault_rows(report):
        table.add_row(*map(Text, row))
    return table


def _proof_table(report: ChaosReport) -> Table:
    table = _table()
    for name in ("statement", "", "counted"):
        table.add_column(name)
    for found in report.proof.statements:
        table.add_row(found.title, Text("proven", "green") if found.proven else Text("NOT PROVEN", "bold red"), found.counted)
    return table


def _table() -> Table:
    return Table(title_justify="left", box=None, pad_edge=False, header_style="bold")


def _titled(table: Table, title: str) -> Table:
    table.title = title
    return table


def _blows(fault: FaultReport) -> str:
    shown = [f"{struck.part} {struck.pid}" for struck in fault.struck[:_SHOWN_BLOWS]]
    more = len(fault.struck) - len(shown)
    return ", ".join([*shown, *([f"and {more} more"] if more else [])])


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
