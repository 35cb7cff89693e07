"""`casaflow submit`, `demo` and `check`: files of entries, the main job end to end, and the proof."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from infra.settings import DEFAULT_TENANT, Settings
from ledger.payment_files import FileMode
from starter.cli.access import EXIT_BAD_INPUT, EXIT_NOT_PROVEN, ApiKey, ApiUrl, Json, api_client, outside_or_stack
from starter.cli.failures import fail

InFlight = Annotated[int, typer.Option(min=1, max=1000, help="Transactions at one time.")]
DEFAULT_IN_FLIGHT: Final = 32
Tenant = Annotated[str, typer.Option(help="The tenant that the key belongs to.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (submit, demo, check):
        app.command()(command)


def submit(  # noqa: PLR0913, PLR0917  each is an option
    file: Annotated[Path, typer.Argument(help="CSV (or CSV.gz) of account entries; docs/how-to/entry-files.md has its columns.")],
    as_file: Annotated[bool, typer.Option("--as-file", help="Hand it in as one file; a payment file (CSV or XML) as well.")] = False,
    mode: Annotated[FileMode, typer.Option(help="With --as-file: whether a refused line stops the others.")] = FileMode.BEST_EFFORT,
    wait: Annotated[bool, typer.Option("--wait", help="With --as-file: wait until each line has its outcome.")] = False,
    in_flight: InFlight = DEFAULT_IN_FLIGHT,
    open_accounts: Annotated[bool, typer.Option(help="Open accounts that are missing, with the overdraft that they need.")] = True,
    tenant: Tenant = DEFAULT_TENANT,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Submit a file of account entries: each line becomes a transaction, each account's lines in order.

    A second run posts nothing twice. Ends with each account's balance against the file's running total. With --as-file the file is handed
    in as one: validated as a whole, then posted in chunks by one workflow.
    """
    if as_file:
        from starter.cli.files import submit_as_file  # noqa: PLC0415  as below

        submit_as_file(
            file, mode=mode, wait=wait, tenant=tenant, open_accounts=open_accounts, api_url=api_url, api_key=api_key, as_json=as_json
        )
        return
    from starter.cli.reports import run_submission  # noqa: PLC0415  tables and progress bars are loaded only where they are shown

    waiting = _WaitNotice()
    client = api_client(api_url, api_key, connections=in_flight, on_wait=waiting)
    outcome = asyncio.run(run_submission(client, file, tenant=tenant, in_flight=in_flight, open_accounts=open_accounts, as_json=as_json))
    if outcome.problem:
        fail(outcome.problem, EXIT_BAD_INPUT)
    if not outcome.proven:
        raise typer.Exit(EXIT_NOT_PROVEN)


class _WaitNotice:
    """Says once why nothing moves, and again when the reason changes."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            typer.echo(f"waiting: {reason}", err=True)


def demo(in_flight: InFlight = DEFAULT_IN_FLIGHT, as_json: Json = False) -> None:
    """Run real transactions of a real bank end to end on the real stack, and prove every balance.

    Starts the stack if it isn't running, and leaves it running. A second run posts nothing twice. Exit code 0 only if all is proven.
    """
    from starter.demo import run_demo  # noqa: PLC0415  as in submit

    if not run_demo(Settings(), in_flight=in_flight, as_json=as_json):
        raise typer.Exit(EXIT_NOT_PROVEN)


def check(
    topics: Annotated[bool, typer.Option("--topics/--without-topics", help="Also read the topics, from their beginnings.")] = True,
    as_json: Json = False,
) -> None:
    """Prove the six truths of the ledger on the running system. Exit code 1, and the exact ids, if one fails."""
    from starter.check import run_check  # noqa: PLC0415  as in submit
    from starter.cli.reports import show_check  # noqa: PLC0415

    report = asyncio.run(run_check(outside_or_stack(Settings()), with_topics=topics))
    show_check(report, as_json=as_json)
    if not report.proven:
        raise typer.Exit(EXIT_NOT_PROVEN)
