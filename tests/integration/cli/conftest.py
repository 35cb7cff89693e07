"""The command line as a user runs it, for a tenant of the tests' own."""

from __future__ import annotations

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import structlog

from infra.temporal.client import connect
from starter.cli.main import run_command
from tests.integration.api.bank import Bank, Records, bank_at
from tests.stack_fixtures import RunningStack

_COMMAND_SECONDS = 120


@dataclass(frozen=True)
class Ended:
    """A command that has ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """`casaflow` with an environment. The test's loop goes on while it runs, and so do the proxies in it."""

    environment: dict[str, str]

    async def run(self, *arguments: str) -> Ended:
        """Run what the console script runs, in a thread of this process: the same code, without the seconds that a start takes."""
        return await asyncio.to_thread(self._run_here, *arguments)

    def _run_here(self, *arguments: str) -> Ended:
        code: object = 0
        logging_before = structlog.get_config()
        with (
            patch.dict(os.environ, self.environment, clear=True),
            patch.object(sys, "argv", ["casaflow", *arguments]),
            redirect_stdout(io.StringIO()) as out,
            redirect_stderr(io.StringIO()) as err,
        ):
            try:
                run_command()
            except SystemExit as ended:
                code = ended.code or 0
            finally:
                structlog.configure(**logging_before)
        assert isinstance(code, int)
        return Ended(code, out.getvalue(), err.getvalue())

    async def run_apart(self, *arguments: str) -> Ended:
        """Run the console script, as a user does."""
        return await end(await self.start(*arguments))

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            str(Path(sys.executable).with_name("casaflow")),
            *arguments,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def having(self, **changes: str) -> CommandLine:
        """The same with other environment variables."""
        return CommandLine({**self.environment, **changes})


async def end(process: asyncio.subprocess.Process, *, said: str = "") -> Ended:
    """Wait for a command's end; `said` is what was read of its standard error before."""
    try:
        async with asyncio.timeout(_COMMAND_SECONDS):
            out, err = await process.communicate()
    except TimeoutError:
        process.send_signal(signal.SIGKILL)
        raise
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), said + err.decode())


async def said(process: asyncio.subprocess.Process, text: str) -> str:
    """Read a command's standard error until it says `text`; gives all that it said."""
    assert process.stderr is not None
    lines = ""
    async with asyncio.timeout(_COMMAND_SECONDS):
        while text not in lines:
            line = await process.stderr.readline()
            assert line, f"it ended without saying {text!r}, but: {lines}"
            lines += line.decode()
    return lines


async def until_money_arrives(bank: Bank, account_id: str) -> None:
    """Wait until the first line of a file is posted."""
    async with asyncio.timeout(_COMMAND_SECONDS):
        while (await bank.http.get(f"/v1/accounts/{account_id}/balance")).json().get("ledger", "0.00") == "0.00":  # noqa: ASYNC110  as in until
            await asyncio.sleep(0.02)


@pytest.fixture(scope="session")
async def bank(stack: RunningStack) -> AsyncIterator[Bank]:
    async with bank_at(stack.api, stack.postgres_dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
def cli(stack: RunningStack, bank: Bank, tmp_path_factory: pytest.TempPathFactory) -> CommandLine:
    """Finds everything in its environment, and no stack in its home."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CASAFLOW_")}
    return CommandLine(
        {
            **inherited,
            "CASAFLOW_HOME": str(tmp_path_factory.mktemp("home") / "nothing here"),
            "CASAFLOW_API_URL": stack.api,
            "CASAFLOW_API_KEY": bank.key,
            "CASAFLOW_POSTGRES_URL": stack.postgres_dsn,
            "CASAFLOW_TEMPORAL_ADDRESS": stack.temporal_address,
            "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        }
    )


@pytest.fixture(scope="session")
async def records(stack: RunningStack) -> Records:
    return Records(stack.postgres_dsn, await connect(stack.temporal_settings))
