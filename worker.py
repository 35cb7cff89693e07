"""Composition root of the worker process: ``python -m worker``."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from temporalio.worker import Worker

from activities.casa import CasaActivities
from activities.exchange_rate import ExchangeRateActivities
from activities.notification import NotificationActivities
from infra.kafka.publisher import KafkaPublisher
from infra.logs import configure_logs
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.outbox import PostgresOutbox
from infra.rates import open_rates
from infra.settings import Settings
from infra.temporal.client import connect
from ledger.errors import UnavailableError
from workflows.sandbox import workflow_runner
from workflows.transaction import TransactionWorkflow

if TYPE_CHECKING:
    from temporalio.client import Client

_log = structlog.get_logger(__name__)

GRACEFUL_SHUTDOWN: Final = timedelta(seconds=15)
"""How long activities that run may take to end after SIGTERM; longer than any local attempt."""
_LONGEST_BACKOFF_SECONDS: Final = 5.0


def required(value: str | None, name: str) -> str:
    """A setting that has no default.

    Raises:
        SystemExit: it is not set.
    """
    if value is None:
        message = f"casaflow: {name} must be set"
        raise SystemExit(message)
    return value


def build_worker(client: Client, settings: Settings, database: Database, publisher: KafkaPublisher) -> Worker:
    """Put the real parts behind the ports, and the activities into a worker."""
    rates = ExchangeRateActivities(open_rates(settings), max_age_days=settings.rates_max_age_days)
    casa = CasaActivities(PostgresLedger(database))
    notification = NotificationActivities(PostgresOutbox(database), publisher)
    return Worker(
        client,
        task_queue=settings.task_queue,
        workflows=[TransactionWorkflow],
        activities=[rates.quote, casa.post, casa.reject, notification.publish],
        workflow_runner=workflow_runner(),
        max_cached_workflows=2_000,
        max_concurrent_workflow_tasks=100,
        max_concurrent_local_activities=200,
        max_concurrent_activities=200,
        graceful_shutdown_timeout=GRACEFUL_SHUTDOWN,
    )


async def connected(address: str, *, namespace: str, identity: str, stopping: asyncio.Event) -> Client | None:
    """Connect to Temporal, for as long as it takes; None when the process is told to stop meanwhile."""
    backoff_seconds = 0.25
    while not stopping.is_set():
        try:
            return await connect(address, namespace=namespace, identity=identity)
        except UnavailableError as error:
            _log.warning("worker.waits-for-temporal", error=str(error), next_attempt_in_seconds=backoff_seconds)
        await asyncio.sleep(backoff_seconds)
        backoff_seconds = min(2 * backoff_seconds, _LONGEST_BACKOFF_SECONDS)
    return None


async def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT, then finish what runs. PostgreSQL and Kafka may be away; transactions then wait for them."""
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    identity = f"casaflow-worker-{os.getpid()}@{socket.gethostname()}"
    address = required(settings.temporal_address, "CASAFLOW_TEMPORAL_ADDRESS")
    client = await connected(address, namespace=settings.temporal_namespace, identity=identity, stopping=stopping)
    if client is None:
        return
    url = settings.postgres_url.get_secret_value() if settings.postgres_url else None
    database = Database.open(required(url, "CASAFLOW_POSTGRES_URL"), pool_size=settings.postgres_pool_size)
    publisher = KafkaPublisher(required(settings.kafka_bootstrap_servers, "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS"))
    await publisher.start()
    try:
        async with build_worker(client, settings, database, publisher):
            _log.info("worker.started", identity=identity, task_queue=settings.task_queue)
            await stopping.wait()
            _log.info("worker.stopping")
    finally:
        await publisher.stop()
        await database.close()


def main() -> None:
    """Read the settings, set the logs up, and work."""
    settings = Settings()
    configure_logs(settings)
    asyncio.run(run(settings))


if __name__ == "__main__":
    main()
