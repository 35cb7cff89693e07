"""A worker in this process whose PostgreSQL and Kafka lie behind proxies."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from pydantic import SecretStr

from infra.kafka.publisher import KafkaPublisher
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger
from infra.postgres.outbox import PostgresOutbox
from infra.settings import Settings
from infra.temporal.client import connect
from tests.integration.faults.bank import Bank, Topics, open_bank, topics_from_now_on
from tests.integration.proxies import KafkaProxy, TcpProxy
from tests.stack_fixtures import RunningStack
from tests.workflow.operators import SECRET
from worker import transaction_worker


@dataclass
class Parts:
    """What the worker under test depends on."""

    postgres: TcpProxy
    kafka: KafkaProxy


@pytest.fixture
async def database(stack: RunningStack) -> AsyncIterator[Database]:
    """The stack's database, not behind a proxy."""
    database = Database.open(stack.postgres_dsn, pool_size=8)
    yield database
    await database.close()


@pytest.fixture
def settings(stack: RunningStack) -> Settings:
    """Of a worker on a task queue of its own."""
    return Settings(
        task_queue=f"faults-{uuid.uuid4()}",
        temporal_address=stack.temporal_address,
        postgres_url=SecretStr(stack.postgres_dsn),
        command_secrets=SecretStr(SECRET.decode()),
        kafka_bootstrap_servers=stack.kafka_bootstrap_servers,
        rates_source="ecb-history",
        rates_max_age_days=36_500,
    )


@pytest.fixture
async def bank(stack: RunningStack, database: Database, settings: Settings) -> Bank:
    return await open_bank(stack, database, settings)


@pytest.fixture
async def topics(stack: RunningStack) -> AsyncIterator[Topics]:
    async with topics_from_now_on(stack.kafka_bootstrap_servers) as reader:
        yield reader


@pytest.fixture
async def parts(stack: RunningStack, bank: Bank) -> AsyncIterator[Parts]:
    """A running worker for the bank, and the proxies between it and its parts."""
    async with AsyncExitStack() as exits:
        postgres = await exits.enter_async_context(TcpProxy(stack.postgres_dsn))
        kafka = await exits.enter_async_context(KafkaProxy(stack.kafka_bootstrap_servers))
        behind = Database.open(postgres.url(stack.postgres_dsn), pool_size=bank.settings.postgres_pool_size)
        exits.push_async_callback(behind.close)
        publisher = KafkaPublisher(kafka.address)
        exits.push_async_callback(publisher.stop)
        await publisher.start()
        worker = transaction_worker(
            await connect(bank.settings),
            bank.settings,
            ledger=PostgresLedger(behind),
            holds=PostgresHolds(behind),
            outbox=PostgresOutbox(behind),
            publisher=publisher,
            rates=bank.rates,
        )
        async with worker:
            yield Parts(postgres, kafka)
