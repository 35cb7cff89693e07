"""The events that are published and applied: those of real legs, in the outbox of a database that each measurement copies."""

from __future__ import annotations

import asyncio
import datetime as dt
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import dict_row

from bench.ledger.sides import POOL_SIZE
from bench.legs import leg
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.settings import DEFAULT_TENANT
from ledger.accounts import AccountKind, AccountRules
from ledger.events import Event
from ledger.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence

EVENTS_PER_TRANSACTION: Final = 2
"""Of its leg, and its own."""
_MOST_ACCOUNTS: Final = 500
_CURRENCY: Final = "EUR"
_OVERDRAFT: Final = 10**14
"""Minor units: no withdrawal is refused."""
_MOST_AT_ONCE: Final = 1_000
_EVENTS: Final = """
    SELECT CAST(event_id AS text) AS event_id, topic, key, type, source, subject, time, payload AS data, transaction_id
      FROM event_outbox ORDER BY transaction_id, position
"""
Transaction = tuple[Event, ...]
"""The events of one."""


async def fill(url: str, events: int) -> list[Transaction]:
    """Post deposits and withdrawals in turns; their events, which also wait in the outbox.

    Args:
        url: of a migrated database; nobody is connected to it at the end.
        events: how many there will be at least.
    """
    database = Database.open(url, pool_size=POOL_SIZE)
    accounts, ledger = PostgresAccounts(database), PostgresLedger(database)
    slots = asyncio.Semaphore(POOL_SIZE)

    async def open_one(number: int) -> None:
        async with slots:
            await accounts.open_account(
                tenant=DEFAULT_TENANT,
                account_id=f"bench-{number}",
                currency=_CURRENCY,
                kind=AccountKind.CURRENT,
                rules=AccountRules(overdraft_limit=_OVERDRAFT),
            )

    try:
        transactions = -(-events // EVENTS_PER_TRANSACTION)
        opened = min(_MOST_ACCOUNTS, transactions)
        await asyncio.gather(*map(open_one, range(opened)))
        for first in range(0, transactions, _MOST_AT_ONCE):
            numbers = range(first, min(first + _MOST_AT_ONCE, transactions))
            await asyncio.gather(*(_post(ledger, number, opened) for number in numbers))
    finally:
        await ledger.drain()
        await database.close()
    return _transactions(url)


async def _post(ledger: PostgresLedger, number: int, accounts: int) -> None:
    money = Money(minor_units=100 + number, currency=_CURRENCY)
    account = f"bench-{number // 2 % accounts}"
    await ledger.post(leg(DEFAULT_TENANT, account, money, debit=bool(number % 2), at=dt.datetime.now(dt.UTC)))


def _transactions(url: str) -> list[Transaction]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        rows = connection.execute(_EVENTS).fetchall()

    def transaction(row: dict[str, Any]) -> Any:  # noqa: ANN401  a column
        return row["transaction_id"]

    return [tuple(Event.model_validate(row) for row in of_one) for _, of_one in groupby(rows, transaction)]


def renamed(transactions: Sequence[Transaction], prefix: str) -> list[Transaction]:
    """The same on other topics."""
    return [tuple(event.model_copy(update={"topic": prefix + event.topic}) for event in events) for events in transactions]
