"""``python -m bench.workflow``, which is what ``casaflow bench workflow`` runs."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import bench.workflow
from bench.ledger.plot import load_matplotlib
from bench.ledger.server import BenchError, server_settings
from bench.workflow import report as reports
from bench.workflow.cases import CASES, Case
from bench.workflow.plot import draw
from bench.workflow.system import system
from infra.stack.model import StackError

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS: Final = 4
SECONDS: Final = 3.0
QUICK_SECONDS: Final = 1.0


def main() -> None:
    """Measure, and print tables or JSON."""
    options = _options()
    try:
        cases = _chosen(options)
        if options.plot is not None:
            load_matplotlib()  # now, rather than after the measuring
        report = uvloop.run(_measure(cases, rounds=options.rounds, seconds=options.seconds))
        if options.plot is not None:
            where = f"{report.server['cores']} cores"
            draw(report.medians, options.plot, title=f"casaflow bench workflow: {where}, rounds: {options.rounds}")
    except (BenchError, StackError, OSError) as error:
        sys.exit(f"casaflow bench workflow: {error}")
    if options.json:
        print(reports.as_json(report))
    else:
        reports.show(report)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="casaflow bench workflow", description=bench.workflow.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--rounds", type=int, help=f"interleaved rounds; the medians are printed ({ROUNDS})")
    parser.add_argument("--seconds", type=float, help=f"of each measurement in each round ({SECONDS})")
    parser.add_argument("--only", action="append", metavar="TEXT", help="only cases with this text in their name; may be repeated")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and measure nothing")
    parser.add_argument("--quick", action="store_true", help="one short round of the cases that the ratios need: to see that it runs")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="also draw a picture (PNG, or SVG by its ending)")
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 1 if options.quick else ROUNDS
    if options.seconds is None:
        options.seconds = QUICK_SECONDS if options.quick else SECONDS
    if options.rounds < 1 or options.seconds <= 0:
        parser.error("--rounds and --seconds must be greater than zero")
    if options.list:
        print("\n".join(case.name for case in CASES))
        parser.exit()
    return options


def _chosen(options: argparse.Namespace) -> tuple[Case, ...]:
    cases = tuple(
        case
        for case in CASES
        if (case.quick or not options.quick) and (not options.only or any(text in case.name for text in options.only))
    )
    if not cases:
        message = "no case has such a name; --list shows them"
        raise BenchError(message)
    return cases


async def _measure(cases: Sequence[Case], *, rounds: int, seconds: float) -> reports.Report:
    # Drawn between measurements only: a thread that draws would take its share of the core that is measured.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress:
        task = progress.add_task("preparing", total=rounds * len(cases))

        def say(what: str, done: int = 0) -> None:
            progress.update(task, description=what, advance=done, refresh=True)

        async with system(say) as running:
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
