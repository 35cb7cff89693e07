"""A bank of a test's own: one tenant, its accounts, and the ways to post on them and to look behind the adapters."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString, TypeVar

import psycopg
from psycopg import sql
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger, post_on
from infra.postgres.outbox import PostgresOutbox
from infra.postgres.transactions import PostgresTransactions
from ledger.accounts import Account, AccountKind, AccountRules, AccountStatus, Balance
from ledger.decisions import Decision
from ledger.holds import HoldRequest, HoldStatus
from ledger.money import MAX_MINOR_UNITS, Money
from ledger.postings import Posting, compensation_posting, credit_posting, first_posting
from ledger.rates import Conversion
from ledger.requests import AccountRef, TransactionRequest
from ledger.rules import StatusChange

SUBMITTED_AT = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)
BOOKING_DATE = SUBMITTED_AT.date()
PATIENCE_SECONDS = 60
"""Far more than anything here takes; it turns a deadlock into a failure."""

FAULTY_TIMEOUT_SECONDS = 1.5
"""Of a database operation behind a proxy that breaks it."""

Answer = TypeVar("Answer")


def new_id() -> str:
    return str(uuid.uuid4())


def where_it_is_midday() -> str:
    """A time zone in which no day ends while a test runs."""
    east = 12 - dt.datetime.now(dt.UTC).hour
    return f"Etc/GMT{-east:+d}"  # by POSIX, the sign says how far UTC is ahead


@dataclass
class Bank:
    """Amounts are minor units; every account is kept in EUR unless it was opened in another currency."""

    url: str = field(repr=False)  # it holds a password
    database: Database
    rows: psycopg.AsyncConnection[dict[str, Any]]
    """A connection of its own, in autocommit, for what no adapter shows."""
    tenant: str = field(default_factory=lambda: f"bank-{uuid.uuid4().hex[:8]}")
    currencies: dict[str, str] = field(default_factory=dict)

    @property
    def ledger(self) -> PostgresLedger:
        return PostgresLedger(self.database)

    @property
    def accounts(self) -> PostgresAccounts:
        return PostgresAccounts(self.database)

    @property
    def outbox(self) -> PostgresOutbox:
        return PostgresOutbox(self.database)

    @property
    def transactions(self) -> PostgresTransactions:
        return PostgresTransactions(self.database)

    @property
    def holds(self) -> PostgresHolds:
        return PostgresHolds(self.database)

    async def open(self, account_id: str | None = None, *, funds: int = 0, currency: str = "EUR", **rules: Any) -> str:
        """Open an account by these rules, with a deposit of `funds` on it."""
        account_id = account_id or f"acc-{uuid.uuid4().hex[:10]}"
        await self.accounts.open_account(
            tenant=self.tenant, account_id=account_id, currency=currency, kind=AccountKind.CURRENT, rules=AccountRules(**rules)
        )
        self.currencies[account_id] = currency
        if funds:
            assert (await self.post(self.deposit(account_id, funds))).posted
        return account_id

    async def change(self, account_id: str, **rules: Any) -> Account:
        """Give an account other rules."""
        return await self.accounts.change_rules(self.tenant, account_id, rules, by="teller")

    async def set_status(self, account_id: str, status: AccountStatus) -> Account:
        """Bring an account that is active, or is to be so again, to a status."""
        changes = {
            AccountStatus.ACTIVE: (StatusChange.UNFREEZE, StatusChange.REACTIVATE),
            AccountStatus.FROZEN: (StatusChange.FREEZE,),
            AccountStatus.DEBIT_FROZEN: (StatusChange.FREEZE_DEBITS,),
            AccountStatus.CREDIT_FROZEN: (StatusChange.FREEZE_CREDITS,),
            AccountStatus.DORMANT: (StatusChange.DORMANT,),
        }
        for change in changes[status]:
            account = await self.accounts.change_status(self.tenant, account_id, change, by="teller")
        return account

    async def close(self, account_id: str) -> Account:
        return await self.accounts.close(self.tenant, account_id, by="teller")

    def hold_request(self, account_id: str, amount: int, **fields: Any) -> HoldRequest:
        values: dict[str, Any] = {
            "tenant": self.tenant,
            "hold_id": new_id(),
            "account_id": account_id,
            "amount": Money(minor_units=amount, currency=self.currencies.get(account_id, "EUR")),
            "expires_at": dt.datetime.now(dt.UTC) + dt.timedelta(days=7),
            "authorised_by": "teller",
        }
        return HoldRequest(**{**values, **fields})

    async def hold(self, account_id: str, amount: int, **fields: Any) -> str:
        """Set money aside for a week."""
        hold, _ = await self.holds.authorise(self.hold_request(account_id, amount, **fields))
        assert hold.status is HoldStatus.OPEN, hold.refusal
        return hold.hold_id

    async def let_expire(self, *hold_ids: str) -> None:
        """As if the holds' time had come."""
        await self.rows.execute("UPDATE hold SET expires_at = now() - interval '1 second' WHERE hold_id = ANY (%s)", (list(hold_ids),))

    def capture(self, hold_id: str, account_id: str, amount: int, *, final: bool = False, **fields: Any) -> Posting:
        """A withdrawal, or with `creditor` a transfer, that takes from a hold."""
        return self.first(self.request(debtor=account_id, amount=amount, hold_id=hold_id, releases_hold=final, **fields))

    def request(
        self, *, debtor: str | None = None, creditor: str | None = None, amount: int, transaction_id: str | None = None, **fields: Any
    ) -> TransactionRequest:
        """A request in the currency of its debtor, or of its creditor when it has none."""
        debtor_ref, creditor_ref = self._ref(debtor), self._ref(creditor)
        first = debtor_ref or creditor_ref
        assert first is not None
        values: dict[str, Any] = {
            "tenant": self.tenant,
            "transaction_id": transaction_id or new_id(),
            "debtor": debtor_ref,
            "creditor": creditor_ref,
            "amount": Money(minor_units=amount, currency=first.currency),
            "submitted_by": "teller",
            "submitted_at": SUBMITTED_AT,
        }
        return TransactionRequest(**{**values, **fields})

    def deposit(self, creditor: str, amount: int, *, transaction_id: str | None = None, **fields: Any) -> Posting:
        return self.first(self.request(creditor=creditor, amount=amount, transaction_id=transaction_id, **fields))

    def withdrawal(self, debtor: str, amount: int, *, transaction_id: str | None = None, **fields: Any) -> Posting:
        return self.first(self.request(debtor=debtor, amount=amount, transaction_id=transaction_id, **fields))

    def transfer(self, debtor: str, creditor: str, amount: int, *, conversion: Conversion | None = None, **fields: Any) -> Posting:
        return self.first(self.request(debtor=debtor, creditor=creditor, amount=amount, **fields), conversion=conversion)

    def first(self, request: TransactionRequest, *, conversion: Conversion | None = None) -> Posting:
        return first_posting(request, conversion=conversion, booking_date=BOOKING_DATE)

    async def post(self, posting: Posting) -> Decision:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.ledger.post(posting)

    async def post_transfer(self, debit: Posting, *, conversion: Conversion | None = None) -> list[Decision]:
        """All legs of a transfer, as the workflow posts them: the debit, the credit, and the compensation of a refused credit."""
        decisions = [await self.post(debit)]
        if decisions[0].posted:
            decisions.append(await self.post(credit_posting(debit, decisions[0], conversion=conversion)))
            if not decisions[1].posted:
                decisions.append(await self.post(compensation_posting(debit, decisions[0], decisions[1])))
        return decisions

    async def balance(self, account_id: str) -> Balance:
        balance = await self.accounts.balance(self.tenant, account_id)
        assert balance is not None
        return balance

    async def select(self, query: LiteralString, **parameters: Any) -> list[dict[str, Any]]:
        """Rows as they are committed now; `%(tenant)s` is this bank's."""
        found = await self.rows.execute(query, {"tenant": self.tenant, **parameters})
        return await found.fetchall()

    async def value(self, query: LiteralString, **parameters: Any) -> Any:
        """The one column of the one row."""
        (row,) = await self.select(query, **parameters)
        (value,) = row.values()
        return value

    async def count(self, table: str, transaction_id: str) -> int:
        query = sql.SQL("SELECT count(*) AS rows FROM {} WHERE tenant = %(tenant)s AND transaction_id = %(id)s").format(
            sql.Identifier(table)
        )
        (row,) = await (await self.rows.execute(query, {"tenant": self.tenant, "id": transaction_id})).fetchall()
        return int(row["rows"])

    async def nothing_is_written_of(self, transaction_id: str) -> bool:
        tables = ("transaction", "decision", "offline_entry", "online_entry", "gl_entry", "event_outbox")
        return [await self.count(table, transaction_id) for table in tables] == [0] * len(tables)

    @asynccontextmanager
    async def in_flight(self, posting: Posting, *, commit: bool = True) -> AsyncIterator[Decision]:
        """A leg that another connection has written and not committed; it commits, or rolls back, at the end of the block."""
        async with self.uncommitted(lambda connection: post_on(connection, [posting]), commit=commit) as (decision,):
            assert isinstance(decision, Decision)
            yield decision

    @asynccontextmanager
    async def uncommitted(self, work: Callable[[AsyncConnection], Awaitable[Answer]], *, commit: bool = True) -> AsyncIterator[Answer]:
        """`work`, done on another connection and not committed; it commits, or rolls back, at the end of the block."""
        written: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        release = asyncio.Event()

        async def hold(connection: AsyncConnection) -> None:
            written.set_result(await work(connection))
            await release.wait()
            if not commit:
                await connection.rollback()

        holder = asyncio.create_task(self.database.run(hold))
        either: set[asyncio.Future[Any]] = {holder, written}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED, timeout=PATIENCE_SECONDS)
        try:
            yield written.result()
        finally:
            release.set()
            await holder

    async def until_blocked(self, connections: int = 1) -> None:
        """Return once that many connections to this database wait for a lock that another one holds."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await self.value(_BLOCKED) < connections:  # noqa: ASYNC110  a lock's queue tells nobody that it grew
                await asyncio.sleep(0.02)

    def _ref(self, account_id: str | None) -> AccountRef | None:
        return None if account_id is None else AccountRef(account_id=account_id, currency=self.currencies.get(account_id, "EUR"))


_BLOCKED: LiteralString = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0
"""


@asynccontextmanager
async def connected(url: str, *, autocommit: bool) -> AsyncIterator[psycopg.AsyncConnection[dict[str, Any]]]:
    """A plain connection, apart from the pool."""
    connection = await psycopg.AsyncConnection.connect(url, autocommit=autocommit, row_factory=dict_row)
    async with connection:
        yield connection


def above_the_limit(posting: Posting) -> Posting:
    """A leg that the database's own constraints refuse, as no request can bring one."""
    amount = Money(minor_units=MAX_MINOR_UNITS + 1, currency=posting.amount.currency)
    return posting.model_copy(update={"request": posting.request.model_copy(update={"amount": amount}), "amount": amount})


def leg_sums(entries: list[dict[str, Any]]) -> Mapping[tuple[Any, ...], int]:
    """Entries of both sides, summed per transaction, leg and currency."""
    sums: dict[tuple[Any, ...], int] = {}
    for entry in entries:
        key = (entry["transaction_id"], entry["leg"], entry["currency"])
        sums[key] = sums.get(key, 0) + int(entry["amount"])
    return sums


ALL_ENTRIES: LiteralString = """
    SELECT account_id, transaction_id, leg, currency, amount FROM offline_entry WHERE tenant = %(tenant)s
     UNION ALL
    SELECT account_id, transaction_id, leg, currency, -amount FROM online_entry WHERE tenant = %(tenant)s
     UNION ALL
    SELECT account_id, transaction_id, leg, currency, amount FROM gl_entry WHERE tenant = %(tenant)s
"""
"""Every entry of the bank, a credit positive and a debit negative."""
