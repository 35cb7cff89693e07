"""Reads topics to where they ended, from their beginnings or from given offsets on."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from infra.kafka.connection import KafkaConnection, disconnect
from infra.kafka.records import Partition, Record
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


_AT_ONCE: Final = 5_000
_PATIENCE_SECONDS: Final = 30.0
"""How long a topic that has more may give nothing."""


@dataclass
class TopicScan:
    """One reading of some topics, with bounded memory."""

    connection: KafkaConnection
    ends: Mapping[Partition, int]
    """The offset after the last record that counts, of each partition."""
    begins: Mapping[Partition, int] = field(default_factory=dict)
    """Where to begin; partitions that are not named, and those whose records up to there are gone, at the first record that is there."""
    kept_since: dt.datetime | None = field(default=None, init=False)
    """The latest time of a first record among the partitions whose earliest records are gone; None: all have their beginning."""

    async def event_ids(self) -> AsyncIterator[list[str]]:
        """The ``ce_id`` of all records, as often as each is there; records without one are left out.

        Raises:
            UnavailableError: no broker answered, or it stopped answering.
        """
        async for batch in self.records():
            ids = [value.decode("ascii", "replace") for _, record in batch for name, value in record.headers if name == "ce_id" and value]
            if ids:
                yield ids

    async def records(self) -> AsyncIterator[Sequence[tuple[Partition, Record]]]:
        """All records, those of one partition in their order.

        Raises:
            UnavailableError: no broker answered, or it stopped answering.
        """
        consumer = AIOKafkaConsumer(
            **self.connection.client_options(),
            client_id="casaflow-check",
            group_id=None,
            enable_auto_commit=False,
            isolation_level="read_committed",
            request_timeout_ms=10_000,
            max_partition_fetch_bytes=4 * 1024 * 1024,
        )
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                await self.connection.start(consumer)
                places = [TopicPartition(partition.topic, partition.number) for partition in self.ends]
                beginnings = await consumer.beginning_offsets(places)
            first = {place: max(beginnings[place], self.begins.get(Partition(place.topic, place.partition), 0)) for place in places}
            open_ends = {place: end for place, end in zip(places, self.ends.values(), strict=True) if first[place] < end}
            consumer.assign(list(open_ends))
            for place in open_ends:
                consumer.seek(place, first[place])
            while open_ends:
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    batches = await consumer.getmany(*open_ends, timeout_ms=1_000, max_records=_AT_ONCE)
                batch = []
                for place, records in batches.items():
                    if beginnings[place] > 0 and records[0].offset == beginnings[place]:
                        began = dt.datetime.fromtimestamp(records[0].timestamp / 1000, dt.UTC)
                        self.kept_since = max(self.kept_since or began, began)
                    partition = Partition(place.topic, place.partition)
                    batch += [
                        (partition, Record(offset=record.offset, key=record.key, value=record.value, headers=tuple(record.headers)))
                        for record in records
                        if record.offset < self.ends[partition]
                    ]
                # The position and not the last record's offset: what ends with a transaction's marker has no record there.
                for place in list(open_ends):
                    if await consumer.position(place) >= open_ends[place]:
                        del open_ends[place]
                if batch:
                    yield batch
        except (KafkaError, OSError, TimeoutError) as error:
            raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error
        finally:
            await disconnect(consumer)
