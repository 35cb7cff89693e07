"""Opening, freezing and closing accounts, alone and in races with legs."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable
from typing import Any

import pytest

from ledger.accounts import AccountKind, AccountRules, AccountStatus
from ledger.decisions import Decision
from ledger.errors import AccountClosedError, AccountConflictError, AccountNotClosableError, NotFoundError, UnknownAccountError
from ledger.postings import compensation_posting, credit_posting
from ledger.refusals import RefusalCode
from ledger.rules import StatusChange
from tests.integration.postgres.bank import ALL_ENTRIES, Bank, leg_sums, new_id


async def test_an_account_is_opened_once_and_found_again_with_the_same_content(bank: Bank) -> None:
    content = {"tenant": bank.tenant, "account_id": "DE89370400440532013000", "currency": "EUR", "kind": AccountKind.SAVINGS}
    account, created = await bank.accounts.open_account(**content, rules=AccountRules(overdraft_limit=5))  # type: ignore[arg-type]
    assert (created, account.status, account.overdraft_limit) == (True, AccountStatus.ACTIVE, 5)
    assert await bank.accounts.open_account(**content, rules=AccountRules(overdraft_limit=5)) == (account, False)  # type: ignore[arg-type]
    for change in ({"rules": AccountRules(overdraft_limit=6)}, {"currency": "CZK"}, {"kind": AccountKind.CURRENT}):
        with pytest.raises(AccountConflictError):
            await bank.accounts.open_account(**{**content, "rules": AccountRules(overdraft_limit=5), **change})  # type: ignore[arg-type]
    assert await bank.accounts.get(bank.tenant, account.account_id) == account
    balance = await bank.balance(account.account_id)
    assert (balance.ledger, balance.available, balance.currency) == (0, 5, "EUR")


async def test_openings_of_one_account_that_race_open_it_once(bank: Bank) -> None:
    opened = await asyncio.gather(
        *(bank.accounts.open_account(tenant=bank.tenant, account_id="raced", currency="EUR", kind=AccountKind.CURRENT) for _ in range(8))
    )
    assert sorted(created for _, created in opened) == [False] * 7 + [True]
    assert len({account.model_dump_json() for account, _ in opened}) == 1


async def test_an_account_that_nobody_opened_is_not_found(bank: Bank) -> None:
    account = await bank.open()
    assert await bank.accounts.get(bank.tenant, "nobody") is None
    assert await bank.accounts.balance(bank.tenant, "nobody") is None
    assert set(await bank.accounts.get_many(bank.tenant, [account, "nobody"])) == {account}
    with pytest.raises(NotFoundError):
        await bank.set_status("nobody", AccountStatus.FROZEN)
    with pytest.raises(NotFoundError):
        await bank.close("nobody")


@pytest.mark.parametrize(
    ("status", "credit", "debit"),
    [
        (AccountStatus.ACTIVE, None, None),
        (AccountStatus.DEBIT_FROZEN, None, RefusalCode.ACCOUNT_DEBIT_FROZEN),
        (AccountStatus.CREDIT_FROZEN, RefusalCode.ACCOUNT_CREDIT_FROZEN, None),
        (AccountStatus.FROZEN, RefusalCode.ACCOUNT_FROZEN, RefusalCode.ACCOUNT_FROZEN),
        (AccountStatus.DORMANT, None, RefusalCode.ACCOUNT_DORMANT),
    ],
)
async def test_a_status_holds_for_the_next_leg(
    bank: Bank, status: AccountStatus, credit: RefusalCode | None, debit: RefusalCode | None
) -> None:
    account = await bank.open(funds=1000)
    assert (await bank.set_status(account, status)).status is status
    decisions = [await bank.post(bank.deposit(account, 5)), await bank.post(bank.withdrawal(account, 5))]
    assert [decision.refusal.code if decision.refusal else None for decision in decisions] == [credit, debit]
    await bank.set_status(account, AccountStatus.ACTIVE)
    assert (await bank.post(bank.withdrawal(account, 5))).posted


async def test_a_closed_account_stays_closed_and_takes_no_leg(bank: Bank) -> None:
    account = await bank.open(overdraft_limit=100)
    closed = await bank.close(account)
    assert closed.status is AccountStatus.CLOSED
    assert await bank.close(account) == closed
    for change in StatusChange:
        with pytest.raises(AccountClosedError):
            await bank.accounts.change_status(bank.tenant, account, change, by="teller")
    for posting in (bank.deposit(account, 5), bank.withdrawal(account, 5)):
        refusal = (await bank.post(posting)).refusal
        assert refusal is not None
        assert refusal.code is RefusalCode.ACCOUNT_CLOSED
    assert (await bank.balance(account)).ledger == 0


async def test_an_account_with_money_or_in_the_red_is_not_closed(bank: Bank) -> None:
    rich, red = await bank.open(funds=1), await bank.open(overdraft_limit=100)
    await bank.post(bank.withdrawal(red, 1))
    for account in (rich, red):
        with pytest.raises(AccountNotClosableError, match="balance"):
            await bank.close(account)
    assert (await bank.post(bank.withdrawal(rich, 1))).posted
    assert (await bank.post(bank.deposit(red, 1))).posted
    for account in (rich, red):
        await bank.close(account)


async def _hold(bank: Bank, account: str, *, amount: int, expires_in: dt.timedelta, status: str = "open", captured: int = 0) -> str:
    hold_id = new_id()
    await bank.rows.execute(
        """
        INSERT INTO hold (tenant, account_id, hold_id, amount, captured, status, expires_at, currency, fingerprint, authorised_by)
        VALUES (%s, %s, %s, %s, %s, %s, now() + %s, 'EUR', '', 'teller')
        """,
        (bank.tenant, account, hold_id, amount, captured, status, expires_in),
    )
    held = amount - captured if status == "open" else 0
    await bank.rows.execute(
        "UPDATE online_balance SET held = held + %s WHERE tenant = %s AND account_id = %s", (held, bank.tenant, account)
    )
    return hold_id


async def test_an_open_hold_reserves_money_and_keeps_the_account_open(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hour = dt.timedelta(hours=1)
    await _hold(bank, account, amount=400, expires_in=hour, captured=100)
    await _hold(bank, account, amount=50, expires_in=-hour)  # expired
    await _hold(bank, account, amount=60, expires_in=hour, status="voided")
    balance = await bank.balance(account)
    assert (balance.ledger, balance.held, balance.available) == (1000, 300, 700)
    assert not (await bank.post(bank.withdrawal(account, 701))).posted
    debit = await bank.post(bank.withdrawal(account, 700))
    assert (debit.ledger_after, debit.available_after) == (300, 0)


async def test_an_account_with_an_open_hold_is_not_closed(bank: Bank) -> None:
    account = await bank.open()
    hold_id = await _hold(bank, account, amount=400, expires_in=dt.timedelta(hours=1))
    with pytest.raises(AccountNotClosableError, match="hold"):
        await bank.close(account)
    await bank.rows.execute("UPDATE hold SET status = 'voided' WHERE hold_id = %s", (hold_id,))
    await bank.rows.execute("UPDATE online_balance SET held = 0 WHERE account_id = %s", (account,))
    assert (await bank.close(account)).status is AccountStatus.CLOSED


async def test_an_account_with_an_open_transfer_is_not_closed_until_the_transfer_has_ended(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=400), await bank.open()
    await bank.close(creditor)
    debit = bank.transfer(debtor, creditor, 400)
    debited = await bank.post(debit)
    assert (await bank.balance(debtor)).ledger == 0
    for _ in range(2):
        with pytest.raises(AccountNotClosableError, match="transactions"):
            await bank.close(debtor)
        refused = await bank.post(credit_posting(debit, debited, conversion=None))
        assert not refused.posted
    await bank.post(compensation_posting(debit, debited, refused))
    assert (await bank.post(bank.withdrawal(debtor, 400))).posted
    assert (await bank.close(debtor)).status is AccountStatus.CLOSED


async def test_a_close_waits_for_an_open_credit_and_then_sees_its_money(bank: Bank) -> None:
    account = await bank.open()
    async with bank.in_flight(bank.deposit(account, 5)):
        closing = asyncio.create_task(bank.close(account))
        await bank.until_blocked()
        assert not closing.done()
    with pytest.raises(AccountNotClosableError):
        await closing


async def test_a_close_waits_for_an_open_debit_and_then_sees_its_transfer(bank: Bank) -> None:
    account, other = await bank.open(funds=5), await bank.open()
    async with bank.in_flight(bank.transfer(account, other, 5)):
        closing = asyncio.create_task(bank.close(account))
        await bank.until_blocked()
        assert not closing.done()
    with pytest.raises(AccountNotClosableError, match="transactions"):
        await closing


async def _closed(bank: Bank, account: str) -> bool:
    try:
        await bank.close(account)
    except AccountNotClosableError:
        return False
    return True


async def _after(seconds: float, work: Awaitable[Any]) -> Any:
    await asyncio.sleep(seconds)
    return await work


async def test_closes_that_race_with_legs_never_leave_money_on_a_closed_account(bank: Bank) -> None:
    outcomes = set()
    for number in range(40):
        account = await bank.open(overdraft_limit=50 if number % 2 else 0)
        leg = bank.withdrawal(account, 5) if number % 2 else bank.deposit(account, 5)
        # From legs that come some milliseconds after the close to a close that comes as late after them.
        legs_wait, close_waits = max(20 - number, 0) / 1000, max(number - 20, 0) / 1000
        racing = [
            _after(legs_wait, bank.post(leg)),
            _after(close_waits, _closed(bank, account)),
            _after(legs_wait, bank.post(bank.deposit(account, 5))),
        ]
        order = [racing[index] for index in ((0, 1, 2), (1, 0, 2), (2, 1, 0), (0, 2, 1))[number % 4]]
        results = await asyncio.gather(*order)
        closed = True in results
        posted = sum(isinstance(result, Decision) and result.posted for result in results)
        outcomes.add((closed, posted))
        account_now = await bank.accounts.get(bank.tenant, account)
        assert account_now is not None
        assert (account_now.status is AccountStatus.CLOSED) == closed
        if closed:
            # A deposit and a withdrawal of the same amount may both come first; what remains is nothing either way.
            assert (await bank.balance(account)).ledger == 0
        else:
            assert posted > 0
    assert {closed for closed, _ in outcomes} == {True, False}, f"one side won every race: {outcomes}"
    assert set(leg_sums(await bank.select(ALL_ENTRIES)).values()) <= {0}


async def test_freezes_that_race_with_legs_decide_each_leg_one_way_or_the_other(bank: Bank) -> None:
    account = await bank.open(funds=100_000)
    posted = refused = 0
    for _ in range(5):
        postings = [bank.deposit(account, 5) if number % 2 else bank.withdrawal(account, 5) for number in range(16)]
        tasks = [asyncio.create_task(bank.post(posting)) for posting in postings[:8]]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        freeze = asyncio.create_task(bank.set_status(account, AccountStatus.FROZEN))
        tasks += [asyncio.create_task(bank.post(posting)) for posting in postings[8:]]
        await freeze
        frozen_now = await asyncio.gather(bank.post(bank.deposit(account, 5)), bank.post(bank.withdrawal(account, 5)))
        assert [leg.posted for leg in frozen_now] == [False, False], "what comes after the freeze is refused"
        decisions = await asyncio.gather(*tasks)
        posted += sum(decision.posted for decision in decisions)
        refused += sum(not decision.posted for decision in decisions)
        await bank.set_status(account, AccountStatus.ACTIVE)
    assert min(posted, refused) > 0
    customers = await bank.select(ALL_ENTRIES)
    assert sum(row["amount"] for row in customers if row["account_id"] == account) == (await bank.balance(account)).ledger


async def test_an_internal_account_takes_no_leg_of_a_customer(bank: Bank) -> None:
    await bank.accounts.open_account(
        tenant=bank.tenant, account_id="nostro", currency="EUR", kind=AccountKind.INTERNAL, rules=AccountRules(overdraft_limit=10**6)
    )
    for posting in (bank.deposit("nostro", 5), bank.withdrawal("nostro", 5)):
        with pytest.raises(UnknownAccountError):
            await bank.post(posting)
        assert await bank.nothing_is_written_of(posting.request.transaction_id)


async def test_the_banks_internal_side_takes_no_lock_and_needs_no_account(bank: Bank) -> None:
    one, other = await bank.open(funds=10), await bank.open(funds=10)
    async with bank.in_flight(bank.withdrawal(one, 5)), bank.in_flight(bank.deposit(one, 5)):
        assert (await bank.post(bank.withdrawal(other, 5))).posted  # It books on `cash` too.
    assert await bank.accounts.get(bank.tenant, "cash") is None
