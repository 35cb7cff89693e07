"""Days on which banks work: weekends and the closing days of TARGET, the Eurosystem's settlement system, computed for any year.

Source: the Eurosystem's long-term calendar of TARGET closing days (ECB press release of 14 December 2000), in force since 2002.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from functools import lru_cache
from typing import Final

_SATURDAY: Final = 5
_ONE_DAY: Final = dt.timedelta(days=1)


class Holidays(StrEnum):
    """Which days are no business days."""

    TARGET2 = "target2"
    """Saturdays, Sundays, and the six closing days of TARGET."""
    WEEKENDS = "weekends"
    """Saturdays and Sundays only."""


class DayShift(StrEnum):
    """Where a date goes that is no business day."""

    NONE = "none"
    """It stays."""
    FOLLOWING = "following"
    """To the next business day."""
    PRECEDING = "preceding"
    """To the business day before."""


def easter_sunday(year: int) -> dt.date:
    """Easter Sunday of the Gregorian calendar.

    Source: the algorithm that Nature printed on 20 April 1876 ("To find Easter"), as in Meeus, *Astronomical Algorithms*, chapter 8.
    """
    golden = year % 19
    century, of_century = divmod(year, 100)
    leap_centuries, century_rest = divmod(century, 4)
    moon_correction = (century - (century + 8) // 25 + 1) // 3
    epact = (19 * golden + century - leap_centuries - moon_correction + 15) % 30
    leap_years, year_rest = divmod(of_century, 4)
    to_sunday = (32 + 2 * century_rest + 2 * leap_years - epact - year_rest) % 7
    late = (golden + 11 * epact + 22 * to_sunday) // 451
    month, day = divmod(epact + to_sunday - 7 * late + 114, 31)
    return dt.date(year, month, day + 1)


@lru_cache(maxsize=512)
def target_closing_days(year: int) -> frozenset[dt.date]:
    """The days of a year on which TARGET is closed, beside Saturdays and Sundays."""
    easter = easter_sunday(year)
    fixed = {dt.date(year, 1, 1), dt.date(year, 5, 1), dt.date(year, 12, 25), dt.date(year, 12, 26)}
    return frozenset(fixed | {easter - 2 * _ONE_DAY, easter + _ONE_DAY})


def is_business_day(day: dt.date, holidays: Holidays) -> bool:
    """Whether banks work on `day`."""
    if day.weekday() >= _SATURDAY:
        return False
    return holidays is Holidays.WEEKENDS or day not in target_closing_days(day.year)


def shifted(day: dt.date, shift: DayShift, holidays: Holidays) -> dt.date:
    """`day`, or the business day that stands for it."""
    if shift is DayShift.NONE:
        return day
    step = _ONE_DAY if shift is DayShift.FOLLOWING else -_ONE_DAY
    while not is_business_day(day, holidays):
        day += step
    return day
