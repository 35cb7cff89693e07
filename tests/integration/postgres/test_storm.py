"""Seeded random credits and debits, many at once, with folding, rollbacks and long transactions; an independent model predicts the end."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

import pytest

from ledger.decisions import Decision
from tests.integration.postgres.bank import ALL_ENTRIES, PATIENCE_SECONDS, Bank, connected, leg_sums

OVERDRAFT_LIMIT = 300
AT_ONCE = 12


@dataclass(frozen=True)
class Observed:
    """What one caller saw: when it asked and was answered, by a counter that only grows, and what the answer was."""

    asked: int
    answered: int
    amount: int
    decision: Decision


class Storm:
    """Posts at random and remembers what was answered. It knows nothing of entries, folds or versions."""

    def __init__(self, bank: Bank, accounts: list[str], seed: int) -> None:
        self.bank, self.accounts, self.chance = bank, accounts, random.Random(seed)  # noqa: S311  repeatable, not secret
        self.clock = 0
        self.credits: dict[str, list[Observed]] = {account: [] for account in accounts}
        self.debits: dict[str, list[Observed]] = {account: [] for account in accounts}

    def tick(self) -> int:
        self.clock += 1
        return self.clock

    async def post_one(self) -> None:
        # Debits ask for more than is paid in, so that some are refused.
        account, amount = self.chance.choice(self.accounts), self.chance.randint(1, 200)
        is_debit = self.chance.random() < 0.35
        posting = self.bank.withdrawal(account, amount * 5 // 2) if is_debit else self.bank.deposit(account, amount)
        asked = self.tick()
        if self.chance.random() < 0.05:
            async with self.bank.in_flight(posting, commit=False):
                await asyncio.sleep(0)
        decision = await self.bank.post(posting)
        if self.chance.random() < 0.1:
            assert await self.bank.post(posting) == decision
        seen = Observed(asked=asked, answered=self.tick(), amount=posting.amount.minor_units, decision=decision)
        (self.debits if is_debit else self.credits)[account].append(seen)

    async def hold_the_horizon(self, stop: asyncio.Event) -> None:
        """Long writing transactions, one after the other, which keep the tail long at times."""
        while not stop.is_set():
            async with connected(self.bank.url, autocommit=False) as long_one:
                await long_one.execute("SELECT pg_current_xact_id()")
                await asyncio.sleep(0.3)
            await asyncio.sleep(0.2)

    async def watch_balances(self, stop: asyncio.Event) -> None:
        """No instant shows an account beyond its limit, or money that nobody paid in."""
        while not stop.is_set():
            for account in self.accounts:
                balance = await self.bank.balance(account)
                assert balance.ledger >= -OVERDRAFT_LIMIT
                assert balance.ledger == balance.offline - balance.online
            await asyncio.sleep(0.01)

    async def run(self, operations: int) -> None:
        stop = asyncio.Event()
        turn = asyncio.Semaphore(AT_ONCE)

        async def in_turn() -> None:
            async with turn:
                await self.post_one()

        async with asyncio.timeout(PATIENCE_SECONDS * 2), asyncio.TaskGroup() as group:
            group.create_task(self.hold_the_horizon(stop))
            group.create_task(self.watch_balances(stop))
            try:
                await asyncio.gather(*(in_turn() for _ in range(operations)))
            finally:
                stop.set()


def _assert_explained(paid_in: list[Observed], debits: list[Observed]) -> None:
    """Every answer to a debit fits an order of events that the callers could have seen."""
    accepted = sorted((debit for debit in debits if debit.decision.posted), key=lambda debit: debit.decision.version or 0)
    assert [debit.decision.version for debit in accepted] == list(range(1, len(accepted) + 1))
    debited = 0
    for debit in accepted:
        debited += debit.amount
        certainly = sum(credit.amount for credit in paid_in if credit.answered < debit.asked) - debited
        possibly = sum(credit.amount for credit in paid_in if credit.asked < debit.answered) - debited
        ledger = debit.decision.ledger_after
        assert ledger is not None
        assert certainly <= ledger <= possibly
        assert debit.decision.available_after == ledger + OVERDRAFT_LIMIT >= 0
    for debit in debits:
        if not debit.decision.posted:
            certainly_credited = sum(credit.amount for credit in paid_in if credit.answered < debit.asked)
            possibly_debited = sum(other.amount for other in accepted if other.asked < debit.answered)
            assert debit.amount > certainly_credited - possibly_debited + OVERDRAFT_LIMIT, "refused although the money was there"


async def _storm(bank: Bank, *, seed: int, operations: int, accounts: int) -> None:
    opened = [await bank.open(overdraft_limit=OVERDRAFT_LIMIT) for _ in range(accounts)]
    storm = Storm(bank, opened, seed)
    await storm.run(operations)
    accepted = refused = 0
    for account in opened:
        paid_in, debits = storm.credits[account], storm.debits[account]
        assert all(credit.decision.posted for credit in paid_in)
        _assert_explained(paid_in, debits)
        expected = sum(credit.amount for credit in paid_in) - sum(debit.amount for debit in debits if debit.decision.posted)
        assert (await bank.balance(account)).ledger == expected
        accepted += sum(debit.decision.posted for debit in debits)
        refused += sum(not debit.decision.posted for debit in debits)
    entries = await bank.select(ALL_ENTRIES)
    assert set(leg_sums(entries).values()) == {0}
    customers = [row for row in entries if row["account_id"] in opened]
    assert len(customers) == accepted + sum(len(paid_in) for paid_in in storm.credits.values())
    folded = await bank.value("SELECT sum(folded) FROM online_balance WHERE tenant = %(tenant)s")
    # Without these the storm would prove nothing.
    assert accepted >= operations // 10, f"{accepted} debits accepted, {refused} refused"
    assert refused >= operations // 50, f"{accepted} debits accepted, {refused} refused"
    assert folded > 0, "nothing was folded"


@pytest.mark.parametrize("seed", [1, 2])
async def test_a_storm_of_credits_and_debits_makes_and_loses_no_money(bank: Bank, seed: int) -> None:
    await _storm(bank, seed=seed, operations=600, accounts=2)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
async def test_a_long_storm_of_credits_and_debits_makes_and_loses_no_money(bank: Bank, seed: int) -> None:
    await _storm(bank, seed=seed, operations=4000, accounts=3)
