"""What operators do about events that a group holds: have it try them again, or skip one for good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from infra.kafka.received import received_event
from infra.postgres.consumption import GroupStore, cause_of, error_text, handle, is_about_events
from infra.postgres.held_events import COLUMNS, HeldEvent
from ledger.errors import ConflictError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.consumption import EventHandler
    from infra.postgres.database import Database

_LIST: Final = """
    SELECT {columns} FROM {schema}.held_event
     WHERE status = ANY (CAST(:statuses AS text[])) AND position > :after ORDER BY position LIMIT :at_most
"""
_KEYS: Final = """
    SELECT topic, key FROM {schema}.held_event WHERE status IN ('failed', 'waiting') GROUP BY topic, key ORDER BY min(position)
"""
_KEY_OF: Final = """
    SELECT position, topic, key, status FROM {schema}.held_event
     WHERE (event_id = CAST(:event_id AS uuid) OR position = :position) AND status IN ('failed', 'waiting', 'unreadable')
       FOR UPDATE
"""
# Two statements: members that hold more of the key meanwhile have locked these rows, and what they have added is seen by the second one.
_LOCK: Final = """
    SELECT position FROM {schema}.held_event WHERE status IN ('failed', 'waiting') AND topic = :topic AND key = :key ORDER BY position
       FOR UPDATE
"""
_OF_KEY: Final = """
    SELECT {columns} FROM {schema}.held_event
     WHERE status IN ('failed', 'waiting') AND topic = :topic AND key = :key ORDER BY partition, "offset", position
"""
_FAIL: Final = """
    UPDATE {schema}.held_event
       SET status = 'failed', error = :error, error_type = :error_type, attempts = attempts + 1, changed_at = clock_timestamp(),
           changed_by = :by
     WHERE position = :position
"""
_END: Final = """
    UPDATE {schema}.held_event SET status = :status, changed_at = clock_timestamp(), changed_by = :by, reason = :reason
     WHERE position = ANY (CAST(:positions AS bigint[]))
"""


class NotHeldError(ConflictError):
    """The group holds no such event, or what waits can't be skipped before what failed."""

    code: ClassVar[str] = "event-not-held"

    def __init__(self, *, event: str, rule: str) -> None:
        self.event = event
        super().__init__(f"event {event} {rule}")


class HeldKey(NamedTuple):
    """A key with events that are held."""

    topic: str
    key: str


@dataclass(frozen=True)
class Replayed:
    """What a replay of one key did."""

    key: HeldKey
    applied: int
    """Events that have had their effect now."""
    failed: HeldEvent | None
    """The one at which it stopped; None: nothing of the key is held any more."""
    waiting: int
    """Events that still wait behind that one."""


class Replays:
    """Operates on one group's held events. Safe while its members run."""

    def __init__(self, database: Database, handler: EventHandler, *, consumer_group: str) -> None:
        """Take the group's database and its handler, which is the one that its members have."""
        self._database = database
        self._handler = handler
        self._store = GroupStore(database, handler, consumer_group=consumer_group)
        statements = (_LIST, _KEYS, _KEY_OF, _LOCK, _OF_KEY, _FAIL, _END)
        self._list, self._keys, self._key_of, self._lock, self._of_key, self._fail, self._end = (
            text(statement.format(schema=handler.schema, columns=COLUMNS)) for statement in statements
        )

    async def held(
        self, *, after: int = 0, at_most: int = 1_000, statuses: Sequence[str] = ("failed", "waiting", "unreadable")
    ) -> list[HeldEvent]:
        """What is held, in the order in which it came; with other `statuses` what became of it.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> list[HeldEvent]:
            found = await connection.execute(self._list, {"statuses": list(statuses), "after": after, "at_most": at_most})
            return [HeldEvent.model_validate(dict(row)) for row in found.mappings()]

        return await self._database.run_statement(work)

    async def blocked(self) -> list[HeldKey]:
        """The keys with events that are held, the oldest first.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> list[HeldKey]:
            return [HeldKey(row.topic, row.key) for row in await connection.execute(self._keys)]

        return await self._database.run_statement(work)

    async def key_of(self, event_id: str) -> HeldKey:
        """The key of a held event.

        Raises:
            NotHeldError: it isn't held.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> HeldKey:
            found = (await connection.execute(self._key_of, {"event_id": event_id, "position": -1})).one_or_none()
            if found is None:
                raise NotHeldError(event=event_id, rule="is not held")
            return HeldKey(found.topic, found.key)

        return await self._database.run(work)

    async def replay(self, key: HeldKey, *, by: str) -> Replayed:
        """Try the events of a key again, in their order, until one can't be handled.

        Args:
            key: whose events.
            by: the operator, who is recorded.

        Raises:
            UnavailableError: the outcome is unknown; it may be tried again.
            LedgerIntegrityError: the database refused for a reason that is not the events'.
        """

        async def work(connection: AsyncConnection) -> Replayed:
            return await self._replay(connection, key, by=by)

        return await self._database.run(work)

    async def skip(self, event: str, *, by: str, reason: str) -> Replayed | None:
        """Pass over a failed event for good, and try those behind it.

        Args:
            event: its id; of what is no event, its position.
            by: the operator.
            reason: why. Both are recorded.

        Returns:
            What became of the rest of its key; None: it was no event, and nothing waited behind it.

        Raises:
            NotHeldError: it isn't held, or only waits.
            UnavailableError: the outcome is unknown; it may be tried again.
        """
        named = {"event_id": None, "position": int(event)} if event.isdecimal() else {"event_id": event, "position": -1}

        async def work(connection: AsyncConnection) -> Replayed | None:
            found = (await connection.execute(self._key_of, named)).one_or_none()
            if found is None:
                raise NotHeldError(event=event, rule="is not held")
            if found.status == "waiting":
                raise NotHeldError(event=event, rule="waits behind another one of its key, which has to be replayed or skipped first")
            if found.status == "unreadable":
                await self._settle(connection, [found.position], "skipped", by=by, reason=reason)
                return None
            key = HeldKey(found.topic, found.key)
            held = await self._locked(connection, key)
            skipped = next(one for one in held if one.position == found.position)
            # Its id counts as applied, so that it is not new when it is read again.
            await self._store.enter(connection, skipped.place, [received_event(skipped.record, skipped.place)])
            await self._settle(connection, [skipped.position], "skipped", by=by, reason=reason)
            return await self._replay(connection, key, by=by)

        return await self._database.run(work)

    async def _locked(self, connection: AsyncConnection, key: HeldKey) -> list[HeldEvent]:
        await connection.execute(self._lock, key._asdict())
        rows = (await connection.execute(self._of_key, key._asdict())).mappings().all()
        return [HeldEvent.model_validate(dict(row)) for row in rows]

    async def _replay(self, connection: AsyncConnection, key: HeldKey, *, by: str) -> Replayed:
        held = await self._locked(connection, key)
        applied: list[int] = []
        failed = None
        for one in held:
            error = await self._try(connection, one)
            if error is not None:
                failed = one.model_copy(update={"status": "failed", "error": error_text(error), "attempts": one.attempts + 1})
                values = {"position": one.position, "error": failed.error, "error_type": type(cause_of(error)).__name__, "by": by}
                await connection.execute(self._fail, values)
                break
            applied.append(one.position)
        await self._settle(connection, applied, "applied", by=by, reason=None)
        return Replayed(key, len(applied), failed, len(held) - len(applied) - (failed is not None))

    async def _try(self, connection: AsyncConnection, held: HeldEvent) -> Exception | None:
        try:
            async with connection.begin_nested():
                event = received_event(held.record, held.place)
                new = await self._store.enter(connection, held.place, [event])
                await handle(self._handler, connection, new)
        except Exception as error:
            if not is_about_events(error):
                raise
            return error
        return None

    async def _settle(self, connection: AsyncConnection, positions: Sequence[int], status: str, *, by: str, reason: str | None) -> None:
        if positions:
            await connection.execute(self._end, {"positions": list(positions), "status": status, "by": by, "reason": reason})
