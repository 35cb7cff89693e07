"""Checkpoints: derived sums that make balances in time cheap, made from settled entries apart from posting. See decision record 0009."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from infra.postgres.statements import settled_until_on

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

CHECKPOINT_LINES: Final = 1_000
"""Lines from one checkpoint to the next. A page, or a balance as of an instant, sums fewer than that many entries."""
DEFAULT_MARGIN: Final = dt.timedelta(seconds=10)
"""Lines younger than this wait. A clock that is set back by less than this, at a failover for instance, can't book behind a checkpoint."""
ACCOUNTS_PER_LOOK: Final = 500

# Those of the next accounts that have lines enough for a checkpoint; counts at most as many lines as one has.
_LOOK: Final = text("""
    SELECT a.tenant, a.account_id, credits.lines + debits.lines >= :lines AS due
      FROM (SELECT tenant, account_id
              FROM account
             WHERE (tenant, account_id) > (:tenant, :account_id)
             ORDER BY tenant, account_id
             LIMIT :accounts) AS a
     CROSS JOIN LATERAL (
           SELECT coalesce(max(c.until), '-infinity') AS until
             FROM balance_checkpoint c
            WHERE c.tenant = a.tenant AND c.account_id = a.account_id) AS last
     CROSS JOIN LATERAL (
           SELECT count(*) AS lines
             FROM (SELECT FROM offline_entry e
                    WHERE e.tenant = a.tenant AND e.account_id = a.account_id AND e.posted_at >= last.until AND e.posted_at < :horizon
                    LIMIT :lines) AS e) AS credits
     CROSS JOIN LATERAL (
           SELECT count(*) AS lines
             FROM (SELECT FROM online_entry e
                    WHERE e.tenant = a.tenant AND e.account_id = a.account_id AND e.posted_at >= last.until AND e.posted_at < :horizon
                    LIMIT :lines) AS e) AS debits
     ORDER BY a.tenant, a.account_id
""")

# One checkpoint: the entries of the next lines, added to the last one's sums and to the daily sums, in one statement. Of two processes
# that add to the same checkpoint, the second waits for the first's commit at the constraint, and then adds nothing anywhere.
# WITH TIES: an instant is never torn apart, so `until` parts the entries cleanly.
_ADD: Final = text("""
    WITH last AS MATERIALIZED (
        SELECT coalesce(c.until, '-infinity') AS until, coalesce(c.lines, 0) AS lines, coalesce(c.credited, 0) AS credited,
               coalesce(c.debited, 0) AS debited
          FROM (SELECT) AS always
          LEFT JOIN (SELECT until, lines, credited, debited
                       FROM balance_checkpoint
                      WHERE tenant = :tenant AND account_id = :account_id
                      ORDER BY until DESC
                      LIMIT 1) AS c ON true),
    entries AS MATERIALIZED (
        (SELECT posted_at, value_date, amount AS credit, 0 AS debit
           FROM offline_entry
          WHERE tenant = :tenant AND account_id = :account_id
            AND posted_at >= (SELECT until FROM last) AND posted_at < :horizon
          ORDER BY posted_at
          FETCH FIRST :lines ROWS WITH TIES)
        UNION ALL
        (SELECT posted_at, value_date, 0, amount
           FROM online_entry
          WHERE tenant = :tenant AND account_id = :account_id
            AND posted_at >= (SELECT until FROM last) AND posted_at < :horizon
          ORDER BY posted_at
          FETCH FIRST :lines ROWS WITH TIES)
        ORDER BY posted_at
        FETCH FIRST :lines ROWS WITH TIES),
    added AS (
        INSERT INTO balance_checkpoint (tenant, account_id, since, until, lines, credited, debited)
        SELECT :tenant, :account_id, l.until, e.latest + interval '1 microsecond', l.lines + e.lines, l.credited + e.credit,
               l.debited + e.debit
          FROM last l
         CROSS JOIN (SELECT max(posted_at) AS latest, count(*) AS lines, sum(credit) AS credit, sum(debit) AS debit FROM entries) AS e
         WHERE e.lines >= :lines
            ON CONFLICT DO NOTHING
        RETURNING until),
    days AS (
        INSERT INTO value_date_balance AS v (tenant, account_id, value_date, credited, debited)
        SELECT :tenant, :account_id, value_date, sum(credit), sum(debit)
          FROM entries
         WHERE EXISTS (SELECT FROM added)
         GROUP BY value_date
            ON CONFLICT (tenant, account_id, value_date)
            DO UPDATE SET credited = v.credited + excluded.credited, debited = v.debited + excluded.debited)
    SELECT (SELECT count(*) FROM added) AS checkpoints, (SELECT count(*) FROM entries) AS lines
""")


@dataclass(frozen=True)
class Advanced:
    """What a maintenance run did."""

    accounts: int = 0
    """Looked at."""
    checkpoints: int = 0
    lines: int = 0
    """Entries that are in the new checkpoints."""


class PostgresCheckpoints:
    """Derived data: ``TRUNCATE balance_checkpoint, value_date_balance`` loses nothing, and the next run makes it again."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def advance(
        self,
        *,
        margin: dt.timedelta = DEFAULT_MARGIN,
        lines: int = CHECKPOINT_LINES,
        on_progress: Callable[[Advanced], None] | None = None,
    ) -> Advanced:
        """Bring the checkpoints of all accounts up to what is settled.

        Safe to cut off, to repeat, and when several processes do it at once. Each database transaction adds one checkpoint, or looks at
        :data:`ACCOUNTS_PER_LOOK` accounts.

        Args:
            margin: how old a settled line must be.
            lines: from one checkpoint to the next.
            on_progress: called after each account that got checkpoints, and after each look, with what was done so far.

        Raises:
            UnavailableError: the database did not answer; what was added stays.
        """
        settled_until = await self._database.run_statement(settled_until_on)
        done = Advanced()
        if settled_until is None:
            return done
        horizon, tenant, account_id = settled_until - margin, "", ""
        while looked := await self._look(tenant, account_id, horizon, lines):
            for tenant, account_id, due in looked:
                done = Advanced(done.accounts + 1, done.checkpoints, done.lines)
                while due:
                    checkpoints, added = await self._add(tenant, account_id, horizon, lines)
                    if not checkpoints:
                        break
                    done = Advanced(done.accounts, done.checkpoints + 1, done.lines + added)
                if due and on_progress is not None:
                    on_progress(done)
            if on_progress is not None:
                on_progress(done)
        return done

    async def _look(self, tenant: str, account_id: str, horizon: dt.datetime, lines: int) -> Sequence[tuple[str, str, bool]]:
        values = {"tenant": tenant, "account_id": account_id, "horizon": horizon, "lines": lines, "accounts": ACCOUNTS_PER_LOOK}

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str, bool]]:
            return [(row.tenant, row.account_id, row.due) for row in await connection.execute(_LOOK, values)]

        return await self._database.run_statement(work)

    async def _add(self, tenant: str, account_id: str, horizon: dt.datetime, lines: int) -> tuple[int, int]:
        values = {"tenant": tenant, "account_id": account_id, "horizon": horizon, "lines": lines}

        async def work(connection: AsyncConnection) -> tuple[int, int]:
            row = (await connection.execute(_ADD, values)).one()
            return row.checkpoints, row.lines

        return await self._database.run_statement(work)
