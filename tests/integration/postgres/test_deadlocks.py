"""Transfers in all directions between few accounts, from many connections: nobody waits in a circle."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal

import pytest

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.errors import BusyError
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank, new_id
from tests.integration.postgres.linked import assert_nothing_is_wrong
from tests.integration.postgres.model import Payment
from tests.integration.postgres.teller import Teller, Way

CONNECTIONS = 32
LEDGERS = 8
FUNDS = 5_000


@pytest.fixture
async def crowded(bank: Bank) -> AsyncIterator[Bank]:
    database = Database.open(bank.url, pool_size=CONNECTIONS)
    yield replace(bank, database=database)
    await database.close()


async def _deadlocks(bank: Bank) -> int:
    return int(await bank.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.slow)])
async def test_transfers_both_ways_linked_and_leg_by_leg_never_wait_in_a_circle(crowded: Bank, seconds: int) -> None:
    """One account has a maximum balance, so that its credits take its row as debits do."""
    accounts = [await crowded.open(funds=FUNDS) for _ in range(4)]
    await crowded.change(accounts[0], maximum_balance=2 * FUNDS)
    tellers = [Teller(crowded, PostgresLedger(crowded.database)) for _ in range(LEDGERS)]
    before = await _deadlocks(crowded)
    found: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    ends = loop.time() + seconds

    async def work(number: int) -> None:
        chance = random.Random(number)  # noqa: S311  repeatable, not secret
        teller = tellers[number % LEDGERS]
        while loop.time() < ends:
            debtor, *creditors = chance.sample(accounts, chance.choice([2, 2, 2, 3, 4]))
            amount = Decimal(chance.randint(1, 3_000)) / 100
            payment, way = Payment(amount, "EUR", debtor=debtor, creditor=creditors[0]), chance.choice([Way.SAGA, Way.TOGETHER])
            if len(creditors) > 1:
                shares = tuple((creditor, amount) for creditor in creditors)
                payment, way = Payment(amount * len(shares), "EUR", debtor=debtor, shares=shares), Way.TOGETHER
            transaction_id = new_id()
            async with asyncio.timeout(PATIENCE_SECONDS):
                try:
                    await teller.pay(payment, transaction_id, way)
                except BusyError:
                    found["gave way"] += 1
            told = await teller.told(transaction_id)
            found[f"{way} {told[0] if told else 'unknown'}"] += 1

    await asyncio.gather(*(work(number) for number in range(2 * CONNECTIONS)))
    print(dict(found))  # noqa: T201  shows that it was no idle test
    assert found["gave way"] == 0
    assert await _deadlocks(crowded) == before
    assert min(found["saga completed"], found["together completed"], found["together rejected"]) > 10
    assert sum([(await crowded.balance(account)).ledger for account in accounts]) == len(accounts) * FUNDS
    await assert_nothing_is_wrong(crowded)
