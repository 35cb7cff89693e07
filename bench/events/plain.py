"""The plain loops: a producer and a consumer of aiokafka with the settings of casaflow's own, and nothing else."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from infra.kafka.cloud_events import headers_of
from infra.kafka.consumer import GATHER_BYTES, GATHER_MILLISECONDS, MAX_BATCH_RECORDS
from infra.kafka.publisher import LINGER_MILLISECONDS, MAX_BATCH_BYTES, REQUEST_TIMEOUT_MILLISECONDS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

    from bench.events.load import Transaction
    from infra.kafka.records import Partition
    from ledger.events import Event


@dataclass(frozen=True)
class ReadyRecord:
    """What is sent: bytes that were made before the clock ran."""

    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def ready_records(transaction: Transaction) -> tuple[ReadyRecord, ...]:
    """The records of a transaction's events."""
    return tuple(_ready(event) for event in transaction)


def _ready(event: Event) -> ReadyRecord:
    return ReadyRecord(event.topic, event.key.encode(), event.data.encode(), headers_of(event))


@asynccontextmanager
async def plain_publisher(bootstrap_servers: str) -> AsyncIterator[Callable[[Iterable[ReadyRecord]], Awaitable[None]]]:
    """A function that sends records, and returns once all of them are acknowledged."""
    producer = AIOKafkaProducer(
        bootstrap_servers=bootstrap_servers,
        client_id="casaflow-bench-plain",
        acks="all",
        enable_idempotence=True,
        compression_type="gzip",
        linger_ms=LINGER_MILLISECONDS,
        max_batch_size=MAX_BATCH_BYTES,
        request_timeout_ms=REQUEST_TIMEOUT_MILLISECONDS,
    )
    await producer.start()

    async def publish(records: Iterable[ReadyRecord]) -> None:
        deliveries = [await producer.send(one.topic, key=one.key, value=one.value, headers=one.headers) for one in records]
        await asyncio.wait(deliveries)
        for delivery in deliveries:
            delivery.result()

    try:
        yield publish
    finally:
        await producer.stop()


@dataclass(frozen=True)
class Reading:
    """What a plain consumer has read."""

    seconds: float
    """From the first request to the last record; connecting comes before."""
    records: list[Any]
    """As aiokafka has them."""


async def read_plainly(bootstrap_servers: str, ends: Mapping[Partition, int]) -> Reading:
    """Read everything that is in partitions, from their beginnings up to their ends."""
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap_servers,
        client_id="casaflow-bench-plain",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_poll_records=MAX_BATCH_RECORDS,
        fetch_min_bytes=GATHER_BYTES,
        fetch_max_wait_ms=GATHER_MILLISECONDS,
    )
    await consumer.start()
    try:
        wanted = sum(ends.values())
        records: list[Any] = []
        began = time.perf_counter()
        consumer.assign([TopicPartition(partition.topic, partition.number) for partition in ends])
        while len(records) < wanted:
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                records.extend(batch)
        return Reading(time.perf_counter() - began, records)
    finally:
        await consumer.stop()
