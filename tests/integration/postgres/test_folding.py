"""Folding: a debit moves the credits that can no longer change into one sum, and no instant shows a wrong balance."""

from __future__ import annotations

import asyncio
from typing import Any

import psycopg
import pytest

from tests.integration.postgres.bank import Bank, connected

FOLD_FROM = 64


async def _credit(bank: Bank, account: str, count: int, *, amount: int = 10) -> None:
    turn = asyncio.Semaphore(8)

    async def one() -> None:
        async with turn:
            assert (await bank.post(bank.deposit(account, amount))).posted

    await asyncio.gather(*(one() for _ in range(count)))


async def _online(bank: Bank, account: str) -> dict[str, Any]:
    (row,) = await bank.select(
        "SELECT folded, debited, version, CAST(CAST(folded_until AS text) AS bigint) AS until FROM online_balance"
        " WHERE tenant = %(tenant)s AND account_id = %(account)s",
        account=account,
    )
    return row


async def _until_nothing_holds_the_horizon(bank: Bank) -> None:
    """Wait until every transaction of now has ended, those of the server's other databases included."""
    now = await bank.value("SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)")
    async with asyncio.timeout(60):
        while await bank.value("SELECT CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint)") <= now:  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def test_the_balance_is_right_before_during_and_after_a_fold(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM)
    await _until_nothing_holds_the_horizon(bank)
    assert (await _online(bank, account))["folded"] == 0
    assert (await bank.balance(account)).ledger == 640

    async with bank.in_flight(bank.withdrawal(account, 40)) as debit:
        assert debit.ledger_after == 600
        balance = await bank.balance(account)  # The fold and the debit are written, and not committed.
        assert (balance.offline, balance.online, balance.ledger) == (640, 0, 640)
        await _credit(bank, account, 3)
        assert (await bank.balance(account)).ledger == 670

    online = await _online(bank, account)
    assert (online["folded"], online["debited"]) == (640, 40)
    assert online["until"] > 0
    balance = await bank.balance(account)
    assert (balance.offline, balance.online, balance.ledger) == (670, 40, 630)


async def test_a_debit_that_waited_for_a_folding_debit_counts_each_credit_once(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM)
    await _until_nothing_holds_the_horizon(bank)
    async with bank.in_flight(bank.withdrawal(account, 40)):
        # It began before the fold was committed: with the snapshot of its beginning it would count the folded credits twice.
        waiting = asyncio.create_task(bank.post(bank.withdrawal(account, 1000)))
        await bank.until_blocked()
        await _credit(bank, account, 1)
    assert (await waiting).refusal is not None
    assert (await bank.post(bank.withdrawal(account, 610))).ledger_after == 0


async def test_a_fold_that_is_rolled_back_folds_nothing(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM)
    await _until_nothing_holds_the_horizon(bank)
    async with bank.in_flight(bank.withdrawal(account, 40), commit=False):
        pass
    assert (await _online(bank, account))["folded"] == 0
    assert (await bank.balance(account)).ledger == 640
    assert (await bank.post(bank.withdrawal(account, 640))).ledger_after == 0
    assert (await bank.balance(account)).ledger == 0


async def test_few_credits_are_summed_and_not_folded(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM - 1)
    await _until_nothing_holds_the_horizon(bank)
    assert (await bank.post(bank.withdrawal(account, 1))).ledger_after == 629
    assert (await _online(bank, account))["folded"] == 0


async def test_a_refused_debit_folds_as_well_and_the_balance_stays(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM + 6)
    await _until_nothing_holds_the_horizon(bank)
    assert not (await bank.post(bank.withdrawal(account, 701))).posted
    online = await _online(bank, account)
    assert (online["folded"], online["debited"], online["version"]) == (700, 0, 0)
    assert (await bank.balance(account)).ledger == 700


async def test_a_credit_that_commits_long_after_younger_credits_were_folded_is_not_lost(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM)
    await _until_nothing_holds_the_horizon(bank)
    # The open credit has a lower xid than all that follow; the fold leaves it out, and remembers that it did.
    async with bank.in_flight(bank.deposit(account, 7)):
        await _credit(bank, account, FOLD_FROM)
        debit = await bank.post(bank.withdrawal(account, 100))
        assert debit.ledger_after == 2 * 640 - 100
        online = await _online(bank, account)
        assert online["folded"] == 2 * 640, "the open credit keeps no other from being folded"
        assert (await bank.balance(account)).ledger == 2 * 640 - 100
    assert (await bank.balance(account)).ledger == 2 * 640 - 100 + 7
    await _credit(bank, account, FOLD_FROM)
    assert (await bank.post(bank.withdrawal(account, 1))).ledger_after == 3 * 640 - 100 + 7 - 1
    after = await _online(bank, account)
    assert after["folded"] == 3 * 640 + 7
    assert after["until"] > online["until"]


@pytest.mark.parametrize("isolation", ["READ COMMITTED", "REPEATABLE READ"])
async def test_folding_is_right_while_a_long_writing_transaction_holds_the_horizon(bank: Bank, isolation: str) -> None:
    account = await bank.open()
    expected = 0
    async with connected(bank.url, autocommit=False) as long_one:
        await long_one.execute(psycopg.sql.SQL("SET TRANSACTION ISOLATION LEVEL {}").format(psycopg.sql.SQL(isolation)))
        await long_one.execute("SELECT pg_current_xact_id()")
        for _ in range(3):
            await _credit(bank, account, FOLD_FROM)
            expected += 640 - 50
            assert (await bank.post(bank.withdrawal(account, 50))).ledger_after == expected
            assert (await _online(bank, account))["folded"] == expected + 50 * (expected // 590), "all but the long one's is folded"
            assert (await bank.balance(account)).ledger == expected
    await _until_nothing_holds_the_horizon(bank)
    assert (await bank.post(bank.withdrawal(account, expected))).ledger_after == 0
    assert (await _online(bank, account))["folded"] == 3 * 640


async def test_an_old_snapshot_sees_its_own_balance_before_during_and_after_a_fold(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM)
    await _until_nothing_holds_the_horizon(bank)
    async with connected(bank.url, autocommit=False) as reader:
        await reader.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        seen = []
        for _ in range(2):
            found = await reader.execute("SELECT ledger FROM account_balance WHERE tenant = %s", (bank.tenant,))
            seen.append(await found.fetchone())
            await bank.post(bank.withdrawal(account, 40))
            await _credit(bank, account, 2)
    assert seen == [{"ledger": 640}] * 2


async def test_the_database_refuses_to_unfold(bank: Bank) -> None:
    account = await bank.open()
    await _credit(bank, account, FOLD_FROM)
    await _until_nothing_holds_the_horizon(bank)
    await bank.post(bank.withdrawal(account, 1))
    before = await _online(bank, account)
    assert before["until"] > 0
    for lower in (0, before["until"] - 1):
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="may not decrease"):
            await bank.rows.execute(
                "UPDATE online_balance SET folded_until = CAST(%s AS text)::xid8 WHERE tenant = %s", (str(lower), bank.tenant)
            )
    assert await _online(bank, account) == before


async def test_a_credit_carries_the_xid_of_its_own_database_transaction(bank: Bank) -> None:
    account = await bank.open()
    async with bank.in_flight(bank.deposit(account, 5)):
        running = await bank.value("SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text)")
    xid = await bank.value("SELECT CAST(CAST(xid AS text) AS bigint) FROM offline_entry WHERE tenant = %(tenant)s")
    own = await bank.value("SELECT CAST(CAST(xmin AS text) AS bigint) FROM offline_entry WHERE tenant = %(tenant)s")
    assert xid % 2**32 == own
    assert xid <= int(running)
