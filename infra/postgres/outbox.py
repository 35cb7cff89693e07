"""The outbox: events that were stored with the legs, and wait to be published."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import text

from infra.postgres.group_commit import Lane
from ledger.errors import CasaflowError
from ledger.events import Event

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Awaitable, Callable, Sequence

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_UNPUBLISHED = text("""
    SELECT b.number, CAST(o.event_id AS text) AS event_id, o.topic, o.key, o.type, o.source, o.subject, o.time, o.payload AS data
      FROM unnest(CAST(:tenants AS text[]), CAST(:transaction_ids AS uuid[])) WITH ORDINALITY AS b (tenant, transaction_id, number)
      JOIN event_outbox o USING (tenant, transaction_id)
     WHERE o.published_at IS NULL
     ORDER BY o.created_at, o.position
""")
_FIRST_STORED = text("""
    SELECT min(created_at) FROM event_outbox WHERE tenant = :tenant AND transaction_id = CAST(:transaction_id AS uuid)
""")
_MARK = text("""
    UPDATE event_outbox SET published_at = clock_timestamp()
     WHERE event_id = ANY (CAST(:event_ids AS uuid[])) AND published_at IS NULL
""")
# How many of what waits are looked at: an hour without a broker leaves more than anybody wants to count every second.
_MOST_LOOKED_AT: Final = 10_000
_OVERDUE_SHARES = text("""
    SELECT DISTINCT hashtext(key) & :mask AS share
      FROM (SELECT key FROM event_outbox WHERE published_at IS NULL AND created_at < clock_timestamp() - :older_than LIMIT :most) AS overdue
""")
_TAKE_SHARES = text("""
    SELECT share FROM unnest(CAST(:shares AS int[])) AS share WHERE pg_try_advisory_xact_lock(hashtextextended('event_outbox/' || share, 0))
""")
_OVERDUE = text("""
    SELECT CAST(event_id AS text) AS event_id, topic, key, type, source, subject, time, payload AS data
      FROM (SELECT * FROM event_outbox
             WHERE published_at IS NULL AND created_at < clock_timestamp() - :older_than
               AND hashtext(key) & :mask = ANY (CAST(:shares AS int[]))
             LIMIT :most) AS overdue
     ORDER BY created_at, position
""")
_BACKLOG = text("""
    SELECT count(*) AS events, coalesce(extract(epoch FROM clock_timestamp() - min(created_at)), 0) AS age
      FROM (SELECT created_at FROM event_outbox WHERE published_at IS NULL LIMIT :most) AS waiting
""")
_STORE: Final = """
    INSERT INTO event_outbox (event_id, topic, key, payload, type, source, subject, time, tenant, transaction_id, position)
    VALUES (CAST(%(event_id)s AS uuid), %(topic)s, %(key)s, %(data)s, %(type)s, %(source)s, %(subject)s, %(time)s, %(tenant)s,
            CAST(%(of)s AS uuid), 0)
"""


async def store_event(driver: psycopg.AsyncConnection[Any], event: Event, *, tenant: str, of: str) -> None:
    """Store one event in the caller's database transaction.

    Args:
        driver: in that transaction.
        event: to be published.
        tenant: whose it is.
        of: the transaction, or the hold, whose workflow publishes it.
    """
    await driver.execute(_STORE, {**event.model_dump(), "tenant": tenant, "of": of})


async def first_stored(database: Database, tenant: str, transaction_id: str) -> dt.datetime | None:
    """When the first event of a transaction was stored; None: it has none.

    Raises:
        UnavailableError: the database did not answer.
    """

    async def work(connection: AsyncConnection) -> dt.datetime | None:
        found: dt.datetime | None = (
            await connection.execute(_FIRST_STORED, {"tenant": tenant, "transaction_id": transaction_id})
        ).scalar_one()
        return found

    return await database.run_statement(work)


MAX_BATCH: Final = 100
"""Transactions whose events are read together, at most."""
_MAX_WAITING: Final = 10_000
SHARES: Final = 16
"""By the hash of its key each event is in one of these; one relay at a time works on a share. A power of two."""
RELAYED_AT_ONCE: Final = 1_000
"""Events that a relay publishes in one go, at most."""
_GATHER_SECONDS: Final = 0.1
"""How long events that were published wait for others to be marked with them."""
_MARKED_AT_ONCE: Final = 1_000
_MOST_NOTED: Final = 100_000
_PAUSE_SECONDS: Final = 1.0

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Backlog:
    """What waits to be published."""

    events: int
    """At most 10,000: what is above is not counted."""
    oldest_seconds: float
    """Age of the oldest of them; 0 where nothing waits."""


class PostgresOutbox:
    """Implements :class:`ledger.ports.EventOutbox`. Transactions that publish at the same time share statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads: Lane[tuple[str, str], tuple[Event, ...]] = Lane(self._read, max_batch=MAX_BATCH, max_waiting=_MAX_WAITING)
        self._noted: set[str] = set()
        """Ids of events that are published, and to be marked."""
        self._marking: asyncio.Task[None] | None = None
        self._at_once = asyncio.Event()
        database.before_close(self.drain)

    async def unpublished(self, tenant: str, transaction_id: str) -> tuple[Event, ...]:
        """See :meth:`ledger.ports.EventOutbox.unpublished`."""
        return await self._reads.submit((tenant, transaction_id))

    def note_published(self, events: Sequence[Event]) -> None:
        """See :meth:`ledger.ports.EventOutbox.note_published`."""
        room = _MOST_NOTED - len(self._noted)
        # What finds no room, after hours without a database, is published once more by a relay.
        self._noted.update(event.event_id for event in events[:room])
        if self._noted and self._marking is None:
            self._marking = asyncio.create_task(self._mark_noted())

    async def drain(self) -> None:
        """Mark what was noted, now, as is done before the database is closed. What can't be marked is published once more by a relay."""
        self._at_once.set()
        if self._marking is not None:
            await asyncio.wait([self._marking])
        self._at_once.clear()

    async def relay(self, shares: Sequence[int], *, older_than: dt.timedelta, publish: Callable[[Sequence[Event]], Awaitable[None]]) -> int:
        """Publish what has waited too long, of some shares, and mark it; of a share that somebody else works on nothing.

        Several shares at once, since what is looked through is all that waits: for each share alone, nearly all of it would be passed over.

        Args:
            shares: each 0 to :data:`SHARES` - 1.
            older_than: what was stored before that.
            publish: returns once events are published.

        Returns:
            How many events were published, at most :data:`RELAYED_AT_ONCE`.

        Raises:
            UnavailableError: the database did not answer, or `publish` raised it; nothing is marked then.
        """

        async def work(connection: AsyncConnection) -> int:
            taken = list((await connection.execute(_TAKE_SHARES, {"shares": list(shares)})).scalars())
            if not taken:
                return 0
            # A statement after the locks, so that what the ones before marked is seen.
            asked = {"older_than": older_than, "mask": SHARES - 1, "shares": taken, "most": RELAYED_AT_ONCE}
            events = [_event(row) for row in await connection.execute(_OVERDUE, asked)]
            # Published by this process, and about to be marked.
            waiting = [event for event in events if event.event_id not in self._noted]
            if waiting:
                await publish(waiting)
                await _mark(connection, [event.event_id for event in waiting])
            return len(waiting)

        return await self._database.run(work)

    async def overdue_shares(self, *, older_than: dt.timedelta) -> list[int]:
        """In which shares something has waited too long.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> list[int]:
            asked = {"older_than": older_than, "mask": SHARES - 1, "most": _MOST_LOOKED_AT}
            return sorted((await connection.execute(_OVERDUE_SHARES, asked)).scalars())

        return await self._database.run_statement(work)

    async def backlog(self) -> Backlog:
        """How much waits to be published, and for how long.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Backlog:
            row = (await connection.execute(_BACKLOG, {"most": _MOST_LOOKED_AT})).one()
            return Backlog(events=row.events, oldest_seconds=float(row.age))

        return await self._database.run_statement(work)

    async def _mark_noted(self) -> None:
        """Mark what was noted, until nothing is left. Whoever wants it done at once waits for one attempt, and no longer."""
        try:
            pause = _GATHER_SECONDS
            while self._noted:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._at_once.wait(), pause)
                batch = list(islice(self._noted, _MARKED_AT_ONCE))
                try:
                    await self._database.run_statement(partial(_mark, event_ids=batch))
                except CasaflowError as error:
                    _log.warning("outbox.not-marked", events=len(self._noted), detail=str(error))
                    if self._at_once.is_set():
                        return
                    pause = _PAUSE_SECONDS
                    continue
                pause = _GATHER_SECONDS
                self._noted.difference_update(batch)
        finally:
            self._marking = None

    async def _read(self, transactions: Sequence[tuple[str, str]], _next_may_begin: Callable[[], None]) -> list[tuple[Event, ...]]:
        async def work(connection: AsyncConnection) -> list[tuple[Event, ...]]:
            asked = {"tenants": [tenant for tenant, _ in transactions], "transaction_ids": [identifier for _, identifier in transactions]}
            found: list[list[Event]] = [[] for _ in transactions]
            for number, *columns in await connection.execute(_UNPUBLISHED, asked):
                event = _event(columns)
                if event.event_id not in self._noted:
                    found[number - 1].append(event)
            return [tuple(events) for events in found]

        return await self._database.run_statement(work)


def _event(columns: Sequence[Any]) -> Event:
    """An event as the outbox has it. Written by this code, it isn't validated again: a backlog has a hundred thousand of them."""
    event_id, topic, key, kind, source, subject, time, data = columns
    return Event.model_construct(event_id=event_id, topic=topic, key=key, type=kind, source=source, subject=subject, time=time, data=data)


async def _mark(connection: AsyncConnection, event_ids: Sequence[str]) -> None:
    # Sorted, so that two who mark the same rows never wait for each other in a circle.
    await connection.execute(_MARK, {"event_ids": sorted(event_ids)})
