"""``python -m bench.ledger``, which is what ``casaflow bench ledger`` runs."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Final

import psycopg
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import bench.ledger
from bench.ledger import report as reports
from bench.ledger.cases import CASES, AfterCredits, Case, Round
from bench.ledger.loads import Loads
from bench.ledger.plot import draw, load_matplotlib
from bench.ledger.preparing import CREDITS_BEFORE, prepare
from bench.ledger.proof import check_money
from bench.ledger.server import BenchError, database_url, own_database, server_settings, server_url
from bench.options import chosen, read_options

if TYPE_CHECKING:
    from collections.abc import Sequence

ROUNDS: Final = 5
SECONDS: Final = 1.0
QUICK_SECONDS: Final = 0.3


def main() -> None:
    """Measure, and print tables or JSON."""
    options = read_options(
        "casaflow bench ledger",
        bench.ledger.__doc__,
        CASES,
        rounds=ROUNDS,
        seconds=SECONDS,
        quick_seconds=QUICK_SECONDS,
        about_seconds="; pgbench takes whole seconds",
    )
    try:
        cases = chosen(options, CASES)
        if options.plot is not None:
            load_matplotlib()  # now, rather than after a quarter of an hour
        report = asyncio.run(_measure(server_url(), cases, rounds=options.rounds, seconds=options.seconds))
        if options.plot is not None:
            where = f"PostgreSQL {report.server['server_version']}, {report.server['cores']} cores"
            draw(report.medians, options.plot, title=f"casaflow bench ledger: {where}, rounds: {options.rounds}")
    except (BenchError, OSError, psycopg.OperationalError) as error:
        sys.exit(f"casaflow bench ledger: {error}")
    if options.json:
        print(reports.as_json(report, cases))
    else:
        reports.show(report, cases)


async def _measure(url: str, cases: Sequence[Case], *, rounds: int, seconds: float) -> reports.Report:
    """Prepare one database, and give each round a copy of it, so that no round pays for what the ones before it wrote."""
    settings = server_settings(url)
    loads = Loads()
    many_credits = CREDITS_BEFORE if any(isinstance(case, AfterCredits) for case in cases) else ()
    # Drawn between measurements only: a thread that draws would take its share of the core that is measured.
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False) as progress, own_database(url) as prepared:
        task = progress.add_task("preparing", total=rounds * len(cases))

        def say(what: str, done: int = 0) -> None:
            progress.update(task, description=what, advance=done, refresh=True)

        written = await prepare(database_url(url, prepared), loads, many_credits, lambda what: say(f"preparing: {what}"))
        report = reports.Report(server=settings, rows=written)
        for number in range(rounds):
            with own_database(url, template=prepared) as copy:
                # Each round begins elsewhere, so that no case always runs in the wake of the same other one.
                first = number * len(cases) // rounds
                for case in (*cases[first:], *cases[:first]):
                    say(f"round {number + 1}: {case.name}")
                    for name, figures in (await case.run(Round(url=database_url(url, copy), seconds=seconds, loads=loads))).items():
                        report.add(name, figures)
                    say(f"round {number + 1}", done=1)
                await asyncio.to_thread(check_money, database_url(url, copy), many_credits)
    return report


if __name__ == "__main__":
    main()
