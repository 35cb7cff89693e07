"""When a message may go out, what became of an attempt to deliver it, and what follows.

See ``docs/decisions/0029-notifications.md``.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field

from ledger.notifications import Channel, MessageKind, NotificationPreferences, QuietHours, WebhookSecret

if TYPE_CHECKING:
    from collections.abc import Iterable

RETRY_CEILINGS: Final = tuple(
    dt.timedelta(seconds=seconds) for seconds in (5, 5 * 60, 30 * 60, *(hours * 3_600 for hours in (2, 5, 10, 14, 20, 24)))
)
"""The most that is waited after the first failure, the second, and so on.

Source: the example schedule of Standard Webhooks 1.0, "Deliverability and reliability"."""
MOST_ATTEMPTS: Final = len(RETRY_CEILINGS) + 1
LONGEST_RETRY_AFTER: Final = dt.timedelta(hours=24)
"""A receiver that wants to be left alone for longer is asked again after this."""
_ONE_DAY: Final = dt.timedelta(days=1)
_LONGEST_DETAIL: Final = 300


class MessageStatus(StrEnum):
    """How a message stands."""

    WAITING = "waiting"
    """It goes out as soon as it is due: for the first time, or again."""
    DELIVERED = "delivered"
    DEAD = "dead"
    """Nothing more is tried, until an operator has it replayed."""


class DeliveryOutcome(StrEnum):
    """What became of one attempt."""

    DELIVERED = "delivered"
    FAILED = "failed"
    """Another attempt may succeed."""
    REFUSED = "refused"
    """No other attempt will."""
    GONE = "gone"
    """The endpoint wants no more messages at all."""


class DeliveryResult(BaseModel):
    """What became of one attempt, and what the other side said."""

    model_config = ConfigDict(frozen=True)

    outcome: DeliveryOutcome
    detail: str = Field(default="", max_length=_LONGEST_DETAIL)
    retry_after: dt.timedelta | None = None
    """How long the receiver wants to be left alone."""

    @classmethod
    def of(cls, outcome: DeliveryOutcome, detail: str, *, retry_after: dt.timedelta | None = None) -> DeliveryResult:
        """A result with `detail` in one printable line, cut where it is too long: it was said by somebody else."""
        line = " ".join("".join(character if character.isprintable() else " " for character in detail).split())
        return cls(outcome=outcome, detail=line[:_LONGEST_DETAIL], retry_after=retry_after)


class DueMessage(BaseModel):
    """A message that one deliverer has for the length of a lease."""

    model_config = ConfigDict(frozen=True)

    message_id: str
    tenant: str
    customer_id: str
    channel: Channel
    kind: MessageKind
    endpoint: str
    """What takes it: messages to one endpoint wait for each other, those to others don't wait for them."""
    address: str
    subject: str
    body: str
    """Of an e-mail the text, of a webhook the payload."""
    body_html: str | None
    created_at: dt.datetime
    attempts: int
    """With this one."""
    lease: str
    preferences: NotificationPreferences
    """As they are now."""


def quiet_until(quiet_hours: QuietHours, at: dt.datetime) -> dt.datetime:
    """`at` if that is outside of the quiet hours, else the end of those that it is in (UTC).

    Days are the time zone's own. Where the clock is set back, a time that comes twice begins with the first and ends with the second; one
    that the start of summer time leaves out is as much later: quiet hours are never shorter than the clock on the wall shows.
    """
    zone = ZoneInfo(quiet_hours.time_zone)
    today = at.astimezone(zone).date()
    next_day = quiet_hours.end <= quiet_hours.start
    for days in (-2, -1, 0, 1):
        date = today + days * _ONE_DAY
        start = dt.datetime.combine(date, quiet_hours.start, zone).replace(fold=0).astimezone(dt.UTC)
        last_date = date + _ONE_DAY if next_day else date
        readings = (dt.datetime.combine(last_date, quiet_hours.end, zone).replace(fold=fold).astimezone(dt.UTC) for fold in (0, 1))
        end = max(readings)
        if start <= at < end:
            at = end
    return at


def earliest(preferences: NotificationPreferences, kind: MessageKind, at: dt.datetime) -> dt.datetime:
    """When a message that is ready at `at` may go out: in quiet hours it waits for their end, unless it is an urgent rejection."""
    if preferences.quiet_hours is None or (preferences.urgent and kind is MessageKind.REJECTED):
        return at
    return quiet_until(preferences.quiet_hours, at)


def retry_delay(failures: int, *, jitter: float) -> dt.timedelta | None:
    """How long to wait after so many failures; None: no further attempt.

    Source: "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015): full jitter, any time up to the ceiling, so that messages that
    failed together don't come together again.

    Args:
        failures: attempts that failed so far, 1 or more.
        jitter: a random number from 0 to 1.
    """
    if failures > len(RETRY_CEILINGS):
        return None
    return RETRY_CEILINGS[failures - 1] * jitter


def next_attempt(
    message: DueMessage, result: DeliveryResult, *, now: dt.datetime, jitter: float, most_attempts: int = MOST_ATTEMPTS
) -> dt.datetime | None:
    """When a message goes out again after an attempt that did not deliver it; None: it is dead.

    A receiver's wish to be left alone is granted up to :data:`LONGEST_RETRY_AFTER`, and quiet hours count for each attempt.
    """
    if result.outcome is not DeliveryOutcome.FAILED or message.attempts >= most_attempts:
        return None
    delay = retry_delay(message.attempts, jitter=jitter)
    if delay is None:
        return None
    wished = min(result.retry_after or dt.timedelta(0), LONGEST_RETRY_AFTER)
    return earliest(message.preferences, message.kind, now + max(delay, wished))


def secrets_at(secrets: Iterable[WebhookSecret], now: dt.datetime) -> tuple[str, ...]:
    """The secrets that a message is signed with at `now`, the present one first."""
    return tuple(secret.secret for secret in secrets if secret.until is None or secret.until > now)


class StoredMessage(BaseModel):
    """A message as operators see it: where it was to go and what became of it, not what it says."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    message_id: str
    event_id: str
    transaction_id: str
    customer_id: str
    channel: Channel
    kind: MessageKind
    address: str
    subject: str
    status: MessageStatus
    attempts: int
    not_before: dt.datetime
    """When it is due; while a deliverer has it, when it is due again should that one be killed."""
    last_error: str | None
    created_at: dt.datetime
    delivered_at: dt.datetime | None
