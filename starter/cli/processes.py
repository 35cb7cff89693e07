"""`casaflow worker`, `api`, `relay`, `consumer` and `migrate`: an installation's processes, each with the settings of its environment."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Annotated

import typer

from infra.settings import ALL_GROUPS, Settings
from starter.cli.access import outside_or_stack


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (migrate, worker, api, relay, consumer):
        app.command()(command)


def migrate() -> None:
    """Bring database, topics and search attributes of the configured servers to this version."""
    from starter.administration import migrate_servers  # noqa: PLC0415  loaded only where it is used

    asyncio.run(migrate_servers(outside_or_stack(Settings())))
    typer.echo("migrations, topics and search attributes are in place", err=True)


def worker(
    processes: Annotated[int, typer.Option(min=1, max=64, help="Processes that carry transactions, each with its own connections.")] = 1,
) -> None:
    """Run a worker with the settings of the environment; several processes are kept running, and ended together."""
    if processes == 1:
        os.execv(sys.executable, [sys.executable, "-m", "worker"])  # noqa: S606  this interpreter
    from infra.worker_processes import keep_running  # noqa: PLC0415  loaded only where it is used

    raise typer.Exit(asyncio.run(keep_running([sys.executable, "-m", "worker"], processes)))


def api() -> None:
    """Serve the HTTP API with the settings of the environment."""
    os.execv(sys.executable, [sys.executable, "-m", "worker", "api"])  # noqa: S606


def relay() -> None:
    """Publish what no workflow has, with the settings of the environment; workers then get CASAFLOW_RELAY_AFTER_SECONDS=0."""
    os.execv(sys.executable, [sys.executable, "-m", "infra.relay"])  # noqa: S606


def consumer(groups: Annotated[list[str], typer.Argument(metavar="GROUP...", help=f"{', '.join(ALL_GROUPS)}.")]) -> None:
    """Run a member of each group, in one process, with the settings of the environment."""
    os.execv(sys.executable, [sys.executable, "-m", "consumers", *groups])  # noqa: S606
