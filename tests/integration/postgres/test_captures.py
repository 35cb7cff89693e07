"""Captures: debits that take what a hold set aside, in parts, at once, from several processes, and never more than it holds."""

from __future__ import annotations

import asyncio
import json
import sys
from collections import Counter
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from infra.postgres.ledger import post_on
from ledger.accounts import AccountStatus
from ledger.decisions import Decision
from ledger.errors import HoldNotVoidableError
from ledger.holds import HoldStatus
from ledger.postings import Posting
from ledger.refusals import PRECEDENCE, RefusalCode
from ledger.requests import Override
from tests.integration.postgres.bank import Bank, connected, new_id, where_it_is_midday
from tests.integration.postgres.linked import assert_nothing_is_wrong, euro, together


def _code(decision: Decision) -> RefusalCode | None:
    return decision.refusal.code if decision.refusal else None


async def _hold(bank: Bank, hold_id: str) -> tuple[HoldStatus, int, int]:
    """Status, what was captured, and what it still holds."""
    hold = await bank.holds.get(bank.tenant, hold_id)
    assert hold is not None
    return hold.status, hold.captured.minor_units, hold.remaining.minor_units


async def _balance(bank: Bank, account: str) -> tuple[int, int, int]:
    balance = await bank.balance(account)
    return balance.ledger, balance.held, balance.available


async def test_a_capture_of_the_whole_takes_the_money_and_closes_the_hold(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    assert await _balance(bank, account) == (1000, 400, 600)
    captured = await bank.post(bank.capture(hold_id, account, 400))
    assert (captured.ledger_after, captured.available_after, captured.hold_id) == (600, 600, hold_id)
    assert await _balance(bank, account) == (600, 0, 600)
    assert await _hold(bank, hold_id) == (HoldStatus.CAPTURED, 400, 0)
    assert _code(await bank.post(bank.capture(hold_id, account, 1))) is RefusalCode.HOLD_CLOSED
    await assert_nothing_is_wrong(bank)


async def test_a_capture_of_a_part_leaves_the_rest_on_hold(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    captured = await bank.post(bank.capture(hold_id, account, 150))
    assert (captured.ledger_after, captured.available_after) == (850, 600)
    assert await _hold(bank, hold_id) == (HoldStatus.OPEN, 150, 250)
    assert await _balance(bank, account) == (850, 250, 600)
    await assert_nothing_is_wrong(bank)


async def test_a_final_capture_releases_what_is_left(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    assert (await bank.post(bank.capture(hold_id, account, 100))).posted
    captured = await bank.post(bank.capture(hold_id, account, 150, final=True))
    assert (captured.ledger_after, captured.available_after) == (750, 750)
    assert await _hold(bank, hold_id) == (HoldStatus.CAPTURED, 250, 0)
    assert await _balance(bank, account) == (750, 0, 750)
    assert _code(await bank.post(bank.capture(hold_id, account, 1))) is RefusalCode.HOLD_CLOSED
    await assert_nothing_is_wrong(bank)


async def test_parts_are_captured_up_to_the_total_and_not_one_more(bank: Bank) -> None:
    account = await bank.open(funds=400)
    hold_id = await bank.hold(account, 400)
    for part in (150, 150, 99):
        assert (await bank.post(bank.capture(hold_id, account, part))).posted
    refused = await bank.post(bank.capture(hold_id, account, 2))
    assert _code(refused) is RefusalCode.HOLD_EXCEEDED
    assert refused.refusal is not None
    assert "0.01 EUR, less than 0.02 EUR" in refused.refusal.detail
    assert (await bank.post(bank.capture(hold_id, account, 1))).posted
    assert await _hold(bank, hold_id) == (HoldStatus.CAPTURED, 400, 0)
    assert await _balance(bank, account) == (0, 0, 0)
    await assert_nothing_is_wrong(bank)


async def test_more_than_is_held_is_refused_even_where_the_balance_has_it_and_even_with_an_override(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    for override in (None, Override(by="operator", reason="court order")):
        assert _code(await bank.post(bank.capture(hold_id, account, 401, override=override))) is RefusalCode.HOLD_EXCEEDED
    assert await _hold(bank, hold_id) == (HoldStatus.OPEN, 0, 400)
    assert await _balance(bank, account) == (1000, 400, 600)


async def test_the_same_capture_twice_is_one_capture(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    posting = bank.capture(hold_id, account, 300)
    first = await bank.post(posting)
    again, *at_once = [await bank.post(posting), *await asyncio.gather(*(bank.post(posting) for _ in range(8)))]
    assert first.posted
    assert all(answer == first for answer in (again, *at_once))
    assert await _hold(bank, hold_id) == (HoldStatus.OPEN, 300, 100)
    await assert_nothing_is_wrong(bank)


async def test_after_its_end_a_hold_is_not_captured_whether_it_was_swept_or_not(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    await bank.let_expire(hold_id)
    assert await _balance(bank, account) == (1000, 0, 1000)
    assert _code(await bank.post(bank.capture(hold_id, account, 1))) is RefusalCode.HOLD_EXPIRED
    await bank.holds.expire()
    assert _code(await bank.post(bank.capture(hold_id, account, 1))) is RefusalCode.HOLD_EXPIRED
    assert (await bank.post(bank.withdrawal(account, 1000))).posted
    await assert_nothing_is_wrong(bank)


async def test_a_partly_captured_hold_that_expires_gives_back_the_rest_only(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    assert (await bank.post(bank.capture(hold_id, account, 150))).posted
    await bank.let_expire(hold_id)
    for _ in range(2):
        assert await _balance(bank, account) == (850, 0, 850)
        assert await _hold(bank, hold_id) == (HoldStatus.EXPIRED, 150, 0)
        await bank.holds.expire()
    await assert_nothing_is_wrong(bank)


async def test_a_voided_hold_is_not_captured(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    assert (await bank.post(bank.capture(hold_id, account, 100))).posted
    await bank.holds.void(bank.tenant, hold_id)
    assert _code(await bank.post(bank.capture(hold_id, account, 100))) is RefusalCode.HOLD_CLOSED
    assert await _balance(bank, account) == (900, 0, 900)
    await assert_nothing_is_wrong(bank)


async def test_a_hold_that_is_not_this_accounts_is_unknown_to_it(bank: Bank) -> None:
    account, other = await bank.open(funds=1000), await bank.open(funds=1000)
    of_another = await bank.hold(other, 400)
    refused = bank.hold_request(account, 5000)
    assert (await bank.holds.authorise(refused))[0].status is HoldStatus.REFUSED
    stranger = Bank(url=bank.url, database=bank.database, rows=bank.rows, tenant=f"{bank.tenant}-2")
    of_another_tenant = await stranger.hold(await stranger.open(account, funds=1000), 400)
    for hold_id in (of_another, refused.hold_id, of_another_tenant, new_id()):
        assert _code(await bank.post(bank.capture(hold_id, account, 1))) is RefusalCode.HOLD_UNKNOWN
    assert await _hold(bank, of_another) == (HoldStatus.OPEN, 0, 400)
    assert await _balance(bank, account) == (1000, 0, 1000)


@pytest.mark.parametrize(
    ("status", "refused"),
    [
        (AccountStatus.FROZEN, RefusalCode.ACCOUNT_FROZEN),
        (AccountStatus.DEBIT_FROZEN, RefusalCode.ACCOUNT_DEBIT_FROZEN),
        (AccountStatus.DORMANT, RefusalCode.ACCOUNT_DORMANT),
        (AccountStatus.CREDIT_FROZEN, None),
    ],
)
async def test_a_capture_obeys_the_accounts_status(bank: Bank, status: AccountStatus, refused: RefusalCode | None) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    await bank.set_status(account, status)
    assert _code(await bank.post(bank.capture(hold_id, account, 100))) is refused
    await bank.set_status(account, AccountStatus.ACTIVE)
    assert (await bank.post(bank.capture(hold_id, account, 100))).posted


async def test_of_two_reasons_against_a_capture_the_earlier_in_the_order_is_the_answer(bank: Bank) -> None:
    statuses = {
        AccountStatus.FROZEN: RefusalCode.ACCOUNT_FROZEN,
        AccountStatus.DEBIT_FROZEN: RefusalCode.ACCOUNT_DEBIT_FROZEN,
        AccountStatus.DORMANT: RefusalCode.ACCOUNT_DORMANT,
    }
    seen: Counter[tuple[RefusalCode, RefusalCode]] = Counter()
    for status, by_status in statuses.items():
        account = await bank.open(funds=1000, daily_limit=600)
        voided, expired, small = [await bank.hold(account, 10) for _ in range(3)]
        await bank.holds.void(bank.tenant, voided)
        await bank.let_expire(expired)
        holds = {
            new_id(): RefusalCode.HOLD_UNKNOWN,
            voided: RefusalCode.HOLD_CLOSED,
            expired: RefusalCode.HOLD_EXPIRED,
            small: RefusalCode.HOLD_EXCEEDED,
        }
        for hold_id, by_hold in holds.items():
            # Each is more than the limit allows and than there is, too: neither counts for a capture, so the hold's reason stands.
            assert _code(await bank.post(bank.capture(hold_id, account, 5000))) is by_hold
        await bank.set_status(account, status)
        for hold_id, by_hold in holds.items():
            assert _code(await bank.post(bank.capture(hold_id, account, 5000))) is min(by_status, by_hold, key=PRECEDENCE.index)
            seen[by_status, by_hold] += 1
    assert len(seen) == 12


async def test_a_capture_is_refused_neither_for_limits_nor_for_funds_nor_for_the_minimum_balance(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 1000)
    await bank.change(account, transaction_limit=1, daily_limit=1, monthly_limit=1, minimum_balance=500)
    captured = await bank.post(bank.capture(hold_id, account, 1000))
    assert (captured.posted, captured.available_after) == (True, 0)
    await assert_nothing_is_wrong(bank)


async def test_a_hold_is_captured_on_an_account_that_an_override_has_overdrawn(bank: Bank) -> None:
    """The money was set aside before, and the capture leaves no less available than there was."""
    account = await bank.open(funds=100)
    hold_id = await bank.hold(account, 50)
    assert (await bank.post(bank.withdrawal(account, 100, override=Override(by="operator", reason="court order")))).posted
    before = await bank.balance(account)
    captured = await bank.post(bank.capture(hold_id, account, 50))
    assert captured.posted
    assert captured.available_after == before.available == -50
    await assert_nothing_is_wrong(bank)


async def test_a_capture_does_not_count_towards_the_limits_a_second_time(bank: Bank) -> None:
    account = await bank.open(funds=1000, daily_limit=500, monthly_limit=500, time_zone=where_it_is_midday())
    hold_id = await bank.hold(account, 400)
    assert (await bank.post(bank.capture(hold_id, account, 300))).posted
    assert (await bank.post(bank.withdrawal(account, 100))).posted
    assert _code(await bank.post(bank.withdrawal(account, 1))) is RefusalCode.DAILY_LIMIT
    # What was released counts on: it was set in motion today.
    await bank.holds.void(bank.tenant, hold_id)
    assert _code(await bank.post(bank.withdrawal(account, 1))) is RefusalCode.DAILY_LIMIT


async def test_a_capture_to_another_account_and_its_fee_are_booked_together_or_not_at_all(bank: Bank) -> None:
    debtor, merchant = await bank.open(funds=1000), await bank.open()
    hold_id = await bank.hold(debtor, 990)
    fields: dict[str, Any] = {"debtor": debtor, "creditor": merchant, "amount": 400, "hold_id": hold_id}
    too_dear = await bank.ledger.post_linked(together(bank, **fields, fee=euro(11)))
    assert too_dear.reason is not None
    assert too_dear.reason.code is RefusalCode.INSUFFICIENT_FUNDS, "the fee isn't what was set aside"
    assert await _hold(bank, hold_id) == (HoldStatus.OPEN, 0, 990)
    done = await bank.ledger.post_linked(together(bank, **fields, fee=euro(10), releases_hold=True))
    assert [leg.posted for leg in done.legs] == [True, True, True]
    assert await _hold(bank, hold_id) == (HoldStatus.CAPTURED, 400, 0)
    assert (await _balance(bank, debtor), await _balance(bank, merchant)) == ((590, 0, 590), (400, 0, 400))
    await assert_nothing_is_wrong(bank)


async def test_captures_of_one_hold_in_one_batch_are_decided_one_after_the_other(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id, other = await bank.hold(account, 100), await bank.hold(account, 30)
    postings = [bank.capture(hold_id, account, 40) for _ in range(4)]
    postings += [bank.capture(other, account, 10, final=True), bank.capture(other, account, 10), bank.withdrawal(account, 870)]
    async with bank.uncommitted(lambda connection: post_on(connection, postings)) as answers:
        codes = [_code(answer) for answer in answers if isinstance(answer, Decision)]
    exceeded = RefusalCode.HOLD_EXCEEDED
    # Of 1000, 130 were set aside: 80 + 10 were captured, and 20 released, so 890 are there, and 870 of them are not held.
    assert codes == [None, None, exceeded, exceeded, None, RefusalCode.HOLD_CLOSED, None]
    assert await _hold(bank, hold_id) == (HoldStatus.OPEN, 80, 20)
    assert await _hold(bank, other) == (HoldStatus.CAPTURED, 10, 0)
    assert await _balance(bank, account) == (40, 20, 20)
    await assert_nothing_is_wrong(bank)


async def test_captures_that_arrive_together_never_take_more_than_is_held(bank: Bank) -> None:
    account = await bank.open(funds=100_000)
    hold_id = await bank.hold(account, 1000)
    ledger = bank.ledger
    decisions = await asyncio.gather(*(ledger.post(bank.capture(hold_id, account, 70)) for _ in range(60)))
    assert Counter(_code(decision) for decision in decisions) == {None: 14, RefusalCode.HOLD_EXCEEDED: 46}
    assert await _hold(bank, hold_id) == (HoldStatus.OPEN, 980, 20)
    await assert_nothing_is_wrong(bank)


async def test_captures_from_several_processes_never_take_more_than_is_held(bank: Bank) -> None:
    account = await bank.open(funds=100_000)
    hold_id = await bank.hold(account, 1000)
    shares = [[bank.capture(hold_id, account, 70) for _ in range(15)] for _ in range(4)]
    decisions = await _in_processes(bank, shares)
    assert Counter(_code(decision) for decision in decisions) == {None: 14, RefusalCode.HOLD_EXCEEDED: 46}
    assert await _hold(bank, hold_id) == (HoldStatus.OPEN, 980, 20)
    assert await _balance(bank, account) == (99_020, 20, 99_000)
    await assert_nothing_is_wrong(bank)


async def _in_processes(bank: Bank, shares: Sequence[Sequence[Posting]]) -> list[Decision]:
    """Post each share by a process of its own; all begin at the same time."""
    async with connected(bank.url, autocommit=True) as gate:
        await gate.execute("SELECT pg_advisory_lock(1)")
        command = (sys.executable, "-m", "tests.integration.postgres.posting_process")
        pipe = asyncio.subprocess.PIPE
        processes = [await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe) for _ in shares]
        running = [
            asyncio.create_task(
                process.communicate(
                    json.dumps({"url": bank.url, "postings": [json.loads(posting.model_dump_json()) for posting in share]}).encode()
                )
            )
            for process, share in zip(processes, shares, strict=True)
        ]
        await bank.until_blocked(len(shares))
        await gate.execute("SELECT pg_advisory_unlock(1)")
        outputs = [await task for task in running]
    return [Decision.model_validate_json(json.dumps(answer)) for out, _ in outputs for answer in json.loads(out)]


async def test_a_void_an_expiry_and_captures_that_race_release_a_hold_once(bank: Bank) -> None:
    account = await bank.open(funds=100_000)
    ends: Counter[HoldStatus] = Counter()
    for number in range(24):
        hold_id = await bank.hold(account, 100)
        racing: list[Coroutine[Any, Any, object]] = [
            bank.post(bank.capture(hold_id, account, 60, final=True)),
            bank.post(bank.capture(hold_id, account, 30)),
        ]
        if number % 3 == 0:
            await bank.let_expire(hold_id)
        enders: list[Coroutine[Any, Any, object]] = [bank.holds.void(bank.tenant, hold_id), bank.holds.expire()]
        results = await asyncio.gather(*(racing + enders if number % 2 else enders + racing), return_exceptions=True)
        errors = [result for result in results if isinstance(result, BaseException)]
        assert all(isinstance(error, HoldNotVoidableError) for error in errors), errors
        ends[(await _hold(bank, hold_id))[0]] += 1
    assert {HoldStatus.EXPIRED, HoldStatus.VOIDED, HoldStatus.CAPTURED} >= set(ends)
    assert len(ends) > 1, f"one side won every race: {ends}"
    assert (await bank.balance(account)).held == 0
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("final", [True, False])
async def test_a_void_waits_for_a_capture_in_flight_and_releases_only_what_it_left(bank: Bank, final: bool) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    async with bank.in_flight(bank.capture(hold_id, account, 100, final=final)):
        void = asyncio.create_task(bank.holds.void(bank.tenant, hold_id))
        await bank.until_blocked()
        assert not void.done()
    if final:
        with pytest.raises(HoldNotVoidableError):
            await void
    else:
        assert (await void).captured.minor_units == 100
    assert await _balance(bank, account) == (900, 0, 900)
    await assert_nothing_is_wrong(bank)


async def test_a_sweep_that_waits_for_an_account_keeps_nobody_from_its_holds(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    await bank.let_expire(hold_id)
    async with connected(bank.url, autocommit=False) as other:
        await other.execute("SELECT 1 FROM online_balance WHERE tenant = %s FOR NO KEY UPDATE", (bank.tenant,))
        sweep = asyncio.create_task(bank.holds.expire())
        await bank.until_blocked()
        # As a capture would, once it has the online row. Were the hold locked first, each would wait for the other.
        await other.execute("UPDATE hold SET reference = 'late' WHERE hold_id = %s", (hold_id,))
        await other.commit()
    assert await sweep == 1
    await assert_nothing_is_wrong(bank)


async def test_a_capture_waits_for_a_void_in_flight_and_obeys_it(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    hold_id = await bank.hold(account, 400)
    async with connected(bank.url, autocommit=False) as other:
        await other.execute("SELECT * FROM lock_hold(%s, %s::uuid)", (bank.tenant, hold_id))
        await other.execute("SELECT void_hold(%s, %s::uuid)", (bank.tenant, hold_id))
        capture = asyncio.create_task(bank.post(bank.capture(hold_id, account, 1)))
        await bank.until_blocked()
        assert not capture.done()
        await other.commit()
    assert _code(await capture) is RefusalCode.HOLD_CLOSED
