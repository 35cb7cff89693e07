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
    import datetime as dt
    from collections.abc import Sequence

_TIMEOUT_SECONDS: Final = 20.0


class TopicEnds:
    """Reads the ends of topics again and again, over connections that stay."""

    def __init__(self, servers: KafkaConnection | str) -> None:
        """Prepare; the first reading connects."""
        self._connection = KafkaConnection.to(servers)
        self._consumer: AIOKafkaConsumer | None = None
        self._one_at_a_time = asyncio.Lock()

    async def read(self, topics: Sequence[str], *, within_seconds: float = 5.0) -> dict[Partition, int]:
        """The offset after the last committed record of each partition.

        Raises:
            UnavailableError: no broker answered in time.
        """
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(within_seconds):
                    if self._consumer is None:
                        self._consumer = _reader(topics, self._connection)
                        await self._connection.start(self._consumer)
                    ends = await self._consumer.end_offsets(self._consumer.assignment())
            except (KafkaError, OSError, TimeoutError) as error:
                await self._disconnect()
                raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error
        return {Partition(place.topic, place.partition): offset for place, offset in ends.items()}

    async def stop(self) -> None:
        """Disconnect."""
        async with self._one_at_a_time:
            await self._disconnect()

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await consumer.stop()


def _reader(topics: Sequence[str], connection: KafkaConnection) -> AIOKafkaConsumer:
    """A consumer of no group, with all partitions."""
    return AIOKafkaConsumer(
        *topics,
        **connection.client_options(),
        client_id="casaflow-ends",
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=10_000,
    )


async def end_offsets(servers: KafkaConnection | str, topics: Sequence[str]) -> dict[Partition, int]:
    """The offset after the last committed record of each partition, however many a topic has.

    Raises:
        UnavailableError: no broker answered, or a topic is missing.
    """
    connection = KafkaConnection.to(servers)
    consumer = _reader(topics, connection)
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


async def offsets_at(servers: KafkaConnection | str, topics: Sequence[str], instant: dt.datetime) -> dict[Partition, int]:
    """The offset of the first record of each partition that was published at an instant or later; partitions without one are left out.

    Raises:
        UnavailableError: no broker answered.
    """
    connection = KafkaConnection.to(servers)
    consumer = _reader(topics, connection)
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await connection.start(consumer)
            milliseconds = int(instant.timestamp() * 1000)
            found = await consumer.offsets_for_times(dict.fromkeys(consumer.assignment(), milliseconds))
    except (KafkaError, OSError, TimeoutError) as error:
        raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error
    finally:
        await consumer.stop()
    return {Partition(place.topic, place.partition): at.offset for place, at in found.items() if at is not None}
