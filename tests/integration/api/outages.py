"""An API and a worker of the tests' own, which reach the stack's servers through proxies that can refuse and hang."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.integration.proxies import KafkaProxy, TcpProxy
from tests.stack_fixtures import RunningStack

_START_SECONDS = 90
_STOP_SECONDS = 60


@dataclass
class Fragile:
    """The proxies, and the processes behind them."""

    postgres: TcpProxy
    """For the API and the worker."""
    workers_postgres: TcpProxy
    """For the worker alone, behind `postgres`."""
    temporal: TcpProxy
    kafka: KafkaProxy
    api: str
    environment: dict[str, str]
    logs: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    async def start_api(self) -> None:
        """Start the API; it answers, whatever it can't reach."""
        self._start("api", "starter.api", self.environment)
        async with httpx.AsyncClient(base_url=self.api, timeout=5, trust_env=False) as client, asyncio.timeout(_START_SECONDS):
            while not await _is_alive(client):  # noqa: ASYNC110  a server tells nobody that it is there
                await asyncio.sleep(0.1)

    async def start_worker(self) -> None:
        """Start the worker, and wait until it takes work."""
        behind = self.workers_postgres.url(self.environment["CASAFLOW_POSTGRES_URL"])
        self._start("worker", "worker", {**self.environment, "CASAFLOW_POSTGRES_URL": behind})
        log = self.logs / "worker.log"
        async with asyncio.timeout(_START_SECONDS):
            while b"worker.started" not in log.read_bytes():  # noqa: ASYNC110  as above
                await asyncio.sleep(0.1)

    async def stop(self, name: str) -> None:
        """Stop a process as an operator would, and wait for its end."""
        process = self.processes.pop(name)
        process.terminate()
        async with asyncio.timeout(_STOP_SECONDS):
            while process.poll() is None:  # noqa: ASYNC110  the loop has to go on: it carries the proxies
                await asyncio.sleep(0.05)

    async def restore(self) -> None:
        """All servers are back."""
        for proxy in (self.postgres, self.workers_postgres, self.temporal, self.kafka):
            await proxy.accept()

    def _start(self, name: str, module: str, environment: dict[str, str]) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            command = [sys.executable, "-m", module]
            self.processes[name] = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


@asynccontextmanager
async def fragile_stack(stack: RunningStack, logs: Path) -> AsyncIterator[Fragile]:
    """Proxies before the stack's servers, and an API and a worker that use them, with a task queue of their own."""
    async with AsyncExitStack() as opened:
        postgres = await opened.enter_async_context(TcpProxy(stack.postgres_dsn))
        workers_postgres = await opened.enter_async_context(TcpProxy(postgres.address))
        temporal = await opened.enter_async_context(TcpProxy(stack.temporal_address))
        kafka = await opened.enter_async_context(KafkaProxy(stack.kafka_bootstrap_servers))
        port = _free_port()
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("CASAFLOW_")},
            "CASAFLOW_POSTGRES_URL": postgres.url(stack.postgres_dsn),
            "CASAFLOW_TEMPORAL_ADDRESS": temporal.address,
            "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": kafka.address,
            "CASAFLOW_TASK_QUEUE": f"test-{uuid.uuid4().hex[:12]}",
            "CASAFLOW_API_PORT": str(port),
            "CASAFLOW_RATES_SOURCE": "ecb-history",
            "CASAFLOW_RATES_MAX_AGE_DAYS": "3650",
            "PYTHONUNBUFFERED": "1",
        }
        fragile = Fragile(postgres, workers_postgres, temporal, kafka, f"http://127.0.0.1:{port}", environment, logs)
        try:
            await asyncio.gather(fragile.start_api(), fragile.start_worker())
            yield fragile
        finally:
            await fragile.restore()
            await asyncio.gather(*(fragile.stop(name) for name in list(fragile.processes)))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _is_alive(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/healthz")).is_success
    except httpx.TransportError:
        return False
