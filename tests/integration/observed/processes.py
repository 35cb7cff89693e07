"""API, worker and consumer as processes of a test's own, on the stack's servers, a database and a task queue of their own."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client

_READY_SECONDS = 60
STOP_SECONDS = 40


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@dataclass
class Process:
    """One of them."""

    process: subprocess.Popen[bytes]
    log: Path

    def lines(self) -> list[dict[str, Any]]:
        """What it has logged; each line is JSON."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line]

    def said(self, event: str, **fields: Any) -> list[dict[str, Any]]:
        """The lines of an event with these fields."""
        return [line for line in self.lines() if line["event"] == event and fields.items() <= line.items()]

    async def ended(self) -> int:
        """Its exit code, once it has ended by itself."""
        return await asyncio.to_thread(self.process.wait, STOP_SECONDS)


@dataclass
class Installation:
    """Where the processes of a test run, and all that were started."""

    folder: Path
    environment: Mapping[str, str]
    task_queue: str = field(default_factory=lambda: f"observed-{uuid.uuid4()}")
    port: int = field(default_factory=free_port)
    processes: list[Process] = field(default_factory=list)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> Process:
        """Start `python ARGUMENTS`."""
        log = self.folder / f"{len(self.processes)}-{arguments[1][:20].replace('/', '-')}.log"
        own = {"CASAFLOW_TASK_QUEUE": self.task_queue, "CASAFLOW_API_PORT": str(self.port), "CASAFLOW_MAINTENANCE_EVERY_SECONDS": "0"}
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env={**os.environ, **self.environment, **own, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.processes.append(started := Process(process, log))
        return started

    async def api(self, environment: Mapping[str, str] | None = None) -> Process:
        """Start the API; returns once it is ready."""
        api = self.start("-m", "starter.api", environment=environment)
        async with asyncio.timeout(_READY_SECONDS), httpx.AsyncClient(trust_env=False) as http:
            while True:
                try:
                    if (await http.get(f"{self.api_url}/readyz")).is_success:
                        return api
                except httpx.TransportError:
                    assert api.process.poll() is None, api.log.read_text()
                await asyncio.sleep(0.1)

    async def worker(self, temporal: Client, environment: Mapping[str, str] | None = None) -> Process:
        """Start a worker; returns once it polls."""
        worker = self.start("-m", "worker", environment=environment)
        identity = f"casaflow-worker-{worker.process.pid}@"
        async with asyncio.timeout(_READY_SECONDS):
            while identity not in await _pollers(temporal, self.task_queue):
                assert worker.process.poll() is None, worker.log.read_text()
                await asyncio.sleep(0.1)
        return worker

    def end(self) -> None:
        """End whatever is left."""
        for started in self.processes:
            if started.process.poll() is None:
                started.process.kill()
            started.process.wait(STOP_SECONDS)


async def _pollers(temporal: Client, task_queue: str) -> str:
    described = await temporal.workflow_service.describe_task_queue(
        DescribeTaskQueueRequest(
            namespace=temporal.namespace,
            task_queue=TaskQueue(name=task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
    )
    identities: Sequence[str] = [poller.identity for poller in described.pollers]
    return " ".join(identities)
