"""What the database holds of one transaction, for :mod:`ledger.explanation`: a few look-ups by keys, whatever the tables hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic import BaseModel
from sqlalchemy import text

from infra.groups import GROUPS
from infra.postgres.transactions import find_transaction
from ledger.explanation import Consumption, Entry, OperatorAction, Recorded, StoredEvent, possible_event_ids

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

Model = TypeVar("Model", bound=BaseModel)

# Both sides of every leg. By account, since the journals' keys begin with it; an operator may have settled to one that isn't the request's.
_ENTRIES: Final = text("""
    WITH named AS (
        SELECT t.tenant, t.transaction_id, a.account_id
          FROM transaction t CROSS JOIN LATERAL transaction_accounts(t.request) AS a
         WHERE t.tenant = :tenant AND t.transaction_id = CAST(:transaction_id AS uuid)
         UNION
        SELECT tenant, transaction_id, detail ->> 'account_id' FROM operator_action
         WHERE tenant = :tenant AND transaction_id = CAST(:transaction_id AS uuid) AND action = 'settle_to')
    SELECT account_id, false AS internal, leg, amount, currency, CAST(NULL AS numeric) AS balance_after, posted_at
      FROM offline_entry JOIN named USING (tenant, account_id, transaction_id)
    UNION ALL
    SELECT account_id, false, leg, -amount, currency, balance_after, posted_at
      FROM online_entry JOIN named USING (tenant, account_id, transaction_id)
    UNION ALL
    SELECT g.account_id, true, g.leg, g.amount, g.currency, NULL, g.posted_at
      FROM gl_entry g JOIN named n ON (g.tenant, g.customer_account_id, g.transaction_id) = (n.tenant, n.account_id, n.transaction_id)
     ORDER BY posted_at, internal, account_id
""")
_EVENTS: Final = text("""
    SELECT CAST(event_id AS text) AS event_id, type, topic, created_at, published_at
      FROM event_outbox
     WHERE event_id = ANY (CAST(:event_ids AS uuid[]))
     ORDER BY created_at, position
""")
_APPLIED: Final = """
    SELECT '{group}' AS consumer, CAST(event_id AS text) AS event_id, format('%s/%s at offset %s', topic, partition, "offset") AS place,
           {at} AS at
      FROM {table}
     WHERE event_id = ANY (CAST(:event_ids AS uuid[]))
"""
_CONSUMPTIONS: Final = text(
    " UNION ALL ".join(
        _APPLIED.format(group=group.name, table=group.applied, at="recorded_at" if group.handler is None else "applied_at")
        for group in GROUPS.values()
    )
    + " ORDER BY at"
)
_REVERSALS: Final = text("""
    SELECT CAST(transaction_id AS text) FROM transaction
     WHERE tenant = :tenant AND reverses = CAST(:transaction_id AS uuid)
     ORDER BY submitted_at
""")
_ACTIONS: Final = text("""
    SELECT action, by, reason, at, detail FROM operator_action
     WHERE tenant = :tenant AND transaction_id = CAST(:transaction_id AS uuid)
     ORDER BY position
""")
# What is told at different instants must not contradict itself.
_ONE_SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")


class PostgresExplanations:
    """Reads; nothing here changes a row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recorded(self, tenant: str, transaction_id: str) -> Recorded | None:
        """All that is recorded of a transaction, as of one instant; None when nothing is.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Recorded | None:
            await connection.execute(_ONE_SNAPSHOT)
            transaction = await find_transaction(connection, tenant, transaction_id)
            if transaction is None:
                return None
            whose = {"tenant": tenant, "transaction_id": transaction_id}
            event_ids = {"event_ids": possible_event_ids(transaction)}
            return Recorded(
                transaction=transaction,
                entries=await _models(connection, _ENTRIES, whose, Entry),
                events=await _models(connection, _EVENTS, event_ids, StoredEvent),
                consumptions=await _models(connection, _CONSUMPTIONS, event_ids, Consumption),
                actions=await _models(connection, _ACTIONS, whose, OperatorAction),
                reversals=tuple((await connection.execute(_REVERSALS, whose)).scalars()),
            )

        return await self._database.run(work)


async def _models(connection: AsyncConnection, query: TextClause, values: Mapping[str, Any], model: type[Model]) -> tuple[Model, ...]:
    return tuple(model.model_validate(dict(row)) for row in (await connection.execute(query, values)).mappings())
