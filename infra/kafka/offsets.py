"""Where the topics end."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from infra.kafka.connection import KafkaConnection, disconnect
from infra.kafka.records import Partition
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

_TIMEOUT_SECONDS: Final = 20.0


class TopicEnds:
    """Reads the ends of topics again and again, over connections that stay."""

    def __init__(self, servers: KafkaConnection | str, topics: Sequence[str]) -> None:
        """Prepare; the first reading connects."""
        self._connection = KafkaConnection.to(servers)
        self._topics = topics
        self._consumer: AIOKafkaConsumer | None = None
        self._one_at_a_time = asyncio.Lock()

    async def read(self, *, within_seconds: float = _TIMEOUT_SECONDS) -> dict[Partition, int]:
        """The offset after the last committed record of each partition, however many a topic has.

        Raises:
            UnavailableError: no broker answered in time, or a topic is missing.
        """
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(within_seconds):
                    if self._consumer is None:
                        self._consumer = await _started(self._connection, self._topics)
                    ends = await self._consumer.end_offsets(self._consumer.assignment())
            except (KafkaError, OSError, TimeoutError) as error:
                await self._disconnect()
                raise _away(error) from error
        missing = sorted(set(self._topics) - {place.topic for place in ends})
        if missing:
            # The next reading connects anew: which partitions there are is found out only then.
            await self.stop()
            raise UnavailableError(part="kafka", detail=f"there is no topic {', '.join(missing)}")
        return {Partition(place.topic, place.partition): offset for place, offset in ends.items()}

    async def stop(self) -> None:
        """Disconnect."""
        async with self._one_at_a_time:
            await self._disconnect()

    async def _disconnect(self) -> None:
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            await disconnect(consumer)


async def end_offsets(servers: KafkaConnection | str, topics: Sequence[str]) -> dict[Partition, int]:
    """As :meth:`TopicEnds.read`, once.

    Raises:
        UnavailableError: no broker answered, or a topic is missing.
    """
    ends = TopicEnds(servers, topics)
    try:
        return await ends.read()
    finally:
        await ends.stop()


async def offsets_at(servers: KafkaConnection | str, topics: Sequence[str], instant: dt.datetime) -> dict[Partition, int]:
    """The offset of the first record of each partition that was published at an instant or later; partitions without one are left out.

    Raises:
        UnavailableError: no broker answered.
    """
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            consumer = await _started(KafkaConnection.to(servers), topics)
            try:
                milliseconds = int(instant.timestamp() * 1000)
                found = await consumer.offsets_for_times(dict.fromkeys(consumer.assignment(), milliseconds))
            finally:
                await disconnect(consumer)
    except (KafkaError, OSError, TimeoutError) as error:
        raise _away(error) from error
    return {Partition(place.topic, place.partition): at.offset for place, at in found.items() if at is not None}


async def send_group_back(servers: KafkaConnection | str, group: str, offsets: Mapping[Partition, int]) -> None:
    """Commit earlier offsets of a group whose offsets are Kafka's; those that are not earlier stay. No member of it may run.

    Raises:
        UnavailableError: no broker answered, or a member runs.
    """
    consumer = AIOKafkaConsumer(
        **KafkaConnection.to(servers).client_options(),
        client_id="casaflow-offsets",
        group_id=group,
        enable_auto_commit=False,
        request_timeout_ms=10_000,
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await KafkaConnection.to(servers).start(consumer)
            places = {TopicPartition(partition.topic, partition.number): offset for partition, offset in offsets.items()}
            consumer.assign(list(places))
            earlier = {}
            for place, offset in places.items():
                committed = await consumer.committed(place)
                if committed is not None and offset < committed:
                    earlier[place] = offset
            if earlier:
                await consumer.commit(earlier)
    except (KafkaError, OSError, TimeoutError) as error:
        raise _away(error) from error
    finally:
        await disconnect(consumer)


async def _started(connection: KafkaConnection, topics: Sequence[str]) -> AIOKafkaConsumer:
    """A connected consumer of no group, with all partitions. One that can't be started, or is cut off meanwhile, leaves nothing open."""
    consumer = AIOKafkaConsumer(
        *topics,
        **connection.client_options(),
        client_id="casaflow-ends",
        group_id=None,
        enable_auto_commit=False,
        isolation_level="read_committed",
        request_timeout_ms=10_000,
    )
    try:
        await connection.start(consumer)
    except BaseException:
        await disconnect(consumer)
        raise
    return consumer


def _away(error: Exception) -> UnavailableError:
    return UnavailableError(part="kafka", detail=str(error) or type(error).__name__)
