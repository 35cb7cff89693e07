"""The outbox: events that were stored with the legs, and wait to be published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from ledger.events import Event

if TYPE_CHECKING:
    from collections.abc import Sequence

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_UNPUBLISHED = text("""
    SELECT CAST(event_id AS text) AS event_id, topic, key, type, source, subject, time, payload AS data
      FROM event_outbox
     WHERE tenant = :tenant AND transaction_id = CAST(:transaction_id AS uuid) AND published_at IS NULL
     ORDER BY created_at, position
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


class PostgresOutbox:
    """Implements :class:`ledger.ports.EventOutbox`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unpublished(self, tenant: str, transaction_id: str) -> tuple[Event, ...]:
        """See :meth:`ledger.ports.EventOutbox.unpublished`."""

        async def work(connection: AsyncConnection) -> tuple[Event, ...]:
            found = await connection.execute(_UNPUBLISHED, {"tenant": tenant, "transaction_id": transaction_id})
            return tuple(Event.model_validate(dict(row)) for row in found.mappings())

        return await self._database.run_statement(work)

    async def mark_published(self, events: Sequence[Event]) -> None:
        """See :meth:`ledger.ports.EventOutbox.mark_published`."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_MARK, {"event_ids": [event.event_id for event in events]})

        await self._database.run_statement(work)
