"""Which locks a credit holds, as PostgreSQL tells it, and that none of them makes anybody wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import LiteralString

import psycopg
import pytest
from psycopg import sql
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.posting import Bundle, post_batch
from ledger.postings import LinkedPosting, Posting, linked_posting
from ledger.requests import TransactionRequest
from ledger.results import TransactionStatus
from tests.integration.postgres.bank import BOOKING_DATE, PATIENCE_SECONDS, Bank, connected
from tests.integration.postgres.linked import assert_nothing_is_wrong, shares_of, together

CONNECTIONS = 16
_LOCKS: LiteralString = """
    SELECT l.locktype, l.mode, c.relname AS relation
      FROM pg_locks l JOIN pg_stat_activity s USING (pid) LEFT JOIN pg_class c ON c.oid = l.relation
     WHERE s.datname = current_database() AND s.pid <> pg_backend_pid() AND s.backend_xid IS NOT NULL AND l.granted
"""
_WEAK = {"AccessShareLock", "RowShareLock", "RowExclusiveLock"}
"""Modes of table locks that any number of readers and writers hold at the same time."""


@asynccontextmanager
async def _all_rows_locked(bank: Bank) -> AsyncIterator[None]:
    """Another connection holds every online row of the bank, as a debit does that takes for ever."""
    async with connected(bank.url, autocommit=False) as other:
        await other.execute("SELECT 1 FROM online_balance WHERE tenant = %s FOR UPDATE", (bank.tenant,))
        yield


async def _post(ledgers: Sequence[PostgresLedger], work: Sequence[Posting | LinkedPosting]) -> list[bool]:
    """Spread over ledgers, all at once; whether each was posted."""

    async def post(ledger: PostgresLedger, one: Posting | LinkedPosting) -> bool:
        if isinstance(one, Posting):
            return (await ledger.post(one)).posted
        return (await ledger.post_linked(one)).status is TransactionStatus.COMPLETED

    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.gather(*(post(ledgers[number % len(ledgers)], one) for number, one in enumerate(work)))


def _payroll(bank: Bank, amounts: dict[str, int]) -> LinkedPosting:
    """Several creditors, paid by the bank."""
    one = bank.request(creditor=next(iter(amounts)), amount=sum(amounts.values()))
    request = TransactionRequest(**{**dict(one), "creditor": None, "shares": shares_of(amounts)})
    return linked_posting(request, conversion=None, booking_date=BOOKING_DATE)


async def _rows_that_are_free(bank: Bank) -> set[str]:
    """Tables of the bank's accounts of which somebody else could lock every row right now."""
    free = set()
    for table in ("account", "online_balance"):
        query = sql.SQL("SELECT 1 FROM {} WHERE tenant = %s FOR UPDATE NOWAIT").format(sql.Identifier(table))
        with contextlib.suppress(psycopg.errors.LockNotAvailable):
            await bank.rows.execute(query, (bank.tenant,))
            free.add(table)
    return free


@pytest.fixture
async def many(postgres_url: str) -> AsyncIterator[Database]:
    database = Database.open(postgres_url, pool_size=CONNECTIONS)
    yield database
    await database.close()


async def test_batches_of_credits_linked_ones_too_commit_from_many_connections_while_another_holds_the_accounts_rows(
    bank: Bank, many: Database
) -> None:
    accounts = [await bank.open() for _ in range(3)]
    ledgers = [PostgresLedger(many) for _ in range(CONNECTIONS // 2)]
    work: list[Posting | LinkedPosting] = []
    for _ in range(100):
        work += [bank.deposit(account, 1) for account in accounts]
        work.append(_payroll(bank, {accounts[0]: 1, accounts[1]: 2, accounts[2]: 3}))
        work.append(together(bank, creditor=accounts[0], amount=10))
    async with _all_rows_locked(bank):
        assert all(await _post(ledgers, work))
        # Committed, and to be seen, while the rows are held.
        assert [(await bank.balance(account)).ledger for account in accounts] == [1_200, 300, 400]
    await assert_nothing_is_wrong(replace(bank, database=many))


async def test_the_credit_leg_of_a_transfer_does_not_wait_for_its_creditors_debits(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=100), await bank.open(funds=100)
    linked = together(bank, debtor=debtor, creditor=creditor, amount=40)
    async with bank.in_flight(bank.withdrawal(creditor, 100)):
        assert await _post([bank.ledger], [linked]) == [True]
        legs = await bank.post_transfer(bank.transfer(debtor, creditor, 60))
        assert [leg.posted for leg in legs] == [True, True]
    assert [(await bank.balance(account)).ledger for account in (debtor, creditor)] == [0, 100]


@pytest.mark.parametrize("what", ["one credit", "a payroll"])
async def test_a_credit_holds_no_row_and_of_the_rules_lock_a_share(bank: Bank, what: str) -> None:
    one, other = await bank.open(funds=100), await bank.open(funds=100)
    in_flight: AbstractAsyncContextManager[object] = bank.in_flight(bank.deposit(one, 5))
    if what == "a payroll":
        in_flight = bank.uncommitted(partial(_post_uncommitted, _payroll(bank, {one: 2, other: 3})))
    async with in_flight:
        locks = await bank.select(_LOCKS)
        assert await _rows_that_are_free(bank) == {"account", "online_balance"}
    shared = [lock["mode"] for lock in locks if lock["locktype"] == "advisory"]
    assert shared == ["ShareLock"] * (1 if what == "one credit" else 2), "the rules lock of each account, and shared"
    assert {lock["mode"] for lock in locks if lock["locktype"] == "relation"} <= _WEAK
    # What is left are every database transaction's locks on its own number.
    assert {lock["locktype"] for lock in locks} == {"advisory", "relation", "virtualxid", "transactionid"}


async def _post_uncommitted(linked: LinkedPosting, connection: AsyncConnection) -> None:
    await connection.begin()
    driver = (await connection.get_raw_connection()).driver_connection
    assert driver is not None
    await post_batch(driver, [Bundle(linked.request, linked.legs, linked=True)], look_up=True, commit=False)


async def test_a_debit_holds_its_accounts_row_so_that_a_credit_that_did_would_be_seen(bank: Bank) -> None:
    account = await bank.open(funds=100)
    async with bank.in_flight(bank.withdrawal(account, 5)):
        assert await _rows_that_are_free(bank) == {"account"}
