"""`casaflow up`, `down`, `status` and `env`."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from infra.settings import Settings
from infra.stack import control
from infra.stack.lock import AlreadyRunningError
from infra.stack.model import Health, StackError, TemporalStore, without_password
from ledger.errors import UnavailableError
from starter.cli.access import Json
from starter.group_stores import kafka_of
from starter.web_ui import view_link, views

if TYPE_CHECKING:
    from pathlib import Path

    from infra.kafka.lag import GroupLag
    from infra.stack.model import StackInfo

_STYLES = {
    Health.HEALTHY: "green",
    Health.OUTSIDE: "cyan",
    Health.FAILED: "bold red",
    Health.RESTARTING: "yellow",
    Health.STOPPED: "dim",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(up)
    app.command()(down)
    app.command()(status)
    app.command()(env)


def _say(line: str) -> None:
    typer.echo(line, err=True)


def up(
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once all is ready; the stack goes on in the background.")] = False,
    encrypt: Annotated[bool, typer.Option("--encrypt", help="Encrypt what Temporal stores, from now on, with a key made here.")] = False,
    workers: Annotated[int | None, typer.Option(min=1, help="Worker processes besides the API (CASAFLOW_WORKERS, 1).")] = None,
    servers_only: Annotated[
        bool, typer.Option("--servers-only", help="Start PostgreSQL, Temporal and Kafka only, for what is done to a restored database.")
    ] = False,
    temporal: Annotated[
        TemporalStore | None,
        typer.Option(help="Where Temporal keeps its state: sqlite, a file; postgres: the server of clusters, built once (five minutes)."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Start the embedded stack: PostgreSQL, Temporal with its Web UI, Kafka, worker, API, consumers.

    A server that is configured from outside (CASAFLOW_POSTGRES_URL, CASAFLOW_TEMPORAL_ADDRESS, CASAFLOW_KAFKA_BOOTSTRAP_SERVERS) is used
    instead of an embedded one. Without --detach, Ctrl-C stops everything. State stays in $CASAFLOW_HOME (.casaflow), and so does what
    --temporal and --encrypt have chosen.
    """
    if workers is not None:
        os.environ["CASAFLOW_WORKERS"] = str(workers)  # the supervisor has the environment of this process
    if servers_only:
        os.environ["CASAFLOW_SERVERS_ONLY"] = "true"
    settings = Settings()
    try:
        if temporal is not None:
            control.choose_temporal_store(settings, temporal)
        if encrypt:
            control.make_payload_keys(settings.home)
        if detach or control.is_running(settings.home):
            if control.is_running(settings.home):
                _say(f"the stack of {settings.home.absolute()} is running already")
            control.ensure_up(settings.home, _say)
            show_status(settings.home, as_json=as_json)
            return
        _run_in_foreground(settings)
    except (StackError, OSError) as error:
        typer.echo(f"casaflow up: {error}", err=True)
        raise typer.Exit(1) from None


def _run_in_foreground(settings: Settings) -> None:
    from infra.stack.supervisor import Supervisor  # noqa: PLC0415  it loads the clients of all servers, which no other command needs

    def say(line: str) -> None:
        _say(line)
        if line.startswith("ready"):
            show_status(settings.home, as_json=False)
            _say("Ctrl-C stops everything; the data stays.")

    try:
        asyncio.run(Supervisor(settings, say).run())
    except AlreadyRunningError:
        # Somebody else was faster in the moment since we looked.
        control.ensure_up(settings.home, _say)
        show_status(settings.home, as_json=False)


def down() -> None:
    """Stop the stack, and wait until nothing of it is left. The data stays."""
    home = Settings().home
    try:
        was_running = control.down(home)
    except (StackError, OSError) as error:
        typer.echo(f"casaflow down: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo("stopped; the data stays in " + str(home.absolute()) if was_running else f"nothing runs in {home.absolute()}", err=True)


def status(as_json: Json = False) -> None:
    """Show each part with its health and address. Exit code 0 when all are healthy, 1 otherwise."""
    settings = Settings()
    if not show_status(settings.home, as_json=as_json, groups=settings):
        raise typer.Exit(1)


def env() -> None:
    """Print what sets CASAFLOW_API_URL and CASAFLOW_API_KEY to those of the stack, for a shell: eval "$(casaflow env)".

    What the environment has already stays as it is. It brings the key along: give it to nobody.
    """
    home = Settings().home
    info = control.read_stack_info(home)
    if info is None:
        raise UnavailableError(part="stack", detail=f"nothing runs in {home.absolute()}; start it with: casaflow up")
    for name, of_the_stack in (("CASAFLOW_API_URL", info.api), ("CASAFLOW_API_KEY", info.api_key)):
        typer.echo(f"export {name}={shlex.quote(os.environ.get(name, of_the_stack))}")


def show_status(home: Path, *, as_json: bool, groups: Settings | None = None) -> bool:
    """Print the parts; True when the stack runs and all of them are healthy. With settings, also how far the consumer groups are."""
    parts = control.part_states(home)
    info = control.read_stack_info(home)
    healthy = info is not None and all(part.health in {Health.HEALTHY, Health.OUTSIDE} for part in parts)
    if as_json:
        shown = {"healthy": healthy, "parts": [part.model_dump(mode="json", exclude={"created"}) for part in parts]}
        stack = info and {
            **info.model_dump(mode="json", exclude={"api_key"}),
            "postgres_dsn": without_password(info.postgres_dsn),
            "views": _views(home, info.temporal_ui),
        }
        lags = [lag.model_dump(mode="json") for lag in _lags(groups, info)]
        typer.echo(json.dumps({**shown, "groups": lags, "stack": stack}, indent=1))
        return healthy
    if not control.is_running(home) and all(part.health in {Health.STOPPED, Health.OUTSIDE} for part in parts):
        typer.echo(f"nothing runs in {home.absolute()}; start it with: casaflow up", err=True)
        return False
    table = Table("part", "health", "address", "pid", "detail", box=None, header_style="bold", pad_edge=False)
    for part in parts:
        restarts = f"restarted {part.restarts} x" if part.restarts else ""
        detail = "; ".join(text for text in (part.detail, restarts) if text)
        pid = str(part.pid) if part.pid else ""
        # As Text, since an address or an error may have brackets, which the table would take for its own markup.
        health = Text(part.health, style=_STYLES.get(part.health, ""))
        table.add_row(Text(part.name), health, Text(part.address), pid, Text(detail))
    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160)
    console.print(table)
    for lag in _lags(groups, info):
        held = lag.failed + lag.waiting + lag.unreadable
        what = f", holds {held} events: casaflow events dead-letters {lag.group}" if held else ""
        typer.echo(f"group {lag.group}: {lag.records} records to apply{what}")
    if info is not None and info.temporal_ui is not None:
        for name, link in _views(home, info.temporal_ui).items():
            # Unwrapped: a link that is broken over two lines can't be clicked.
            typer.echo(f"transactions {name}: {link}")
    return healthy


def _lags(settings: Settings | None, info: StackInfo | None) -> list[GroupLag]:
    """How far the groups are; nothing while a server doesn't answer, which the table of parts tells of."""
    if settings is None or info is None:
        return []
    from infra.kafka.lag import group_lags  # noqa: PLC0415  drivers are loaded only where they are used
    from infra.postgres.database import Database  # noqa: PLC0415

    servers = kafka_of(settings)

    async def read() -> list[GroupLag]:
        database = Database.open(info.postgres_dsn, pool_size=1, operation_timeout_seconds=5.0, role=settings.postgres_role)
        try:
            return await group_lags(database, servers, settings.consumer_groups)
        finally:
            await database.close()

    try:
        return asyncio.run(read())
    except UnavailableError:
        return []


def _views(home: Path, ui: str | None) -> dict[str, str]:
    """Lists of transactions in the Web UI by what they hold; none where Temporal was configured from outside."""
    if ui is None:
        return {}
    namespace = Settings(home=home).temporal_namespace
    return {name: view_link(ui, namespace, query) for name, query in views(dt.datetime.now(dt.UTC)).items()}
