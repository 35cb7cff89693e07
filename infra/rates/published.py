"""One series of published rates: units of each currency that one euro buys, by day. Decimal strings until they are used; never a float."""

from __future__ import annotations

from bisect import bisect_right
from decimal import Decimal
from typing import TYPE_CHECKING, Final

from ledger.rates import EUR, ExchangeRate, cross_rate

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterable

SOURCE: Final = "ECB euro foreign exchange reference rates"
"""Who published the rates. The daily file and the history are the same series, so the same day's rate has the same quote id from both."""


class PublishedRates:
    """Rates per euro of many days."""

    def __init__(self, rates: Iterable[tuple[dt.date, str, str]]) -> None:
        """Index rates given as (day, currency, decimal string); the days of a currency in ascending order."""
        self._days: dict[str, list[dt.date]] = {}
        self._values: dict[str, list[str]] = {}
        for day, currency, value in rates:
            self._days.setdefault(currency, []).append(day)
            self._values.setdefault(currency, []).append(value)

    @property
    def newest_day(self) -> dt.date | None:
        """The last day of any currency; None when there are no rates."""
        return max((days[-1] for days in self._days.values()), default=None)

    def quote(self, base: str, quote: str, *, on: dt.date) -> ExchangeRate | None:
        """The rate of the newest day on or before `on` that has both currencies; None when there is no such day."""
        day = on
        while True:
            positions = {currency: self._position(currency, day) for currency in (base, quote) if currency != EUR}
            days = [self._days[currency][position] if position >= 0 else None for currency, position in positions.items()]
            if not days:
                return cross_rate(EUR, EUR, per_euro={}, as_of=on, source=SOURCE)
            if any(found is None for found in days):
                return None
            oldest = min(found for found in days if found is not None)
            if all(found == oldest for found in days):
                break
            day = oldest
        per_euro = {currency: Decimal(self._values[currency][position]) for currency, position in positions.items()}
        return cross_rate(base, quote, per_euro=per_euro, as_of=oldest, source=SOURCE)

    def _position(self, currency: str, day: dt.date) -> int:
        """Where the newest rate on or before `day` is; -1 when there is none."""
        return bisect_right(self._days.get(currency, []), day) - 1
