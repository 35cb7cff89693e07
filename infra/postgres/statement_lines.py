"""The statement group's effects: a line for each posted leg; and what its store answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

from sqlalchemy import text

from infra.postgres.json import to_jsonb
from ledger.closings import ClosedStatement, CurrentStatement, StatementList
from ledger.errors import NotFoundError
from ledger.events import CREDITED_V1, DEBITED_V1, HOLD_TYPES, BalanceUpdatedV1
from ledger.money import Money
from ledger.statements import EntryDirection, StatementEntry, StatementOrder, statement_page

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.kafka.received import ReceivedEvent
    from infra.postgres.database import Database
    from ledger.statements import StatementPage, StatementRequest

_SUMMED: Final = frozenset({"opening_balance", "credited", "debited", "closing_balance"})
_LATE: Final = text("""
    SELECT l.event_id, c.number
      FROM jsonb_to_recordset(CAST(:lines AS jsonb)) AS l (tenant text, account_id text, booked_at timestamptz, event_id text)
     CROSS JOIN LATERAL (SELECT number, until_at FROM statement.closed c
                          WHERE c.tenant = l.tenant AND c.account_id = l.account_id ORDER BY number DESC LIMIT 1) AS c
     WHERE l.booked_at < c.until_at
     LIMIT 1
""")
_COLUMNS: Final = (
    "tenant, account_id, booked_at, transaction_id, leg, event_id, currency, direction, amount, value_date, version, counterparty, "
    "reference, remittance_information"
)
_INSERT: Final = text(f"""
    INSERT INTO statement.line ({_COLUMNS})
    SELECT {_COLUMNS}
      FROM jsonb_to_recordset(CAST(:lines AS jsonb)) AS l (tenant text, account_id text, booked_at timestamptz, transaction_id uuid,
           leg text, event_id uuid, currency text, direction text, amount bigint, value_date date, version bigint, counterparty text,
           reference text, remittance_information text)
     ORDER BY tenant, account_id, booked_at
""")  # noqa: S608  constants of this module, here and below
_SUMS: Final = """
    coalesce(sum(amount) FILTER (WHERE direction = 'credit'), 0) AS credited,
    coalesce(sum(amount) FILTER (WHERE direction = 'debit'), 0) AS debited, count(*) AS lines"""
_CLOSED_COLUMNS: Final = (
    "account_id, number, currency, since, until_at AS until, opening_balance, credited, debited, closing_balance, lines, closed_at"
)
_CLOSED: Final = text(f"""
    SELECT {_CLOSED_COLUMNS} FROM statement.closed
     WHERE tenant = :tenant AND account_id = :account_id AND number < :before ORDER BY number DESC LIMIT :limit + 1
""")  # noqa: S608
_ONE: Final = text(f"""
    SELECT {_CLOSED_COLUMNS} FROM statement.closed WHERE tenant = :tenant AND account_id = :account_id AND number = :number
""")  # noqa: S608
_CURRENT: Final = text(f"""
    WITH last AS (SELECT until_at, closing_balance FROM statement.closed
                   WHERE tenant = :tenant AND account_id = :account_id ORDER BY number DESC LIMIT 1)
    SELECT a.account_id, a.currency, l.until_at AS since, coalesce(l.closing_balance, 0) AS opening_balance, s.credited, s.debited, s.lines
      FROM account a
      LEFT JOIN last l ON true
     CROSS JOIN LATERAL (SELECT {_SUMS} FROM statement.line
                          WHERE tenant = :tenant AND account_id = :account_id
                            AND booked_at >= coalesce(l.until_at, '-infinity')) AS s
     WHERE a.tenant = :tenant AND a.account_id = :account_id
""")  # noqa: S608


def _lines(order: str, behind: str) -> str:
    """A page of lines and what the lines before it add up to, in one snapshot; `behind` compares positions in the page's order."""
    return f"""
    WITH found AS MATERIALIZED (
        SELECT * FROM statement.line
         WHERE tenant = :tenant AND account_id = :account_id AND booked_at >= :since AND booked_at < :until
           AND (CAST(:after_at AS timestamptz) IS NULL OR (booked_at, transaction_id, leg)
                {behind} (CAST(:after_at AS timestamptz), CAST(:after_transaction AS uuid), CAST(:after_leg AS text) COLLATE "C"))
         ORDER BY booked_at {order}, transaction_id {order}, leg {order}
         LIMIT :limit + 1),
    page AS MATERIALIZED (SELECT * FROM found ORDER BY booked_at {order}, transaction_id {order}, leg {order} LIMIT :limit),
    first AS (SELECT booked_at, transaction_id, leg FROM page ORDER BY booked_at, transaction_id, leg LIMIT 1)
    SELECT booked_at AS posted_at, CAST(transaction_id AS text) AS transaction_id, leg, direction, amount, value_date, version,
           counterparty, reference, remittance_information, (SELECT count(*) FROM found) > :limit AS more,
           (SELECT coalesce(sum(CASE direction WHEN 'credit' THEN amount ELSE -amount END), 0) FROM statement.line b, first f
             WHERE b.tenant = :tenant AND b.account_id = :account_id AND b.booked_at >= :since
               AND (b.booked_at, b.transaction_id, b.leg) < (f.booked_at, f.transaction_id, f.leg)) AS before
      FROM page
     ORDER BY booked_at {order}, transaction_id {order}, leg {order}
    """  # noqa: S608


_PAGES: Final = {
    StatementOrder.OLDEST_FIRST: text(_lines("ASC", ">")),
    StatementOrder.NEWEST_FIRST: text(_lines("DESC", "<")),
}


class BookedInClosedPeriodError(ValueError):
    """A line belongs to a statement that is closed. It can't happen; where it does, somebody has to look at it."""


class StatementEffects:
    """Implements :class:`infra.postgres.consumption.EventHandler`."""

    schema: ClassVar[str] = "statement"
    handled_types: ClassVar[frozenset[str]] = frozenset({CREDITED_V1, DEBITED_V1})
    ignored_types: ClassVar[frozenset[str]] = HOLD_TYPES

    async def apply(self, connection: AsyncConnection, events: Sequence[ReceivedEvent]) -> None:
        """See :meth:`infra.postgres.consumption.EventHandler.apply`.

        Raises:
            ValueError: an event's data isn't of its type, or its line belongs to a closed statement.
        """
        lines = {"lines": to_jsonb([_line(event) for event in events])}
        late = (await connection.execute(_LATE, lines)).one_or_none()
        if late is not None:
            message = f"event {late.event_id} was booked in the period of statement {late.number}, which is closed"
            raise BookedInClosedPeriodError(message)
        await connection.execute(_INSERT, lines)


def _line(event: ReceivedEvent) -> dict[str, object]:
    data = BalanceUpdatedV1.model_validate_json(event.data)
    asked = data.instruction
    amount = Money.parse(data.amount.value, data.amount.currency)
    return {
        "tenant": asked.tenant,
        "account_id": data.account_id,
        "booked_at": data.booked_at,
        "transaction_id": asked.transaction_id,
        "leg": data.leg,
        "event_id": event.event_id,
        "currency": amount.currency,
        "direction": EntryDirection.CREDIT if event.type == CREDITED_V1 else EntryDirection.DEBIT,
        "amount": amount.minor_units,
        "value_date": data.value_date,
        "version": data.version,
        "counterparty": asked.creditor if data.account_id == asked.debtor else asked.debtor,
        "reference": asked.reference,
        "remittance_information": asked.remittance_information,
    }


class GroupStatements:
    """What the statement group has: served beside the ledger's own statement, with numbers and closing balances."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def statements(self, tenant: str, account_id: str, *, before: int | None, limit: int) -> StatementList:
        """An account's statements, the newest first.

        Args:
            tenant: whose account.
            account_id: which.
            before: closed ones with smaller numbers; None: from the last one on.
            limit: closed ones at most.

        Raises:
            NotFoundError: there is no such account.
            UnavailableError: the database did not answer.
        """
        whose = {"tenant": tenant, "account_id": account_id}

        async def work(connection: AsyncConnection) -> StatementList:
            current = (await connection.execute(_CURRENT, whose)).mappings().one_or_none()
            if current is None:
                raise NotFoundError(kind="account", identifier=account_id)
            found = (await connection.execute(_CLOSED, {**whose, "before": before or 2**31 - 1, "limit": limit})).mappings().all()
            return StatementList(current=_current(current), closed=tuple(map(_closed, found[:limit])), more=len(found) > limit)

        return await self._database.run(work)

    async def closed(self, tenant: str, account_id: str, number: int) -> ClosedStatement:
        """One closed statement.

        Raises:
            NotFoundError: there is none with this number.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> RowMapping | None:
            values = {"tenant": tenant, "account_id": account_id, "number": number}
            return (await connection.execute(_ONE, values)).mappings().one_or_none()

        row = await self._database.run_statement(work)
        if row is None:
            raise NotFoundError(kind="statement", identifier=f"{account_id}/{number}")
        return _closed(row)

    async def lines(self, tenant: str, statement: ClosedStatement, request: StatementRequest) -> StatementPage:
        """A page of a closed statement's lines, all of them settled.

        Args:
            tenant: whose account.
            statement: which.
            request: from its `since` to its `until`.

        Raises:
            UnavailableError: the database did not answer.
        """
        after = request.after
        values = {
            "tenant": tenant,
            "account_id": statement.account_id,
            "since": statement.since,
            "until": statement.until,
            "limit": request.limit,
            "after_at": after.posted_at if after else None,
            "after_transaction": after.transaction_id if after else None,
            "after_leg": after.leg if after else None,
        }

        async def work(connection: AsyncConnection) -> Sequence[RowMapping]:
            return (await connection.execute(_PAGES[request.order], values)).mappings().all()

        rows = await self._database.run_statement(work)
        return statement_page(
            request,
            [StatementEntry.model_validate({name: row[name] for name in StatementEntry.model_fields}) for row in rows],
            currency=statement.currency,
            opening_balance=statement.opening_balance + int(rows[0]["before"]) if rows else statement.opening_balance,
            settled_until=statement.until,
            more=bool(rows) and rows[0]["more"],
        )


def _closed(row: RowMapping) -> ClosedStatement:
    return ClosedStatement.model_validate(_integers(row))


def _current(row: RowMapping) -> CurrentStatement:
    found = _integers(row)
    return CurrentStatement.model_validate({**found, "closing_balance": found["opening_balance"] + found["credited"] - found["debited"]})


def _integers(row: RowMapping) -> dict[str, Any]:
    return {name: int(value) if name in _SUMMED else value for name, value in row.items()}
