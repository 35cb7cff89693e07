"""What must be true of the tables at every instant, one query for each rule; `casaflow check` runs them all in one snapshot.

A query gives one line of text for each violation, with the exact ids, and nothing when the rule holds.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict
from sqlalchemy import text

from infra.postgres.event_rules import OUTBOX_RULES
from infra.postgres.group_rules import GROUP_RULES, counts_of
from infra.postgres.ledger_rules import CUSTOMER_ENTRIES, LEDGER_RULES
from infra.postgres.proof_rules import SHOWN_VIOLATIONS

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from infra.postgres.proof_rules import Rule

# Nothing is written, and all rules see the same instant.
_ONE_SNAPSHOT: Final = text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")

_LEDGER_COUNTS = text(f"""
    SELECT (SELECT count(*) FROM account) AS accounts,
           (SELECT count(*) FROM ({CUSTOMER_ENTRIES}) AS e) + (SELECT count(*) FROM gl_entry) AS entries,
           (SELECT count(DISTINCT (tenant, currency)) FROM gl_entry) AS currencies,
           (SELECT count(*) FROM decision WHERE outcome = 'posted') AS posted,
           (SELECT count(*) FROM decision WHERE outcome = 'refused') AS refused,
           (SELECT count(*) FROM online_entry) AS debits,
           (SELECT count(DISTINCT (tenant, account_id)) FROM online_entry) AS debited_accounts
""")  # noqa: S608
_STATUSES = text("SELECT status, count(*) AS transactions FROM transaction GROUP BY status")
# By status, since there is an index of those.
_UNFINISHED = text("""
    SELECT tenant, CAST(transaction_id AS text) AS transaction_id
      FROM transaction
     WHERE status IN ('processing', 'parked') AND (tenant, transaction_id) > (:tenant, CAST(:transaction_id AS uuid))
     ORDER BY tenant, transaction.transaction_id
     LIMIT :at_most
""")
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_RECORDED = text("""
    SELECT t.tenant, CAST(t.transaction_id AS text) AS transaction_id, t.finished_at IS NOT NULL AS ended
      FROM transaction t JOIN unnest(CAST(:tenants AS text[]), CAST(:transaction_ids AS uuid[])) AS w (tenant, transaction_id)
     USING (tenant, transaction_id)
""")
_EVENT_COUNTS = text("""
    SELECT (SELECT count(*) FROM event_outbox WHERE created_at <= :until) AS events,
           (SELECT count(*) FROM event_outbox WHERE created_at <= :until AND published_at IS NOT NULL) AS published,
           (SELECT count(*) FROM audit.record WHERE problem IS NOT NULL) AS no_events,
           (SELECT count(*) FROM audit.chain) AS chains
""")
_NOW = text("SELECT clock_timestamp()")


@dataclass
class Violations:
    """What broke the rules of one truth."""

    shown: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, violation: str) -> None:
        """Count one more, and keep it if there is room."""
        self.total += 1
        if len(self.shown) < SHOWN_VIOLATIONS:
            self.shown.append(violation)


@dataclass(frozen=True)
class LedgerEvidence:
    """The ledger at one instant."""

    violations: Mapping[int, Violations]
    """By truth: 1, 2, 3 and 6."""
    counts: Mapping[str, int]
    statuses: Mapping[str, int]
    """Transactions by status."""
    unfinished: int
    """Transactions that have not ended; a workflow must be carrying each of them."""


class GroupCounts(BaseModel):
    """What a group has done with them."""

    model_config = ConfigDict(frozen=True)

    applied: int
    repeats: int
    """Events that it was given again, ever, and that had no second effect."""
    held: int
    """Records that it could not handle, or that wait behind one, now."""
    skipped: int
    """Events that an operator had it pass over, ever."""


@dataclass(frozen=True)
class EventEvidence:
    """Events that were stored until some moment, and what the groups made of them."""

    violations: Violations
    counts: Mapping[str, int]
    groups: Mapping[str, GroupCounts]


class PostgresProof:
    """Runs the rules. Reads only, and each method at one instant."""

    def __init__(self, database: Database) -> None:
        """Take a database whose operations may take as long as reading all tables does."""
        self._database = database

    async def now(self) -> dt.datetime:
        """The database's clock.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dt.datetime:
            instant: dt.datetime = (await connection.execute(_NOW)).scalar_one()
            return instant

        return await self._database.run(work)

    async def ledger(self) -> LedgerEvidence:
        """Everything about truths 1, 2, 3 and 6 that the tables know.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> LedgerEvidence:
            await connection.execute(_ONE_SNAPSHOT)
            violations = {truth: Violations() for truth in (1, 2, 3, 6)}
            for rule in LEDGER_RULES:
                await _apply(connection, rule, violations[rule.truth], {})
            counts = (await connection.execute(_LEDGER_COUNTS)).mappings().one()
            statuses = await connection.execute(_STATUSES)
            by_status = {row.status: row.transactions for row in statuses}
            return LedgerEvidence(
                violations=violations,
                counts=dict(counts),
                statuses=by_status,
                unfinished=by_status.get("processing", 0) + by_status.get("parked", 0),
            )

        return await self._database.run(work)

    async def events(self, until: dt.datetime, groups: Sequence[str]) -> EventEvidence:
        """Everything about truth 5 that the tables know of events stored until a moment.

        Args:
            until: the moment.
            groups: whose stores are to be looked at.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> EventEvidence:
            await connection.execute(_ONE_SNAPSHOT)
            violations = Violations()
            for rule in (*OUTBOX_RULES, *(rule for group in groups for rule in GROUP_RULES[group])):
                await _apply(connection, rule, violations, {"until": until})
            counts = (await connection.execute(_EVENT_COUNTS, {"until": until})).mappings().one()
            found = (await connection.execute(counts_of(groups), {"until": until})).all() if groups else []
            by_group = {
                row.consumer_group: GroupCounts(applied=row.applied, repeats=int(row.repeats), held=row.held, skipped=row.skipped)
                for row in found
            }
            return EventEvidence(violations=violations, counts=dict(counts), groups=by_group)

        return await self._database.run(work)

    async def unfinished(self, *, at_once: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """Tenant and id of the transactions that have not ended, at most `at_once` in memory; each page as of its reading.

        Raises:
            UnavailableError: the database did not answer.
        """
        last = ("", _FIRST_ID)

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
            values = {"tenant": last[0], "transaction_id": last[1], "at_most": at_once}
            return [(row.tenant, row.transaction_id) for row in await connection.execute(_UNFINISHED, values)]

        while page := await self._database.run(work):
            yield page
            last = page[-1]

    async def recorded(self, transactions: Collection[tuple[str, str]]) -> dict[tuple[str, str], bool]:
        """Those of the transactions (tenant and id) that are recorded by now, and whether they have ended.

        Raises:
            UnavailableError: the database did not answer.
        """
        asked = sorted(transactions)
        values = {"tenants": [tenant for tenant, _ in asked], "transaction_ids": [identifier for _, identifier in asked]}

        async def work(connection: AsyncConnection) -> dict[tuple[str, str], bool]:
            found = await connection.execute(_RECORDED, values)
            return {(row.tenant, row.transaction_id): row.ended for row in found}

        return await self._database.run(work)


async def _apply(connection: AsyncConnection, rule: Rule, violations: Violations, values: Mapping[str, object]) -> None:
    rows = (await connection.execute(rule.query, values if ":until" in rule.query.text else {})).all()
    for row in rows:
        violations.add(row.violation)
    violations.total += rows[0].total - len(rows) if rows else 0
