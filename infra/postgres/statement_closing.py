"""Closes statements: all accounts with lines in periods that have ended, a number of accounts at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from infra.postgres.statements import settled_until_on
from ledger.events import TOPIC_BALANCE_UPDATED

if TYPE_CHECKING:
    import datetime as dt

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.closings import StatementPeriod

ACCOUNTS_AT_ONCE: Final = 500

_FINISHED: Final = text("SELECT EXISTS (SELECT FROM statement.closing_run WHERE until_at >= :until)")
_FINISH: Final = text("INSERT INTO statement.closing_run (until_at, accounts) VALUES (:until, :accounts) ON CONFLICT DO NOTHING")
# One member at a time; the others have nothing to wait for.
_ALONE: Final = text("SELECT pg_try_advisory_xact_lock(hashtextextended('statement/closing', 0))")
# The next accounts in the order of the key, each found by one look into the index, however many lines it has.
_ACCOUNTS: Final = text("""
    WITH RECURSIVE accounts AS (
        (SELECT tenant, account_id FROM statement.line
          WHERE (tenant, account_id) > (:tenant, :account_id) ORDER BY tenant, account_id LIMIT 1)
        UNION ALL
        SELECT n.tenant, n.account_id
          FROM accounts a
         CROSS JOIN LATERAL (SELECT tenant, account_id FROM statement.line l
                              WHERE (l.tenant, l.account_id) > (a.tenant, a.account_id) ORDER BY tenant, account_id LIMIT 1) AS n)
    SELECT tenant, account_id FROM accounts LIMIT :at_most
""")
# An account with an event that the group holds stays open until that is replayed or skipped.
_CLOSE: Final = text("""
    INSERT INTO statement.closed (tenant, account_id, number, currency, since, until_at, opening_balance, credited, debited,
                                  closing_balance, lines)
    SELECT tenant, account_id, first_number + CAST(row_number() OVER by_period AS integer), currency,
           coalesce(lag(until_at) OVER by_period, last_until, since), until_at,
           first_balance + sum(credited - debited) OVER by_period - credited + debited, credited, debited,
           first_balance + sum(credited - debited) OVER by_period, lines
      FROM (SELECT a.tenant, a.account_id, l.currency, coalesce(c.number, 0) AS first_number, c.until_at AS last_until,
                   coalesce(c.closing_balance, 0) AS first_balance,
                   CAST(p.began AS timestamp) AT TIME ZONE :time_zone AS since,
                   CAST(p.began + CAST(:length AS interval) AS timestamp) AT TIME ZONE :time_zone AS until_at,
                   coalesce(sum(l.amount) FILTER (WHERE l.direction = 'credit'), 0) AS credited,
                   coalesce(sum(l.amount) FILTER (WHERE l.direction = 'debit'), 0) AS debited, count(*) AS lines
              FROM unnest(CAST(:tenants AS text[]), CAST(:account_ids AS text[])) AS a (tenant, account_id)
              LEFT JOIN LATERAL (SELECT number, until_at, closing_balance FROM statement.closed c
                                  WHERE c.tenant = a.tenant AND c.account_id = a.account_id ORDER BY number DESC LIMIT 1) AS c ON true
              JOIN statement.line l
                ON l.tenant = a.tenant AND l.account_id = a.account_id AND l.booked_at < :until
               AND l.booked_at >= coalesce(c.until_at, '-infinity')
             CROSS JOIN LATERAL (SELECT date_trunc(:period, l.booked_at AT TIME ZONE :time_zone) AS began) AS p
             WHERE NOT EXISTS (SELECT FROM statement.held_event h
                                WHERE h.status IN ('failed', 'waiting') AND h.key = a.tenant || '/' || a.account_id)
             GROUP BY a.tenant, a.account_id, l.currency, c.number, c.until_at, c.closing_balance, p.began) AS periods
    WINDOW by_period AS (PARTITION BY tenant, account_id ORDER BY until_at)
     ORDER BY tenant, account_id
""")
_HELD: Final = text("SELECT EXISTS (SELECT FROM statement.held_event WHERE status IN ('failed', 'waiting'))")
_UNPUBLISHED: Final = text("""
    SELECT EXISTS (SELECT FROM event_outbox WHERE published_at IS NULL AND topic = :topic AND time < :until)
""")


class Closed(NamedTuple):
    """What one step has done."""

    statements: int
    last: tuple[str, str] | None
    """Tenant and id of the last account that was looked at; None: there are no more."""


class StatementClosing:
    """The statement group's own part of closing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def is_finished(self, until: dt.datetime) -> bool:
        """Whether all periods that end by then are closed for every account.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> bool:
            finished: bool = (await connection.execute(_FINISHED, {"until": until})).scalar_one()
            return finished

        return await self._database.run_statement(work)

    async def close(self, after: tuple[str, str], *, until: dt.datetime, period: StatementPeriod, time_zone: str) -> Closed | None:
        """Close the next accounts.

        Args:
            after: tenant and id of the last account of the step before; ("", "") for the first step.
            until: the beginning of the period that has not ended. All lines before it must have arrived.
            period: how long one is.
            time_zone: the bank's, an IANA name.

        Returns:
            None while another member is at it.

        Raises:
            UnavailableError: the outcome is unknown; the step may be done again.
        """

        async def work(connection: AsyncConnection) -> Closed | None:
            if not (await connection.execute(_ALONE)).scalar_one():
                return None
            place = {"tenant": after[0], "account_id": after[1], "at_most": ACCOUNTS_AT_ONCE}
            accounts = [(row.tenant, row.account_id) for row in await connection.execute(_ACCOUNTS, place)]
            values = {
                "tenants": [tenant for tenant, _ in accounts],
                "account_ids": [account_id for _, account_id in accounts],
                "until": until,
                "period": period.value,
                "length": f"1 {period.value}",
                "time_zone": time_zone,
            }
            closed = (await connection.execute(_CLOSE, values)).rowcount if accounts else 0
            return Closed(closed, accounts[-1] if len(accounts) == ACCOUNTS_AT_ONCE else None)

        return await self._database.run(work)

    async def finish(self, until: dt.datetime, accounts: int) -> bool:
        """Remember that all is closed; unless the group holds events, whose accounts were left open."""

        async def work(connection: AsyncConnection) -> bool:
            if (await connection.execute(_HELD)).scalar_one():
                return False
            await connection.execute(_FINISH, {"until": until, "accounts": accounts})
            return True

        return await self._database.run(work)


class LedgerHorizon:
    """What the ledger knows of completeness: until when everything is booked, and whether all of it is published."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def all_published_before(self, until: dt.datetime) -> bool:
        """Whether nothing can be booked before an instant any more, and the events of all that was are published.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> bool:
            # In this order: what is settled is visible to the statement after it.
            settled = await settled_until_on(connection)
            if settled is None or settled < until:
                return False
            return not (await connection.execute(_UNPUBLISHED, {"topic": TOPIC_BALANCE_UPDATED, "until": until})).scalar_one()

        return await self._database.run_statement(work)
