"""Standing orders: when they are due, what is then asked of the ledger, and what a refusal leads to. Pure: time comes in as an argument.

See ``docs/decisions/0016-holds-and-standing-orders.md``.
"""

from __future__ import annotations

import calendar
import datetime as dt
import hashlib
import itertools
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple
from zoneinfo import ZoneInfo

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ledger.calendars import DayShift, Holidays, shifted
from ledger.errors import InvalidInputError, StandingOrderEndedError
from ledger.ids import standing_order_transaction_id
from ledger.money import Money
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import MAX_REFERENCE_LENGTH, MAX_REMITTANCE_LENGTH, AccountRef, TransactionRequest
from ledger.results import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.results import TransactionResult

DEFAULT_TIME: Final = dt.time(6, 0)
"""Of the day, in the order's time zone."""
LAST_YEAR: Final = 2100
"""In which a standing order may begin; its due dates end with that year, as Temporal's calendars do."""
MAX_COUNT: Final = 10_000
LONGEST_RETRY_HOURS: Final = 24 * 31
_DAYS_OF_A_WEEK: Final = 7
_LONGEST_MONTH: Final = 31


class Frequency(StrEnum):
    """How often a standing order is due."""

    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"
    QUARTERLY = "quarterly"
    """In the month of the start date, and in each third month after it."""
    YEARLY = "yearly"
    """In the month of the start date."""


_MONTHS_APART: Final = {Frequency.MONTHLY: 1, Frequency.QUARTERLY: 3, Frequency.YEARLY: 12}


class OrderSchedule(BaseModel):
    """When a standing order is due."""

    model_config = ConfigDict(frozen=True)

    frequency: Frequency
    day: int | None = None
    """Of a week (1: Monday), or of a month; in a month that is shorter it is the last one, so 31 means the end of each month."""
    time: dt.time = DEFAULT_TIME
    """Local time in `time_zone`, to the minute."""
    time_zone: str = "UTC"
    """IANA name."""
    start_date: dt.date
    """No due date is earlier."""
    end_date: dt.date | None = None
    """No date of the rhythm is later; the business day that stands for the last one may be."""
    count: int | None = None
    """Due dates at most."""
    calendar: DayShift = DayShift.NONE
    """What becomes of a date that is no business day."""
    holidays: Holidays = Holidays.TARGET2
    """Which days are no business days."""


class RefusalRule(StrEnum):
    """What a refused transaction means for its standing order."""

    SKIP = "skip"
    """Nothing: the next due date comes."""
    RETRY = "retry"
    """It is tried again, by a transaction of its own each time, until it is taken or the time is up."""
    STOP = "stop"
    """The order ends."""


class OnRefusal(BaseModel):
    """What to do when a due transaction is refused."""

    model_config = ConfigDict(frozen=True)

    rule: RefusalRule = RefusalRule.SKIP
    retry_until_hours: int | None = None
    """With `retry`: hours from the first attempt on."""
    every_hours: int | None = None
    """With `retry`: hours between two attempts."""


class OrderStatus(StrEnum):
    """Exactly one of these; the last three are final."""

    ACTIVE = "active"
    PAUSED = "paused"
    COMPLETED = "completed"
    """All its due dates have passed."""
    CANCELLED = "cancelled"
    STOPPED = "stopped"
    """A refusal ended it, as it was asked to."""


FINAL_ORDER_STATUSES: Final = frozenset({OrderStatus.COMPLETED, OrderStatus.CANCELLED, OrderStatus.STOPPED})


class OrderChange(StrEnum):
    """What may be asked of a standing order. Asking for what is so already changes nothing."""

    PAUSE = "pause"
    """Due dates pass, and nothing is done."""
    RESUME = "resume"
    """From now on; what was due meanwhile is not made up for."""
    CANCEL = "cancel"
    COMPLETE = "complete"
    """By itself, once the last due date has passed."""
    STOP = "stop"
    """By itself, after a refusal."""


_AFTER_CHANGE: Final = {
    OrderChange.PAUSE: OrderStatus.PAUSED,
    OrderChange.RESUME: OrderStatus.ACTIVE,
    OrderChange.CANCEL: OrderStatus.CANCELLED,
    OrderChange.COMPLETE: OrderStatus.COMPLETED,
    OrderChange.STOP: OrderStatus.STOPPED,
}


class StandingOrder(BaseModel):
    """A standing order as the ledger keeps it."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    order_id: str
    debtor: AccountRef
    creditor: AccountRef
    amount: Money
    reference: str | None = Field(default=None, max_length=MAX_REFERENCE_LENGTH)
    remittance_information: str | None = Field(default=None, max_length=MAX_REMITTANCE_LENGTH)
    schedule: OrderSchedule
    on_refusal: OnRefusal = OnRefusal()
    created_by: str
    """The authenticated principal; its transactions are submitted in this name."""
    created_at: AwareDatetime
    status: OrderStatus = OrderStatus.ACTIVE
    version: int = 1
    """Grows with each change."""
    not_before: AwareDatetime | None = None
    """What was due before is not made up for: set when the order is resumed."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all that the caller asked for, without who asked. The same id with another fingerprint is a conflict."""
        names = {"debtor", "creditor", "amount", "reference", "remittance_information", "schedule", "on_refusal"}
        content = self.model_dump(mode="json", include=names)
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()

    @property
    def summary(self) -> str:
        """One line for operators: ``Standing order, monthly: 12.50 EUR from 2504 to 2505``."""
        return f"Standing order, {self.schedule.frequency}: {self.amount} from {self.debtor.account_id} to {self.creditor.account_id}"


class OrderKey(BaseModel):
    """Which standing order is meant."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    order_id: str


class DueDate(NamedTuple):
    """A day on which a standing order is due, and the instant."""

    date: dt.date
    at: dt.datetime
    """UTC."""


class RunKey(BaseModel):
    """One attempt at one due date of a standing order."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    order_id: str
    due_date: dt.date
    attempt: int = Field(default=1, ge=1)

    @property
    def transaction_id(self) -> str:
        """The id of its transaction, always the same."""
        return standing_order_transaction_id(self.tenant, self.order_id, self.due_date, attempt=self.attempt)


class OrderRun(BaseModel):
    """One attempt as the ledger keeps it."""

    model_config = ConfigDict(frozen=True)

    key: RunKey
    transaction_id: str
    outcome: TransactionStatus | None = None
    """None: it is not known yet."""
    refusal: Refusal | None = None
    started_at: AwareDatetime
    finished_at: AwareDatetime | None = None


def rhythm_dates(schedule: OrderSchedule) -> Iterator[dt.date]:
    """The dates of the rhythm, in order, from the start date on to the end date, before any calendar moves them."""
    first = _first_dates(schedule)
    last = min(schedule.end_date or dt.date.max, dt.date(LAST_YEAR, 12, 1))  # a shift or a time zone may lead some days further
    for date in itertools.takewhile(lambda each: each <= last, first):
        if date >= schedule.start_date:
            yield date


def _first_dates(schedule: OrderSchedule) -> Iterator[dt.date]:
    """The rhythm from about the start date on, without an end."""
    start = schedule.start_date
    if schedule.frequency is Frequency.DAILY:
        return (start + dt.timedelta(days=number) for number in itertools.count())
    if schedule.frequency is Frequency.WEEKLY:
        day = schedule.day or start.isoweekday()
        monday = start - dt.timedelta(days=start.isoweekday() - 1)
        return (monday + dt.timedelta(days=day - 1 + _DAYS_OF_A_WEEK * number) for number in itertools.count())
    months = itertools.count(start.year * 12 + start.month - 1, _MONTHS_APART[schedule.frequency])
    return (_day_of_month(*divmod(month, 12), day=schedule.day or start.day) for month in months)


def _day_of_month(year: int, month_index: int, *, day: int) -> dt.date:
    _, length = calendar.monthrange(year, month_index + 1)
    return dt.date(year, month_index + 1, min(day, length))


def due_dates(schedule: OrderSchedule) -> Iterator[dt.date]:
    """All due dates in order, each once: the dates of the rhythm, moved to business days as the schedule asks.

    Of several dates that meet on one business day one is left. A date that would move before the start date moves forward instead.
    """
    latest = dt.date.min
    left = schedule.count if schedule.count is not None else MAX_COUNT**2
    for date in rhythm_dates(schedule):
        due = shifted(date, schedule.calendar, schedule.holidays)
        if due < schedule.start_date:
            due = shifted(date, DayShift.FOLLOWING, schedule.holidays)
        if due <= latest:
            continue
        if not left:
            return
        latest, left = due, left - 1
        yield due


def due_at(schedule: OrderSchedule, date: dt.date) -> dt.datetime:
    """The instant, UTC, at which a due date is carried out.

    A local time that the start of summer time leaves out is as much later; of one that comes twice it is the first.
    """
    return dt.datetime.combine(date, schedule.time, ZoneInfo(schedule.time_zone)).astimezone(dt.UTC)


def _dues(order: StandingOrder) -> Iterator[DueDate]:
    for date in due_dates(order.schedule):
        due = DueDate(date, due_at(order.schedule, date))
        if order.not_before is None or due.at >= order.not_before:
            yield due


def due_by(order: StandingOrder, instant: dt.datetime) -> DueDate | None:
    """The last due date at `instant` or before it; None when there is none yet."""
    latest = None
    for due in _dues(order):
        if due.at > instant:
            break
        latest = due
    return latest


def dues_after(order: StandingOrder, instant: dt.datetime, *, at_most: int) -> tuple[DueDate, ...]:
    """The next due dates after `instant`, so many at most."""
    return tuple(itertools.islice((due for due in _dues(order) if due.at > instant), at_most))


def transaction_of(order: StandingOrder, key: RunKey, *, now: dt.datetime) -> TransactionRequest:
    """What is asked of the ledger on a due date."""
    return TransactionRequest(
        tenant=order.tenant,
        transaction_id=key.transaction_id,
        debtor=order.debtor,
        creditor=order.creditor,
        amount=order.amount,
        reference=order.reference,
        remittance_information=order.remittance_information,
        metadata={"standing_order_id": order.order_id, "due_date": key.due_date.isoformat()},
        submitted_by=order.created_by,
        submitted_at=now,
    )


def after_change(order: StandingOrder, change: OrderChange, *, now: dt.datetime) -> StandingOrder:
    """The order after `change`.

    Raises:
        StandingOrderEndedError: it has ended otherwise.
    """
    status = _AFTER_CHANGE[change]
    if order.status is status:
        return order
    if order.status in FINAL_ORDER_STATUSES:
        raise StandingOrderEndedError(order_id=order.order_id, status=order.status.value, wanted=status.value)
    not_before = now if change is OrderChange.RESUME else order.not_before
    return order.model_copy(update={"status": status, "version": order.version + 1, "not_before": not_before})


def is_worth_retrying(on_refusal: OnRefusal, result: TransactionResult, *, first_at: dt.datetime, next_at: dt.datetime) -> bool:
    """Whether a refused transaction is tried again at `next_at`.

    Args:
        on_refusal: the order's rule.
        result: of the last attempt.
        first_at: when the first attempt began.
        next_at: when the next one would begin.
    """
    if on_refusal.rule is not RefusalRule.RETRY or result.status is TransactionStatus.COMPLETED or on_refusal.retry_until_hours is None:
        return False
    if result.reason is not None and result.reason.code in _FOR_GOOD:
        return False
    return next_at <= first_at + dt.timedelta(hours=on_refusal.retry_until_hours)


_FOR_GOOD: Final = frozenset({RefusalCode.ACCOUNT_CLOSED})
"""Refusals that no wait mends: a closed account stays closed."""


def check_schedule(schedule: OrderSchedule, *, today: dt.date, field: str = "schedule") -> None:
    """Refuse a schedule that can't be meant.

    Args:
        schedule: what was asked.
        today: in the schedule's time zone.
        field: name of the schedule's field, for the error.

    Raises:
        InvalidInputError: a field breaks a rule.
    """
    for name, value, rule in _schedule_rules(schedule, today):
        raise InvalidInputError(field=f"{field}.{name}", value=value, rule=rule)
    if next(due_dates(schedule), None) is None:
        raise InvalidInputError(field=f"{field}.end_date", value=str(schedule.end_date), rule="must leave at least one due date")


def _schedule_rules(schedule: OrderSchedule, today: dt.date) -> Iterator[tuple[str, object, str]]:
    """The broken rules: field, value, rule."""
    most = {Frequency.DAILY: 0, Frequency.WEEKLY: _DAYS_OF_A_WEEK}.get(schedule.frequency, _LONGEST_MONTH)
    if schedule.day is not None and not 1 <= schedule.day <= most:
        rule = f"must be from 1 to {most}" if most else "must be left out: each day is one"
        yield "day", schedule.day, rule
    if schedule.time.second or schedule.time.microsecond or schedule.time.tzinfo is not None:
        yield "time", schedule.time.isoformat(), "must be a local time to the minute, such as 06:00"
    if schedule.start_date < today:
        yield "start_date", schedule.start_date.isoformat(), f"must be today ({today}) or later"
    if schedule.start_date.year >= LAST_YEAR:
        yield "start_date", schedule.start_date.isoformat(), f"must be before the year {LAST_YEAR}"
    if schedule.end_date is not None and schedule.end_date < schedule.start_date:
        yield "end_date", schedule.end_date.isoformat(), "must not be before start_date"
    if schedule.count is not None and not 1 <= schedule.count <= MAX_COUNT:
        yield "count", schedule.count, f"must be from 1 to {MAX_COUNT}"


def check_on_refusal(on_refusal: OnRefusal, *, field: str = "on_refusal") -> None:
    """Refuse a rule that can't be kept.

    Raises:
        InvalidInputError: hours that break a rule.
    """
    if on_refusal.rule is not RefusalRule.RETRY:
        return
    until, every = on_refusal.retry_until_hours, on_refusal.every_hours
    if until is None or not 1 <= until <= LONGEST_RETRY_HOURS:
        raise InvalidInputError(field=f"{field}.retry_until", value=until, rule=f"must be from 1 to {LONGEST_RETRY_HOURS} hours")
    if every is None or not 1 <= every <= until:
        raise InvalidInputError(field=f"{field}.every", value=every, rule="must be at least 1 hour, and at most retry_until")
