"""Members of the audit group on a topic, a group and a database of each test's own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from psycopg.rows import DictRow, dict_row

from infra.kafka.cloud_events import headers_of
from infra.kafka.consumer import ConsumerLoop
from infra.kafka.records import GroupEffects, Partition
from infra.kafka.topics import PARTITIONS, ensure_topics
from infra.postgres.audit import AuditEffects
from infra.postgres.database import Database
from infra.postgres.event_rules import EVENT_RULES
from ledger.events import Event
from tests.stack_fixtures import RunningStack

WAIT_SECONDS = 90


@contextlib.asynccontextmanager
async def administration(stack: RunningStack) -> AsyncIterator[Any]:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@pytest.fixture
async def topic(stack: RunningStack) -> AsyncIterator[str]:
    name = f"test.{uuid.uuid4().hex[:12]}"
    await ensure_topics(stack.kafka_bootstrap_servers, topics=(name,))
    yield name
    async with administration(stack) as admin:
        await admin.delete_topics([name])


@pytest.fixture
def group() -> str:
    return f"test-audit-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database.open(postgres_url, pool_size=4)
    yield database
    await database.close()


def event(topic: str, number: int = 0, *, key: str | None = None, data: str | None = None) -> Event:
    return Event(
        event_id=str(uuid.uuid4()),
        topic=topic,
        key=key or f"main/account-{number % 17}",
        type="casaflow.casa.credited.v1",
        source="/casaflow/tenants/main",
        subject=str(uuid.uuid4()),
        time=dt.datetime(2026, 3, 2, 9, 30, microsecond=number % 1_000_000, tzinfo=dt.UTC),
        data=data or f'{{"number":{number},"text":"čaj ☕ 𝄞"}}',
    )


async def send(stack: RunningStack, events: Sequence[Event], *, partition: int | None = None) -> None:
    """Put records on the topic as they are; sent twice, they are there twice."""
    await send_raw(
        stack, [(sent.topic, sent.key.encode(), sent.data.encode(), list(headers_of(sent))) for sent in events], partition=partition
    )


async def send_raw(
    stack: RunningStack, records: Sequence[tuple[str, bytes | None, bytes | None, list[Any]]], *, partition: int | None = None
) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all")
    await producer.start()
    try:
        for topic, key, value, headers in records:
            await producer.send(topic, key=key, value=value, headers=headers, partition=partition)
        await producer.flush()
    finally:
        await producer.stop()


async def make_anew(stack: RunningStack, topic: str) -> None:
    """Delete the topic, and create it again under the same name."""
    async with administration(stack) as admin:
        await admin.delete_topics([topic])
        await until(lambda: _is_gone(admin, topic), "the topic is gone")
    await ensure_topics(stack.kafka_bootstrap_servers, topics=(topic,))


async def _is_gone(admin: Any, topic: str) -> bool:
    return topic not in await admin.list_topics()


async def ends(stack: RunningStack, topic: str) -> dict[Partition, int]:
    """The offset after the last record of each partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers, group_id=None)
    await consumer.start()
    try:
        found = await consumer.end_offsets([TopicPartition(topic, number) for number in range(PARTITIONS)])
        return {Partition(place.topic, place.partition): offset for place, offset in found.items()}
    finally:
        await consumer.stop()


async def committed(stack: RunningStack, group: str, topic: str) -> dict[Partition, int]:
    """The offsets that Kafka has of the group."""
    async with administration(stack) as admin:
        found = await admin.list_consumer_group_offsets(group)
    return {Partition(place.topic, place.partition): at.offset for place, at in found.items() if place.topic == topic and at.offset >= 0}


async def commit(stack: RunningStack, group: str, offsets: dict[Partition, int]) -> None:
    """Make Kafka believe that the group has come this far."""
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers, group_id=group, enable_auto_commit=False)
    await consumer.start()
    try:
        places = {TopicPartition(partition.topic, partition.number): offset for partition, offset in offsets.items()}
        consumer.assign(list(places))
        await consumer.commit(places)
    finally:
        await consumer.stop()


@contextlib.asynccontextmanager
async def member(
    stack: RunningStack, group: str, topic: str, effects: Database | GroupEffects, *, bootstrap_servers: str | None = None
) -> AsyncIterator[ConsumerLoop]:
    """A running member of the group. Leaving the block ends it as SIGTERM does, and shows what it died of, if it did."""
    if isinstance(effects, Database):
        effects = AuditEffects(effects, consumer_group=group)
    loop = ConsumerLoop(bootstrap_servers or stack.kafka_bootstrap_servers, group=group, topics=[topic], effects=effects)
    running = asyncio.create_task(loop.run())
    try:
        yield loop
    finally:
        loop.stop()
        await asyncio.wait_for(running, WAIT_SECONDS)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            while not await condition():  # noqa: ASYNC110  servers tell nobody
                await asyncio.sleep(0.1)
    except TimeoutError:
        pytest.fail(f"waited {WAIT_SECONDS} s in vain until {what}")


def rows(url: str, statement: str, *values: object) -> list[DictRow]:
    with psycopg.connect(url, autocommit=True, row_factory=dict_row) as connection:
        return connection.execute(statement.encode(), values).fetchall()


def recorded(url: str, topic: str) -> list[DictRow]:
    """What the group has appended of a topic, chain by chain."""
    columns = "*, CAST(event_id AS text) AS event_id"
    return rows(url, f"SELECT {columns} FROM audit.record WHERE topic = %s ORDER BY chain, sequence", topic)  # noqa: S608  constants


def stored(url: str, group: str) -> dict[Partition, int]:
    """How far the group has come, by its own database."""
    found = rows(url, "SELECT topic, partition, next_offset FROM audit.consumer_offset WHERE consumer_group = %s", group)
    return {Partition(row["topic"], row["partition"]): row["next_offset"] for row in found}


async def until_applied(stack: RunningStack, url: str, group: str, topic: str) -> None:
    """Wait until the group has come to the end of each partition."""
    last = await ends(stack, topic)

    async def all_applied() -> bool:
        return {partition: offset for partition, offset in stored(url, group).items() if partition.topic == topic} == last

    await until(all_applied, f"group {group} is at {last}")


def broken_chains(url: str) -> list[str]:
    """What `casaflow check` says of the chains: its own two queries."""
    of_chains = [str(rule.query) for rule in EVENT_RULES if "audit.record" in str(rule.query) and "event_outbox" not in str(rule.query)]
    assert len(of_chains) == 2
    with psycopg.connect(url, autocommit=True) as connection:
        return [str(row[0]) for query in of_chains for row in connection.execute(query.encode()).fetchall()]
