"""``python -m bench.events``, which is what ``casaflow bench events`` runs."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import psycopg
import uvloop
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import bench.events
from bench.events import report as reports
from bench.events.cases import CASES, LOAD_PER_SECOND, Case, Run
from bench.events.load import fill
from bench.events.place import Servers, kafka_servers
from bench.events.plot import draw
from bench.ledger.plot import load_matplotlib
from bench.ledger.server import BenchError, database_url, own_database, server_settings, server_url
from bench.options import chosen, read_options
from infra.logs import configure_logging
from infra.postgres.migrate import upgrade
from infra.settings import Settings
from ledger.errors import CasaflowError

if TYPE_CHECKING:
    from argparse import ArgumentParser
    from collections.abc import Sequence

ROUNDS: Final = 3
SECONDS: Final = 5.0
QUICK_SECONDS: Final = 1.0
EVENTS: Final = 10_000
QUICK_EVENTS: Final = 600


def main() -> None:
    """Measure, and print tables or JSON."""
    options = read_options(
        "casaflow bench events",
        bench.events.__doc__,
        CASES,
        rounds=ROUNDS,
        seconds=SECONDS,
        quick_seconds=QUICK_SECONDS,
        about_seconds=f", of the constant load of {LOAD_PER_SECOND} events per second",
        further=_further,
    )
    events = options.events or (QUICK_EVENTS if options.quick else EVENTS)
    configure_logging(Settings(log_level="WARNING"))  # to stderr: what is printed is for programs
    try:
        cases = chosen(options, CASES)
        if options.plot is not None:
            load_matplotlib()  # now, rather than after the measuring
        report = uvloop.run(_measure(cases, rounds=options.rounds, seconds=options.seconds, events=events))
        if options.plot is not None:
            where = f"{report.server['cores']} cores"
            draw(report.medians, options.plot, title=f"casaflow bench events: {where}, rounds: {options.rounds}, events: {events:,}")
    except (BenchError, CasaflowError, OSError, psycopg.OperationalError) as error:
        sys.exit(f"casaflow bench events: {error}")
    if options.json:
        print(reports.as_json(report))
    else:
        reports.show(report)


def _further(parser: ArgumentParser) -> None:
    parser.add_argument("--events", type=int, help=f"of each measurement but the lag's in each round ({EVENTS})")


async def _measure(cases: Sequence[Case], *, rounds: int, seconds: float, events: int) -> reports.Report:
    url, kafka = server_url(), kafka_servers()
    # Drawn between measurements only: a thread that draws would take its share of the core that is measured.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress, own_database(url) as filled:
        task = progress.add_task("preparing", total=rounds * len(cases))

        def say(what: str, done: int = 0) -> None:
            progress.update(task, description=what, advance=done, refresh=True)

        report = reports.Report(server=server_settings(url), events=events)
        say("preparing: posting the legs whose events are published")
        await asyncio.to_thread(upgrade, database_url(url, filled))
        transactions = await fill(database_url(url, filled), events)
        servers = Servers(url, kafka, filled)
        for number in range(rounds):
            run = Run(servers, transactions, seconds, plain_first=bool(number % 2))
            # Every other round goes backwards, so that what drifts meanwhile touches neighbours alike.
            for case in reversed(cases) if run.plain_first else cases:
                say(f"round {number + 1}: {case.name}")
                report.add(case.name, await case.measure(run))
                say(f"round {number + 1}", done=1)
    return report


if __name__ == "__main__":
    main()
