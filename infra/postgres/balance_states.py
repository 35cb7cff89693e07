"""The state of accounts as it is now, for the topic that systems keep their copies by. See ``docs/decisions/0027-balance-topic.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import text

from ledger.accounts import AccountStatus
from ledger.balances import AccountStateV1

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

# One statement is one snapshot, and the statement's instant lies before it: whatever was committed until then is in what it finds.
_STATES = text("""
    SELECT b.tenant, b.account_id, a.currency, a.status, o.version, o.debited, b.held, b.ledger, b.available, statement_timestamp() AS as_of
      FROM unnest(CAST(:tenants AS text[]), CAST(:account_ids AS text[])) AS wanted (tenant, account_id)
      JOIN account a USING (tenant, account_id)
      JOIN online_balance o USING (tenant, account_id)
      JOIN account_balance b USING (tenant, account_id)
     ORDER BY b.tenant, b.account_id
""")


class PostgresBalanceStates:
    """Implements :class:`infra.kafka.balance_topic.BalanceStates`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self, accounts: Collection[tuple[str, str]]) -> list[AccountStateV1]:
        """See :meth:`infra.kafka.balance_topic.BalanceStates.read`."""
        if not accounts:
            return []

        async def work(connection: AsyncConnection) -> list[AccountStateV1]:
            tenants, account_ids = zip(*accounts, strict=True)
            found = await connection.execute(_STATES, {"tenants": list(tenants), "account_ids": list(account_ids)})
            return [
                AccountStateV1.of(
                    tenant=row.tenant,
                    account_id=row.account_id,
                    currency=row.currency,
                    status=AccountStatus(row.status),
                    version=row.version,
                    as_of=row.as_of,
                    debited=int(row.debited),
                    held=int(row.held),
                    ledger_balance=int(row.ledger),
                    available_balance=int(row.available),
                )
                for row in found
            ]

        return await self._database.run_statement(work)
