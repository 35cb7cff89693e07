"""Statements and balances in time, read from the entries; checkpoints make them cheap. See ``docs/decisions/0009-statements.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from ledger.errors import NotFoundError
from ledger.statements import EntryDirection, PastBalance, StatementEntry, StatementOrder, statement_page

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping, TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.statements import LinePosition, StatementPage, StatementRequest

# -infinity, which no datetime is, stands for: nothing is settled.
_SETTLED_UNTIL: Final = text("SELECT nullif(settled_until(), '-infinity')")

# A checkpoint has settled lines only, and what was settled once stays so: whatever hides the open postings now, or has just begun to write
# in a database transaction that is older.
_CHECKPOINTED_UNTIL: Final = """
    (SELECT max(until) FROM balance_checkpoint WHERE tenant = :tenant AND account_id = :account_id) AS checkpointed_until"""

_LOWER: Final = "coalesce(CAST(:lower_at AS timestamptz), '-infinity')"
_UPPER: Final = "coalesce(CAST(:upper_at AS timestamptz), 'infinity')"


def _side(table: str, columns: str, order: str) -> str:
    """The first lines of one side of an account within the range. Each index gives the order of time, so a page reads a page."""
    return f"""
        SELECT posted_at, transaction_id, leg, amount, value_date, {columns}
          FROM {table}
         WHERE tenant = :tenant AND account_id = :account_id AND posted_at >= {_LOWER} AND posted_at <= {_UPPER}
           AND (posted_at, transaction_id, leg COLLATE "C") > ({_LOWER}, CAST(:lower_transaction AS uuid), :lower_leg)
           AND (posted_at, transaction_id, leg COLLATE "C") < ({_UPPER}, CAST(:upper_transaction AS uuid), :upper_leg)
         ORDER BY {order}
         LIMIT :limit + 1"""  # noqa: S608  constants of this module


def _before(table: str) -> str:
    """The sum of one side between a checkpoint and a position. Apart, so that all but the position's own instant is read in the index."""
    return f"""
       SELECT (SELECT coalesce(sum(amount), 0)
                 FROM {table}
                WHERE tenant = :tenant AND account_id = :account_id
                  AND posted_at >= coalesce(c.until, '-infinity') AND posted_at < f.posted_at)
            + (SELECT coalesce(sum(amount), 0)
                 FROM {table}
                WHERE tenant = :tenant AND account_id = :account_id AND posted_at = f.posted_at
                  AND (transaction_id, leg COLLATE "C") < (f.transaction_id, f.leg)) AS amount"""  # noqa: S608


def _checkpoint(instant: str) -> str:
    """The last checkpoint that has only entries before an instant."""
    return f"""
               SELECT until, credited, debited
                 FROM balance_checkpoint
                WHERE tenant = :tenant AND account_id = :account_id AND until <= {instant}
                ORDER BY until DESC
                LIMIT 1"""  # noqa: S608


def _page(direction: str) -> TextClause:
    """A page in one statement, so in one snapshot: opening balance and lines fit each other, whatever is committed meanwhile."""
    order = f'posted_at {direction}, transaction_id {direction}, leg COLLATE "C" {direction}'
    return text(f"""
    WITH found AS MATERIALIZED (
        ({_side("offline_entry", "NULL AS version, 'credit' AS direction", order)})
        UNION ALL
        ({_side("online_entry", "version, 'debit' AS direction", order)})),
    lines AS MATERIALIZED (SELECT * FROM found ORDER BY {order} LIMIT :limit),
    -- The earliest line. Without any, what is before the range's end is what is before its beginning.
    first AS MATERIALIZED (
        SELECT posted_at, transaction_id, leg
          FROM (SELECT posted_at, transaction_id, leg FROM lines
                 UNION ALL
                SELECT {_UPPER}, CAST(:upper_transaction AS uuid), :upper_leg) AS positions
         ORDER BY posted_at, transaction_id, leg COLLATE "C"
         LIMIT 1),
    opening AS MATERIALIZED (
        SELECT coalesce(c.credited - c.debited, 0) + credits.amount - debits.amount AS balance
          FROM first f
          LEFT JOIN LATERAL ({_checkpoint("f.posted_at")}) AS c ON true
         CROSS JOIN LATERAL ({_before("offline_entry")}) AS credits
         CROSS JOIN LATERAL ({_before("online_entry")}) AS debits)
    SELECT a.currency, opening.balance AS opening_balance, (SELECT count(*) FROM found) > :limit AS more, {_CHECKPOINTED_UNTIL},
           l.posted_at, CAST(l.transaction_id AS text) AS transaction_id, l.leg, l.direction, l.amount, l.value_date, l.version,
           CASE a.account_id WHEN t.debtor THEN t.creditor ELSE t.debtor END AS counterparty,
           t.request ->> 'reference' AS reference, t.request ->> 'remittance_information' AS remittance_information
      FROM account a
     CROSS JOIN opening
      LEFT JOIN lines l ON true
      LEFT JOIN transaction t ON t.tenant = a.tenant AND t.transaction_id = l.transaction_id
     WHERE a.tenant = :tenant AND a.account_id = :account_id
     ORDER BY l.posted_at {direction}, l.transaction_id {direction}, l.leg COLLATE "C" {direction}
""")  # noqa: S608


PAGES: Final = {StatementOrder.OLDEST_FIRST: _page("ASC"), StatementOrder.NEWEST_FIRST: _page("DESC")}

_BALANCE_AT: Final = text(f"""
    SELECT a.currency, coalesce(c.credited, 0) + credits.amount AS credited, coalesce(c.debited, 0) + debits.amount AS debited,
           {_CHECKPOINTED_UNTIL}
      FROM account a
      LEFT JOIN LATERAL ({_checkpoint(":at")}) AS c ON true
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(amount), 0) AS amount
             FROM offline_entry
            WHERE tenant = :tenant AND account_id = :account_id
              AND posted_at >= coalesce(c.until, '-infinity') AND posted_at <= :at) AS credits
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(amount), 0) AS amount
             FROM online_entry
            WHERE tenant = :tenant AND account_id = :account_id
              AND posted_at >= coalesce(c.until, '-infinity') AND posted_at <= :at) AS debits
     WHERE a.tenant = :tenant AND a.account_id = :account_id
""")  # noqa: S608

# The daily sums hold what is before the last checkpoint; the rest is summed here.
_BALANCE_ON: Final = text("""
    SELECT a.currency, clock_timestamp() AS as_of, days.credited + credits.amount AS credited, days.debited + debits.amount AS debited
      FROM account a
     CROSS JOIN LATERAL (
           SELECT coalesce(max(until), '-infinity') AS until
             FROM balance_checkpoint
            WHERE tenant = :tenant AND account_id = :account_id) AS c
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(credited), 0) AS credited, coalesce(sum(debited), 0) AS debited
             FROM value_date_balance
            WHERE tenant = :tenant AND account_id = :account_id AND value_date <= :value_date) AS days
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(amount), 0) AS amount
             FROM offline_entry
            WHERE tenant = :tenant AND account_id = :account_id AND posted_at >= c.until AND value_date <= :value_date) AS credits
     CROSS JOIN LATERAL (
           SELECT coalesce(sum(amount), 0) AS amount
             FROM online_entry
            WHERE tenant = :tenant AND account_id = :account_id AND posted_at >= c.until AND value_date <= :value_date) AS debits
     WHERE a.tenant = :tenant AND a.account_id = :account_id
""")


class PostgresStatements:
    """What an account's entries say: line by line, as of an instant, as of a value date."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(self, tenant: str, request: StatementRequest) -> StatementPage:
        """One page of lines with running balances.

        A line that is settled here has the same lines before it, and the same balance, whenever it is read again.

        Raises:
            NotFoundError: there is no such account.
            UnavailableError: the database did not answer.
        """
        values = {
            "tenant": tenant,
            "account_id": request.account_id,
            "limit": request.limit,
            **_bound("lower", request.lower, missing=("00000000-0000-0000-0000-000000000000", "")),
            **_bound("upper", request.upper, missing=("ffffffff-ffff-ffff-ffff-ffffffffffff", "")),
        }
        settled_until, rows = await self._read(request.account_id, PAGES[request.order], values)
        return statement_page(
            request,
            [_entry(row) for row in rows if row["posted_at"] is not None],
            currency=rows[0]["currency"],
            opening_balance=int(rows[0]["opening_balance"]),
            settled_until=settled_until,
            more=rows[0]["more"],
        )

    async def balance_at(self, tenant: str, account_id: str, at: dt.datetime) -> PastBalance:
        """The balance as of an instant: the sum of the entries booked then or before.

        Raises:
            NotFoundError: there is no such account.
            UnavailableError: the database did not answer.
        """
        values = {"tenant": tenant, "account_id": account_id, "at": at}
        settled_until, (row,) = await self._read(account_id, _BALANCE_AT, values)
        return _past_balance(account_id, row, as_of=at, settled=settled_until is not None and at < settled_until)

    async def balance_on(self, tenant: str, account_id: str, value_date: dt.date) -> PastBalance:
        """The balance as of a value date: the sum of the entries with this value date or an earlier one, as booked by now.

        Raises:
            NotFoundError: there is no such account.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> RowMapping | None:
            values = {"tenant": tenant, "account_id": account_id, "value_date": value_date}
            return (await connection.execute(_BALANCE_ON, values)).mappings().one_or_none()

        row = await self._database.run_statement(work)
        if row is None:
            raise NotFoundError(kind="account", identifier=account_id)
        return _past_balance(account_id, row, as_of=row["as_of"], value_date=value_date)

    async def settled_until(self) -> dt.datetime | None:
        """Entries booked before this instant are all visible, for good; None: it can't be told.

        Raises:
            UnavailableError: the database did not answer.
        """
        return await self._database.run_statement(settled_until_on)

    async def _read(self, account_id: str, query: TextClause, values: Mapping[str, Any]) -> tuple[dt.datetime | None, Sequence[RowMapping]]:
        """Until when the account's lines are settled, and the rows; at least one.

        Raises:
            NotFoundError: there is no such account.
        """

        async def work(connection: AsyncConnection) -> tuple[dt.datetime | None, Sequence[RowMapping]]:
            # In this order, the second statement with a snapshot of its own: what was found settled is then visible to it. The connection
            # is in autocommit: a database transaction around both would cost two more round trips, and give nothing.
            settled_until = await settled_until_on(connection)
            return settled_until, (await connection.execute(query, values)).mappings().all()

        settled_until, rows = await self._database.run_statement(work)
        if not rows:
            raise NotFoundError(kind="account", identifier=account_id)
        known = [instant for instant in (settled_until, rows[0]["checkpointed_until"]) if instant is not None]
        return max(known, default=None), rows


async def settled_until_on(connection: AsyncConnection) -> dt.datetime | None:
    """See :meth:`PostgresStatements.settled_until`; holds for statements that begin afterwards under READ COMMITTED."""
    instant: dt.datetime | None = (await connection.execute(_SETTLED_UNTIL)).scalar_one()
    return instant


def _bound(name: str, position: LinePosition | None, *, missing: tuple[str, str]) -> dict[str, Any]:
    instant, transaction_id, leg = position or (None, *missing)
    return {f"{name}_at": instant, f"{name}_transaction": transaction_id, f"{name}_leg": leg}


def _entry(row: RowMapping) -> StatementEntry:
    return StatementEntry(
        posted_at=row["posted_at"],
        transaction_id=row["transaction_id"],
        leg=row["leg"],
        direction=EntryDirection(row["direction"]),
        amount=row["amount"],
        value_date=row["value_date"],
        version=row["version"],
        counterparty=row["counterparty"],
        reference=row["reference"],
        remittance_information=row["remittance_information"],
    )


def _past_balance(account_id: str, row: RowMapping, **known: Any) -> PastBalance:  # noqa: ANN401  fields of the model
    return PastBalance(account_id=account_id, currency=row["currency"], credited=int(row["credited"]), debited=int(row["debited"]), **known)
