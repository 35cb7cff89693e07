"""Workers of several versions, with keys or without, on the stack's real Temporal; each test has its own task queue and deployment."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import SecretStr
from temporalio.worker import Worker

from infra.kafka.publisher import KafkaPublisher
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger
from infra.postgres.outbox import PostgresOutbox
from infra.settings import Settings
from infra.temporal.client import connect
from tests.integration.faults.bank import Bank, open_bank
from tests.stack_fixtures import RunningStack
from tests.workflow.operators import SECRET
from worker import sweep_activities, transaction_worker

OpenBank = Callable[..., Any]
MakeWorker = Callable[..., Any]


@pytest.fixture
def settings(stack: RunningStack) -> Settings:
    """Of workers on a task queue, and in a deployment, of their own."""
    return Settings(
        home=stack.home or Settings().home,
        task_queue=f"evolving-{uuid.uuid4()}",
        worker_deployment=f"evolving-{uuid.uuid4().hex[:12]}",
        temporal_address=stack.temporal_address,
        postgres_url=SecretStr(stack.postgres_dsn),
        command_secrets=SecretStr(SECRET.decode()),
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        transfers="saga",  # so that one can park between its legs
        rates_source="ecb-history",
        rates_max_age_days=36_500,
    )


@pytest.fixture
async def database(stack: RunningStack) -> AsyncIterator[Database]:
    database = Database.open(stack.postgres_dsn, pool_size=8)
    yield database
    await database.close()


@pytest.fixture
async def open_bank_with(stack: RunningStack, database: Database) -> OpenBank:
    async def open_with(settings: Settings) -> Bank:
        return await open_bank(stack, database, settings)

    return open_with


@pytest.fixture
async def make_worker(stack: RunningStack, database: Database) -> AsyncIterator[MakeWorker]:
    """Makes the worker that casaflow runs, of the version that the settings name."""
    async with AsyncExitStack() as exits:
        publisher = KafkaPublisher(stack.kafka_bootstrap_servers)
        exits.push_async_callback(publisher.stop)
        await publisher.start()

        async def make(bank: Bank, **changes: Any) -> Worker:
            settings = bank.settings.model_copy(update=changes)
            client = await connect(settings)
            return transaction_worker(
                client,
                settings,
                ledger=PostgresLedger(database),
                holds=PostgresHolds(database),
                outbox=PostgresOutbox(database),
                publisher=publisher,
                rates=bank.rates,
                sweep=sweep_activities(client, settings, database),
            )

        yield make
