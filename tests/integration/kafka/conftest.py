"""Topics and consumers of the tests' own, so that tests on one broker don't meet."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from infra.kafka.records import Partition, Record
from infra.kafka.topics import ensure_topics
from tests.stack_fixtures import RunningStack


@pytest.fixture
async def topic(stack: RunningStack) -> AsyncIterator[str]:
    name = f"test.{uuid.uuid4().hex[:12]}"
    await ensure_topics(stack.kafka_bootstrap_servers, topics=(name,))
    yield name
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_topics([name])
    await admin.close()


async def read_all(bootstrap_servers: str, topic: str) -> list[Any]:
    """All records of a topic as they are now, partition by partition."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False, group_id=None)
    await consumer.start()
    try:
        found = await consumer._client.fetch_all_metadata()
        partitions = [TopicPartition(topic, number) for number in sorted(found.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        await consumer.seek_to_beginning(*partitions)
        ends = await consumer.end_offsets(partitions)
        records: list[Any] = []
        while sum(ends.values()) > len(records):
            batches = await asyncio.wait_for(consumer.getmany(timeout_ms=500), timeout=10)
            records.extend(record for batch in batches.values() for record in batch)
        return sorted(records, key=lambda record: (record.partition, record.offset))
    finally:
        await consumer.stop()


class Seen:
    """Effects of a group that keeps what it got in memory."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.asked_for: set[Partition] = set()
        self.changed = asyncio.Event()

    async def next_offsets(self, beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
        self.asked_for.update(beginnings)
        return dict(beginnings)

    async def move(self, partition: Partition, *, expected: int, to: int) -> None:
        raise AssertionError((partition, expected, to))

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        assert expected == records[0].offset, partition
        self.records.extend(records)
        self.changed.set()
        return len(records)
