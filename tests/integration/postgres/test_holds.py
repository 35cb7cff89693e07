"""Holds: authorised once, void once, expired by themselves; each under its account's online row."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from ledger.accounts import AccountKind, AccountStatus
from ledger.errors import HoldConflictError, HoldNotVoidableError, InvalidInputError, NotFoundError, UnknownAccountError
from ledger.holds import Hold, HoldRequest, HoldStatus
from ledger.money import Money
from ledger.refusals import RefusalCode
from tests.integration.postgres.bank import Bank, new_id, where_it_is_midday
from tests.integration.postgres.linked import assert_nothing_is_wrong


async def _authorise(bank: Bank, request: HoldRequest) -> Hold:
    hold, _ = await bank.holds.authorise(request)
    return hold


async def test_a_hold_sets_money_aside_and_is_found_as_it_was_answered(bank: Bank) -> None:
    account = await bank.open(funds=1000, overdraft_limit=100)
    request = bank.hold_request(account, 1100, reference="hotel")
    hold, stored = await bank.holds.authorise(request)
    assert (stored, hold.status, hold.remaining.minor_units) == (True, HoldStatus.OPEN, 1100)
    assert await bank.holds.get(bank.tenant, request.hold_id) == hold
    assert (hold.expires_at, hold.reference, hold.authorised_by) == (request.expires_at, "hotel", "teller")
    balance = await bank.balance(account)
    assert (balance.ledger, balance.held, balance.available) == (1000, 1100, 0)
    assert not (await bank.post(bank.withdrawal(account, 1))).posted
    assert await bank.value("SELECT count(*) FROM gl_entry WHERE tenant = %(tenant)s") == 1, "a hold books nothing"
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("accepted", [True, False])
async def test_the_same_hold_again_gets_the_same_answer_whatever_has_become_of_the_account(bank: Bank, accepted: bool) -> None:
    account = await bank.open(funds=1000)
    request = bank.hold_request(account, 400 if accepted else 1001)
    first = await _authorise(bank, request)
    assert first.status is (HoldStatus.OPEN if accepted else HoldStatus.REFUSED)
    await bank.post(bank.withdrawal(account, 600) if accepted else bank.deposit(account, 5000))
    await bank.set_status(account, AccountStatus.FROZEN)
    colleague = request.model_copy(update={"authorised_by": "colleague"})
    assert [await bank.holds.authorise(again) for again in (request, colleague)] == [(first, False)] * 2
    assert (await bank.balance(account)).held == (400 if accepted else 0)


async def test_a_repeat_after_the_end_gets_the_hold_as_it_stands(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    request = bank.hold_request(account, 400, expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=0.5))
    assert (await _authorise(bank, request)).status is HoldStatus.OPEN
    async with asyncio.timeout(30):
        while (again := await bank.holds.authorise(request))[0].status is HoldStatus.OPEN:  # noqa: ASYNC110  only time ends it
            await asyncio.sleep(0.05)
    assert (again[0].status, again[0].closed_at, again[1]) == (HoldStatus.EXPIRED, request.expires_at, False)
    assert (await bank.balance(account)).available == 1000
    await bank.holds.expire()
    assert await bank.holds.authorise(request) == again


@pytest.mark.parametrize(
    "change",
    [
        {"amount": Money(minor_units=401, currency="EUR")},
        {"amount": Money(minor_units=400, currency="CZK")},
        {"expires_at": dt.datetime(2999, 1, 1, tzinfo=dt.UTC)},
        {"reference": "other"},
        {"account_id": "the-other"},
        {"account_id": "nobody"},
    ],
    ids=str,
)
async def test_other_content_under_a_hold_id_is_a_conflict(bank: Bank, change: dict[str, Any]) -> None:
    account, _ = await bank.open(funds=1000), await bank.open("the-other", funds=1000)
    request = bank.hold_request(account, 400)
    first = await _authorise(bank, request)
    with pytest.raises(HoldConflictError) as caught:
        await bank.holds.authorise(request.model_copy(update=change))
    assert (caught.value.code, caught.value.hold_id) == ("hold-conflict", request.hold_id)
    assert await bank.holds.get(bank.tenant, request.hold_id) == first
    assert ((await bank.balance(account)).held, (await bank.balance("the-other")).held) == (400, 0)


async def test_a_refused_hold_keeps_its_id_for_its_content(bank: Bank) -> None:
    account = await bank.open(funds=100)
    request = bank.hold_request(account, 101)
    assert (await _authorise(bank, request)).refusal is not None
    with pytest.raises(HoldConflictError):
        await bank.holds.authorise(request.model_copy(update={"amount": Money(minor_units=50, currency="EUR")}))


async def test_another_tenant_may_use_the_same_hold_id_and_sees_only_its_own(bank: Bank) -> None:
    other = Bank(url=bank.url, database=bank.database, rows=bank.rows, tenant=f"{bank.tenant}-2")
    mine, theirs = await bank.open("same", funds=1000), await other.open("same", funds=1000)
    hold_id = await bank.hold(mine, 400)
    assert await other.holds.get(other.tenant, hold_id) is None
    with pytest.raises(NotFoundError):
        await other.holds.void(other.tenant, hold_id)
    assert await other.hold(theirs, 300, hold_id=hold_id) == hold_id
    assert ((await bank.balance(mine)).held, (await other.balance(theirs)).held) == (400, 300)


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("amount", {"amount": Money(minor_units=0, currency="EUR")}),
        ("amount", {"amount": Money(minor_units=10**15 + 1, currency="EUR")}),
        ("currency", {"amount": Money(minor_units=5, currency="CZK")}),
        ("expires_at", {"expires_at": dt.datetime(2020, 1, 1, tzinfo=dt.UTC)}),
        ("account_id", {"account_id": "nobody"}),
        ("account_id", {"account_id": "nostro"}),
    ],
    ids=str,
)
async def test_a_hold_that_can_not_be_is_bad_input_and_leaves_nothing(bank: Bank, field: str, change: dict[str, Any]) -> None:
    account = await bank.open(funds=1000)
    await bank.accounts.open_account(tenant=bank.tenant, account_id="nostro", currency="EUR", kind=AccountKind.INTERNAL)
    request = bank.hold_request(account, 400).model_copy(update=change)
    with pytest.raises(InvalidInputError) as caught:
        await bank.holds.authorise(request)
    assert caught.value.field == field
    assert isinstance(caught.value, UnknownAccountError) == (field == "account_id")
    assert await bank.holds.get(bank.tenant, request.hold_id) is None
    assert (await bank.balance(account)).held == 0


async def test_the_largest_hold_is_taken(bank: Bank) -> None:
    account = await bank.open(funds=10**15)
    hold_id = await bank.hold(account, 10**15, expires_at=dt.datetime.max.replace(tzinfo=dt.UTC))
    assert (await bank.post(bank.capture(hold_id, account, 10**15))).posted
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize(
    ("rules", "status", "reason"),
    [
        ({}, AccountStatus.FROZEN, RefusalCode.ACCOUNT_FROZEN),
        ({}, AccountStatus.DEBIT_FROZEN, RefusalCode.ACCOUNT_DEBIT_FROZEN),
        ({}, AccountStatus.DORMANT, RefusalCode.ACCOUNT_DORMANT),
        ({"transaction_limit": 399}, AccountStatus.ACTIVE, RefusalCode.TRANSACTION_LIMIT),
        ({"daily_limit": 399}, AccountStatus.ACTIVE, RefusalCode.DAILY_LIMIT),
        ({"monthly_limit": 399}, AccountStatus.ACTIVE, RefusalCode.MONTHLY_LIMIT),
        ({"minimum_balance": 601}, AccountStatus.ACTIVE, RefusalCode.MINIMUM_BALANCE),
        ({"maximum_balance": 1000}, AccountStatus.CREDIT_FROZEN, None),
    ],
)
async def test_a_hold_is_decided_by_the_rules_of_a_debit(
    bank: Bank, rules: dict[str, Any], status: AccountStatus, reason: RefusalCode | None
) -> None:
    account = await bank.open(funds=1000, **rules)
    await bank.set_status(account, status)
    hold = await _authorise(bank, bank.hold_request(account, 400))
    assert (hold.refusal.code if hold.refusal else None) is reason
    assert hold.closed_at == (hold.created_at if reason else None)
    assert (await bank.balance(account)).held == (0 if reason else 400)


async def test_a_closed_account_takes_no_hold(bank: Bank) -> None:
    account = await bank.open()
    await bank.close(account)
    refusal = (await _authorise(bank, bank.hold_request(account, 5))).refusal
    assert refusal is not None
    assert refusal.code is RefusalCode.ACCOUNT_CLOSED


async def test_holds_count_towards_the_limits_when_they_are_authorised(bank: Bank) -> None:
    account = await bank.open(funds=1000, daily_limit=500, monthly_limit=700, time_zone=where_it_is_midday())
    assert (await bank.post(bank.withdrawal(account, 100))).posted
    await bank.hold(account, 300)
    for leg in (await bank.post(bank.withdrawal(account, 101)), await _authorise(bank, bank.hold_request(account, 101))):
        assert leg.refusal is not None
        assert leg.refusal.code is RefusalCode.DAILY_LIMIT
    assert (await bank.post(bank.withdrawal(account, 100))).posted
    await bank.change(account, daily_limit=None)
    await bank.hold(account, 200)
    monthly = (await _authorise(bank, bank.hold_request(account, 1))).refusal
    assert monthly is not None
    assert monthly.code is RefusalCode.MONTHLY_LIMIT


async def test_voiding_releases_what_is_left_and_twice_is_once(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id, other = await bank.hold(account, 400), await bank.hold(account, 50)
    voided = await bank.holds.void(bank.tenant, hold_id)
    assert (voided.status, voided.remaining.minor_units) == (HoldStatus.VOIDED, 0)
    assert await bank.holds.void(bank.tenant, hold_id) == voided == await bank.holds.get(bank.tenant, hold_id)
    balance = await bank.balance(account)
    assert (balance.held, balance.available) == (50, 950)
    await bank.holds.void(bank.tenant, other)
    assert (await bank.balance(account)).held == 0
    await assert_nothing_is_wrong(bank)


async def test_a_frozen_accounts_hold_can_be_voided(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    await bank.set_status(account, AccountStatus.FROZEN)
    assert (await bank.holds.void(bank.tenant, hold_id)).status is HoldStatus.VOIDED


async def test_what_is_no_longer_open_is_not_voided(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    captured, expired, swept = [await bank.hold(account, 10) for _ in range(3)]
    assert (await bank.post(bank.capture(captured, account, 5, final=True))).posted
    await bank.let_expire(swept)
    await bank.holds.expire()
    await bank.let_expire(expired)
    refused = await _authorise(bank, bank.hold_request(account, 5000))
    for hold_id, status in ((captured, "captured"), (expired, "expired"), (swept, "expired"), (refused.hold_id, "refused")):
        with pytest.raises(HoldNotVoidableError, match=status) as caught:
            await bank.holds.void(bank.tenant, hold_id)
        assert caught.value.code == "hold-not-voidable"
    with pytest.raises(NotFoundError):
        await bank.holds.void(bank.tenant, new_id())
    await assert_nothing_is_wrong(bank)


async def test_an_expired_hold_holds_nothing_from_its_end_on_and_the_sweep_only_tidies_up(bank: Bank) -> None:
    await bank.holds.expire()  # of other tests
    account = await bank.open(funds=1000)
    hold_id, standing = await bank.hold(account, 400), await bank.hold(account, 50)
    await bank.let_expire(hold_id)
    assert (await bank.balance(account)).available == 950
    assert (await bank.post(bank.withdrawal(account, 900))).available_after == 50
    before = await bank.holds.get(bank.tenant, hold_id)
    assert before is not None
    assert before.status is HoldStatus.EXPIRED
    assert await bank.holds.expire() == 1
    assert await bank.holds.expire() == 0
    assert await bank.holds.get(bank.tenant, hold_id) == before
    still = await bank.holds.get(bank.tenant, standing)
    assert still is not None
    assert still.status is HoldStatus.OPEN
    assert (await bank.balance(account)).held == 50
    assert await bank.value("SELECT held FROM online_balance WHERE account_id = %(account)s AND tenant = %(tenant)s", account=account) == 50
    await assert_nothing_is_wrong(bank)


async def test_sweeps_that_run_together_expire_each_hold_once_in_bounded_chunks(bank: Bank) -> None:
    await bank.holds.expire()  # of other tests
    accounts = [await bank.open(funds=10_000) for _ in range(5)]
    holds = [await bank.hold(accounts[number % 5], 7) for number in range(60)]
    kept = [await bank.hold(account, 11) for account in accounts]
    await bank.let_expire(*holds)
    legs = [bank.post(bank.withdrawal(account, 1)) for account in accounts * 4]
    *closed, _ = await asyncio.gather(*(bank.holds.expire(at_once=4) for _ in range(4)), asyncio.gather(*legs))
    assert sum(count for count in closed if isinstance(count, int)) == len(holds)
    assert await bank.select("SELECT DISTINCT status FROM hold WHERE tenant = %(tenant)s AND hold_id = ANY (%(ids)s)", ids=holds) == [
        {"status": "expired"}
    ]
    assert [(await bank.balance(account)).held for account in accounts] == [11] * 5
    assert len(kept) == 5
    await assert_nothing_is_wrong(bank)


async def test_a_sweep_of_many_holds_does_it_chunk_by_chunk(bank: Bank) -> None:
    await bank.holds.expire()  # of other tests
    account = await bank.open(funds=1000)
    await bank.let_expire(*[await bank.hold(account, 1) for _ in range(10)])
    assert await bank.value("SELECT expired FROM expire_holds(4, NULL, NULL)") == 4
    assert await bank.value("SELECT count(*) FROM hold WHERE tenant = %(tenant)s AND status = 'open'") == 6
    assert await bank.holds.expire(at_once=4) == 6


async def test_concurrent_holds_and_debits_never_promise_the_same_money_twice(bank: Bank) -> None:
    account = await bank.open(funds=1000, overdraft_limit=200)
    holds = [bank.holds.authorise(bank.hold_request(account, 100)) for _ in range(12)]
    debits = [bank.post(bank.withdrawal(account, 100)) for _ in range(12)]
    held, debited = await asyncio.gather(asyncio.gather(*holds), asyncio.gather(*debits))
    accepted = [hold for hold, _ in held if hold.status is HoldStatus.OPEN]
    posted = [leg for leg in debited if leg.posted]
    assert len(accepted) + len(posted) == 12
    balance = await bank.balance(account)
    assert (balance.held, balance.ledger, balance.available) == (100 * len(accepted), 1000 - 100 * len(posted), 0)
    await assert_nothing_is_wrong(bank)


async def test_holds_of_one_id_that_race_are_one_hold(bank: Bank) -> None:
    account, other = await bank.open(funds=1000), await bank.open(funds=1000)
    request = bank.hold_request(account, 100)
    answers = await asyncio.gather(*(bank.holds.authorise(request) for _ in range(8)))
    assert len({hold.model_dump_json() for hold, _ in answers}) == 1
    assert [stored for _, stored in answers].count(True) == 1
    shared = new_id()
    raced = [bank.hold_request(one, 100, hold_id=shared) for one in (account, other)]
    outcomes = await asyncio.gather(*(bank.holds.authorise(one) for one in raced * 4), return_exceptions=True)
    assert sum(isinstance(outcome, HoldConflictError) for outcome in outcomes) == 4, outcomes
    assert (await bank.balance(account)).held + (await bank.balance(other)).held == 200
    await assert_nothing_is_wrong(bank)


async def test_a_hold_does_not_wait_for_an_open_credit_and_does_not_hold_its_money(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    async with bank.in_flight(bank.deposit(account, 500)):
        assert (await _authorise(bank, bank.hold_request(account, 1001))).status is HoldStatus.REFUSED
        await bank.hold(account, 1000)


async def test_a_hold_waits_for_an_open_debit_and_is_decided_after_it(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    async with bank.in_flight(bank.withdrawal(account, 600)):
        waiting = asyncio.create_task(_authorise(bank, bank.hold_request(account, 600)))
        await bank.until_blocked()
        assert not waiting.done()
        assert (await bank.post(bank.deposit(account, 5))).posted, "nor does a credit wait for a hold that waits"
    assert (await waiting).status is HoldStatus.REFUSED
