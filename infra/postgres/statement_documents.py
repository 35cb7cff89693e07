"""What a document about an account needs beyond pages of lines: a period's sums, and what its transactions say."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from sqlalchemy import text

from infra.postgres.json import from_jsonb
from ledger.documents import DocumentEntry, EntryDetail
from ledger.money import Money
from ledger.rates import Conversion
from ledger.statements import EntryDirection, StatementEntry

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_SUMS: Final = text("""
    SELECT sum(amount) FILTER (WHERE is_credit) AS credited, sum(amount) FILTER (WHERE NOT is_credit) AS debited, count(*) AS lines
      FROM (SELECT amount, true AS is_credit FROM offline_entry
             WHERE tenant = :tenant AND account_id = :account_id AND posted_at >= :since AND posted_at < :until
             UNION ALL
            SELECT amount, false FROM online_entry
             WHERE tenant = :tenant AND account_id = :account_id AND posted_at >= :since AND posted_at < :until) AS entries
""")
_DETAIL: Final = """
    CAST(d.transaction_id AS text) AS transaction_id, d.leg, t.request -> 'amount' AS instructed, d.conversion,
    coalesce(t.request ->> 'settlement', 'cash') AS settlement, t.request ->> 'reverses' AS reverses,
    t.request -> 'metadata' ->> 'counterparty_name' AS counterparty_name,
    t.request -> 'metadata' ->> 'counterparty_account' AS counterparty_account,
    t.request -> 'metadata' ->> 'counterparty_bank' AS counterparty_bank"""
_DETAILS: Final = text(f"""
    SELECT {_DETAIL}
      FROM unnest(CAST(:transaction_ids AS uuid[]), CAST(:legs AS text[])) AS asked (transaction_id, leg)
      JOIN decision d
        ON d.tenant = :tenant AND d.account_id = :account_id AND d.transaction_id = asked.transaction_id AND d.leg = asked.leg
      JOIN transaction t ON t.tenant = d.tenant AND t.transaction_id = d.transaction_id
""")  # noqa: S608  constants of this module, here and below
_ENTRIES: Final = text(f"""
    SELECT e.posted_at, e.direction, e.amount, e.value_date, e.version, {_DETAIL},
           CASE e.account_id WHEN t.debtor THEN t.creditor ELSE t.debtor END AS counterparty,
           t.request ->> 'reference' AS reference, t.request ->> 'remittance_information' AS remittance_information
      FROM (SELECT tenant, account_id, transaction_id, leg, posted_at, 'credit' AS direction, amount, value_date, NULL AS version
              FROM offline_entry
             WHERE tenant = :tenant AND account_id = :account_id AND transaction_id = CAST(:transaction_id AS uuid)
             UNION ALL
            SELECT tenant, account_id, transaction_id, leg, posted_at, 'debit', amount, value_date, version
              FROM online_entry
             WHERE tenant = :tenant AND account_id = :account_id AND transaction_id = CAST(:transaction_id AS uuid)) AS e
      JOIN decision d USING (tenant, account_id, transaction_id, leg)
      JOIN transaction t USING (tenant, transaction_id)
     ORDER BY e.posted_at, e.leg COLLATE "C"
""")  # noqa: S608


class PeriodSums(NamedTuple):
    """What a period's entries add up to, in minor units."""

    credited: int
    debited: int
    lines: int


class PostgresStatementDocuments:
    """Reads; nothing here changes a row."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def sums(self, tenant: str, account_id: str, since: dt.datetime, until: dt.datetime) -> PeriodSums:
        """What the entries booked at `since` or later and before `until` add up to.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> RowMapping:
            values = {"tenant": tenant, "account_id": account_id, "since": since, "until": until}
            return (await connection.execute(_SUMS, values)).mappings().one()

        row = await self._database.run_statement(work)
        return PeriodSums(int(row["credited"] or 0), int(row["debited"] or 0), row["lines"])

    async def details(self, tenant: str, account_id: str, entries: Sequence[StatementEntry]) -> list[EntryDetail | None]:
        """What the transaction of each entry says; None for one that this ledger doesn't have.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Sequence[RowMapping]:
            asked = {"transaction_ids": [entry.transaction_id for entry in entries], "legs": [entry.leg for entry in entries]}
            return (await connection.execute(_DETAILS, {"tenant": tenant, "account_id": account_id, **asked})).mappings().all()

        rows = await self._database.run_statement(work)
        found = {(row["transaction_id"], row["leg"]): _detail(row) for row in rows}
        return [found.get((entry.transaction_id, entry.leg)) for entry in entries]

    async def entries(self, tenant: str, account_id: str, transaction_id: str) -> tuple[DocumentEntry, ...]:
        """What a transaction has booked on an account; several entries where it also took a fee, or gave something back.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Sequence[RowMapping]:
            values = {"tenant": tenant, "account_id": account_id, "transaction_id": transaction_id}
            return (await connection.execute(_ENTRIES, values)).mappings().all()

        rows = await self._database.run_statement(work)
        return tuple(DocumentEntry(entry=_entry(row), detail=_detail(row)) for row in rows)


def _entry(row: RowMapping) -> StatementEntry:
    known: dict[str, Any] = {name: row[name] for name in StatementEntry.model_fields}
    return StatementEntry.model_validate({**known, "direction": EntryDirection(row["direction"])})


def _detail(row: RowMapping) -> EntryDetail:
    return EntryDetail(
        instructed=Money.model_validate(row["instructed"]),  # whole minor units and a text: nothing that JSON could have changed
        conversion=from_jsonb(Conversion, row["conversion"]),
        settlement=row["settlement"],
        reverses=row["reverses"],
        counterparty_name=row["counterparty_name"],
        counterparty_account=row["counterparty_account"],
        counterparty_bank=row["counterparty_bank"],
    )
