"""What people see of long runs: progress, tables, and the same as JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from starter.files import Outcome, submit_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from casaflow_client import AsyncClient

    from starter.check import CheckReport
    from starter.entries import FileSummary
    from starter.files import ComparedBalance
    from starter.posting import Tally

_PLAIN_WIDTH: Final = 140
_PLAIN_EVERY_SECONDS: Final = 5.0
_SHOWN_BALANCES: Final = 30


def console() -> Console:
    """Standard output, with a fixed width where it isn't a terminal."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _PLAIN_WIDTH, highlight=False)


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    """A progress bar on standard error; where that isn't a terminal, a line every five seconds. Yields what to call after each step."""
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(title, total=total, rate="")
            started = time.monotonic()
            done = 0

            def advance() -> None:
                nonlocal done
                done += 1
                bar.update(task, advance=1, rate=f"{done / (time.monotonic() - started):.0f}/s")

            yield advance
        return
    with _plain_progress(title, total) as plain:
        yield plain


@contextmanager
def _plain_progress(title: str, total: int) -> Iterator[Callable[[], None]]:
    started = said = time.monotonic()
    done = 0

    def say() -> None:
        seconds = time.monotonic() - started
        typer.echo(f"{title}: {done} of {total}, {done / seconds if seconds else 0:.0f}/s", err=True)

    def advance() -> None:
        nonlocal done, said
        done += 1
        if time.monotonic() - said >= _PLAIN_EVERY_SECONDS:
            said = time.monotonic()
            say()

    yield advance
    say()


async def run_submission(client: AsyncClient, file: Path, *, tenant: str, in_flight: int, open_accounts: bool, as_json: bool) -> Outcome:
    """Submit a file with a progress bar, and print what it came to.

    Raises:
        FileError: nothing of the file can be used.
        ApiError: an account is missing, or can't be opened.
    """
    outcome = await submit_with_progress(client, file, tenant=tenant, in_flight=in_flight, open_accounts=open_accounts)
    if as_json:
        typer.echo(json.dumps(submission_as_json(outcome), indent=1))
    else:
        show_submission(outcome)
    return outcome


async def submit_with_progress(client: AsyncClient, file: Path, *, tenant: str, in_flight: int, open_accounts: bool) -> Outcome:
    """Submit a file with a progress bar."""
    with ExitStack() as shown:

        def begin(summary: FileSummary) -> Callable[[], None]:
            return shown.enter_context(progress(f"{summary.entries} entries of {len(summary.accounts)} accounts", summary.entries))

        async with client:
            return await submit_file(client, file, tenant=tenant, in_flight=in_flight, open_accounts=open_accounts, on_start=begin)


def submission_as_json(outcome: Outcome) -> dict[str, Any]:
    """For programs."""
    wrong = [balance for balance in outcome.balances if not balance.equal]
    return {
        **outcome.tally.as_json(),
        "accounts_opened": outcome.opened,
        "balances": {
            "compared": len(outcome.balances),
            "equal": len(outcome.balances) - len(wrong),
            "different": [vars(balance) for balance in wrong],
        },
        "problem": outcome.problem or None,
        "proven": outcome.proven,
    }


def show_submission(outcome: Outcome) -> None:
    """For people."""
    screen = console()
    screen.print(tally_table("Transactions", {"": outcome.tally}))
    wrong = [balance for balance in outcome.balances if not balance.equal]
    if wrong:
        screen.print(balance_table(wrong))
    equal = len(outcome.balances) - len(wrong)
    screen.print(f"{equal} of {len(outcome.balances)} account balances equal the file's running total to the last minor unit.")


def tally_table(title: str, tallies: dict[str, Tally]) -> Table:
    """How many transactions ended how, how fast."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    names = ("", "completed", "rejected", "reversed", "parked", "already posted", "seconds", "per second", "p50 ms", "p99 ms")
    for name in names:
        table.add_column(name, justify="left" if not name else "right")
    for label, tally in tallies.items():
        counts = [str(tally.statuses[status]) for status in ("completed", "rejected", "reversed", "parked")]
        speed = [f"{tally.seconds:.1f}", f"{tally.per_second:.1f}"]
        latencies = [f"{value:.0f}" if (value := tally.percentile_ms(percent)) is not None else "-" for percent in (50, 99)]
        table.add_row(label, *counts, str(tally.repeated), *speed, *latencies)
    return table


def balance_table(balances: Sequence[ComparedBalance]) -> Table:
    """Each account's balance beside what it should be."""
    table = Table(title="Balances", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("account", "entries", "ledger balance", "running total", "currency", ""):
        table.add_column(name, justify="right" if name in {"entries", "ledger balance", "running total"} else "left")
    for balance in balances[:_SHOWN_BALANCES]:
        verdict = "[green]equal[/]" if balance.equal else "[bold red]DIFFERENT[/]"
        table.add_row(balance.account_id, str(balance.entries), balance.ledger, balance.running_total, balance.currency, verdict)
    if len(balances) > _SHOWN_BALANCES:
        table.add_row("…", f"and {len(balances) - _SHOWN_BALANCES} more", "", "", "", "")
    return table


def show_check(report: CheckReport, *, as_json: bool) -> None:
    """Print what `check` proved."""
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
        return
    console().print(check_table(report))
    for finding in report.findings:
        for offender in finding.offending:
            typer.echo(f"truth {finding.number}: {offender}", err=True)


def check_table(report: CheckReport) -> Table:
    """The truths, each with what was counted."""
    table = Table(title="Check", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("truth", "", "counted"):
        table.add_column(name)
    for finding in report.findings:
        verdict = "[green]proven[/]" if finding.proven else "[bold red]NOT PROVEN[/]"
        table.add_row(f"{finding.number} {finding.title}", verdict, finding.counted)
    return table
