"""The audit group's effects: every event once, appended to a hash chain of its partition. See ``docs/decisions/0005-audit-chains.md``."""

from __future__ import annotations

import datetime as dt
import hashlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy import text

from infra.kafka.cloud_events import MalformedEventError
from infra.kafka.received import raw_record, received_event
from infra.postgres.json import to_jsonb
from infra.postgres.stored_offsets import StoredOffsets

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.kafka.records import Partition, Record
    from infra.postgres.database import Database

_log = structlog.get_logger(__name__)

GENESIS_HASH: Final = bytes(32)
"""What the first record of a chain follows."""
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)

# ---- the chains ----
_HEAD = text("SELECT sequence, hash FROM audit.chain WHERE chain = :chain FOR UPDATE")
_SET_HEAD = text("""
    INSERT INTO audit.chain (chain, sequence, hash) VALUES (:chain, :sequence, :hash)
        ON CONFLICT (chain) DO UPDATE SET sequence = excluded.sequence, hash = excluded.hash
""")
_KNOWN = text("SELECT CAST(event_id AS text) FROM audit.record WHERE event_id = ANY (CAST(:event_ids AS uuid[]))")
_KNOWN_RAW = text("""
    SELECT "offset", raw_record FROM audit.record
     WHERE chain = :chain AND problem IS NOT NULL AND "offset" = ANY (CAST(:offsets AS bigint[]))
""")
_APPEND = text("""
    INSERT INTO audit.record (chain, sequence, event_id, topic, partition, "offset", type, key, source, subject, time, payload, problem,
                              raw_record, previous_hash, hash, recorded_at)
    SELECT r.chain, r.sequence, r.event_id, r.topic, r.partition, r."offset", r.type, r.key, r.source, r.subject, r.time, r.payload,
           r.problem, r.raw_record, decode(r.previous_hash, 'hex'), decode(r.hash, 'hex'), :recorded_at
      FROM jsonb_to_recordset(CAST(:records AS jsonb)) AS r (chain text, sequence bigint, event_id uuid, topic text, partition integer,
           "offset" bigint, type text, key text, source text, subject text, time timestamptz, payload text, problem text, raw_record text,
           previous_hash text, hash text)
     ORDER BY r.sequence
""")


@dataclass(frozen=True, kw_only=True)
class _Content:
    """What a record says: an event's attributes and data, or why it isn't an event and its bytes."""

    event_id: str | None = None
    type: str | None = None
    key: str | None = None
    source: str | None = None
    subject: str | None = None
    time: dt.datetime | None = None
    payload: str | None = None
    problem: str | None = None
    raw_record: str | None = None


class AuditEffects:
    """Implements :class:`infra.kafka.records.GroupEffects`."""

    def __init__(self, database: Database, *, consumer_group: str = "audit") -> None:
        self._database = database
        self.offsets = StoredOffsets(database, schema="audit", consumer_group=consumer_group)

    async def next_offsets(self, beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
        """See :meth:`infra.kafka.records.GroupEffects.next_offsets`."""
        return await self.offsets.next_offsets(beginnings)

    async def move(self, partition: Partition, *, expected: int, to: int) -> None:
        """See :meth:`infra.kafka.records.GroupEffects.move`."""
        await self.offsets.move(partition, expected=expected, to=to)

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        """See :meth:`infra.kafka.records.GroupEffects.apply`."""
        contents = [(record.offset, _content_of(record, partition)) for record in records]

        async def work(connection: AsyncConnection) -> int:
            recorded_at = await self.offsets.advance(connection, partition, expected=expected, to=records[-1].offset + 1)
            new = await _without_known(connection, partition, contents)
            if new:
                await _append(connection, partition, new, recorded_at)
            await self.offsets.count_repeats(connection, partition, len(contents) - len(new))
            return len(new)

        return await self._database.run(work)


def _content_of(record: Record, partition: Partition) -> _Content:
    try:
        event = received_event(record, partition)
    except MalformedEventError as error:
        _log.error("audit.malformed-event", partition=str(partition), offset=record.offset, problem=str(error))
        return _Content(problem=str(error).replace("\0", "�"), raw_record=raw_record(record))
    return _Content(
        event_id=event.event_id,
        type=event.type,
        key=event.key,
        source=event.source,
        subject=event.subject,
        time=event.time,
        payload=event.data,
    )


async def _without_known(
    connection: AsyncConnection, partition: Partition, contents: Sequence[tuple[int, _Content]]
) -> list[tuple[int, _Content]]:
    """What was not recorded before: an event is known by its id, what is no event by its place and its bytes."""
    ids = [content.event_id for _, content in contents if content.event_id is not None]
    seen: set[object] = set((await connection.execute(_KNOWN, {"event_ids": ids})).scalars())
    without_id = [offset for offset, content in contents if content.event_id is None]
    if without_id:
        found = await connection.execute(_KNOWN_RAW, {"chain": str(partition), "offsets": without_id})
        seen |= {(row.offset, row.raw_record) for row in found}
    new = []
    for offset, content in contents:
        identity = content.event_id or (offset, content.raw_record)
        if identity not in seen:
            new.append((offset, content))
            seen.add(identity)
    return new


async def _append(
    connection: AsyncConnection, partition: Partition, contents: Sequence[tuple[int, _Content]], recorded_at: dt.datetime
) -> None:
    chain = str(partition)
    head = (await connection.execute(_HEAD, {"chain": chain})).one_or_none()
    sequence, previous_hash = (head.sequence, bytes(head.hash)) if head else (0, GENESIS_HASH)
    rows = []
    for offset, content in contents:
        sequence += 1
        place = (chain, sequence, partition, offset)
        own_hash = hashlib.sha256(canonical_form(place, content, previous_hash, recorded_at).encode()).digest()
        values = {field.name: getattr(content, field.name) for field in fields(content)}
        values["time"] = content.time.isoformat() if content.time else None
        rows.append(
            {
                "chain": chain,
                "sequence": sequence,
                "topic": partition.topic,
                "partition": partition.number,
                "offset": offset,
                **values,
                "previous_hash": previous_hash.hex(),
                "hash": own_hash.hex(),
            }
        )
        previous_hash = own_hash
    await connection.execute(_APPEND, {"records": to_jsonb(rows), "recorded_at": recorded_at})
    await connection.execute(_SET_HEAD, {"chain": chain, "sequence": sequence, "hash": previous_hash})


def canonical_form(place: tuple[str, int, Partition, int], content: _Content, previous_hash: bytes, recorded_at: dt.datetime) -> str:
    """What a record's hash is taken over; ``audit.record_hash`` computes the same in SQL, and `check` compares both."""

    def values() -> Iterator[str | None]:
        chain, sequence, partition, offset = place
        yield from (chain, str(sequence), content.event_id, partition.topic, str(partition.number), str(offset))
        yield from (content.type, content.key, content.source, content.subject)
        yield from (_microseconds(content.time), content.payload, content.problem, content.raw_record)
        yield from (previous_hash.hex(), _microseconds(recorded_at))

    return "".join("-" if value is None else f"{len(value.encode())}:{value}" for value in values())


def _microseconds(instant: dt.datetime | None) -> str | None:
    return None if instant is None else str((instant - _EPOCH) // _MICROSECOND)
