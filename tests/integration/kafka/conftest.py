"""Topics and consumers of the tests' own, so that tests on one broker don't meet."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

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
