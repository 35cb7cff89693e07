from __future__ import annotations

import calendar
import datetime as dt
import itertools
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ledger.calendars import DayShift, Holidays, easter_sunday, is_business_day, shifted, target_closing_days
from ledger.errors import InvalidInputError, StandingOrderEndedError
from ledger.money import Money
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import AccountRef
from ledger.results import TransactionResult, TransactionStatus
from ledger.standing_orders import (
    Frequency,
    OnRefusal,
    OrderChange,
    OrderSchedule,
    OrderStatus,
    RefusalRule,
    RunKey,
    StandingOrder,
    after_change,
    check_on_refusal,
    check_schedule,
    due_at,
    due_by,
    due_dates,
    dues_after,
    is_worth_retrying,
    transaction_of,
)

NOW = dt.datetime(2026, 1, 10, 9, 0, tzinfo=dt.UTC)
DATES = st.dates(dt.date(2020, 1, 1), dt.date(2035, 12, 31))
HORIZON = dt.timedelta(days=800)


def _schedule(**fields: Any) -> OrderSchedule:
    return OrderSchedule(**{"frequency": Frequency.MONTHLY, "start_date": dt.date(2026, 1, 31), **fields})


def _order(**fields: Any) -> StandingOrder:
    values: dict[str, Any] = {
        "tenant": "main",
        "order_id": "0b8f0f6e-5d8e-4a53-9f0a-3f2d1c5b7a90",
        "debtor": AccountRef(account_id="A", currency="EUR"),
        "creditor": AccountRef(account_id="B", currency="EUR"),
        "amount": Money.parse("12.50", "EUR"),
        "schedule": _schedule(),
        "created_by": "teller",
        "created_at": NOW,
    }
    return StandingOrder(**{**values, **fields})


@pytest.mark.parametrize(
    ("year", "closed"),
    [
        # As the European Central Bank lists them.
        (2024, "01-01 03-29 04-01 05-01 12-25 12-26"),
        (2025, "01-01 04-18 04-21 05-01 12-25 12-26"),
        (2026, "01-01 04-03 04-06 05-01 12-25 12-26"),
        (2027, "01-01 03-26 03-29 05-01 12-25 12-26"),
        (2028, "01-01 04-14 04-17 05-01 12-25 12-26"),
    ],
)
def test_target_is_closed_on_the_days_that_the_ecb_lists(year: int, closed: str) -> None:
    assert {day.strftime("%m-%d") for day in target_closing_days(year)} == set(closed.split())


@given(st.integers(1583, 4099))
def test_easter_is_what_gauss_computes(year: int) -> None:
    """Gauss's rule with his corrections of 1816, another derivation than the one in use."""
    golden, k = year % 19, year // 100
    m = (15 - (13 + 8 * k) // 25 + k - k // 4) % 30
    n = (4 + k - k // 4) % 7
    d = (19 * golden + m) % 30
    e = (2 * (year % 4) + 4 * (year % 7) + 6 * d + n) % 7
    day = 22 + d + e
    if (d == 29 and e == 6) or (d == 28 and e == 6 and (11 * m + 11) % 30 < 19):
        day -= 7
    assert easter_sunday(year) == dt.date(year, 3, 1) + dt.timedelta(days=day - 1)


@given(DATES, st.sampled_from(Holidays))
def test_a_shift_goes_to_the_nearest_business_day_of_its_side(day: dt.date, holidays: Holidays) -> None:
    following, preceding = shifted(day, DayShift.FOLLOWING, holidays), shifted(day, DayShift.PRECEDING, holidays)
    assert preceding <= day <= following
    assert is_business_day(following, holidays)
    assert is_business_day(preceding, holidays)
    assert sum(is_business_day(preceding + dt.timedelta(days=n), holidays) for n in range((following - preceding).days + 1)) == (
        1 if is_business_day(day, holidays) else 2
    )
    assert shifted(day, DayShift.NONE, holidays) == day


def _is_of_rhythm(schedule: OrderSchedule, day: dt.date) -> bool:
    """Asked of each single day, where the product steps from one date to the next."""
    if day < schedule.start_date or (schedule.end_date is not None and day > schedule.end_date):
        return False
    if schedule.frequency is Frequency.DAILY:
        return True
    if schedule.frequency is Frequency.WEEKLY:
        return day.isoweekday() == (schedule.day or schedule.start_date.isoweekday())
    apart = {Frequency.MONTHLY: 1, Frequency.QUARTERLY: 3, Frequency.YEARLY: 12}[schedule.frequency]
    if (day.month - schedule.start_date.month) % apart:
        return False
    wanted, is_last = schedule.day or schedule.start_date.day, day.day == calendar.monthrange(day.year, day.month)[1]
    return day.day == wanted or (is_last and day.day < wanted)


def _expected(schedule: OrderSchedule) -> list[dt.date]:
    """Day by day over the horizon."""
    found: set[dt.date] = set()
    for number in range(HORIZON.days):
        day = schedule.start_date + dt.timedelta(days=number)
        if not _is_of_rhythm(schedule, day):
            continue
        ahead = next(d for d in _days(day, 1) if schedule.calendar is DayShift.NONE or is_business_day(d, schedule.holidays))
        behind = next(d for d in _days(day, -1) if schedule.calendar is DayShift.NONE or is_business_day(d, schedule.holidays))
        found.add(behind if schedule.calendar is DayShift.PRECEDING and behind >= schedule.start_date else ahead)
    return sorted(found)[: schedule.count]


def _days(day: dt.date, step: int) -> Any:
    return (day + dt.timedelta(days=step * number) for number in itertools.count())


@st.composite
def _schedules(draw: st.DrawFn) -> OrderSchedule:
    frequency, start = draw(st.sampled_from(Frequency)), draw(DATES)
    most = {Frequency.DAILY: 0, Frequency.WEEKLY: 7}.get(frequency, 31)
    return OrderSchedule(
        frequency=frequency,
        day=draw(st.none() | st.integers(1, most)) if most else None,
        start_date=start,
        end_date=draw(st.none() | st.integers(0, 700).map(lambda days: start + dt.timedelta(days=days))),
        count=draw(st.none() | st.integers(1, 40)),
        calendar=draw(st.sampled_from(DayShift)),
        holidays=draw(st.sampled_from(Holidays)),
    )


_kinds: Counter[str] = Counter()


@given(_schedules())
@example(_schedule(day=31))
@example(_schedule(frequency=Frequency.DAILY, start_date=dt.date(2026, 4, 1), calendar=DayShift.FOLLOWING))
@example(_schedule(start_date=dt.date(2026, 2, 1), day=1, calendar=DayShift.PRECEDING))
@example(_schedule(frequency=Frequency.YEARLY, start_date=dt.date(2024, 2, 29)))
def test_due_dates_are_those_found_by_asking_every_single_day(schedule: OrderSchedule) -> None:
    last = schedule.start_date + HORIZON - dt.timedelta(days=20)  # near its end a shift may leave the horizon
    dues = list(itertools.takewhile(lambda due: due <= last, due_dates(schedule)))
    assert dues == [day for day in _expected(schedule) if day <= last]
    _kinds[schedule.frequency] += len(dues)


def test_the_due_dates_that_were_compared_are_of_every_frequency() -> None:
    if not _kinds:
        pytest.skip("the test before was not run")
    print(dict(_kinds))  # noqa: T201  how many were compared
    assert set(_kinds) == set(Frequency)
    assert min(_kinds.values()) > 0


def test_the_end_of_the_month_is_its_last_day_and_a_leap_day_is_the_28th_in_other_years() -> None:
    months = list(itertools.islice(due_dates(_schedule(day=31)), 4))
    assert [day.isoformat() for day in months] == ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30"]
    years = list(itertools.islice(due_dates(_schedule(frequency=Frequency.YEARLY, start_date=dt.date(2024, 2, 29))), 5))
    assert [day.isoformat() for day in years] == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


def test_a_daily_order_on_business_days_is_due_once_after_a_weekend() -> None:
    schedule = _schedule(frequency=Frequency.DAILY, start_date=dt.date(2026, 4, 2), calendar=DayShift.FOLLOWING, count=3)
    assert list(due_dates(schedule)) == [dt.date(2026, 4, 2), dt.date(2026, 4, 7), dt.date(2026, 4, 8)]  # Easter in between


@pytest.mark.parametrize(
    ("date", "time", "instant"),
    [
        ("2026-01-15", "06:00", "2026-01-15T05:00:00+00:00"),
        ("2026-07-15", "06:00", "2026-07-15T04:00:00+00:00"),
        ("2026-03-29", "02:30", "2026-03-29T01:30:00+00:00"),  # 02:30 isn't there: it is 03:30 in summer time
        ("2026-10-25", "02:30", "2026-10-25T00:30:00+00:00"),  # 02:30 comes twice
    ],
)
def test_an_order_is_due_at_its_local_time_once_a_day_whatever_the_clocks_do(date: str, time: str, instant: str) -> None:
    schedule = _schedule(time=dt.time.fromisoformat(time), time_zone="Europe/Berlin")
    assert due_at(schedule, dt.date.fromisoformat(date)).isoformat() == instant


@given(st.datetimes(dt.datetime(2026, 1, 1), dt.datetime(2027, 6, 1)))  # noqa: DTZ001  the zone is set below
def test_the_last_due_date_and_the_next_ones_meet_without_gap(instant: dt.datetime) -> None:
    order, now = _order(schedule=_schedule(day=31, count=12)), instant.replace(tzinfo=dt.UTC)
    past, ahead = due_by(order, now), dues_after(order, now, at_most=3)
    dates = list(due_dates(order.schedule))
    number = 0 if past is None else dates.index(past.date) + 1
    assert [due.date for due in ahead] == dates[number : number + 3]
    assert past is None or past.at <= now
    assert all(due.at > now for due in ahead)


def test_a_schedule_that_wakes_at_the_very_instant_finds_that_due_date() -> None:
    order = _order(schedule=_schedule(day=31, count=3))
    for date in due_dates(order.schedule):
        at = due_at(order.schedule, date)
        found = due_by(order, at)
        assert found is not None
        assert (found.date, found.at) == (date, at)
        before = due_by(order, at - dt.timedelta(microseconds=1))
        assert before is None or before.date < date


def test_what_was_due_during_a_pause_is_not_made_up_for() -> None:
    resumed_at = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    paused = after_change(_order(), OrderChange.PAUSE, now=NOW)
    order = after_change(paused, OrderChange.RESUME, now=resumed_at)
    assert (order.status, order.version) == (OrderStatus.ACTIVE, 3)
    assert due_by(order, resumed_at) is None
    (due,) = dues_after(order, NOW, at_most=1)
    assert due.date == dt.date(2026, 3, 31)


def test_each_due_date_and_attempt_has_a_transaction_of_its_own_and_always_the_same() -> None:
    order = _order()
    keys = [
        RunKey(tenant=tenant, order_id=order_id, due_date=dt.date(2026, 1, day), attempt=attempt)
        for tenant in ("main", "other")
        for order_id in (order.order_id, "5f7c7a52-3d53-4b7e-9a0e-6a1d53c2b0de")
        for day in (30, 31)
        for attempt in (1, 2)
    ]
    assert len({key.transaction_id for key in keys}) == len(keys)
    # The derivation never changes: a changed id would pay a due date again.
    assert RunKey(tenant="main", order_id=order.order_id, due_date=dt.date(2026, 1, 31)).transaction_id == EXPECTED_ID
    first, later = (transaction_of(order, keys[0], now=at) for at in (NOW, NOW + dt.timedelta(days=1)))
    assert first.fingerprint == later.fingerprint


EXPECTED_ID = "f9a70997-665d-5460-9273-47f93c342b3c"


def test_a_change_that_is_so_already_changes_nothing_and_an_end_is_final() -> None:
    order = _order()
    assert after_change(order, OrderChange.RESUME, now=NOW) is order
    cancelled = after_change(order, OrderChange.CANCEL, now=NOW)
    assert after_change(cancelled, OrderChange.CANCEL, now=NOW) is cancelled
    for change in (OrderChange.PAUSE, OrderChange.RESUME, OrderChange.STOP, OrderChange.COMPLETE):
        with pytest.raises(StandingOrderEndedError) as found:
            after_change(cancelled, change, now=NOW)
        assert found.value.status == "cancelled"


def _refused(code: RefusalCode) -> TransactionResult:
    return TransactionResult(transaction_id="x", status=TransactionStatus.REJECTED, reason=Refusal(code=code, detail="…"))


@pytest.mark.parametrize(
    ("rule", "result", "hours", "again"),
    [
        (RefusalRule.RETRY, _refused(RefusalCode.INSUFFICIENT_FUNDS), 4, True),
        (RefusalRule.RETRY, _refused(RefusalCode.INSUFFICIENT_FUNDS), 5, False),
        (RefusalRule.RETRY, _refused(RefusalCode.ACCOUNT_CLOSED), 1, False),
        (RefusalRule.RETRY, TransactionResult(transaction_id="x", status=TransactionStatus.COMPLETED), 1, False),
        (RefusalRule.SKIP, _refused(RefusalCode.INSUFFICIENT_FUNDS), 1, False),
        (RefusalRule.STOP, _refused(RefusalCode.INSUFFICIENT_FUNDS), 1, False),
    ],
)
def test_only_a_refusal_that_time_may_mend_is_tried_again_and_only_in_time(
    rule: RefusalRule, result: TransactionResult, hours: int, again: bool
) -> None:
    on_refusal = OnRefusal(rule=rule, retry_until_hours=4, every_hours=1)
    assert is_worth_retrying(on_refusal, result, first_at=NOW, next_at=NOW + dt.timedelta(hours=hours)) is again


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("day", {"day": 0}),
        ("day", {"day": 32}),
        ("day", {"frequency": Frequency.WEEKLY, "day": 8}),
        ("day", {"frequency": Frequency.DAILY, "day": 1}),
        ("time", {"time": dt.time(6, 0, 1)}),
        ("start_date", {"start_date": dt.date(2026, 1, 9)}),
        ("start_date", {"start_date": dt.date(2100, 1, 1)}),
        ("end_date", {"end_date": dt.date(2026, 1, 30)}),
        ("end_date", {"start_date": dt.date(2026, 2, 1), "day": 31, "end_date": dt.date(2026, 2, 27)}),
        ("count", {"count": 0}),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused_by_name(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as found:
        check_schedule(_schedule(**fields), today=NOW.date())
    assert found.value.field == f"schedule.{field}"


@pytest.mark.parametrize(
    ("field", "until", "every"), [("retry_until", None, 1), ("retry_until", 0, 1), ("every", 4, 5), ("every", 4, None)]
)
def test_a_retry_needs_hours_that_can_be_kept(field: str, until: int | None, every: int | None) -> None:
    with pytest.raises(InvalidInputError) as found:
        check_on_refusal(OnRefusal(rule=RefusalRule.RETRY, retry_until_hours=until, every_hours=every))
    assert found.value.field == f"on_refusal.{field}"
    check_on_refusal(OnRefusal(rule=RefusalRule.RETRY, retry_until_hours=4, every_hours=4))
