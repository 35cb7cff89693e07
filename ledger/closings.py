"""Closed statements: numbered, one for each period in which something was booked on the account. Pure; amounts are minor units."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

MAX_STATEMENTS: Final = 100
"""Of one page."""


class StatementPeriod(StrEnum):
    """How often statements are closed: at the midnight that ends the bank's day, its week on Sunday, or its month."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


def period_start(period: StatementPeriod, at: dt.datetime, time_zone: ZoneInfo) -> dt.datetime:
    """The instant at which the period began that `at` lies in; what was booked before it belongs to periods that have ended.

    Args:
        period: how long one is.
        at: any instant.
        time_zone: the bank's; its midnights count, whatever their distance from UTC then is.
    """
    day = at.astimezone(time_zone).date()
    if period is StatementPeriod.WEEK:
        day -= dt.timedelta(days=day.weekday())
    elif period is StatementPeriod.MONTH:
        day = day.replace(day=1)
    return dt.datetime.combine(day, dt.time(), time_zone).astimezone(dt.UTC)


class ClosedStatement(BaseModel):
    """A statement that will never change: ``opening_balance + credited - debited = closing_balance``."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    number: int = Field(gt=0)
    """Counted from 1, without a gap."""
    currency: str
    since: dt.datetime
    """Lines booked then or later. The end of the statement before; of the first one the beginning of its period."""
    until: dt.datetime
    """Lines booked before this instant."""
    opening_balance: int
    """The closing balance of the statement before; 0 for the first one."""
    credited: int
    debited: int
    closing_balance: int
    lines: int
    closed_at: dt.datetime


class CurrentStatement(BaseModel):
    """What came after the last closed statement, as far as it has arrived."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    currency: str
    since: dt.datetime | None
    """The end of the last closed statement; None: there is none."""
    opening_balance: int
    credited: int
    debited: int
    closing_balance: int
    """So far."""
    lines: int


class StatementList(BaseModel):
    """An account's statements, the newest first."""

    model_config = ConfigDict(frozen=True)

    current: CurrentStatement
    closed: tuple[ClosedStatement, ...]
    more: bool
    """Whether there are closed ones before these."""
