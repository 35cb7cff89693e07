"""The outbox: events that were stored with the legs, and wait to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.group_commit import Lane
from ledger.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

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
_MARK = text("""
    UPDATE event_outbox SET published_at = clock_timestamp()
     WHERE event_id = ANY (CAST(:event_ids AS uuid[])) AND published_at IS NULL
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


MAX_BATCH: Final = 100
"""Transactions whose events are read together, or events that are marked together, at most."""
_MAX_WAITING: Final = 10_000


class PostgresOutbox:
    """Implements :class:`ledger.ports.EventOutbox`. Transactions that publish at the same time share statements."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reads: Lane[tuple[str, str], tuple[Event, ...]] = Lane(self._read, max_batch=MAX_BATCH, max_waiting=_MAX_WAITING)
        self._marks: Lane[Sequence[Event], None] = Lane(self._mark, max_batch=MAX_BATCH, max_waiting=_MAX_WAITING, weight=len)

    async def unpublished(self, tenant: str, transaction_id: str) -> tuple[Event, ...]:
        """See :meth:`ledger.ports.EventOutbox.unpublished`."""
        return await self._reads.submit((tenant, transaction_id))

    async def mark_published(self, events: Sequence[Event]) -> None:
        """See :meth:`ledger.ports.EventOutbox.mark_published`."""
        await self._marks.submit(events)

    async def _read(self, transactions: Sequence[tuple[str, str]], _next_may_begin: Callable[[], None]) -> list[tuple[Event, ...]]:
        async def work(connection: AsyncConnection) -> list[tuple[Event, ...]]:
            asked = {"tenants": [tenant for tenant, _ in transactions], "transaction_ids": [identifier for _, identifier in transactions]}
            found: list[list[Event]] = [[] for _ in transactions]
            for row in (await connection.execute(_UNPUBLISHED, asked)).mappings():
                fields = dict(row)
                found[fields.pop("number") - 1].append(Event.model_validate(fields))
            return [tuple(events) for events in found]

        return await self._database.run_statement(work)

    async def _mark(self, published: Sequence[Sequence[Event]], _next_may_begin: Callable[[], None]) -> list[None]:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_MARK, {"event_ids": sorted(event.event_id for events in published for event in events)})

        await self._database.run_statement(work)
        return [None] * len(published)
