"""How far a consumer group has come, in its own schema: written in the database transaction of the effects, by compare and set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from infra.kafka.records import Partition, StaleOwnerError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_ENTER: Final = """
    INSERT INTO {schema}.consumer_offset (consumer_group, topic, partition, next_offset)
    SELECT :consumer_group, b.topic, b.partition, b.next_offset
      FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[])) AS b (topic, partition, next_offset)
     ORDER BY b.topic, b.partition
        ON CONFLICT DO NOTHING
"""
_NEXT: Final = """
    SELECT o.topic, o.partition, o.next_offset
      FROM {schema}.consumer_offset o
      JOIN unnest(CAST(:topics AS text[]), CAST(:partitions AS integer[])) AS b (topic, partition) USING (topic, partition)
     WHERE o.consumer_group = :consumer_group
"""
# Compare and set: the row's lock puts members that all believe to own the partition one after the other, and only the first finds its
# offset.
_ADVANCE: Final = """
    UPDATE {schema}.consumer_offset SET next_offset = :to_offset, updated_at = clock_timestamp()
     WHERE consumer_group = :consumer_group AND topic = :topic AND partition = :partition AND next_offset = :expected
    RETURNING clock_timestamp() AS moved_at
"""
_REPEATS: Final = """
    UPDATE {schema}.consumer_offset SET repeats = repeats + :repeats
     WHERE consumer_group = :consumer_group AND topic = :topic AND partition = :partition
"""
# Sorted by the key, as everywhere, so that nobody waits in a circle. Never forward: what was not read would be passed over.
_REWIND: Final = """
    UPDATE {schema}.consumer_offset o SET next_offset = b.next_offset, updated_at = clock_timestamp()
      FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[])) AS b (topic, partition, next_offset)
     WHERE o.consumer_group = :consumer_group AND (o.topic, o.partition) = (b.topic, b.partition) AND b.next_offset < o.next_offset
    RETURNING o.topic, o.partition, o.next_offset
"""
_ALL: Final = "SELECT topic, partition, next_offset FROM {schema}.consumer_offset WHERE consumer_group = :consumer_group"


class StoredOffsets:
    """The offsets of one group."""

    def __init__(self, database: Database, *, schema: str, consumer_group: str) -> None:
        """Take the group's database.

        Args:
            database: where its schema is.
            schema: one of casaflow's own names, never input.
            consumer_group: whose offsets.
        """
        self._database = database
        self._group = consumer_group
        statements = (_ENTER, _NEXT, _ADVANCE, _REPEATS, _REWIND, _ALL)
        self._enter, self._next, self._advance, self._repeats, self._rewind, self._all = (text(s.format(schema=schema)) for s in statements)

    async def next_offsets(self, beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
        """See :meth:`infra.kafka.records.GroupEffects.next_offsets`."""
        values = {**self._places(beginnings), "offsets": list(beginnings.values())}

        async def work(connection: AsyncConnection) -> dict[Partition, int]:
            await connection.execute(self._enter, values)
            # A new statement, so that a row which another member entered first is seen.
            found = await connection.execute(self._next, self._places(beginnings))
            return {Partition(row.topic, row.partition): row.next_offset for row in found}

        return await self._database.run(work)

    async def stored(self) -> dict[Partition, int]:
        """All that the group has ever read, and where each partition goes on.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dict[Partition, int]:
            found = await connection.execute(self._all, {"consumer_group": self._group})
            return {Partition(row.topic, row.partition): row.next_offset for row in found}

        return await self._database.run_statement(work)

    async def move(self, partition: Partition, *, expected: int, to: int) -> None:
        """See :meth:`infra.kafka.records.GroupEffects.move`."""

        async def work(connection: AsyncConnection) -> None:
            await self.advance(connection, partition, expected=expected, to=to)

        await self._database.run(work)

    async def rewind(self, offsets: Mapping[Partition, int]) -> dict[Partition, int]:
        """Have the group read again from earlier offsets; those that are not earlier stay. Members notice within seconds.

        Returns:
            The partitions that were moved, and where they go on.

        Raises:
            UnavailableError: the outcome is unknown; it may be tried again.
        """
        ordered = dict(sorted(offsets.items()))
        values = {**self._places(ordered), "offsets": list(ordered.values())}

        async def work(connection: AsyncConnection) -> dict[Partition, int]:
            return {Partition(row.topic, row.partition): row.next_offset for row in await connection.execute(self._rewind, values)}

        return await self._database.run(work)

    async def advance(self, connection: AsyncConnection, partition: Partition, *, expected: int, to: int) -> dt.datetime:
        """Move a partition on, in the caller's database transaction; when that was.

        Raises:
            StaleOwnerError: the stored offset isn't `expected`.
        """
        moved = (await connection.execute(self._advance, {**self._place(partition), "expected": expected, "to_offset": to})).one_or_none()
        if moved is None:
            raise StaleOwnerError(partition=partition, expected=expected)
        moved_at: dt.datetime = moved.moved_at
        return moved_at

    async def count_repeats(self, connection: AsyncConnection, partition: Partition, repeats: int) -> None:
        """Count events that came again, in the caller's database transaction."""
        if repeats:
            await connection.execute(self._repeats, {**self._place(partition), "repeats": repeats})

    def _place(self, partition: Partition) -> dict[str, object]:
        return {"consumer_group": self._group, "topic": partition.topic, "partition": partition.number}

    def _places(self, partitions: Mapping[Partition, int]) -> dict[str, object]:
        return {
            "consumer_group": self._group,
            "topics": [partition.topic for partition in partitions],
            "partitions": [partition.number for partition in partitions],
        }
