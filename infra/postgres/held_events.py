"""Events that a group holds: those it could not handle, and those of the same key that wait behind them."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text

from infra.kafka.received import raw_record, record_of
from infra.kafka.records import Partition
from infra.postgres.json import to_jsonb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.kafka.received import ReceivedEvent
    from infra.kafka.records import Record
    from infra.postgres.database import Database

# Locked for as long as the batch lasts: whoever replays the key waits, and sees what the batch adds behind it.
_AMONG: Final = """
    SELECT key, CAST(event_id AS text) AS event_id FROM {schema}.held_event
     WHERE status IN ('failed', 'waiting') AND topic = :topic AND key = ANY (CAST(:keys AS text[]))
     ORDER BY position
       FOR SHARE
"""
_HOLD: Final = """
    INSERT INTO {schema}.held_event (topic, partition, "offset", key, event_id, type, subject, raw_record, status, error, error_type,
                                     attempts)
    SELECT h.topic, h.partition, h."offset", h.key, h.event_id, h.type, h.subject, h.raw_record, h.status, h.error, h.error_type,
           h.attempts
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS h (topic text, partition integer, "offset" bigint, key text, event_id uuid,
           type text, subject text, raw_record text, status text, error text, error_type text, attempts integer)
     WHERE NOT EXISTS (SELECT FROM {schema}.held_event e
                        WHERE h.event_id IS NULL AND e.error_type = 'unreadable'
                          AND (e.topic, e.partition, e."offset", e.raw_record) = (h.topic, h.partition, h."offset", h.raw_record))
     ORDER BY h."offset"
"""
COLUMNS: Final = """
    position, topic, partition, "offset", key, CAST(event_id AS text) AS event_id, type, subject, raw_record, status, error, error_type,
    attempts, held_at
"""
"""Of :class:`HeldEvent`."""
_UNTOLD: Final = """
    SELECT {columns}
      FROM {schema}.held_event
     WHERE told_at IS NULL AND status IN ('failed', 'unreadable')
     ORDER BY position LIMIT :at_most
"""
_TOLD: Final = "UPDATE {schema}.held_event SET told_at = clock_timestamp() WHERE position = ANY (CAST(:positions AS bigint[]))"
_COUNT: Final = """
    SELECT status, count(*) AS events FROM {schema}.held_event WHERE status IN ('failed', 'waiting', 'unreadable') GROUP BY status
"""


@dataclass(frozen=True)
class NewlyHeld:
    """A record that is to be held."""

    record: Record
    event: ReceivedEvent | None
    """None: it is no event at all. Then nothing waits behind it."""
    error: str | None
    """None: it waits behind another one of its key."""
    error_type: str | None


class HeldKeys(NamedTuple):
    """What is held already of the keys of a batch."""

    keys: frozenset[str]
    event_ids: frozenset[str]


class HeldEvent(BaseModel):
    """A record that a group holds, or has held."""

    model_config = ConfigDict(frozen=True)

    position: int
    topic: str
    partition: int
    offset: int
    key: str | None
    event_id: str | None
    type: str | None
    subject: str | None
    """The transaction, or the hold."""
    raw_record: str
    status: str
    """failed; waiting: behind a failed one of its key; unreadable: no event; applied or skipped: by an operator."""
    error: str | None
    error_type: str | None
    attempts: int
    held_at: dt.datetime

    @property
    def record(self) -> Record:
        """As it was read."""
        return record_of(self.raw_record, offset=self.offset)

    @property
    def place(self) -> Partition:
        """Where it was read."""
        return Partition(self.topic, self.partition)


class HeldEvents:
    """The held events of one group."""

    def __init__(self, database: Database, *, schema: str) -> None:
        """Take the group's database.

        Args:
            database: where its schema is.
            schema: one of casaflow's own names, never input.
        """
        self._database = database
        self.came = asyncio.Event()
        """Set when this process has held something."""
        statements = (_AMONG, _HOLD, _UNTOLD, _TOLD, _COUNT)
        self._among, self._hold, self._untold, self._told, self._count = (
            text(s.format(schema=schema, columns=COLUMNS)) for s in statements
        )

    async def among(self, connection: AsyncConnection, topic: str, events: Sequence[ReceivedEvent]) -> HeldKeys:
        """Which keys of events are blocked, and which events are held, in the caller's database transaction."""
        keys = sorted({event.key for event in events})
        found = (await connection.execute(self._among, {"topic": topic, "keys": keys})).all() if keys else []
        return HeldKeys(frozenset(row.key for row in found), frozenset(row.event_id for row in found))

    async def hold(self, connection: AsyncConnection, partition: Partition, held: Sequence[NewlyHeld]) -> None:
        """Hold records in the caller's database transaction; what is no event, and is held already, is left out."""
        if not held:
            return
        rows = [
            {
                "topic": partition.topic,
                "partition": partition.number,
                "offset": one.record.offset,
                "key": one.event.key if one.event else None,
                "event_id": one.event.event_id if one.event else None,
                "type": one.event.type if one.event else None,
                "subject": one.event.subject if one.event else None,
                "raw_record": raw_record(one.record),
                "status": "unreadable" if one.event is None else "waiting" if one.error is None else "failed",
                "error": one.error,
                "error_type": one.error_type,
                "attempts": 0 if one.error is None else 1,
            }
            for one in held
        ]
        await connection.execute(self._hold, {"rows": to_jsonb(rows)})

    async def untold(self, *, at_most: int) -> list[HeldEvent]:
        """What failed and is not on the dead-letter topic yet, oldest first.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> list[HeldEvent]:
            found = (await connection.execute(self._untold, {"at_most": at_most})).mappings()
            return [HeldEvent.model_validate(dict(row)) for row in found]

        return await self._database.run_statement(work)

    async def note_told(self, events: Sequence[HeldEvent]) -> None:
        """They are on the dead-letter topic.

        Raises:
            UnavailableError: the outcome is unknown; they may be told again.
        """

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(self._told, {"positions": sorted(event.position for event in events)})

        await self._database.run_statement(work)

    async def counts(self) -> dict[str, int]:
        """How many are held, by status: failed, waiting, unreadable.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dict[str, int]:
            return {row.status: row.events for row in await connection.execute(self._count)}

        return await self._database.run_statement(work)
