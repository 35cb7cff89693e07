"""``python -m bench.workflow``, which is what ``casaflow bench workflow`` runs."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import bench.workflow
from bench.ledger.plot import load_matplotlib
from bench.ledger.server import BenchError, server_settings
from bench.options import chosen, read_options
from bench.workflow import report as reports
from bench.workflow.cases import CASES, Case
from bench.workflow.plot import draw
from bench.workflow.system import system
from infra.logs import configure_logging
from infra.settings import Settings
from infra.stack.model import StackError, TemporalStore
from infra.temporal.telemetry import quiet_sdk

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

ROUNDS: Final = 4
SECONDS: Final = 3.0
QUICK_SECONDS: Final = 1.0


def main() -> None:
    """Measure, and print tables or JSON."""
    options = read_options(
        "casaflow bench workflow",
        bench.workflow.__doc__,
        CASES,
        rounds=ROUNDS,
        seconds=SECONDS,
        quick_seconds=QUICK_SECONDS,
        further=_add_store,
    )
    configure_logging(Settings(log_level="WARNING"))  # to stderr: what is printed is for programs
    quiet_sdk()
    try:
        cases = chosen(options, CASES)
        if options.plot is not None:
            load_matplotlib()  # now, rather than after the measuring
        report = uvloop.run(_measure(cases, options.temporal, rounds=options.rounds, seconds=options.seconds))
        if options.plot is not None:
            where = f"{report.server['cores']} cores"
            draw(report.medians, options.plot, title=f"casaflow bench workflow: {where}, rounds: {options.rounds}")
    except (BenchError, StackError, OSError) as error:
        sys.exit(f"casaflow bench workflow: {error}")
    if options.json:
        print(reports.as_json(report))
    else:
        reports.show(report)


def _add_store(parser: argparse.ArgumentParser) -> None:
    about = "where Temporal keeps its state, as `casaflow up --temporal` has it (sqlite)"
    parser.add_argument("--temporal", type=TemporalStore, choices=list(TemporalStore), default=TemporalStore.SQLITE, help=about)


async def _measure(cases: Sequence[Case], store: TemporalStore, *, rounds: int, seconds: float) -> reports.Report:
    # Drawn between measurements only: a thread that draws would take its share of the core that is measured.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task("preparing", total=rounds * len(cases))

        def say(what: str, done: int = 0) -> None:
            progress.update(task, description=what, advance=done, refresh=True)

        async with system(say, store) as running:
            report = reports.Report(server=server_settings(running.info.postgres_dsn))
            for number in range(rounds):
                # Every other round goes backwards, so that what drifts meanwhile touches neighbours alike.
                for case in cases if number % 2 == 0 else reversed(cases):
                    say(f"round {number + 1}: {case.name}")
                    report.add(case.name, await case.run(running, seconds=seconds))
                    say(f"round {number + 1}", done=1)
    return report


if __name__ == "__main__":
    main()
