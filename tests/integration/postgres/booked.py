"""Entries written past the posting functions, at instants of a test's choice, and an independent model of what they say."""

from __future__ import annotations

import datetime as dt
import random
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import psycopg

from infra.postgres.statements import PostgresStatements
from ledger.statements import StatementLine, StatementOrder, StatementPage, StatementRequest
from tests.integration.postgres.bank import Bank, connected

NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
MICROSECOND = dt.timedelta(microseconds=1)
NO_MARGIN = dt.timedelta(0)
OLDEST, NEWEST = StatementOrder.OLDEST_FIRST, StatementOrder.NEWEST_FIRST

_CREDIT: LiteralString = """
    INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, posted_at, value_date)
    VALUES (%(tenant)s, %(account_id)s, 'EUR', %(amount)s, %(transaction_id)s, %(leg)s, %(posted_at)s, %(value_date)s)
"""
_DEBIT: LiteralString = """
    INSERT INTO online_entry (tenant, account_id, version, currency, amount, balance_after, available_after, transaction_id, leg,
                              posted_at, value_date)
    VALUES (%(tenant)s, %(account_id)s, %(version)s, 'EUR', %(amount)s, 0, 0, %(transaction_id)s, %(leg)s, %(posted_at)s, %(value_date)s)
"""


@dataclass(frozen=True)
class Booked:
    """One entry. A positive amount is a credit, a negative one a debit."""

    amount: int
    posted_at: dt.datetime
    value_date: dt.date
    transaction_id: uuid.UUID
    leg: str
    version: int | None = None

    @property
    def order(self) -> tuple[dt.datetime, bytes, bytes]:
        """By booking time, then transaction, then leg, each byte by byte."""
        return self.posted_at, self.transaction_id.bytes, self.leg.encode()

    def row(self, tenant: str, account_id: str) -> dict[str, Any]:
        return {**vars(self), "amount": abs(self.amount), "tenant": tenant, "account_id": account_id}


def entry(amount: int, posted_at: dt.datetime, *, version: int | None = None, value_date: dt.date | None = None) -> Booked:
    return Booked(amount, posted_at, value_date or posted_at.date(), uuid.uuid4(), "credit" if amount > 0 else "debit", version)


def random_entries(chance: random.Random, count: int) -> list[Booked]:
    """Entries of which many share an instant, some a transaction too, with value dates before and after the booking."""
    entries: list[Booked] = []
    version = 0
    for _ in range(count):
        posted_at = NOON + dt.timedelta(seconds=chance.randrange(count // 3), microseconds=chance.choice((0, 0, 1, 999_999)))
        booked = entry(chance.choice((-1, 1, 1)) * chance.randint(1, 10**12), posted_at)
        booked = replace(booked, value_date=posted_at.date() + dt.timedelta(days=chance.randint(-20, 20)))
        same = chance.choice(entries) if entries and chance.random() < 0.2 else None
        if same is not None and (booked.amount > 0) != (same.amount > 0):
            # Both sides of one transaction on one account, as a compensation is.
            booked = replace(booked, transaction_id=same.transaction_id, posted_at=same.posted_at)
            booked = replace(booked, leg="compensation" if booked.amount > 0 else "debit")
        if booked.amount < 0:
            version += 1
            booked = replace(booked, version=version)
        if all((known.transaction_id, known.leg) != (booked.transaction_id, booked.leg) for known in entries):
            entries.append(booked)
        elif booked.amount < 0:
            version -= 1
    return entries


async def write(bank: Bank, account_id: str, entries: Sequence[Booked]) -> None:
    """Commit the entries, all at once."""
    async with bank.rows.transaction():
        for booked in entries:
            await write_on(bank.rows, bank.tenant, account_id, booked)


async def write_on(connection: psycopg.AsyncConnection[Any], tenant: str, account_id: str, booked: Booked) -> None:
    await connection.execute(_CREDIT if booked.amount > 0 else _DEBIT, booked.row(tenant, account_id))


def assert_lines(lines: Sequence[StatementLine], expected: Sequence[Booked], opening: int) -> None:
    """The lines, oldest first, are these entries with the running balance."""
    balance = opening
    assert len(lines) == len(expected)
    for line, booked in zip(lines, expected, strict=True):
        balance += booked.amount
        assert (line.posted_at, line.transaction_id, line.leg) == (booked.posted_at, str(booked.transaction_id), booked.leg)
        assert (line.signed_amount, line.value_date, line.version) == (booked.amount, booked.value_date, booked.version)
        assert line.balance_after == balance


@asynccontextmanager
async def open_posting(bank: Bank, account_id: str, amount: int, *, commit: bool = True) -> AsyncIterator[Booked]:
    """A posting under way: it has its xid and its booking time, and commits at the end of the block."""
    async with connected(bank.url, autocommit=False) as connection:
        await connection.execute("SELECT pg_current_xact_id()")
        found = await (await connection.execute("SELECT clock_timestamp() AS now")).fetchone()
        assert found is not None
        booked = entry(amount, found["now"])
        await write_on(connection, bank.tenant, account_id, booked)
        yield booked
        await (connection.commit() if commit else connection.rollback())


async def all_pages(
    statements: PostgresStatements,
    bank: Bank,
    account_id: str,
    *,
    order: StatementOrder = OLDEST,
    limit: int = 500,
    since: dt.datetime | None = None,
    until: dt.datetime | None = None,
) -> list[StatementPage]:
    request = StatementRequest(account_id=account_id, order=order, since=since, until=until, limit=limit)
    pages = [await statements.page(bank.tenant, request)]
    while (cursor := pages[-1].next_cursor) is not None:
        pages.append(await statements.page(bank.tenant, StatementRequest.parse(account_id, cursor=cursor, limit=limit)))
    return pages


def lines_of(pages: list[StatementPage]) -> list[StatementLine]:
    """Oldest first."""
    lines = [line for page in pages for line in page.lines]
    return lines if pages[0].order is OLDEST else lines[::-1]


async def assert_derived_sums(bank: Bank) -> None:
    """Every checkpoint, and the sums by value date, are what the entries before them sum to."""
    entries: LiteralString = """
        SELECT account_id, posted_at, value_date, amount, 0 AS debit FROM offline_entry WHERE tenant = %(tenant)s
         UNION ALL
        SELECT account_id, posted_at, value_date, 0, amount FROM online_entry WHERE tenant = %(tenant)s
    """
    checkpoints: LiteralString = """
        SELECT account_id, until, lines, credited, debited FROM balance_checkpoint WHERE tenant = %(tenant)s ORDER BY account_id, until
    """
    rows = [tuple(row.values()) for row in await bank.select(entries)]
    last: dict[str, dt.datetime] = {}
    for row in await bank.select(checkpoints):
        before = [(credit, debit) for account, at, _, credit, debit in rows if account == row["account_id"] and at < row["until"]]
        assert (len(before), sum(credit for credit, _ in before), sum(debit for _, debit in before)) == (
            row["lines"],
            row["credited"],
            row["debited"],
        )
        last[row["account_id"]] = row["until"]
    expected: dict[tuple[str, dt.date], tuple[int, int]] = {}
    for account, at, value_date, credit, debit in rows:
        if account in last and at < last[account]:
            sums = expected.get((account, value_date), (0, 0))
            expected[account, value_date] = (sums[0] + credit, sums[1] + debit)
    days = await bank.select("SELECT account_id, value_date, credited, debited FROM value_date_balance WHERE tenant = %(tenant)s")
    assert {(row["account_id"], row["value_date"]): (int(row["credited"]), int(row["debited"])) for row in days} == expected
