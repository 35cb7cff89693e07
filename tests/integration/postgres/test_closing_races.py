"""Accounts that are closed while all else is on its way: decided one way, nothing booked afterwards, and everybody gets an answer."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from decimal import Decimal

import pytest

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.accounts import AccountStatus
from ledger.errors import AccountNotClosableError
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank, new_id
from tests.integration.postgres.linked import assert_nothing_is_wrong
from tests.integration.postgres.model import Payment
from tests.integration.postgres.teller import Teller, Way

CONNECTIONS = 32
LEDGERS = 4
AT_ONCE = 6
"""Accounts that are fought over at the same time."""
CALLERS = 5
"""Of each account."""
FIVE = Decimal("0.05")


@pytest.fixture
async def crowded(bank: Bank) -> AsyncIterator[Bank]:
    database = Database.open(bank.url, pool_size=CONNECTIONS)
    yield replace(bank, database=database)
    await database.close()


class Race:
    """One account, and all that is done to it at once."""

    def __init__(self, bank: Bank, ledgers: list[PostgresLedger], seed: int) -> None:
        self.bank = bank
        self.seed = seed
        self.chance = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.tellers = [Teller(bank, ledger) for ledger in ledgers]
        self.running = True
        self.answers = 0
        self.answered = asyncio.Condition()
        self.outcomes: Counter[str] = Counter()

    async def run(self, other: str, closed: str) -> Counter[str]:
        """What came of it, after what must hold was looked at.

        Args:
            other: an account with money, and that takes money.
            closed: an account that takes none, so that a transfer to it is compensated.
        """
        account = await self.bank.open(overdraft_limit=100)
        payments = {
            "deposit": (Payment(FIVE, "EUR", creditor=account), Way.LEG),
            "withdrawal": (Payment(FIVE, "EUR", debtor=account), Way.LEG),
            "saga from it": (Payment(FIVE, "EUR", debtor=account, creditor=other), Way.SAGA),
            "saga to it": (Payment(FIVE, "EUR", debtor=other, creditor=account), Way.SAGA),
            "compensated saga": (Payment(FIVE, "EUR", debtor=account, creditor=closed), Way.SAGA),
            "linked from it": (Payment(FIVE, "EUR", debtor=account, creditor=other), Way.TOGETHER),
            "linked to it": (Payment(FIVE, "EUR", debtor=other, creditor=account), Way.TOGETHER),
        }
        # Out as often as in, so that a balance of zero comes by.
        kinds = [*payments, *payments, *payments, "compensated saga"]
        self.chance.shuffle(kinds)
        first_close = self.chance.randint(0, len(kinds) - 2)
        if self.seed % 5 == 0:
            # Now and then something is left, and the close comes last.
            kinds.remove("deposit")
            first_close = len(kinds)
        closers = [asyncio.create_task(self.close(account, after=first_close)) for _ in range(2)]
        async with asyncio.timeout(PATIENCE_SECONDS):
            # Each caller does one thing after the other, so that the callers fall out of step.
            await asyncio.gather(*(self.pay_all([(kind, *payments[kind]) for kind in kinds[caller::CALLERS]]) for caller in range(CALLERS)))
            self.running = False
            closed_by = await asyncio.gather(*closers)
        await self.look(account, is_closed=any(closed_by))
        return self.outcomes

    async def pay_all(self, payments: Sequence[tuple[str, Payment, Way]]) -> None:
        for kind, payment, way in payments:
            await self.pay(kind, payment, way)

    async def pay(self, kind: str, payment: Payment, way: Way) -> None:
        teller, transaction_id = self.chance.choice(self.tellers), new_id()
        await teller.pay(payment, transaction_id, way)
        told = await teller.told(transaction_id)
        assert told is not None
        status, reason, _ = told
        assert status in {"completed", "rejected", "reversed"}
        assert reason in {None, "account-closed"}
        self.outcomes[f"{kind} {status}"] += 1
        async with self.answered:
            self.answers += 1
            self.answered.notify_all()

    async def close(self, account: str, *, after: int) -> bool:
        """Begin after so many answers, and try until it is closed, or until nothing else is on its way."""
        async with self.answered:
            await self.answered.wait_for(lambda: self.answers >= after)
        while True:
            last = not self.running
            try:
                await self.bank.close(account)
            except AccountNotClosableError as error:
                self.outcomes[f"not closed: {error.rule}"] += 1
            else:
                return True
            if last:
                return False

    async def look(self, account: str, *, is_closed: bool) -> None:
        now = await self.bank.accounts.get(self.bank.tenant, account)
        assert now is not None
        assert (now.status is AccountStatus.CLOSED) == is_closed
        balance = (await self.bank.balance(account)).ledger
        assert (balance == 0) == is_closed, "once nobody else is there, only money keeps an account open"
        self.outcomes["closed" if is_closed else "left open"] += 1
        if is_closed:
            # Decided before the change or after it, by its own time, which was taken under the same locks.
            wrong = await self.bank.value(
                "SELECT count(*) FROM decision d JOIN account_change c USING (tenant, account_id)"
                " WHERE tenant = %(tenant)s AND account_id = %(account)s AND c.after ->> 'status' = 'closed'"
                "   AND (d.outcome = 'posted') <> (d.decided_at < c.changed_at)",
                account=account,
            )
            assert wrong == 0


async def _close_many(bank: Bank, accounts: int) -> None:
    other, closed = await bank.open(funds=1_000_000), await bank.open()
    await bank.close(closed)
    ledgers = [PostgresLedger(bank.database) for _ in range(LEDGERS)]
    outcomes: Counter[str] = Counter()
    left = iter(range(accounts))

    async def work() -> None:
        for seed in left:
            outcomes.update(await Race(bank, ledgers, seed).run(other, closed))

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    print("\n".join(f"{outcome:50} {times:6}" for outcome, times in sorted(outcomes.items())))  # noqa: T201
    await assert_nothing_is_wrong(bank)
    # Without these, nothing would have raced.
    assert outcomes["closed"] > 0
    assert outcomes["left open"] > 0
    for outcome in ("deposit", "withdrawal", "saga from it", "saga to it", "linked from it", "linked to it"):
        assert outcomes[f"{outcome} completed"] > 0
    assert outcomes["compensated saga reversed"] > 0
    assert sum(outcomes[f"{kind} rejected"] for kind in ("deposit", "withdrawal", "linked to it")) > 0
    assert outcomes["saga to it reversed"] > 0, "no account was closed between a transfer's legs"
    assert outcomes["not closed: its transactions must have ended"] > 0


async def test_accounts_that_are_closed_while_everything_is_on_its_way_are_closed_or_not_and_nobody_is_starved(crowded: Bank) -> None:
    await _close_many(crowded, 40)


@pytest.mark.slow
async def test_very_many_accounts_that_are_closed_while_everything_is_on_its_way(crowded: Bank) -> None:
    await _close_many(crowded, 400)
