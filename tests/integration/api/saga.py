"""An API of the tests' own beside the stack's, with other settings, on the stack's servers and with its worker."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from tests.integration.api.bank import Bank, bank_at
from tests.stack_fixtures import RunningStack

_START_SECONDS = 60


@asynccontextmanager
async def api_process(stack: RunningStack, log: Path, **settings: str) -> AsyncIterator[str]:
    """Serve the API with these settings (without their prefix); yields where."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("CASAFLOW_")},
        "CASAFLOW_POSTGRES_URL": stack.postgres_dsn,
        "CASAFLOW_TEMPORAL_ADDRESS": stack.temporal_address,
        "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "CASAFLOW_COMMAND_SECRETS": command_secret(stack),
        "CASAFLOW_API_PORT": str(port),
        "CASAFLOW_RATES_SOURCE": "ecb-history",
        **{f"CASAFLOW_{name}": value for name, value in settings.items()},
    }
    api = f"http://127.0.0.1:{port}"
    process = _start(log, environment)
    try:
        async with httpx.AsyncClient(base_url=api, timeout=5, trust_env=False) as client, asyncio.timeout(_START_SECONDS):
            while not await _is_alive(client):  # noqa: ASYNC110  a server tells nobody that it is there
                await asyncio.sleep(0.1)
        yield api
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)


@asynccontextmanager
async def saga_bank_at(stack: RunningStack, folder: Path) -> AsyncIterator[Bank]:
    """A tenant of an API that posts transfers leg by leg, so that money can stand between the legs; its log goes into `folder`."""
    async with api_process(stack, folder / "api.log", TRANSFERS="saga") as api, bank_at(api, stack.postgres_dsn) as opened:
        yield opened


def _start(log: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as output:
        return subprocess.Popen([sys.executable, "-m", "starter.api"], env=environment, stdout=output, stderr=output)


def command_secret(stack: RunningStack) -> str:
    """What the stack's API signs commands with."""
    assert stack.home is not None
    return (stack.home / "command_secret").read_text().strip()


async def _is_alive(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).is_success
    except httpx.TransportError:
        return False
