"""A stack of the benchmark's own, with the process that hosts the worker and starts workflows, and the CPU time that all of it takes."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import tempfile
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import psutil
from casaflow_client import AsyncClient
from sqlalchemy import text

from bench.ledger.server import BenchError
from bench.workflow.loads import open_accounts
from bench.workflow.workflows import EmptyWorkflow, PlainWorkflow
from infra.kafka.connection import connection_of
from infra.kafka.publisher import KafkaPublisher
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger
from infra.postgres.outbox import PostgresOutbox
from infra.postgres.transactions import PostgresTransactions
from infra.rates import open_rates
from infra.relay import EventRelay
from infra.settings import Settings
from infra.stack import control
from infra.stack.model import TemporalStore
from starter.submit import TemporalConnection, TransactionStarter
from worker import transaction_worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy.ext.asyncio import AsyncConnection
    from temporalio.client import Client

    from infra.stack.model import StackInfo

TASK_QUEUE: Final = "casaflow-bench"
_WAITS: Final = text("SELECT EXISTS (SELECT 1 FROM event_outbox WHERE published_at IS NULL)")
_POLL_SECONDS: Final = 0.01
_DBOS_START_SECONDS: Final = 60.0
_DBOS_STOP_SECONDS: Final = 15.0


@dataclass(frozen=True)
class System:
    """Everything that a case may use."""

    info: StackInfo
    client: Client
    starter: TransactionStarter
    saga_starter: TransactionStarter
    """Posts transfers leg by leg."""
    database: Database
    outbox: PostgresOutbox
    http: AsyncClient
    dbos: asyncio.subprocess.Process

    async def all_published(self) -> None:
        """Return once no event waits in the outbox: an answer may be out before its events are, and they are part of the work."""

        async def waits(connection: AsyncConnection) -> bool:
            return bool((await connection.execute(_WAITS)).scalar_one())

        await self.outbox.drain()
        while await self.database.run_statement(waits):  # noqa: ASYNC110  the outbox tells nobody that it is empty
            await asyncio.sleep(_POLL_SECONDS)

    async def ask_dbos(self, *, in_flight: int, seconds: float) -> dict[str, float]:
        """Have DBOS measure.

        Raises:
            BenchError: its process has ended.
        """
        if self.dbos.stdin is None or self.dbos.stdout is None:
            message = "DBOS runs without pipes"
            raise BenchError(message)
        self.dbos.stdin.write(json.dumps({"in_flight": in_flight, "seconds": seconds}).encode() + b"\n")
        await self.dbos.stdin.drain()
        answer: dict[str, float] = json.loads(await _line(self.dbos))
        return answer

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time taken since the start, by part; `here` is this process, which starts workflows and hosts their worker."""
        pids = self.info.pids
        parts: dict[str, list[int | None]] = {
            "here": [os.getpid()],
            "temporal": [pids.temporal],
            "postgres": [pids.postgres],
            "kafka": [pids.kafka],
            "api": [pids.api, *pids.worker],
            "consumers": [*pids.consumers.values()],
            "dbos": [self.dbos.pid],
        }
        return {part: sum(_cpu_seconds(pid, family=part == "postgres") for pid in of if pid is not None) for part, of in parts.items()}


def _cpu_seconds(pid: int, *, family: bool) -> float:
    """PostgreSQL works in children, and doesn't count those that have ended as its own."""
    process = psutil.Process(pid)
    total = 0.0
    for one in (process, *(process.children(recursive=True) if family else ())):
        try:
            times = one.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system
    return total


@asynccontextmanager
async def system(say: Callable[[str], None], store: TemporalStore = TemporalStore.SQLITE) -> AsyncIterator[System]:
    """Start everything in a folder of its own, and leave nothing behind.

    Raises:
        BenchError: DBOS isn't installed, or doesn't start.
        StackError: the stack doesn't start.
    """
    async with AsyncExitStack() as parts:
        home = Path(parts.enter_context(tempfile.TemporaryDirectory(prefix="casaflow-bench-", ignore_cleanup_errors=True)))
        say("preparing: the stack")
        info = await asyncio.to_thread(parts.enter_context, _stack(home, store))
        settings = _settings(info)
        database = Database.open(info.postgres_dsn, pool_size=settings.postgres_pool_size, role=settings.postgres_role)
        parts.push_async_callback(database.close)
        say("preparing: accounts")
        await open_accounts(info.postgres_dsn)
        say("preparing: DBOS")
        dbos = await parts.enter_async_context(_dbos(info.postgres_dsn))
        ledger = PostgresLedger(database)
        parts.push_async_callback(ledger.drain)
        publisher = KafkaPublisher(connection_of(settings))
        parts.push_async_callback(publisher.stop)
        await publisher.start()
        outbox = PostgresOutbox(database)
        # No workflow carried the openings, and a case ends only once nothing waits in the outbox.
        await EventRelay(outbox, publisher, after_seconds=0).run()
        temporal = TemporalConnection(settings)
        client = await temporal.client()
        worker = transaction_worker(
            client,
            settings,
            holds=PostgresHolds(database),
            ledger=ledger,
            outbox=outbox,
            publisher=publisher,
            rates=open_rates(settings),
            beside=(EmptyWorkflow, PlainWorkflow),
        )
        http = await parts.enter_async_context(AsyncClient(info.api, info.api_key))
        await parts.enter_async_context(worker)
        recorded = PostgresTransactions(database)
        starter = TransactionStarter(temporal, recorded, task_queue=settings.task_queue)
        saga_starter = TransactionStarter(temporal, recorded, task_queue=settings.task_queue, transfers="saga")
        yield System(info, client, starter, saga_starter, database, outbox, http, dbos)


def _settings(info: StackInfo) -> Settings:
    """The settings of the stack's own processes, on a task queue apart."""
    return Settings.model_validate(
        {
            "postgres_url": info.postgres_dsn,
            "temporal_address": info.temporal_address,
            "kafka_bootstrap_servers": info.kafka_bootstrap_servers,
            "task_queue": TASK_QUEUE,
            "rates_source": "ecb-history",
            "rates_max_age_days": 3650,
        }
    )


@contextmanager
def _stack(home: Path, store: TemporalStore) -> Iterator[StackInfo]:
    # The stack's settings are environment variables; those of a stack that runs elsewhere must not be used here.
    outside = {name: os.environ.pop(name) for name in tuple(os.environ) if name.startswith("CASAFLOW_")}
    os.environ["CASAFLOW_HOME"] = str(home)
    try:
        control.choose_temporal_store(Settings(home=home), store)
        yield control.ensure_up(home)
    finally:
        control.down(home)
        os.environ.update(outside)


@asynccontextmanager
async def _dbos(url: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-P",
        "-m",
        "bench.workflow.dbos_side",
        url,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_DBOS_START_SECONDS):
            while (await _line(process)) != "ready":
                pass
        yield process
    finally:
        if process.stdin is not None:
            process.stdin.close()
        try:
            async with asyncio.timeout(_DBOS_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


async def _line(process: asyncio.subprocess.Process) -> str:
    read: Any = process.stdout
    line: bytes = await read.readline()
    if not line:
        message = "DBOS ended; it is in the development packages (`./run lock` has its version)"
        raise BenchError(message)
    return line.decode().strip()
