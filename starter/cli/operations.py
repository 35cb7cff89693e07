"""`casaflow transaction retry`, `settle` and `reverse` of what is parked, and `casaflow sweep`."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.errors import UnavailableError
from ledger.settlements import SweepOrder, SweepReport, whole_sweep
from starter.cli.access import API_WAIT_SECONDS, EXIT_NOT_PROVEN, ApiKey, ApiUrl, Json, ask, present, show

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from casaflow_client import AsyncClient
    from casaflow_client.models import Transaction

_SWEEP_WITHIN: Final = timedelta(minutes=10)
Why = Annotated[str, typer.Option(help="Why; recorded with the transaction.")]


def register(app: typer.Typer, transactions: typer.Typer) -> None:
    """Add the commands."""
    transactions.command("retry")(retry)
    transactions.command("settle")(settle)
    app.command()(sweep)


def retry(transaction_id: str, reason: Why, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Have a parked transaction try again what it is parked at. Exit code 1 if it is not final after it."""
    _have_done(api_url, api_key, lambda client: client.retry(transaction_id, reason, wait_seconds=API_WAIT_SECONDS), as_json=as_json)


def settle(
    transaction_id: str,
    to: Annotated[str, typer.Option(help="The account that gets the money instead of the creditor.")],
    reason: Why,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Have a parked transfer credit another account. Exit code 1 if it is not final after it."""
    _have_done(api_url, api_key, lambda client: client.settle(transaction_id, to, reason, wait_seconds=API_WAIT_SECONDS), as_json=as_json)


def _have_done(url: str | None, key: str | None, work: Callable[[AsyncClient], Awaitable[Transaction]], *, as_json: bool) -> None:
    answer = ask(url, key, work)
    show(answer if as_json else present(answer), as_json=as_json)
    if answer["status"] not in {"completed", "reversed", "rejected"}:
        raise typer.Exit(EXIT_NOT_PROVEN)


def sweep(
    older_than: Annotated[
        float | None, typer.Option(min=0, help="Seconds that a transaction must stand without a workflow; as configured unless given.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Look now for transactions that nobody carries any more, and have each settled: ended, compensated or rejected.

    Holds whose end nobody told are told of, and runs of worker versions that nobody serves go on with the current one.
    """
    settings = Settings()
    seconds = settings.sweep_after_seconds if older_than is None else older_than
    report = asyncio.run(_sweep(settings, whole_sweep(older_than_seconds=seconds)))
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
        return
    if not (report.swept or report.holds or report.moved):
        typer.echo("nothing found: every transaction has an outcome, or a workflow that carries it")
        return
    from rich.console import Console  # noqa: PLC0415  tables are loaded only where they are shown
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table("tenant", "transaction", "found", "settled by", box=None, header_style="bold", pad_edge=False)
    for each in report.swept:
        by = each.workflow_id if each.started else f"{each.workflow_id} (under way already)"
        table.add_row(Text(each.tenant), Text(each.transaction_id), Text(each.found), Text(by))
    for hold in report.holds:
        by = "its workflow, started again" if hold.started else "its workflow (under way already)"
        table.add_row(Text(hold.tenant), Text(f"hold {hold.hold_id}"), Text(hold.found), Text(by))
    console = Console(width=None if typer.get_text_stream("stdout").isatty() else 200)
    if report.swept or report.holds:
        console.print(table)
    for run in report.moved:
        console.print(Text(f"moved {run.workflow_id}, of version {run.build_id}, which no worker serves"))
    if report.more:
        console.print("There are more; sweep again.")


async def _sweep(settings: Settings, order: SweepOrder) -> SweepReport:
    from temporalio.client import WorkflowFailureError  # noqa: PLC0415  the SDK is loaded only where it is used
    from temporalio.service import RPCError  # noqa: PLC0415

    from infra.temporal.client import connect  # noqa: PLC0415
    from workflows.sweep import SweepWorkflow  # noqa: PLC0415

    address = settings.temporal_address
    if address is None:
        info = read_stack_info(settings.home)
        if info is None:
            detail = f"nothing runs in {settings.home.absolute()}, and CASAFLOW_TEMPORAL_ADDRESS is not set"
            raise UnavailableError(part="temporal", detail=detail)
        address = info.temporal_address
    client = await connect(settings.model_copy(update={"temporal_address": address}))
    try:
        return await client.execute_workflow(
            SweepWorkflow.run,
            order,
            id=f"casaflow-sweep-by-hand-{uuid.uuid4()}",
            task_queue=settings.task_queue,
            execution_timeout=_SWEEP_WITHIN,
            static_summary="A sweep that somebody asked for",
        )
    except WorkflowFailureError as error:
        raise UnavailableError(part="sweep", detail=f"it did not end well: {error.cause}") from error
    except RPCError as error:
        raise UnavailableError(part="temporal", detail=f"{error.status.name.lower().replace('_', ' ')}: {error.message}") from error
