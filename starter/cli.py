"""The command line: ``casaflow``.

Exit codes: 0 done and proven; 1 done, but something is not as it should be; 2 bad input; 3 a server is not available; 130 interrupted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import uuid
from pathlib import Path
from typing import Annotated, Any

import structlog
import typer
from pydantic import ValidationError

from infra.settings import ALL_GROUPS, DEFAULT_TENANT, Settings
from infra.stack.control import read_stack_info
from infra.stack.model import StackError
from ledger.errors import CasaflowError, ConflictError, InvalidInputError, NotFoundError, UnavailableError
from ledger.statements import DEFAULT_PAGE_LINES, MAX_PAGE_LINES, StatementOrder
from starter import (
    account_commands,
    approval_commands,
    audit_commands,
    bench_commands,
    codec_commands,
    event_commands,
    explain_commands,
    maintenance_commands,
    mis_commands,
    notification_commands,
    operator_commands,
    promote_commands,
    stack_commands,
    standing_order_commands,
)
from starter.api_access import ApiKey, ApiUrl, api_client, ask, show
from starter.client import ApiError, ApiUnavailableError
from starter.entries import FileError
from starter.stack_commands import Json

EXIT_NOT_PROVEN = 1
EXIT_BAD_INPUT = 2
EXIT_UNAVAILABLE = 3

app = typer.Typer(
    name="casaflow",
    help=(
        "A transaction engine for current and savings accounts.\n\nExit codes: 0 done and proven; 1 something is not as it should be; "
        "2 bad input; 3 a server is not available."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
stack_commands.register(app)
account_commands.register(app)
transaction_app = typer.Typer(help="Show and reverse transactions.", no_args_is_help=True)
key_app = typer.Typer(help="Create and revoke API keys.", no_args_is_help=True)
approval_commands.register(transaction_app)
app.add_typer(transaction_app, name="transaction")
app.add_typer(key_app, name="key")
operator_commands.register(app, transaction_app)
bench_commands.register(app)
maintenance_commands.register(app)
promote_commands.register(app)
codec_commands.register(app)
explain_commands.register(app)
event_commands.register(app)
audit_commands.register(app)
standing_order_commands.register(app)
mis_commands.register(app)
notification_commands.register(app)

Tenant = Annotated[str, typer.Option(help="The tenant that the key belongs to.")]
InFlight = Annotated[int, typer.Option(min=1, max=1000, help="Transactions at one time.")]
DEFAULT_IN_FLIGHT = 32


_TEMPORALS_THREADS = "temporalio.bridge.temporal_sdk_bridge"
"""The module that has them, once a command has talked to Temporal."""


def main() -> None:
    """Run the command, and end the process."""
    try:
        run_command()
    except SystemExit as ended:
        if _TEMPORALS_THREADS not in sys.modules or not isinstance(ended.code, int | None):
            raise
        # Temporal's client has threads that may still be about to give back Python's lock for the last answer. Whoever does so while the
        # interpreter is taken down aborts the process, with a finished command's exit code lost. So it isn't taken down.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code or 0)


def run_command() -> None:
    """Run the command, and turn errors into one line and an exit code, by `SystemExit`."""
    # Standard output is for what a program may read; structlog would write there. Looked up for each line, as typer does.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        app()
    except (FileError, InvalidInputError, ConflictError, NotFoundError) as error:
        _fail(str(error), EXIT_BAD_INPUT)
    except ApiError as error:
        _fail(str(error), EXIT_BAD_INPUT if error.is_bad_input else EXIT_NOT_PROVEN)
    except (ApiUnavailableError, UnavailableError) as error:
        _fail(str(error), EXIT_UNAVAILABLE)
    except ValidationError as error:
        wrong = "; ".join(f"CASAFLOW_{'_'.join(map(str, found['loc'])).upper()}: {found['msg']}" for found in error.errors())
        _fail(wrong, EXIT_BAD_INPUT)
    except (StackError, CasaflowError) as error:
        _fail(str(error), EXIT_NOT_PROVEN)


def _fail(message: str, code: int) -> None:
    typer.echo(f"casaflow: {message}", err=True)
    sys.exit(code)


@transaction_app.command("show")
def transaction_show(transaction_id: str, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a transaction: how it stands, its legs, and what was asked."""
    found = ask(api_url, api_key, lambda client: client.transaction(transaction_id))
    show(found if as_json else _present(found), as_json=as_json)


@transaction_app.command("reverse")
def transaction_reverse(  # noqa: PLR0913, PLR0917  each is an option
    transaction_id: str,
    amount: Annotated[str | None, typer.Option(help="A part, such as 5.00; all that is left unless given.")] = None,
    reversal_id: Annotated[str | None, typer.Option(help="The reversal's own id (a UUID); the same id never reverses twice.")] = None,
    reference: Annotated[str | None, typer.Option(help="Up to 35 characters.")] = None,
    override: Annotated[str | None, typer.Option(help="Why limits and balance of who gives the money back don't count.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why a parked transaction is reversed; recorded with it.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Take a transaction back, or a part of it, by a transaction of its own. Exit code 1 if that doesn't end as completed.

    A parked transfer gives its debtor the money back, and ends as reversed itself; that needs a reason.
    """
    if amount is not None and reversal_id is None:
        reversal_id = str(uuid.uuid4())  # The client may send a part again while the API is away, and must not take it back twice.
    body = {
        **_given(amount=amount, transaction_id=reversal_id, reference=reference, reason=reason),
        **({"override": {"reason": override}} if override else {}),
    }
    answer = ask(api_url, api_key, lambda client: client.reverse(transaction_id, body, wait_seconds=30))
    show(answer if as_json else _present(answer), as_json=as_json)
    # A parked one ends as reversed itself.
    if answer["status"] != ("reversed" if answer["transaction_id"] == transaction_id.lower() else "completed"):
        raise typer.Exit(EXIT_NOT_PROVEN)


def _present(content: dict[str, Any]) -> dict[str, Any]:
    """Without what a transaction doesn't use."""
    return {name: value for name, value in content.items() if value not in (None, [], {}, False)}


@app.command()
def balance(
    account_id: str,
    at: Annotated[str | None, typer.Option(help="As of this instant, such as 2026-01-31T12:00:00Z.")] = None,
    value_date: Annotated[str | None, typer.Option(help="As of this value date, such as 2026-01-31.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show an account's balance at this instant, as of another instant, or as of a value date."""
    query = _given(at=at, value_date=value_date)
    show(ask(api_url, api_key, lambda client: client.balance(account_id, query)), as_json=as_json)


@app.command()
def statement(  # noqa: PLR0913, PLR0917  each is an option
    account_id: str,
    since: Annotated[str | None, typer.Option("--from", help="Lines booked at this instant or later.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="Lines booked before this instant.")] = None,
    order: Annotated[StatementOrder | None, typer.Option(help="Which line comes first; the oldest unless given.")] = None,
    limit: Annotated[int, typer.Option(help=f"Lines at most, up to {MAX_PAGE_LINES}.")] = DEFAULT_PAGE_LINES,
    cursor: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show a page of an account's lines with the running balance. Provisional lines may still move; settled ones never change."""
    query = _given(**{"from": since, "to": until, "order": order, "limit": str(limit), "cursor": cursor})
    page = ask(api_url, api_key, lambda client: client.statement(account_id, query))
    if as_json:
        show(page, as_json=True)
        return
    from starter.statements import show_statement  # noqa: PLC0415  as in submit

    show_statement(page)


@app.command()
def statements(
    account_id: str,
    number: Annotated[int | None, typer.Argument(min=1, help="The closed statement whose lines are to be shown.")] = None,
    limit: Annotated[int | None, typer.Option(help="Statements, or lines of one, at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List an account's closed, numbered statements with their closing balances; or show the lines of one of them."""
    from starter.statements import show_closed_statement, show_statements  # noqa: PLC0415  as in submit

    page = _given(limit=None if limit is None else str(limit))
    if number is None:
        page |= _given(before=cursor)
        answer = ask(api_url, api_key, lambda client: client.statements(account_id, page))
    else:
        page |= _given(cursor=cursor)
        answer = ask(api_url, api_key, lambda client: client.closed_statement(account_id, number, page))
    if as_json:
        show(answer, as_json=True)
    elif number is None:
        show_statements(answer)
    else:
        show_closed_statement(answer)


def _given(**options: str | None) -> dict[str, str]:
    return {name: value for name, value in options.items() if value is not None}


@app.command()
def submit(
    file: Annotated[Path, typer.Argument(help="CSV (or CSV.gz) of account entries; see the operator's guide for its columns.")],
    in_flight: InFlight = DEFAULT_IN_FLIGHT,
    open_accounts: Annotated[bool, typer.Option(help="Open accounts that are missing, with the overdraft that they need.")] = True,
    tenant: Tenant = DEFAULT_TENANT,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Submit a file of account entries: each line becomes a transaction, each account's lines in order.

    A second run posts nothing twice. Ends with each account's balance against the file's running total.
    """
    from starter.reports import run_submission  # noqa: PLC0415  tables and progress bars are loaded only where they are shown

    waiting = _WaitNotice()
    client = api_client(api_url, api_key, connections=in_flight, on_wait=waiting)
    outcome = asyncio.run(run_submission(client, file, tenant=tenant, in_flight=in_flight, open_accounts=open_accounts, as_json=as_json))
    if outcome.problem:
        _fail(outcome.problem, EXIT_BAD_INPUT)
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


@app.command()
def demo(in_flight: InFlight = DEFAULT_IN_FLIGHT, as_json: Json = False) -> None:
    """Run real transactions of a real bank end to end on the real stack, and prove every balance.

    Starts the stack if it isn't running, and leaves it running. A second run posts nothing twice. Exit code 0 only if all is proven.
    """
    from starter.demo import run_demo  # noqa: PLC0415  as in submit

    if not run_demo(Settings(), in_flight=in_flight, as_json=as_json):
        raise typer.Exit(EXIT_NOT_PROVEN)


@app.command()
def check(
    topics: Annotated[bool, typer.Option("--topics/--without-topics", help="Also read the topics, from their beginnings.")] = True,
    as_json: Json = False,
) -> None:
    """Prove the six truths of the ledger on the running system. Exit code 1, and the exact ids, if one fails."""
    from starter.check import run_check  # noqa: PLC0415  as in submit
    from starter.reports import show_check  # noqa: PLC0415

    report = asyncio.run(run_check(outside_or_stack(Settings()), with_topics=topics))
    show_check(report, as_json=as_json)
    if not report.proven:
        raise typer.Exit(EXIT_NOT_PROVEN)


@key_app.command("create")
def key_create(
    principal: Annotated[str, typer.Argument(help="The name that its transactions are recorded under.")],
    tenant: Tenant = DEFAULT_TENANT,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="all (the default), standard (all but approving and overriding), transactions:approve, transactions:override, "
            "payloads (codec server); several may be given."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an API key. It is shown once: only its hash is stored."""
    from starter.administration import create_key  # noqa: PLC0415  as in submit

    scopes = tuple(scope or ("all",))
    key_id, key = asyncio.run(create_key(outside_or_stack(Settings()), tenant, principal, scopes))
    show({"key_id": key_id, "key": key, "tenant": tenant, "principal": principal}, as_json=as_json)


@key_app.command("revoke")
def key_revoke(key_id: Annotated[str, typer.Argument(help="The key's id, its middle part.")]) -> None:
    """Make an API key worthless at once."""
    from starter.administration import revoke_key  # noqa: PLC0415  as in submit

    asyncio.run(revoke_key(outside_or_stack(Settings()), key_id))
    typer.echo(f"revoked {key_id}", err=True)


@app.command()
def migrate() -> None:
    """Bring database, topics and search attributes of the configured servers to this version."""
    from starter.administration import migrate_servers  # noqa: PLC0415  as in submit

    asyncio.run(migrate_servers(outside_or_stack(Settings())))
    typer.echo("migrations, topics and search attributes are in place", err=True)


@app.command()
def worker(
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that carry transactions, each with its own connections.")] = 1,
) -> None:
    """Run a worker with the settings of the environment; several processes are kept running, and ended together."""
    if processes == 1:
        os.execv(sys.executable, [sys.executable, "-m", "worker"])  # noqa: S606  this interpreter
    from infra.worker_processes import keep_running  # noqa: PLC0415  as in submit

    raise typer.Exit(asyncio.run(keep_running([sys.executable, "-m", "worker"], processes)))


@app.command()
def api() -> None:
    """Serve the HTTP API with the settings of the environment."""
    os.execv(sys.executable, [sys.executable, "-m", "worker", "api"])  # noqa: S606


@app.command()
def consumer(groups: Annotated[list[str], typer.Argument(metavar="GROUP...", help=f"{', '.join(ALL_GROUPS)}.")]) -> None:
    """Run a member of each group, in one process, with the settings of the environment."""
    os.execv(sys.executable, [sys.executable, "-m", "consumers", *groups])  # noqa: S606


def outside_or_stack(settings: Settings) -> Settings:
    """The settings, with the servers of the running stack where the environment names none.

    Raises:
        UnavailableError: a server is named by neither.
    """
    info = read_stack_info(settings.home)
    found = {
        "postgres_url": info.postgres_dsn if info else None,
        "temporal_address": info.temporal_address if info else None,
        "kafka_bootstrap_servers": info.kafka_bootstrap_servers if info else None,
    }
    given = {name: value for name in found if (value := getattr(settings, name)) is not None}
    missing = [name for name in found if name not in given and found[name] is None]
    if missing:
        detail = f"nothing runs in {settings.home.absolute()}, and CASAFLOW_{missing[0].upper()} is not set"
        raise UnavailableError(part=missing[0].partition("_")[0], detail=detail)
    return Settings(**{**settings.model_dump(), **found, **given})


if __name__ == "__main__":
    main()
