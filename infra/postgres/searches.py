"""Searches: pages of transactions, holds and accounts, each along an index and over a bounded number of its rows.

See ``docs/decisions/0034-search-streams-and-limits.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.holds import hold_from_row
from infra.postgres.transactions import find_transactions
from ledger.accounts import Account, AccountStatus
from ledger.holds import Hold, HoldStatus
from ledger.results import TransactionRecord, TransactionStatus
from ledger.searches import SCANNED_AT_MOST, AccountSearch, HoldSearch, Page, SearchOrder, TransactionSearch

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

TIMEOUT_SECONDS: Final = 5
"""What the server gives one search."""
_SET_TIMEOUT: Final = text(f"SET LOCAL statement_timeout = '{TIMEOUT_SECONDS}s'")
_RECORDED: Final = {TransactionStatus.PARKED: TransactionStatus.PROCESSING}
"""The ledger keeps no record of what is parked: the workflow shows it."""
_DIRECTIONS: Final = {SearchOrder.NEWEST_FIRST: ("<", "DESC"), SearchOrder.OLDEST_FIRST: (">", "ASC")}


@dataclass
class _Plan:
    """A search in SQL: which rows are looked at, along an index, and which of those are found."""

    source: str
    """Table or view."""
    order: str
    """What the rows are ordered by."""
    along: list[str]
    """Alternatives for the rows that are looked at, each a range of an index; no row is in two of them."""
    bounds: list[str] = field(default_factory=list)
    """What holds for the rows of all of them."""
    found: list[str] = field(default_factory=list)
    """What holds for those that are found."""
    values: dict[str, Any] = field(default_factory=dict)

    def scanned(self) -> str:
        """The rows that are looked at."""
        branches = (
            f"(SELECT * FROM {self.source} WHERE {' AND '.join([along, *self.bounds])} ORDER BY {self.order} LIMIT {SCANNED_AT_MOST})"  # noqa: S608  constants of this module
            for along in self.along
        )
        return f"(SELECT * FROM ({' UNION ALL '.join(branches)}) AS b ORDER BY {self.order} LIMIT {SCANNED_AT_MOST}) AS s"  # noqa: S608

    def page(self, columns: str) -> str:
        """The statement that finds a page, and one more."""
        return f"SELECT {columns} FROM {self.scanned()} WHERE {' AND '.join(self.found or ['true'])} ORDER BY {self.order} LIMIT :at_most"  # noqa: S608

    def last_scanned(self, columns: str) -> str:
        """The statement that tells where a page stopped looking; it finds nothing where that is the end."""
        return f"SELECT {columns} FROM {self.scanned()} ORDER BY {self.order} OFFSET {SCANNED_AT_MOST - 1} LIMIT 1"  # noqa: S608


class PostgresSearches:
    """Searches of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def transactions(self, tenant: str, search: TransactionSearch, *, cursor: str | None, limit: int) -> Page[TransactionRecord]:
        """A page of the tenant's transactions, with their legs. One of which nothing is recorded yet is not among them.

        Raises:
            InvalidInputError: the cursor is none of this search.
            UnavailableError: the database did not answer in time.
        """
        plan = transaction_plan(tenant, search, cursor=cursor)

        async def work(connection: AsyncConnection) -> Page[TransactionRecord]:
            columns = "submitted_at, CAST(transaction_id AS text) AS transaction_id"
            rows, more = await _page(connection, plan, columns, limit)
            records = await find_transactions(connection, [(tenant, row["transaction_id"]) for row in rows])
            next_cursor = search.cursor(more["submitted_at"], more["transaction_id"]) if more is not None else None
            return Page(tuple(record for record in records if record is not None), next_cursor)

        return await self._database.run(work)

    async def holds(self, tenant: str, search: HoldSearch, *, cursor: str | None, limit: int) -> Page[Hold]:
        """A page of the tenant's holds.

        Raises:
            As :meth:`transactions`.
        """
        plan = hold_plan(tenant, search, cursor=cursor)

        async def work(connection: AsyncConnection) -> Page[Hold]:
            rows, more = await _page(connection, plan, "*", limit)
            next_cursor = search.cursor(more["created_at"], str(more["hold_id"])) if more is not None else None
            return Page(tuple(hold_from_row(row) for row in rows), next_cursor)

        return await self._database.run(work)

    async def accounts(self, tenant: str, search: AccountSearch, *, cursor: str | None, limit: int) -> Page[Account]:
        """A page of the tenant's accounts, the bank's own included where they are asked for.

        Raises:
            As :meth:`transactions`.
        """
        plan = account_plan(tenant, search, cursor=cursor)

        async def work(connection: AsyncConnection) -> Page[Account]:
            rows, more = await _page(connection, plan, "*", limit)
            next_cursor = search.cursor(more["account_id"]) if more is not None else None
            return Page(tuple(Account.model_validate(row) for row in rows), next_cursor)

        return await self._database.run(work)


async def _page(
    connection: AsyncConnection, plan: _Plan, columns: str, limit: int
) -> tuple[Sequence[Mapping[str, Any]], Mapping[str, Any] | None]:
    """The rows of a page, and the one behind which the next page begins; None: there is no more now."""
    await connection.execute(_SET_TIMEOUT)
    found = await connection.execute(text(plan.page(columns)), {**plan.values, "at_most": limit + 1})
    rows = [dict(row) for row in found.mappings()]
    if len(rows) > limit:
        return rows[:limit], rows[limit - 1]
    stopped = (await connection.execute(text(plan.last_scanned(columns)), plan.values)).mappings().one_or_none()
    return rows, dict(stopped) if stopped is not None else None


def transaction_plan(tenant: str, search: TransactionSearch, *, cursor: str | None) -> _Plan:
    """How transactions are searched for: along the most selective condition that has an index.

    Raises:
        InvalidInputError: the cursor is none of this search.
    """
    plan = _in_time("transaction", search, time="submitted_at", identifier="transaction_id", along=_along_transactions(search))
    recorded = _RECORDED.get(search.status, search.status) if search.status is not None else None
    conditions = (
        ("submitted_from", search.submitted_from, plan.bounds, "submitted_at >= :submitted_from"),
        ("submitted_until", search.submitted_until, plan.bounds, "submitted_at < :submitted_until"),
        ("account_id", search.account_id, plan.found, _NAMES_ACCOUNT),
        ("reference", search.reference, plan.found, "request ->> 'reference' = :reference"),
        ("status", recorded, plan.found, "status = :status"),
        ("kind", search.kind, plan.found, "kind = :kind"),
        ("currency", search.currency, plan.found, "request -> 'amount' ->> 'currency' = :currency"),
        ("least", search.least, plan.found, "CAST(request -> 'amount' ->> 'minor_units' AS bigint) >= :least"),
        ("most", search.most, plan.found, "CAST(request -> 'amount' ->> 'minor_units' AS bigint) <= :most"),
        ("reason", search.reason, plan.found, "status <> 'completed' AND reason ->> 'code' = :reason"),
        ("submitted_by", search.submitted_by, plan.found, "submitted_by = :submitted_by"),
    )
    _add(plan, conditions)
    return _from(plan, tenant, search.position(cursor) if cursor is not None else None)


_SHARE: Final = "jsonb_build_array(jsonb_build_object('account', jsonb_build_object('account_id', CAST(:account_id AS text))))"
_HAS_SHARE: Final = f"request ? 'shares' AND request -> 'shares' @> {_SHARE}"
_NAMES_ACCOUNT: Final = f"(debtor = :account_id OR creditor = :account_id OR ({_HAS_SHARE}))"


def _along_transactions(search: TransactionSearch) -> list[str]:
    if search.reference is not None:
        return ["request ? 'reference' AND request ->> 'reference' = :reference"]
    if search.account_id is not None:
        # No account is on both sides of a transaction, or on one of them and among several as well.
        return ["debtor = :account_id", "creditor = :account_id", _HAS_SHARE]
    if search.status is not None and search.status is not TransactionStatus.COMPLETED:
        return ["status <> 'completed' AND status = :status"]
    if search.reason is not None:
        return [f"status <> 'completed' AND status = '{status}'" for status in ("rejected", "reversed")]
    return ["true"]


def hold_plan(tenant: str, search: HoldSearch, *, cursor: str | None) -> _Plan:
    """How holds are searched for.

    Raises:
        InvalidInputError: the cursor is none of this search.
    """
    if search.account_id is not None:
        along = "account_id = :account_id"
    else:
        along = "stored_status = 'open'" if search.status is HoldStatus.OPEN else "true"
    plan = _in_time("hold_now", search, time="created_at", identifier="hold_id", along=[along])
    _add(
        plan,
        (
            ("account_id", search.account_id, plan.found, "account_id = :account_id"),
            ("status", search.status, plan.found, "status = :status"),
        ),
    )
    return _from(plan, tenant, search.position(cursor) if cursor is not None else None)


def account_plan(tenant: str, search: AccountSearch, *, cursor: str | None) -> _Plan:
    """How accounts are searched for.

    Raises:
        InvalidInputError: the cursor is none of this search.
    """
    has_few = search.status is not None and search.status is not AccountStatus.ACTIVE
    along = ["status <> 'active' AND status = :status" if has_few else "true"]
    plan = _Plan("account", 'account_id COLLATE "C"', along, bounds=["tenant = :tenant"], values={"tenant": tenant})
    _add(
        plan,
        (
            ("prefix", search.prefix, plan.bounds, 'account_id COLLATE "C" >= :prefix'),
            # An id's characters are ASCII, so every id with the prefix is below it.
            ("prefix_end", None if search.prefix is None else f"{search.prefix}\x7f", plan.bounds, 'account_id COLLATE "C" < :prefix_end'),
            ("after", search.position(cursor) if cursor is not None else None, plan.bounds, 'account_id COLLATE "C" > :after'),
            ("status", search.status, plan.found, "status = :status"),
            ("currency", search.currency, plan.found, "currency = :currency"),
            ("kind", search.kind, plan.found, "kind = :kind"),
        ),
    )
    return plan


def _in_time(source: str, search: TransactionSearch | HoldSearch, *, time: str, identifier: str, along: list[str]) -> _Plan:
    compared, direction = _DIRECTIONS[search.order]
    behind = f"({time}, {identifier}) {compared} (:at, CAST(:identifier AS uuid))"
    return _Plan(source, f"{time} {direction}, {identifier} {direction}", along, bounds=["tenant = :tenant", behind])


def _add(plan: _Plan, conditions: Sequence[tuple[str, Any, list[str], str]]) -> None:
    for name, value, part, condition in conditions:
        if value is not None:
            part.append(condition)
            plan.values[name] = value


def _from(plan: _Plan, tenant: str, position: tuple[dt.datetime, str] | None) -> _Plan:
    plan.values["tenant"] = tenant
    if position is None:
        plan.bounds = [bound for bound in plan.bounds if ":identifier" not in bound]
    else:
        plan.values["at"], plan.values["identifier"] = position
    return plan
