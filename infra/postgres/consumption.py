"""What the consumer groups share: each event has its effect once, in order within its key, and what can't be handled stands aside.

A group has a schema of its own with its offsets, the ids of the events that it has applied, and the events that it holds: those it could
not handle, and later ones of the same key, which wait behind them. See decision record 0028.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Protocol

import psycopg
import structlog
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from infra.kafka.cloud_events import MalformedEventError
from infra.kafka.received import received_event
from infra.postgres.held_events import HeldEvents, NewlyHeld
from infra.postgres.stored_offsets import StoredOffsets
from ledger.errors import CasaflowError, InvalidInputError, LedgerIntegrityError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.kafka.received import ReceivedEvent
    from infra.kafka.records import Partition, Record
    from infra.postgres.database import Database

_log = structlog.get_logger(__name__)

_REFUSED_DATA: Final = ("22", "23")
"""SQLSTATE classes that speak of the values: data exceptions and violated constraints. Others speak of the tables or the server."""
_LONGEST_ERROR: Final = 2_000
_ENTER_APPLIED: Final = """
    INSERT INTO {schema}.applied_event (event_id, topic, partition, "offset", applied_at)
    SELECT b.event_id, :topic, :partition, b.at_offset, clock_timestamp()
      FROM unnest(CAST(:event_ids AS uuid[]), CAST(:offsets AS bigint[])) AS b (event_id, at_offset)
        ON CONFLICT DO NOTHING
    RETURNING CAST(event_id AS text)
"""
_APPLIED: Final = "SELECT CAST(event_id AS text) FROM {schema}.applied_event WHERE event_id = ANY (CAST(:event_ids AS uuid[]))"


class UnknownEventTypeError(CasaflowError):
    """The group knows nothing of this type of event; a later version may."""

    code: ClassVar[str] = "unknown-event-type"

    def __init__(self, event_type: str) -> None:
        self.event_type = event_type
        super().__init__(f"{event_type} is not a type of event that this version of the group knows")


class EventHandler(Protocol):
    """What a group does with events, in the database transaction that also stores their ids and the offset."""

    schema: ClassVar[str]
    """The group's own, with the tables of migration 0030."""
    handled_types: ClassVar[frozenset[str]]
    """CloudEvents types that have an effect."""
    ignored_types: ClassVar[frozenset[str]]
    """Types that are on the group's topics and of no concern to it."""

    async def apply(self, connection: AsyncConnection, events: Sequence[ReceivedEvent]) -> None:
        """Apply events of one partition that were never applied before, in the order of their offsets.

        Raises:
            Exception: one of them can't be handled. Nothing of what was done here stays; which one it was is found by halving. What the
                database says of its own state, and not of the values, is no such error.
        """
        ...


@dataclass
class _Batch:
    """What becomes of the records of one partition."""

    partition: Partition
    effective: int = 0
    repeats: int = 0
    held: list[NewlyHeld] = field(default_factory=list)
    blocked: set[str] = field(default_factory=set)
    """Keys with an event that the group holds."""


class _NotHandledError(Exception):
    """Something in the batch can't be handled: it has to be done again with care."""


class GroupStore:
    """Implements :class:`infra.kafka.records.GroupEffects` around a handler."""

    def __init__(self, database: Database, handler: EventHandler, *, consumer_group: str) -> None:
        """Take the group's database and what it does.

        Args:
            database: where the group's schema is.
            handler: what events lead to.
            consumer_group: whose offsets.
        """
        self._database = database
        self._handler = handler
        self.offsets = StoredOffsets(database, schema=handler.schema, consumer_group=consumer_group)
        self.held = HeldEvents(database, schema=handler.schema)
        self._enter_applied = text(_ENTER_APPLIED.format(schema=handler.schema))
        self._applied = text(_APPLIED.format(schema=handler.schema))

    async def next_offsets(self, beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
        """See :meth:`infra.kafka.records.GroupEffects.next_offsets`."""
        return await self.offsets.next_offsets(beginnings)

    async def move(self, partition: Partition, *, expected: int, to: int) -> None:
        """See :meth:`infra.kafka.records.GroupEffects.move`."""
        await self.offsets.move(partition, expected=expected, to=to)

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        """See :meth:`infra.kafka.records.GroupEffects.apply`."""
        events, unreadable = _read(partition, records)

        async def work(connection: AsyncConnection, *, carefully: bool) -> _Batch:
            await self.offsets.advance(connection, partition, expected=expected, to=records[-1].offset + 1)
            batch = _Batch(partition)
            batch.held += [NewlyHeld(record, None, error_text(error), "unreadable") for record, error in unreadable]
            await self._apply(connection, batch, events, carefully=carefully)
            await self.held.hold(connection, partition, batch.held)
            batch.repeats = len(events) - batch.effective - sum(held.event is not None for held in batch.held)
            await self.offsets.count_repeats(connection, partition, batch.repeats)
            return batch

        try:
            done = await self._database.run(lambda connection: work(connection, carefully=False))
        except (_NotHandledError, LedgerIntegrityError):
            done = await self._database.run(lambda connection: work(connection, carefully=True))
        self._tell(done)
        return done.effective

    async def _apply(
        self, connection: AsyncConnection, batch: _Batch, events: Sequence[tuple[Record, ReceivedEvent]], *, carefully: bool
    ) -> None:
        held = await self.held.among(connection, batch.partition.topic, [event for _, event in events])
        batch.blocked = set(held.keys)
        # What is held already, and read again since the group went back, is neither new nor to be held twice.
        rest = [(record, event) for record, event in events if event.event_id not in held.event_ids]
        if carefully:
            await self._halve(connection, batch, rest)
        else:
            free = await self._hold_back(connection, batch, rest)
            try:
                batch.effective += await self._attempt(connection, batch, [event for _, event in free])
            except Exception as error:
                if is_about_events(error):
                    raise _NotHandledError from error
                raise

    async def _halve(self, connection: AsyncConnection, batch: _Batch, events: Sequence[tuple[Record, ReceivedEvent]]) -> None:
        """Apply all that can be applied, each part in a savepoint; a part that can't be handled is tried again by halves, in order."""
        free = await self._hold_back(connection, batch, events)
        if not free:
            return
        try:
            async with connection.begin_nested():
                batch.effective += await self._attempt(connection, batch, [event for _, event in free])
        except Exception as error:
            if not is_about_events(error):
                raise
            if len(free) == 1:
                record, event = free[0]
                batch.held.append(NewlyHeld(record, event, error_text(error), type(cause_of(error)).__name__))
                batch.blocked.add(event.key)
                return
            await self._halve(connection, batch, free[: len(free) // 2])
            await self._halve(connection, batch, free[len(free) // 2 :])

    async def _hold_back(
        self, connection: AsyncConnection, batch: _Batch, events: Sequence[tuple[Record, ReceivedEvent]]
    ) -> Sequence[tuple[Record, ReceivedEvent]]:
        """Have events wait whose key is blocked, unless they were applied before; the others."""
        if not batch.blocked:
            return events
        waiting = [(record, event) for record, event in events if event.key in batch.blocked]
        if waiting:
            found = await connection.execute(self._applied, {"event_ids": [event.event_id for _, event in waiting]})
            known = set(found.scalars()) | {held.event.event_id for held in batch.held if held.event is not None}
            for record, event in waiting:
                if event.event_id not in known:
                    known.add(event.event_id)
                    batch.held.append(NewlyHeld(record, event, None, None))
        return [(record, event) for record, event in events if event.key not in batch.blocked]

    async def _attempt(self, connection: AsyncConnection, batch: _Batch, events: Sequence[ReceivedEvent]) -> int:
        new = await self.enter(connection, batch.partition, events)
        await handle(self._handler, connection, new)
        return len(new)

    async def enter(self, connection: AsyncConnection, partition: Partition, events: Sequence[ReceivedEvent]) -> list[ReceivedEvent]:
        """Store the ids of events, in the caller's database transaction; those that were not there, each once."""
        if not events:
            return []
        values = {
            "event_ids": [event.event_id for event in events],
            "offsets": [event.offset for event in events],
            "topic": partition.topic,
            "partition": partition.number,
        }
        entered = set((await connection.execute(self._enter_applied, values)).scalars())
        new = []
        for event in events:
            if event.event_id in entered:
                entered.remove(event.event_id)
                new.append(event)
        return new

    def _tell(self, batch: _Batch) -> None:
        for held in batch.held:
            _log.error(
                "consumer.event-held",
                group=self._handler.schema,
                place=f"{batch.partition} at offset {held.record.offset}",
                event_id=held.event.event_id if held.event else None,
                transaction_id=held.event.subject if held.event else None,
                error=held.error or "an earlier event of its key is held",
            )
        if batch.held:
            self.held.came.set()


async def handle(handler: EventHandler, connection: AsyncConnection, events: Sequence[ReceivedEvent]) -> None:
    """Hand events to a handler, but for those of no concern to it.

    Raises:
        UnknownEventTypeError: a type is neither handled nor ignored.
        Exception: as :meth:`EventHandler.apply`.
    """
    concerned = [event for event in events if event.type not in handler.ignored_types]
    for event in concerned:
        if event.type not in handler.handled_types:
            raise UnknownEventTypeError(event.type)
    if concerned:
        await handler.apply(connection, concerned)


def _read(
    partition: Partition, records: Sequence[Record]
) -> tuple[list[tuple[Record, ReceivedEvent]], list[tuple[Record, MalformedEventError]]]:
    events: list[tuple[Record, ReceivedEvent]] = []
    unreadable: list[tuple[Record, MalformedEventError]] = []
    for record in records:
        try:
            events.append((record, received_event(record, partition)))
        except MalformedEventError as error:
            unreadable.append((record, error))
    return events, unreadable


def cause_of(error: BaseException) -> BaseException:
    """The driver's own error, where SQLAlchemy has wrapped it."""
    return error.orig if isinstance(error, DBAPIError) and error.orig is not None else error


def is_about_events(error: Exception) -> bool:
    """Whether another event might do better at the same moment; else the whole partition waits, and nothing is held."""
    cause = cause_of(error)
    if isinstance(cause, psycopg.Error):
        return (cause.sqlstate or "")[:2] in _REFUSED_DATA
    if isinstance(cause, InvalidInputError | UnknownEventTypeError):
        return True
    return not isinstance(cause, CasaflowError | OSError | TimeoutError)


def error_text(error: BaseException) -> str:
    """What is kept of an error."""
    cause = cause_of(error)
    return (str(cause).strip() or type(cause).__name__).replace("\0", "�")[:_LONGEST_ERROR]
