"""Who waits for whom. "Does not wait" means: the answer is there while the other database transaction is still open."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.accounts import AccountStatus
from tests.integration.postgres.bank import Bank, connected

MANY = 24


async def test_a_credit_does_not_wait_for_an_open_debit(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    async with bank.in_flight(bank.withdrawal(account, 300)) as debit:
        assert debit.posted
        for _ in range(3):
            assert (await bank.post(bank.deposit(account, 5))).posted
        assert (await bank.balance(account)).ledger == 1015
    assert (await bank.balance(account)).ledger == 715


async def test_a_credit_does_not_wait_for_whoever_holds_the_online_row(bank: Bank) -> None:
    account = await bank.open()
    async with connected(bank.url, autocommit=False) as other:
        await other.execute("SELECT 1 FROM online_balance WHERE tenant = %s FOR UPDATE", (bank.tenant,))
        assert (await bank.post(bank.deposit(account, 5))).posted
        # Nor does the balance: it is a view, and reads past the lock.
        assert (await bank.balance(account)).ledger == 5


async def test_a_credit_does_not_wait_for_another_credit_of_the_account(bank: Bank) -> None:
    account = await bank.open()
    async with bank.in_flight(bank.deposit(account, 7)), bank.in_flight(bank.deposit(account, 8)):
        assert (await bank.post(bank.deposit(account, 5))).posted
        assert (await bank.balance(account)).ledger == 5
    assert (await bank.balance(account)).ledger == 20


async def test_a_debit_does_not_wait_for_an_open_credit_and_does_not_spend_it(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    async with bank.in_flight(bank.deposit(account, 500)) as credit:
        assert credit.posted
        assert not (await bank.post(bank.withdrawal(account, 1001))).posted
        debit = await bank.post(bank.withdrawal(account, 1000))
        assert (debit.posted, debit.ledger_after) == (True, 0)
    assert (await bank.balance(account)).ledger == 500
    assert (await bank.post(bank.withdrawal(account, 500))).ledger_after == 0


async def test_a_credit_that_is_rolled_back_was_never_there(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    async with bank.in_flight(bank.deposit(account, 500), commit=False) as credit:
        assert credit.posted
    assert (await bank.balance(account)).ledger == 1000
    assert not (await bank.post(bank.withdrawal(account, 1001))).posted


@pytest.mark.parametrize("ends", ["commit", "rollback"])
async def test_a_debit_waits_for_an_open_debit_of_its_account_and_is_decided_after_it(bank: Bank, ends: str) -> None:
    account = await bank.open(funds=1000)
    async with bank.in_flight(bank.withdrawal(account, 600), commit=ends == "commit") as first:
        assert first.version == 1
        waiting = asyncio.create_task(bank.post(bank.withdrawal(account, 600)))
        await bank.until_blocked()
        assert not waiting.done()
    second = await waiting
    if ends == "commit":
        assert not second.posted
    else:
        assert (second.version, second.ledger_after) == (1, 400)


async def test_debits_of_different_accounts_do_not_wait_for_each_other(bank: Bank) -> None:
    one, other = await bank.open(funds=1000), await bank.open(funds=1000)
    async with bank.in_flight(bank.withdrawal(one, 5)):
        assert (await bank.post(bank.withdrawal(other, 5))).posted


async def test_the_balance_waits_for_nobody_not_even_for_a_change_of_rules(bank: Bank) -> None:
    account = await bank.open(funds=1000)

    async def freeze_slowly(connection: AsyncConnection) -> None:
        key = {"tenant": bank.tenant, "account_id": account}
        await connection.execute(text("SELECT lock_account(:tenant, :account_id)"), key)

    async with bank.uncommitted(freeze_slowly):
        assert (await bank.balance(account)).available == 1000
        assert await bank.accounts.get(bank.tenant, account) is not None


@pytest.mark.parametrize("kind", ["credit", "debit"])
async def test_a_leg_waits_for_a_change_of_its_accounts_rules_and_obeys_it(bank: Bank, kind: str) -> None:
    account = await bank.open(funds=1000)
    posting = bank.deposit(account, 5) if kind == "credit" else bank.withdrawal(account, 5)
    # The change itself waits for the credit in flight, and a leg that comes meanwhile queues up behind it.
    async with bank.in_flight(bank.deposit(account, 1)) as decided_before:
        change = asyncio.create_task(bank.set_status(account, AccountStatus.FROZEN))
        await bank.until_blocked()
        leg = asyncio.create_task(bank.post(posting))
        await bank.until_blocked(2)
        assert not change.done()
        assert not leg.done()
    await change
    decision = await leg
    assert decided_before.posted
    assert decision.refusal is not None
    assert decision.refusal.code == "account-frozen"


async def test_concurrent_debits_of_one_account_are_decided_one_by_one_and_never_overdraw_it(bank: Bank) -> None:
    account = await bank.open(funds=1000, overdraft_limit=200)
    amount = 100
    decisions = await asyncio.gather(*(bank.post(bank.withdrawal(account, amount)) for _ in range(MANY)))
    accepted = sorted((decision for decision in decisions if decision.posted), key=lambda decision: decision.version or 0)
    assert len(accepted) == 12
    assert [decision.version for decision in accepted] == list(range(1, 13))
    assert [decision.available_after for decision in accepted] == [1200 - amount * number for number in range(1, 13)]
    assert [decision.ledger_after for decision in accepted] == [1000 - amount * number for number in range(1, 13)]
    journal = await bank.select(
        "SELECT version, balance_after, available_after FROM online_entry WHERE tenant = %(tenant)s ORDER BY version"
    )
    assert [tuple(row.values()) for row in journal] == [(leg.version, leg.ledger_after, leg.available_after) for leg in accepted]
    assert {decision.refusal.code for decision in decisions if decision.refusal} == {"insufficient-funds"}
    balance = await bank.balance(account)
    assert (balance.ledger, balance.available) == (-200, 0)


async def test_of_concurrent_debits_of_different_sizes_exactly_those_that_fit_are_accepted(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    amounts = [1 + 13 * number % 97 for number in range(MANY * 2)]
    decisions = await asyncio.gather(*(bank.post(bank.withdrawal(account, amount)) for amount in amounts))
    left = 1000
    for decision in sorted((leg for leg in decisions if leg.posted), key=lambda leg: leg.version or 0):
        left -= decision.amount.minor_units
        assert decision.available_after == left >= 0
    refused = [decision.amount.minor_units for decision in decisions if not decision.posted]
    assert refused, "the funds should not have sufficed for all"
    assert min(refused) > left, "a debit that fits at the end would have fitted before"
    assert (await bank.balance(account)).ledger == left


async def test_concurrent_transfers_in_a_circle_end_without_a_deadlock_and_without_a_cent_lost(bank: Bank) -> None:
    accounts = [await bank.open(funds=100) for _ in range(4)]
    transfers = [bank.transfer(accounts[number % 4], accounts[(number + 1 + number // 4 % 3) % 4], 40) for number in range(40)]
    outcomes = await asyncio.gather(*(bank.post_transfer(transfer) for transfer in transfers))
    assert sum(legs[0].posted for legs in outcomes) >= len(accounts)
    balances = [(await bank.balance(account)).ledger for account in accounts]
    assert sum(balances) == 400
    assert min(balances) >= 0
    assert await bank.value("SELECT sum(amount) FROM gl_entry WHERE tenant = %(tenant)s AND account_id = 'transit'") == 0
