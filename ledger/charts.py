"""What a chart of the totals is asked with, and its rows. Pure. See ``docs/decisions/0030-mis.md``."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from ledger.errors import InvalidInputError
from ledger.statements import parse_instant

if TYPE_CHECKING:
    from collections.abc import Mapping
    from zoneinfo import ZoneInfo

    from ledger.money import Money

TRANSACTION_DIMENSIONS: Final = ("currency", "kind", "outcome", "reason", "band")
"""What finished transactions can be told apart by, in the order in which rows name them."""
ENTRY_DIMENSIONS: Final = ("currency", "kind", "leg", "direction", "band", "balance_band")
"""What posted legs can be told apart by, in the order in which rows name them."""
CURRENCY: Final = "currency"
"""The dimension without which there are no amounts: those of several currencies have no sum."""
DEFAULT_DIMENSIONS: Final = CURRENCY
MAX_ROWS: Final = 10_000

_HOUR: Final = dt.timedelta(hours=1)
_DAY: Final = dt.timedelta(days=1)
_NOTHING: Final = dt.timedelta(0)


class Interval(StrEnum):
    """What one row of a chart is about."""

    HOUR = "hour"
    DAY = "day"


_DEFAULT_PERIODS: Final = {Interval.HOUR: _DAY, Interval.DAY: 30 * _DAY}
LONGEST_DAYS: Final = {Interval.HOUR: 93, Interval.DAY: 1_100}
"""Of one chart: a quarter by the hour, three years by the day."""


class ChartRequest(NamedTuple):
    """Which totals are asked for."""

    since: dt.datetime
    """The first hour begins then; UTC."""
    until: dt.datetime
    """The last hour ends then; UTC."""
    per: Interval
    by: tuple[str, ...]
    """Dimensions; what differs in others only is summed."""
    time_zone: ZoneInfo
    """Where days begin."""

    @classmethod
    def parse(
        cls,
        *,
        since: str | None,
        until: str | None,
        per: Interval,
        by: str,
        dimensions: tuple[str, ...],
        time_zone: ZoneInfo,
        now: dt.datetime,
    ) -> ChartRequest:
        """Read what a caller asks for. Only whole hours are counted, so the period is widened to whole hours.

        Args:
            since: instant by RFC 3339, called ``from``; a day (by the hour) or 30 days (by the day) before the end unless given.
            until: instant by RFC 3339, called ``to``; now unless given.
            per: hour or day.
            by: names of dimensions with commas between them; empty: none.
            dimensions: those that there are.
            time_zone: where days begin.
            now: the caller's clock, in UTC.

        Raises:
            InvalidInputError: an instant, the period, a dimension or the time zone breaks its rule.
        """
        last = now if until is None else parse_instant(until, field="to")
        try:
            last = _hour_of(last) + (_HOUR if _hour_of(last) < last else _NOTHING)
            first = last - _DEFAULT_PERIODS[per] if since is None else _hour_of(parse_instant(since, field="from"))
        except OverflowError:
            raise InvalidInputError(field="to", value=until, rule="must be within the years 1 to 9999") from None
        if last <= first:
            raise InvalidInputError(field="to", value=until, rule="must be after from")
        if last - first > LONGEST_DAYS[per] * _DAY:
            raise InvalidInputError(field="from", value=since, rule=f"must be at most {LONGEST_DAYS[per]} days before to, per {per}")
        _check_whole_hours(time_zone, first, last)
        return cls(since=first, until=last, per=per, by=_parse_dimensions(by, dimensions), time_zone=time_zone)


class ChartRow(NamedTuple):
    """One point of a chart."""

    at: dt.datetime
    """When its hour or day begins, in the time zone that was asked for."""
    dimensions: Mapping[str, str]
    """By name, those that were asked for; empty text: the row has none, as a completed transaction has no reason."""
    number: int
    """How many transactions or entries."""
    amount: Money | None
    """None: the currencies are not told apart."""


def _hour_of(instant: dt.datetime) -> dt.datetime:
    return instant.replace(minute=0, second=0, microsecond=0)


def _parse_dimensions(by: str, dimensions: tuple[str, ...]) -> tuple[str, ...]:
    names = by.split(",") if by else []
    if not set(names) <= set(dimensions) or len(set(names)) < len(names):
        raise InvalidInputError(field="by", value=by, rule=f"must be some of {','.join(dimensions)}, each once, with commas between them")
    return tuple(name for name in dimensions if name in names)


def _check_whole_hours(time_zone: ZoneInfo, first: dt.datetime, last: dt.datetime) -> None:
    """Totals are per hour of UTC: where a day begins at half past one of those, nothing can be said of it."""
    instant = first
    while instant < last:
        offset = instant.astimezone(time_zone).utcoffset() or _NOTHING
        if offset % _HOUR:
            rule = "must be whole hours away from UTC in all of the period, since totals are per hour of UTC"
            raise InvalidInputError(field="time_zone", value=time_zone.key, rule=rule)
        instant += _DAY
