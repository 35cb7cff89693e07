"""The events as they are published, for those who watch them: one consumer of no group for all streams of a process.

A stream's position is the offset that comes next of each partition, so that it can go on behind any of its events, in any process.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from infra.kafka.cloud_events import CONTENT_TYPE, SPECIFICATION_VERSION, Attributes, MalformedEventError, attributes_of
from infra.kafka.connection import disconnect
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence

    from infra.kafka.connection import KafkaConnection
    from infra.kafka.offsets import TopicEnds

_log = structlog.get_logger(__name__)

BUFFERED_EVENTS: Final = 1_000
"""Events that wait for one reader; a slower one is cut off."""
_START_SECONDS: Final = 10.0
_AGAIN_SECONDS: Final = 1.0
_AT_ONCE: Final = 500
_SIGN_OF_LIFE_SECONDS: Final = 2.0
"""Between two positions that a stream gets while it is brought up to date and nothing of it is wanted."""
_READERS_BEHIND: Final = 4
"""Streams that are brought up to date at one time; each reads for itself what it has missed."""

Position = tuple[int, ...]
"""The offset that comes next of each partition, in the order of :meth:`EventFeed.places`."""


@dataclass(frozen=True)
class FeedEvent:
    """An event, and the position behind it."""

    position: Position
    attributes: Attributes
    key: str
    """Tenant and account, or tenant and transaction, with a slash between them."""
    text: str
    """Its data: JSON, as it was published."""

    @property
    def tenant(self) -> str:
        """Whose event it is."""
        return self.key.partition("/")[0]

    @cached_property
    def data(self) -> dict[str, Any]:
        """Its data."""
        content = json.loads(self.text)
        return content if isinstance(content, dict) else {}

    @cached_property
    def structured(self) -> str:
        """The event on one line, by CloudEvents 1.0, JSON format; its data is as it was published."""
        told = self.attributes
        head = {"specversion": SPECIFICATION_VERSION, "id": told.event_id, "type": told.type, "source": told.source}
        head |= {"subject": told.subject, "time": told.time, "datacontenttype": CONTENT_TYPE}
        # Line breaks in JSON are blanks between its parts.
        return f'{json.dumps(head)[:-1]}, "data": {" ".join(self.text.splitlines())}}}'


@dataclass(frozen=True)
class Reached:
    """A position without an event: nothing that is wanted came before it."""

    position: Position


@dataclass(frozen=True)
class Missing:
    """Events behind the position that was asked for are gone: the topics keep them no longer."""

    position: Position
    """Where the stream goes on."""


@dataclass(frozen=True)
class Ended:
    """The stream ends; it can go on behind its last position."""

    code: str
    detail: str


Told = FeedEvent | Reached | Missing | Ended
_TOO_SLOW: Final = Ended("too-slow", f"more than {BUFFERED_EVENTS} events waited to be read; go on behind the last one, and read faster")
_STOPPING: Final = Ended("stopping", "this API process stops; go on behind the last event on another one")
_INTERRUPTED: Final = Ended("interrupted", "Kafka doesn't have the events any more that come next; go on behind the last one")


@dataclass(eq=False)
class _Reader:
    wants: Callable[[FeedEvent], bool]
    since: Position
    """Records before it are known already."""
    waiting: deque[FeedEvent] = field(default_factory=deque)
    ended: Ended | None = None
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def give(self, event: FeedEvent) -> None:
        if len(self.waiting) >= BUFFERED_EVENTS:
            self.end(_TOO_SLOW)
        else:
            self.waiting.append(event)
            self.changed.set()

    def end(self, why: Ended) -> None:
        if self.ended is None:
            self.ended = why
            self.changed.set()


class EventFeed:
    """Reads the topics while somebody watches."""

    def __init__(self, connection: KafkaConnection, ends: TopicEnds) -> None:
        """Prepare; the first stream connects.

        Args:
            connection: the way to Kafka.
            ends: of the topics whose events are told.
        """
        self._connection = connection
        self._ends = ends
        self._places: list[TopicPartition] = []
        self._position: list[int] = []
        self._readers: dict[str, set[_Reader]] = {}
        self._streams = 0
        self._running: asyncio.Task[None] | None = None
        self._consumer_of_all: AIOKafkaConsumer | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._one_at_a_time = asyncio.Lock()
        self._behind = asyncio.Semaphore(_READERS_BEHIND)
        self._stopping = False

    async def places(self) -> list[tuple[str, int]]:
        """Topic and number of each partition, in the order of positions.

        Raises:
            UnavailableError: no broker answered, or a topic is missing.
        """
        await self._follow()
        return [(place.topic, place.partition) for place in self._places]

    async def stream(self, tenant: str, wants: Callable[[FeedEvent], bool], *, after: Position | None) -> AsyncGenerator[Told]:
        """The events of a tenant that are wanted, in the order in which they are read; it begins with a position.

        Args:
            tenant: whose events.
            wants: whether an event is told.
            after: behind which position; None: what is published from now on.

        Raises:
            UnavailableError: no broker answered, or a topic is missing.
        """
        self._streams += 1
        reader: _Reader | None = None
        try:
            await self._follow()
            own = list(after if after is not None else self._position)
            yield Reached(tuple(own))
            if after is not None:
                async with self._behind, aclosing(self._missed(tenant, wants, own, tuple(self._position))) as missed:
                    async for told in missed:
                        yield told
            # From here on without a pause, so that nothing is read between the position and the reader.
            missed_until = tuple(self._position)
            reader = _Reader(wants, since=tuple(map(max, own, missed_until)))
            self._readers.setdefault(tenant, set()).add(reader)
            if self._stopping:
                reader.end(_STOPPING)
            if any(mine < now for mine, now in zip(own, missed_until, strict=True)):
                async with aclosing(self._missed(tenant, wants, own, missed_until)) as missed:
                    async for told in missed:
                        yield told
            async with aclosing(_read(reader)) as reading:
                async for told in reading:
                    yield told
        finally:
            if reader is not None:
                self._readers[tenant].discard(reader)
                if not self._readers[tenant]:
                    del self._readers[tenant]
            self._streams -= 1
            if not self._streams:
                self._stop_following()

    def end(self) -> None:
        """End all streams, and each that is begun from now on."""
        self._stopping = True
        for readers in self._readers.values():
            for reader in readers:
                reader.end(_STOPPING)

    async def stop(self) -> None:
        """Disconnect."""
        self.end()
        self._stop_following()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _follow(self) -> None:
        async with self._one_at_a_time:
            if self._running is not None and not self._running.done():
                return
            ends = await self._ends.read(within_seconds=_START_SECONDS)
            self._places = [TopicPartition(*place) for place in sorted(ends)]
            self._position = [ends[place] for place in sorted(ends)]
            self._stop_following()
            self._consumer_of_all = await self._consumer(dict(zip(self._places, self._position, strict=True)))
            self._running = asyncio.create_task(self._run(self._consumer_of_all))

    def _stop_following(self) -> None:
        if self._running is not None:
            # It disconnects in its own time; whoever watched doesn't wait for that.
            ending = asyncio.create_task(_ended(self._running, self._consumer_of_all))
            self._ending.add(ending)
            ending.add_done_callback(self._ending.discard)
            self._running = None

    async def _run(self, consumer: AIOKafkaConsumer) -> None:
        """Read on, over restarts of the brokers, until nobody watches."""
        order = {place: number for number, place in enumerate(self._places)}
        while True:
            try:
                batches = await consumer.getmany(timeout_ms=1_000, max_records=_AT_ONCE)
            except (KafkaError, OSError) as error:
                # Of topics that have lost what comes next, for one. Whoever watches goes on behind what he has.
                _log.warning("events.interrupted", error=str(error) or type(error).__name__)
                for readers in self._readers.values():
                    for reader in readers:
                        reader.end(_INTERRUPTED)
                return
            for place, records in batches.items():
                for record in records:
                    self._position[order[place]] = record.offset + 1
                    self._tell(order[place], record)

    def _tell(self, number: int, record: Any) -> None:  # noqa: ANN401  aiokafka has no types
        tenant = (record.key or b"").decode("utf-8", "replace").partition("/")[0]
        readers = self._readers.get(tenant)
        event = _event_of(record, tuple(self._position)) if readers else None
        if event is not None:
            for reader in tuple(readers or ()):
                if record.offset >= reader.since[number] and reader.wants(event):
                    reader.give(event)

    async def _missed(self, tenant: str, wants: Callable[[FeedEvent], bool], own: list[int], until: Position) -> AsyncGenerator[Told]:
        """What was published between two positions; `own` goes along with it."""
        order = {place: number for number, place in enumerate(self._places)}
        behind = {place for place, number in order.items() if own[number] < until[number]}
        consumer = await self._consumer({place: own[order[place]] for place in behind})
        try:
            async with asyncio.timeout(_START_SECONDS):
                beginnings = await consumer.beginning_offsets(list(behind))
            lost = [place for place in behind if own[order[place]] < beginnings[place]]
            for place in lost:
                own[order[place]] = beginnings[place]
                consumer.seek(place, beginnings[place])
            if lost:
                yield Missing(tuple(own))
            told_at = time.monotonic()
            while behind and not self._stopping:
                batches = await consumer.getmany(*behind, timeout_ms=1_000, max_records=_AT_ONCE)
                for event in self._events_between(batches, own, until):
                    if event.tenant == tenant and wants(event):
                        told_at = time.monotonic()
                        yield event
                # The position and not the last record's offset: what ends with a transaction's marker has no record there.
                for place in tuple(behind):
                    if await consumer.position(place) >= until[order[place]]:
                        own[order[place]] = max(own[order[place]], until[order[place]])
                        behind.discard(place)
                if time.monotonic() - told_at > _SIGN_OF_LIFE_SECONDS:
                    told_at = time.monotonic()
                    yield Reached(tuple(own))
        except (KafkaError, OSError, TimeoutError) as error:
            raise _away(error) from error
        finally:
            await disconnect(consumer)

    def _events_between(self, batches: Mapping[TopicPartition, Sequence[Any]], own: list[int], until: Position) -> Iterator[FeedEvent]:
        for place, records in batches.items():
            number = self._places.index(place)
            for record in records:
                if record.offset >= until[number]:
                    break
                own[number] = record.offset + 1
                event = _event_of(record, tuple(own))
                if event is not None:
                    yield event

    async def _consumer(self, positions: dict[TopicPartition, int]) -> AIOKafkaConsumer:
        """A connected consumer that reads on from these positions.

        Raises:
            UnavailableError: no broker answered.
        """
        consumer = AIOKafkaConsumer(
            **self._connection.client_options(),
            client_id="casaflow-events",
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",
            isolation_level="read_committed",
            request_timeout_ms=10_000,
        )
        try:
            async with asyncio.timeout(_START_SECONDS):
                await self._connection.start(consumer)
            consumer.assign(list(positions))
            for place, offset in positions.items():
                consumer.seek(place, offset)
        except BaseException as error:
            await disconnect(consumer)
            if isinstance(error, KafkaError | OSError | TimeoutError):
                raise _away(error) from error
            raise
        return consumer


async def _ended(running: asyncio.Task[None], consumer: AIOKafkaConsumer) -> None:
    running.cancel()
    await asyncio.wait({running})
    await disconnect(consumer)


async def _read(reader: _Reader) -> AsyncGenerator[Told]:
    while True:
        while reader.waiting:
            yield reader.waiting.popleft()
        if reader.ended is not None:
            yield reader.ended
            return
        reader.changed.clear()
        await reader.changed.wait()


def _event_of(record: Any, position: Position) -> FeedEvent | None:  # noqa: ANN401  aiokafka has no types
    """The event that a record holds; None where it is none of casaflow's, which the groups report."""
    try:
        attributes = attributes_of(record.headers)
        event = FeedEvent(position, attributes, (record.key or b"").decode(), (record.value or b"").decode())
        event.data  # noqa: B018  reads it
    except (MalformedEventError, ValueError):
        return None
    return event


def _away(error: Exception) -> UnavailableError:
    return UnavailableError(part="kafka", detail=str(error) or type(error).__name__)
