"""When a message may go out, and what follows a failure. Quiet hours are compared with the clock on the wall, minute by minute."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.deliveries import (
    LONGEST_RETRY_AFTER,
    MOST_ATTEMPTS,
    RETRY_CEILINGS,
    DeliveryOutcome,
    DeliveryResult,
    DueMessage,
    earliest,
    next_attempt,
    quiet_until,
    retry_delay,
    secrets_at,
)
from ledger.notifications import Channel, MessageKind, QuietHours, WebhookSecret
from tests.unit.ledger.builders import NOW
from tests.unit.ledger.test_notifications import OTHER_SECRET, SECRET, preferences

MINUTE = dt.timedelta(minutes=1)
HOUR = dt.timedelta(hours=1)
ZONES = ("Europe/Prague", "Europe/Dublin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC")
CHANGES = (
    dt.datetime(2026, 3, 29, 1, tzinfo=dt.UTC),
    dt.datetime(2026, 10, 25, 1, tzinfo=dt.UTC),
    dt.datetime(2026, 11, 1, 6, tzinfo=dt.UTC),
)
"""Instants at which clocks in Europe and in New York are set."""

clock_times = st.builds(dt.time, st.integers(0, 23), st.integers(0, 59))
instants = st.builds(
    lambda base, minutes: base + minutes * MINUTE,
    st.sampled_from((*CHANGES, dt.datetime(2026, 4, 4, 15, tzinfo=dt.UTC))),
    st.integers(-1500, 1500),
)


def quiet(start: str, end: str, zone: str = "Europe/Prague") -> QuietHours:
    return QuietHours(start=dt.time.fromisoformat(start), end=dt.time.fromisoformat(end), time_zone=zone)


def wall_is_quiet(hours: QuietHours, at: dt.datetime) -> bool:
    """What somebody sees who looks at the clock on the wall."""
    wall = at.astimezone(ZoneInfo(hours.time_zone)).time().replace(tzinfo=None)
    if hours.start < hours.end:
        return hours.start <= wall < hours.end
    return wall >= hours.start or wall < hours.end


def is_near_a_change(zone: str, at: dt.datetime) -> bool:
    around = [(at + hours * HOUR).astimezone(ZoneInfo(zone)).utcoffset() for hours in range(-3, 4)]
    return len(set(around)) > 1


@given(clock_times, clock_times, st.sampled_from(ZONES), instants)
def test_quiet_hours_end_when_the_clock_on_the_wall_says_so(start: dt.time, end: dt.time, zone: str, at: dt.datetime) -> None:
    if start == end:
        return
    hours = QuietHours(start=start, end=end, time_zone=zone)
    until = quiet_until(hours, at)
    assert at <= until < at + 26 * HOUR
    assert quiet_until(hours, until) == until, "what waits until the end goes out then"
    if not is_near_a_change(zone, until):
        assert not wall_is_quiet(hours, until)
    if until == at:
        assert not wall_is_quiet(hours, at) or is_near_a_change(zone, at)
    minute = at
    while minute < until:
        assert wall_is_quiet(hours, minute) or is_near_a_change(zone, minute), minute
        minute += 29 * MINUTE


@pytest.mark.parametrize(
    ("hours", "at", "until"),
    [
        (quiet("22:00", "06:00"), "2026-01-10T20:59:59+00:00", "2026-01-10T20:59:59+00:00"),
        (quiet("22:00", "06:00"), "2026-01-10T21:00:00+00:00", "2026-01-11T05:00:00+00:00"),
        (quiet("22:00", "06:00"), "2026-01-11T04:59:59+00:00", "2026-01-11T05:00:00+00:00"),
        (quiet("22:00", "06:00"), "2026-01-11T05:00:00+00:00", "2026-01-11T05:00:00+00:00"),
        # The night in which summer time begins is an hour shorter, that in which it ends an hour longer.
        (quiet("22:00", "06:00"), "2026-03-28T21:00:00+00:00", "2026-03-29T04:00:00+00:00"),
        (quiet("22:00", "06:00"), "2026-10-24T20:00:00+00:00", "2026-10-25T05:00:00+00:00"),
        # 02:30 comes twice: the second ends them. 02:30 doesn't come at all: they end that much later.
        (quiet("22:00", "02:30"), "2026-10-25T00:45:00+00:00", "2026-10-25T01:30:00+00:00"),
        (quiet("22:00", "02:30"), "2026-03-29T00:45:00+00:00", "2026-03-29T01:30:00+00:00"),
        (quiet("12:00", "13:30", "Asia/Kathmandu"), "2026-01-10T06:30:00+00:00", "2026-01-10T07:45:00+00:00"),
        (quiet("00:00", "23:59"), "2026-01-10T12:00:00+00:00", "2026-01-10T22:59:00+00:00"),
    ],
)
def test_quiet_hours_by_example(hours: QuietHours, at: str, until: str) -> None:
    assert quiet_until(hours, dt.datetime.fromisoformat(at)) == dt.datetime.fromisoformat(until)


def test_only_a_rejection_that_the_customer_calls_urgent_passes_in_quiet_hours() -> None:
    at = dt.datetime(2026, 1, 10, 23, tzinfo=dt.UTC)
    calm = preferences(quiet_hours=quiet("22:00", "06:00", "UTC"))
    urgent = preferences(quiet_hours=quiet("22:00", "06:00", "UTC"), urgent=True)
    end = dt.datetime(2026, 1, 11, 6, tzinfo=dt.UTC)
    assert [earliest(calm, kind, at) for kind in MessageKind] == [end] * len(MessageKind)
    assert {kind: earliest(urgent, kind, at) for kind in MessageKind} == {
        MessageKind.CREDIT: end,
        MessageKind.DEBIT: end,
        MessageKind.REJECTED: at,
        MessageKind.REVERSED: end,
    }
    assert earliest(preferences(), MessageKind.CREDIT, at) == at


@given(st.integers(1, MOST_ATTEMPTS - 1), st.floats(0, 1))
def test_a_retry_waits_up_to_the_ceiling_of_its_failure(failures: int, jitter: float) -> None:
    delay = retry_delay(failures, jitter=jitter)
    assert delay is not None
    assert dt.timedelta(0) <= delay <= RETRY_CEILINGS[failures - 1]
    assert retry_delay(failures, jitter=1.0) == RETRY_CEILINGS[failures - 1]


def test_ceilings_grow_and_the_last_failure_is_the_last() -> None:
    assert list(RETRY_CEILINGS) == sorted(RETRY_CEILINGS)
    assert sum(RETRY_CEILINGS, dt.timedelta(0)) == dt.timedelta(hours=75, minutes=35, seconds=5), "as Standard Webhooks has it"
    assert retry_delay(MOST_ATTEMPTS, jitter=0.5) is None


def due(**fields: Any) -> DueMessage:
    values: dict[str, Any] = {
        "message_id": "0b8f0f6e-5d8e-5a53-9f0a-3f2d1c5b7a90",
        "tenant": "main",
        "customer_id": "jana",
        "channel": Channel.WEBHOOK,
        "kind": MessageKind.CREDIT,
        "endpoint": "example.org:443",
        "address": "https://example.org/hook",
        "subject": "notification.credit",
        "body": "{}",
        "body_html": None,
        "created_at": NOW,
        "attempts": 1,
        "lease": "0b8f0f6e-5d8e-4a53-9f0a-3f2d1c5b7a90",
        "preferences": preferences(),
    }
    return DueMessage(**{**values, **fields})


def after(message: DueMessage, outcome: DeliveryOutcome = DeliveryOutcome.FAILED, **fields: Any) -> dt.datetime | None:
    return next_attempt(message, DeliveryResult(outcome=outcome, **fields), now=NOW, jitter=0.5)


def test_what_follows_an_attempt() -> None:
    assert after(due(attempts=1)) == NOW + dt.timedelta(seconds=2.5)
    assert after(due(attempts=MOST_ATTEMPTS - 1)) == NOW + 12 * HOUR
    assert after(due(attempts=MOST_ATTEMPTS)) is None
    assert after(due(attempts=MOST_ATTEMPTS + 3)) is None
    failed = DeliveryResult(outcome=DeliveryOutcome.FAILED)
    assert next_attempt(due(attempts=2), failed, now=NOW, jitter=0.5, most_attempts=3) is not None
    assert next_attempt(due(attempts=3), failed, now=NOW, jitter=0.5, most_attempts=3) is None
    assert after(due(), DeliveryOutcome.REFUSED) is None
    assert after(due(), DeliveryOutcome.GONE) is None


def test_a_receiver_is_left_alone_for_as_long_as_it_says_within_bounds() -> None:
    assert after(due(), retry_after=MINUTE) == NOW + MINUTE
    assert after(due(), retry_after=dt.timedelta(seconds=1)) == NOW + dt.timedelta(seconds=2.5)
    assert after(due(), retry_after=dt.timedelta(days=300)) == NOW + LONGEST_RETRY_AFTER


def test_a_retry_waits_for_the_end_of_quiet_hours_as_well() -> None:
    # NOW is 09:30.
    assert after(due(preferences=preferences(quiet_hours=quiet("09:00", "11:00", "UTC")))) == NOW.replace(hour=11, minute=0)


def test_what_the_other_side_said_is_kept_in_one_short_line() -> None:
    result = DeliveryResult.of(DeliveryOutcome.FAILED, "a\r\nb\x1b[31m " + "c" * 1000)
    assert result.detail.startswith("a b [31m ccc")
    assert len(result.detail) == 300


def test_secrets_that_are_over_sign_nothing() -> None:
    secrets = (WebhookSecret(secret=SECRET), WebhookSecret(secret=OTHER_SECRET, until=NOW))
    assert secrets_at(secrets, NOW - MINUTE) == (SECRET, OTHER_SECRET)
    assert secrets_at(secrets, NOW) == (SECRET,)
