"""Transactions that have no outcome yet, or whose events wait: what a sweep compares with what Temporal carries."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from infra.postgres.transactions import find_transaction

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Collection, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.requests import TransactionRequest

_FIRST: Final = ("", "00000000-0000-0000-0000-000000000000")
_MOST_UNPUBLISHED: Final = 500
"""While Kafka is away there may be any number of them, and publishing them would fail."""
# By status, since there is an index of those.
_UNFINISHED = text("""
    SELECT tenant, CAST(transaction_id AS text) AS transaction_id
      FROM transaction
     WHERE status IN ('processing', 'parked') AND recorded_at < clock_timestamp() - :older_than
       AND (tenant, transaction_id) > (:tenant, CAST(:transaction_id AS uuid))
     ORDER BY tenant, transaction.transaction_id
     LIMIT :at_once
""")
_UNPUBLISHED = text("""
    SELECT tenant, CAST(transaction_id AS text) AS transaction_id
      FROM event_outbox
     WHERE published_at IS NULL AND created_at < clock_timestamp() - :older_than
     GROUP BY 1, event_outbox.transaction_id ORDER BY min(created_at) LIMIT :at_most
""")
_SETTLED = text("""
    SELECT t.tenant, CAST(t.transaction_id AS text) AS transaction_id
      FROM unnest(CAST(:tenants AS text[]), CAST(:transaction_ids AS uuid[])) AS w (tenant, transaction_id)
      JOIN transaction t USING (tenant, transaction_id)
     WHERE t.finished_at IS NOT NULL
       AND NOT EXISTS (SELECT FROM event_outbox e
                        WHERE e.tenant = t.tenant AND e.transaction_id = t.transaction_id AND e.published_at IS NULL)
""")


class PostgresUnsettled:
    """Implements :class:`ledger.ports.UnsettledTransactions`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unsettled(self, *, older_than: dt.timedelta, at_once: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """See :meth:`ledger.ports.UnsettledTransactions.unsettled`."""
        last = _FIRST

        async def unfinished(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
            values = {"older_than": older_than, "tenant": last[0], "transaction_id": last[1], "at_once": at_once}
            return [(row.tenant, row.transaction_id) for row in await connection.execute(_UNFINISHED, values)]

        async def unpublished(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
            found = await connection.execute(_UNPUBLISHED, {"older_than": older_than, "at_most": _MOST_UNPUBLISHED})
            return [(row.tenant, row.transaction_id) for row in found]

        while page := await self._database.run_statement(unfinished):
            yield page
            last = page[-1]
        if page := await self._database.run_statement(unpublished):
            yield page

    async def settled(self, transactions: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """See :meth:`ledger.ports.UnsettledTransactions.settled`."""
        asked = sorted(transactions)
        values = {"tenants": [tenant for tenant, _ in asked], "transaction_ids": [identifier for _, identifier in asked]}

        async def work(connection: AsyncConnection) -> set[tuple[str, str]]:
            return {(row.tenant, row.transaction_id) for row in await connection.execute(_SETTLED, values)}

        return await self._database.run_statement(work)

    async def request(self, tenant: str, transaction_id: str) -> TransactionRequest | None:
        """See :meth:`ledger.ports.UnsettledTransactions.request`."""

        async def work(connection: AsyncConnection) -> TransactionRequest | None:
            record = await find_transaction(connection, tenant, transaction_id)
            return record.request if record is not None else None

        return await self._database.run_statement(work)
