"""Where the topics end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import KafkaError

from infra.kafka.connection import KafkaConnection
from infra.kafka.records import Partition
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

_TIMEOUT_SECONDS: Final = 20.0


async def end_offsets(servers: KafkaConnection | str, topics: Sequence[str]) -> dict[Partition, int]:
    """The offset after the last committed record of each partition, however many a topic has.

    Raises:
        UnavailableError: no broker answered, or a topic is missing.
    """
    connection = KafkaConnection.to(servers)
    consumer = AIOKafkaConsumer(
        *topics,
        **connection.client_options(),
        client_id="casaflow-check",
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=10_000,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await connection.start(consumer)
            ends = await consumer.end_offsets(consumer.assignment())
    except (KafkaError, OSError, TimeoutError) as error:
        raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error
    finally:
        await consumer.stop()
    missing = sorted(set(topics) - {place.topic for place in ends})
    if missing:
        raise UnavailableError(part="kafka", detail=f"there is no topic {', '.join(missing)}")
    return {Partition(place.topic, place.partition): offset for place, offset in ends.items()}
