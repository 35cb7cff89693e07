"""Limits and bounds of the balance on the database: what counts, when a day and a month end, and changes of all rules."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text

from ledger.accounts import AccountKind, AccountRules, AccountStatus
from ledger.decisions import Decision
from ledger.errors import AccountClosedError, AccountConflictError, InvalidInputError, NotFoundError, OverdraftInUseError
from ledger.holds import HoldStatus
from ledger.refusals import RefusalCode
from ledger.requests import Override
from ledger.rules import StatusChange
from tests.integration.postgres.bank import Bank, connected, where_it_is_midday
from tests.integration.postgres.linked import assert_nothing_is_wrong

FARTHEST_EAST, FARTHEST_WEST = "Pacific/Kiritimati", "Etc/GMT+12"
"""26 hours apart, so that their days are never the same."""


def _code(decision: Decision) -> RefusalCode | None:
    return decision.refusal.code if decision.refusal else None


async def _spent(bank: Bank, account: str, *, day: dt.date, on_day: int, in_month: int) -> None:
    """As if debits had brought the account's counters to this on an earlier (or a later) day."""
    await bank.rows.execute(
        "UPDATE online_balance SET spending_day = %s, spent_on_day = %s, spent_in_month = %s WHERE tenant = %s AND account_id = %s",
        (day, on_day, in_month, bank.tenant, account),
    )


async def _withdraw(bank: Bank, account: str, amount: int, **fields: Any) -> RefusalCode | None:
    return _code(await bank.post(bank.withdrawal(account, amount, **fields)))


async def test_limits_refuse_what_is_above_them_and_take_what_meets_them(bank: Bank) -> None:
    account = await bank.open(funds=100_000, transaction_limit=100, daily_limit=250, monthly_limit=300, time_zone=where_it_is_midday())
    assert await _withdraw(bank, account, 101) is RefusalCode.TRANSACTION_LIMIT
    assert [await _withdraw(bank, account, 100) for _ in range(2)] == [None, None]
    assert await _withdraw(bank, account, 51) is RefusalCode.DAILY_LIMIT
    assert await _withdraw(bank, account, 50) is None
    await bank.change(account, daily_limit=None)
    assert await _withdraw(bank, account, 51) is RefusalCode.MONTHLY_LIMIT
    assert await _withdraw(bank, account, 50) is None
    await bank.change(account, monthly_limit=None, transaction_limit=None)
    assert await _withdraw(bank, account, 50_000) is None


async def test_limits_hold_for_debits_that_arrive_together(bank: Bank) -> None:
    account = await bank.open(funds=100_000, daily_limit=1000, time_zone=where_it_is_midday())
    ledgers = [bank.ledger for _ in range(4)]
    decisions = await asyncio.gather(*(ledgers[number % 4].post(bank.withdrawal(account, 70)) for number in range(40)))
    assert sorted(map(str, map(_code, decisions))) == sorted(["None"] * 14 + ["daily-limit"] * 26)


async def test_refused_debits_and_credits_do_not_count_and_an_override_does(bank: Bank) -> None:
    account = await bank.open(funds=100, daily_limit=150, time_zone=where_it_is_midday())
    assert await _withdraw(bank, account, 120) is RefusalCode.INSUFFICIENT_FUNDS
    await bank.post(bank.deposit(account, 1000))
    assert await _withdraw(bank, account, 140, override=Override(by="operator", reason="court order")) is None
    assert await _withdraw(bank, account, 11) is RefusalCode.DAILY_LIMIT
    assert await _withdraw(bank, account, 10) is None


@pytest.mark.parametrize("zone", [FARTHEST_EAST, FARTHEST_WEST, "UTC"])
async def test_a_day_and_a_month_end_at_midnight_where_the_account_is(bank: Bank, zone: str) -> None:
    account = await bank.open(funds=100_000, daily_limit=100, monthly_limit=300, time_zone=zone)
    # Should a day end meanwhile, the limits begin again: what they refuse is asked first, and asked again on the new day if need be.
    async with asyncio.timeout(60):
        while True:
            today = await _local_day(bank, zone)
            found: dict[str, list[RefusalCode | None]] = {}
            neighbour = today + dt.timedelta(days=1 if today.day == 1 else -1)
            for when, day in (
                ("today", today),
                ("another day of this month", neighbour),
                ("last month", today.replace(day=1) - dt.timedelta(days=1)),
                ("this day of another year", today.replace(year=today.year - 1, day=min(today.day, 28))),
            ):
                found[when] = []
                for amount in (101, 100, 1):
                    await _spent(bank, account, day=day, on_day=50, in_month=250)
                    found[when].append(await _withdraw(bank, account, amount))
            if await _local_day(bank, zone) == today:
                break
    daily, monthly = RefusalCode.DAILY_LIMIT, RefusalCode.MONTHLY_LIMIT
    assert found == {
        "today": [daily, daily, None],
        "another day of this month": [daily, monthly, None],
        "last month": [daily, None, None],
        "this day of another year": [daily, None, None],
    }


async def _local_day(bank: Bank, zone: str) -> dt.date:
    day = await bank.value("SELECT CAST(clock_timestamp() AT TIME ZONE %(zone)s AS date)", zone=zone)
    assert isinstance(day, dt.date)
    return day


async def test_the_days_of_two_accounts_are_those_of_their_time_zones(bank: Bank) -> None:
    east, west = [await bank.open(funds=1000, time_zone=zone) for zone in (FARTHEST_EAST, FARTHEST_WEST)]
    for account in (east, west):
        assert await _withdraw(bank, account, 5) is None
    days = await bank.select("SELECT DISTINCT spending_day FROM online_balance WHERE tenant = %(tenant)s")
    assert len(days) == 2


MIDNIGHTS = [
    ("Europe/Prague", dt.date(2026, 3, 29)),  # the day that loses an hour
    ("Europe/Prague", dt.date(2026, 3, 30)),
    ("Europe/Prague", dt.date(2026, 10, 25)),  # the day that gains one
    ("Europe/Prague", dt.date(2026, 10, 26)),
    ("America/New_York", dt.date(2026, 11, 1)),
    ("Africa/Cairo", dt.date(2026, 4, 24)),  # its first hour is left out: the day begins at one
    ("America/Havana", dt.date(2026, 11, 1)),  # its first hour comes twice
    ("Asia/Kathmandu", dt.date(2026, 6, 1)),
    ("Australia/Lord_Howe", dt.date(2026, 4, 5)),
    (FARTHEST_EAST, dt.date(2027, 1, 1)),
    (FARTHEST_WEST, dt.date(2028, 2, 29)),
]


@pytest.mark.parametrize(("zone", "day"), MIDNIGHTS, ids=str)
async def test_the_database_ends_a_day_at_the_instant_at_which_it_ends_there(bank: Bank, zone: str, day: dt.date) -> None:
    begins = _first_instant(zone, day)
    for instant in (begins - dt.timedelta(microseconds=1), begins, begins + dt.timedelta(hours=1, minutes=30)):
        found = await bank.value("SELECT CAST(%(instant)s::timestamptz AT TIME ZONE %(zone)s AS date)", instant=instant, zone=zone)
        assert found == instant.astimezone(ZoneInfo(zone)).date()
        assert (found >= day) == (instant >= begins)


def _first_instant(zone: str, day: dt.date) -> dt.datetime:
    """Of a local day, found by bisection in UTC; independent of how either side reads a local time that comes twice or never."""
    low = dt.datetime.combine(day, dt.time(), tzinfo=dt.UTC) - dt.timedelta(hours=30)
    high = low + dt.timedelta(hours=60)
    while high - low > dt.timedelta(microseconds=1):
        middle = low + (high - low) / 2
        low, high = (low, middle) if middle.astimezone(ZoneInfo(zone)).date() >= day else (middle, high)
    return high


async def test_a_change_of_the_time_zone_gives_no_second_day(bank: Bank) -> None:
    account = await bank.open(funds=1000, daily_limit=100, monthly_limit=150, time_zone=FARTHEST_EAST)
    await _spent(bank, account, day=await _local_day(bank, FARTHEST_EAST), on_day=100, in_month=100)
    for zone in (FARTHEST_WEST, FARTHEST_EAST, "Europe/Prague"):
        await bank.change(account, time_zone=zone)
        assert await _withdraw(bank, account, 1) is RefusalCode.DAILY_LIMIT
    await bank.change(account, daily_limit=None)
    assert await _withdraw(bank, account, 51) is RefusalCode.MONTHLY_LIMIT
    assert await _withdraw(bank, account, 50) is None


@pytest.mark.parametrize("zone", ["Europe/Atlantis", "europe/prague", "EST5EDT4", "UTC+3"])
async def test_a_time_zone_that_the_database_does_not_know_is_bad_input_and_no_leg_ever_sees_it(bank: Bank, zone: str) -> None:
    account = await bank.open(funds=1000)
    with pytest.raises(InvalidInputError, match="IANA") as caught:
        await bank.change(account, time_zone=zone)
    assert (caught.value.field, caught.value.value) == ("time_zone", zone)
    with pytest.raises(InvalidInputError, match="IANA"):
        await bank.open("elsewhere", time_zone=zone)
    assert await bank.accounts.get(bank.tenant, "elsewhere") is None
    assert await _withdraw(bank, account, 5) is None


async def test_a_debit_leaves_the_minimum_balance_available_and_an_overdraft_counts(bank: Bank) -> None:
    account = await bank.open(funds=1000, minimum_balance=300, overdraft_limit=200)
    assert await _withdraw(bank, account, 901) is RefusalCode.MINIMUM_BALANCE
    assert await _withdraw(bank, account, 1201) is RefusalCode.INSUFFICIENT_FUNDS
    assert await _withdraw(bank, account, 900) is None


async def test_credits_that_arrive_together_never_exceed_a_maximum_balance(bank: Bank) -> None:
    account = await bank.open(maximum_balance=1000)
    ledgers = [bank.ledger for _ in range(4)]
    decisions = await asyncio.gather(*(ledgers[number % 4].post(bank.deposit(account, 70)) for number in range(60)))
    assert sum(decision.posted for decision in decisions) == 14
    assert {_code(decision) for decision in decisions} == {None, RefusalCode.MAXIMUM_BALANCE}
    assert (await bank.balance(account)).ledger == 980
    assert _code(await bank.post(bank.deposit(account, 20))) is None
    assert _code(await bank.post(bank.deposit(account, 1))) is RefusalCode.MAXIMUM_BALANCE
    assert await _withdraw(bank, account, 500) is None
    assert _code(await bank.post(bank.deposit(account, 500))) is None
    await assert_nothing_is_wrong(bank)


async def test_a_maximum_that_is_set_while_credits_are_in_flight_counts_them_and_bounds_those_that_come_after(bank: Bank) -> None:
    account = await bank.open(funds=100)
    async with bank.in_flight(bank.deposit(account, 700)):
        change = asyncio.create_task(bank.change(account, maximum_balance=1000))
        await bank.until_blocked()
        # These come without the online row, since there is no maximum yet, and wait for the change. Then they have missed the lock.
        late = [asyncio.create_task(bank.post(bank.deposit(account, 150))) for _ in range(3)]
        await bank.until_blocked(4)
        assert not any(task.done() for task in (change, *late))
    assert (await change).maximum_balance == 1000
    decisions = await asyncio.gather(*late)
    assert sorted(map(str, map(_code, decisions))) == ["None", "maximum-balance", "maximum-balance"]
    assert (await bank.balance(account)).ledger == 950
    await assert_nothing_is_wrong(bank)


async def test_a_maximum_that_is_taken_away_lets_all_credits_pass_without_a_lock_again(bank: Bank) -> None:
    account = await bank.open(funds=1000, maximum_balance=1000)
    assert _code(await bank.post(bank.deposit(account, 1))) is RefusalCode.MAXIMUM_BALANCE
    await bank.change(account, maximum_balance=None)
    async with bank.in_flight(bank.withdrawal(account, 5)):
        assert (await bank.post(bank.deposit(account, 5))).posted


async def test_a_maximum_below_the_balance_stops_credits_and_takes_nothing(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    await bank.change(account, maximum_balance=500)
    assert _code(await bank.post(bank.deposit(account, 1))) is RefusalCode.MAXIMUM_BALANCE
    assert await _withdraw(bank, account, 600) is None
    assert _code(await bank.post(bank.deposit(account, 100))) is None


async def test_an_overdraft_limit_never_falls_below_what_debits_and_holds_use(bank: Bank) -> None:
    account = await bank.open(funds=100, overdraft_limit=500)
    assert await _withdraw(bank, account, 300) is None
    hold_id = await bank.hold(account, 50)
    with pytest.raises(OverdraftInUseError) as caught:
        await bank.change(account, overdraft_limit=249)
    assert (caught.value.code, caught.value.field, caught.value.value, caught.value.used) == (
        "overdraft-in-use",
        "overdraft_limit",
        "2.49",
        "2.50",
    )
    assert (await bank.change(account, overdraft_limit=250)).overdraft_limit == 250
    assert (await bank.balance(account)).available == 0
    await bank.let_expire(hold_id)
    assert (await bank.change(account, overdraft_limit=200)).overdraft_limit == 200
    await bank.change(account, overdraft_limit=10**15)
    assert await _withdraw(bank, account, 1000) is None
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("ahead", [0, 1, 2, 3, 6])
async def test_debits_that_race_with_a_lowered_overdraft_are_decided_before_it_or_after_it(bank: Bank, ahead: int) -> None:
    for _ in range(4):
        account = await bank.open(overdraft_limit=1000)
        for _ in range(ahead):
            assert await _withdraw(bank, account, 100) is None
        change = asyncio.create_task(bank.change(account, overdraft_limit=250))
        debits = [asyncio.create_task(bank.post(bank.withdrawal(account, 100))) for _ in range(6 - ahead)]
        (lowered,) = await asyncio.gather(change, return_exceptions=True)
        posted = ahead + sum(decision.posted for decision in await asyncio.gather(*debits))
        if isinstance(lowered, OverdraftInUseError):
            assert posted == 6, "the old limit stands, and has room for all"
        else:
            assert ahead <= posted == 2
        assert (await bank.balance(account)).available == (1000 if posted == 6 else 250) - 100 * posted
    assert isinstance(lowered, OverdraftInUseError) or ahead < 3


async def test_all_rules_are_kept_as_they_were_opened_with_or_changed(bank: Bank) -> None:
    rules = AccountRules(
        overdraft_limit=1, minimum_balance=2, maximum_balance=3, transaction_limit=4, daily_limit=5, monthly_limit=6, time_zone="Asia/Tokyo"
    )
    account = await bank.open(**rules.model_dump())
    opened = await bank.accounts.get(bank.tenant, account)
    assert opened is not None
    assert opened.model_dump(include=set(AccountRules.model_fields)) == rules.model_dump()
    others = {name: value + 10 if isinstance(value, int) else "Asia/Seoul" for name, value in rules.model_dump().items()}
    for name, value in others.items():
        changed = await bank.change(account, **{name: value})
        assert changed.model_dump()[name] == value
        assert await bank.accounts.get(bank.tenant, account) == changed
    assert changed.model_dump(include=set(AccountRules.model_fields)) == others


async def test_an_account_is_compared_with_the_rules_that_it_was_opened_with(bank: Bank) -> None:
    opening: dict[str, Any] = {"tenant": bank.tenant, "account_id": "A1", "currency": "EUR", "kind": AccountKind.SAVINGS}
    rules = AccountRules(overdraft_limit=5, daily_limit=100)
    await bank.accounts.open_account(**opening, rules=rules)
    for changes in ({"overdraft_limit": 7}, {"daily_limit": None, "time_zone": "Asia/Tokyo"}):
        changed = await bank.change("A1", **changes)
        assert await bank.accounts.open_account(**opening, rules=rules) == (changed, False)
        with pytest.raises(AccountConflictError):
            await bank.accounts.open_account(**opening, rules=AccountRules(overdraft_limit=7, daily_limit=100))
    for name, value in {
        "minimum_balance": 1,
        "maximum_balance": 1,
        "transaction_limit": 1,
        "monthly_limit": 1,
        "time_zone": "Asia/Tokyo",
    }.items():
        with pytest.raises(AccountConflictError):
            await bank.accounts.open_account(**opening, rules=rules.model_copy(update={name: value}))


async def test_every_change_says_who_made_it_when_and_of_what(bank: Bank) -> None:
    account = await bank.open(funds=5)
    await bank.accounts.change_rules(bank.tenant, account, {"daily_limit": 7}, by="alice")
    await bank.accounts.change_status(bank.tenant, account, StatusChange.FREEZE_CREDITS, by="bob")
    await bank.accounts.change_status(bank.tenant, account, StatusChange.FREEZE_CREDITS, by="carol")
    await bank.accounts.change_rules(bank.tenant, account, {"daily_limit": 7}, by="carol")
    changes = await bank.select(
        """
        SELECT changed_by, before ->> 'daily_limit' AS limit_before, after ->> 'daily_limit' AS limit_after, before ->> 'status' AS before,
               after ->> 'status' AS after
          FROM account_change WHERE tenant = %(tenant)s AND account_id = %(account)s ORDER BY changed_at
        """,
        account=account,
    )
    assert [tuple(change.values()) for change in changes] == [
        ("alice", None, "7", "active", "active"),
        ("bob", "7", "7", "active", "credit-frozen"),
    ]


async def test_a_dormant_account_that_was_frozen_is_dormant_again_and_takes_no_debit_until_it_is_reactivated(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    for change, status in (
        (StatusChange.DORMANT, AccountStatus.DORMANT),
        (StatusChange.FREEZE_DEBITS, AccountStatus.DEBIT_FROZEN),
        (StatusChange.FREEZE_CREDITS, AccountStatus.FROZEN),
        (StatusChange.UNFREEZE, AccountStatus.DORMANT),
        (StatusChange.FREEZE_CREDITS, AccountStatus.FROZEN),
        (StatusChange.UNFREEZE, AccountStatus.DORMANT),
    ):
        assert (await bank.accounts.change_status(bank.tenant, account, change, by="teller")).status is status
        assert await _withdraw(bank, account, 5) is not None
    assert _code(await bank.post(bank.deposit(account, 5))) is None
    assert (await bank.accounts.change_status(bank.tenant, account, StatusChange.REACTIVATE, by="teller")).status is AccountStatus.ACTIVE
    assert await _withdraw(bank, account, 5) is None


async def test_rules_of_a_closed_or_an_unknown_account_do_not_change(bank: Bank) -> None:
    account = await bank.open()
    await bank.close(account)
    with pytest.raises(AccountClosedError) as caught:
        await bank.change(account, daily_limit=5)
    assert (caught.value.field, caught.value.value) == ("daily_limit", 5)
    await bank.accounts.open_account(tenant=bank.tenant, account_id="nostro", currency="EUR", kind=AccountKind.INTERNAL)
    for unknown in ("nobody", "nostro"):
        with pytest.raises(NotFoundError):
            await bank.change(unknown, daily_limit=5)


async def test_the_database_itself_refuses_to_change_a_closed_account(bank: Bank) -> None:
    account = await bank.open()
    await bank.close(account)
    async with connected(bank.url, autocommit=True) as other:
        with pytest.raises(Exception, match="is closed"):
            await other.execute(
                "SELECT change_account(%s, %s, 'active', NULL, 0, 0, NULL, NULL, NULL, NULL, 'UTC', 'somebody')", (bank.tenant, account)
            )


async def test_an_account_with_an_expired_hold_closes_and_the_hold_is_swept(bank: Bank) -> None:
    account = await bank.open(funds=50)
    hold_id = await bank.hold(account, 50)
    await bank.let_expire(hold_id)
    assert await _withdraw(bank, account, 50) is None
    assert (await bank.close(account)).status is AccountStatus.CLOSED
    assert await bank.value("SELECT status FROM hold WHERE hold_id = %(hold)s", hold=hold_id) == HoldStatus.EXPIRED
    await assert_nothing_is_wrong(bank)


async def test_a_change_that_changes_nothing_leaves_the_locks_at_once(bank: Bank) -> None:
    account = await bank.open(funds=5)
    await bank.change(account)

    async def try_locks(connection: Any) -> bool:
        key = {"tenant": bank.tenant, "account_id": account}
        locked = await connection.execute(text("SELECT pg_try_advisory_xact_lock(rules_lock_key(:tenant, :account_id))"), key)
        return bool(locked.scalar_one())

    assert await bank.database.run(try_locks)
