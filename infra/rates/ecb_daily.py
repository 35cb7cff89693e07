"""The European Central Bank's daily reference rates, read over HTTP and kept.

The ECB publishes one small file about 16:00 CET on TARGET working days. It is read at most every quarter of an hour, by one request at a
time, however many transactions ask.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Final
from xml.etree.ElementTree import ParseError

import httpx
import structlog
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from infra.rates.published import PublishedRates
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from infra.rates.ecb_history import EcbHistoryRates
    from ledger.rates import ExchangeRate

_log = structlog.get_logger(__name__)

REFRESH_SECONDS: Final = 900.0
"""A file that was read less than this ago is used without asking again."""
USABLE_SECONDS: Final = 24 * 60 * 60.0
"""While the ECB doesn't answer, a file that was read less than this ago is used: it is at most one publication behind."""
RETRY_SECONDS: Final = 5.0
"""After a failed read the next one waits this long; who asks meanwhile gets the last file or the same error."""
READ_TIMEOUT_SECONDS: Final = 5.0
"""For the whole read, however slowly the bytes drip."""
_LARGEST_FILE_BYTES: Final = 1024 * 1024
"""The real one has 1.6 kB."""
_CUBE: Final = "{http://www.ecb.int/vocabulary/2002-08-01/eurofxref}Cube"


class MalformedRatesError(ValueError):
    """What the server sent is not the ECB's file."""


@dataclass(frozen=True)
class _DailyFile:
    rates: PublishedRates
    day: dt.date
    read_at: float
    """Monotonic seconds."""


class EcbDailyRates:
    """Implements :class:`ledger.ports.ExchangeRates`."""

    def __init__(
        self,
        url: str,
        *,
        history: EcbHistoryRates | None = None,
        refresh_seconds: float = REFRESH_SECONDS,
        usable_seconds: float = USABLE_SECONDS,
        retry_seconds: float = RETRY_SECONDS,
        read_timeout_seconds: float = READ_TIMEOUT_SECONDS,
    ) -> None:
        """Prepare; the first quotation reads the file.

        Args:
            url: where the daily XML is.
            history: the same series for days before the daily file's; without it those have no rate.
            refresh_seconds: when a file is read again.
            usable_seconds: how long a file is used while the server doesn't answer.
            retry_seconds: how long after a failed read the next one may begin.
            read_timeout_seconds: how long a read may take.
        """
        self._url = url
        self._history = history
        self._refresh_seconds = refresh_seconds
        self._usable_seconds = usable_seconds
        self._retry_seconds = retry_seconds
        self._read_timeout_seconds = read_timeout_seconds
        self._file: _DailyFile | None = None
        self._reading: asyncio.Task[_DailyFile] | None = None
        self._failed_at = float("-inf")
        self._failure = ""

    async def quote(self, base: str, quote: str, *, on: dt.date) -> ExchangeRate | None:
        """See :meth:`ledger.ports.ExchangeRates.quote`."""
        # What the history covers needs no request, and is the very rate that was published: it has every day up to its last.
        if self._history is not None and on <= self._history.newest_day:
            return await self._history.quote(base, quote, on=on)
        file = await self._current()
        # Between the history's last day and the file's there may be days that neither has, so the history's last rate would be a guess.
        return file.rates.quote(base, quote, on=on)

    async def _current(self) -> _DailyFile:
        now = time.monotonic()
        file = self._file
        if file is not None and now - file.read_at < self._refresh_seconds:
            return file
        if now - self._failed_at >= self._retry_seconds or self._reading is not None:
            try:
                return await self._read_once()
            except UnavailableError as error:
                _log.warning("rates.not-read", url=self._url, error=error.detail)
        if file is not None and now - file.read_at < self._usable_seconds:
            return file
        raise UnavailableError(part="exchange-rates", detail=self._failure)

    async def _read_once(self) -> _DailyFile:
        """Read the file, or join the read that is under way. A caller that is cancelled doesn't take the read from the others."""
        if self._reading is None:
            self._reading = asyncio.create_task(self._read())
            self._reading.add_done_callback(self._finished)
        return await asyncio.shield(self._reading)

    def _finished(self, reading: asyncio.Task[_DailyFile]) -> None:
        self._reading = None
        if reading.cancelled():
            return
        error = reading.exception()
        if error is None:
            self._file = reading.result()
        else:
            self._failed_at = time.monotonic()
            self._failure = error.detail if isinstance(error, UnavailableError) else repr(error)

    async def _read(self) -> _DailyFile:
        try:
            async with asyncio.timeout(self._read_timeout_seconds):
                content = await self._download()
            day, rates = parse_daily(content)
        except TimeoutError as error:
            detail = f"{self._url} did not answer within {self._read_timeout_seconds:g} s"
            raise UnavailableError(part="exchange-rates", detail=detail) from error
        except (httpx.HTTPError, MalformedRatesError) as error:
            raise UnavailableError(part="exchange-rates", detail=f"{self._url}: {str(error) or type(error).__name__}") from error
        _log.info("rates.read", url=self._url, day=day.isoformat())
        return _DailyFile(rates=rates, day=day, read_at=time.monotonic())

    async def _download(self) -> bytes:
        timeout = httpx.Timeout(self._read_timeout_seconds)
        async with (
            httpx.AsyncClient(timeout=timeout, follow_redirects=True) as client,
            client.stream("GET", self._url, headers={"Accept": "application/xml, text/xml"}) as response,
        ):
            response.raise_for_status()
            content = bytearray()
            async for chunk in response.aiter_bytes():
                content += chunk
                if len(content) > _LARGEST_FILE_BYTES:
                    message = f"more than {_LARGEST_FILE_BYTES} bytes"
                    raise MalformedRatesError(message)
            return bytes(content)


def parse_daily(content: bytes) -> tuple[dt.date, PublishedRates]:
    """Read the ECB's daily XML.

    Returns:
        The day, and its rates.

    Raises:
        MalformedRatesError: not well-formed, with a document type or entities, without exactly one day, or with a rate that isn't a
            positive decimal.
    """
    try:
        root = fromstring(content, forbid_dtd=True, forbid_entities=True, forbid_external=True)
    except (ParseError, DefusedXmlException, LookupError, ValueError) as error:
        message = f"not the ECB's XML: {str(error) or type(error).__name__}"
        raise MalformedRatesError(message) from error
    days = [cube for cube in root.iter(_CUBE) if "time" in cube.attrib]
    if len(days) != 1:
        message = f"{len(days)} days instead of one"
        raise MalformedRatesError(message)
    try:
        day = dt.date.fromisoformat(days[0].attrib["time"])
    except ValueError as error:
        message = f"the day is {days[0].attrib['time']!r}"
        raise MalformedRatesError(message) from error
    return day, PublishedRates(_rates_of(day, [cube.attrib for cube in days[0].iter(_CUBE) if cube is not days[0]]))


def _rates_of(day: dt.date, cubes: list[dict[str, str]]) -> Iterator[tuple[dt.date, str, str]]:
    if not cubes:
        message = f"no rates for {day}"
        raise MalformedRatesError(message)
    for cube in cubes:
        currency, value = cube.get("currency", ""), cube.get("rate", "")
        try:
            rate = Decimal(value)
        except InvalidOperation:
            rate = Decimal("NaN")
        if not currency or not rate.is_finite() or rate <= 0:
            message = f"the rate of {currency!r} is {value!r}"
            raise MalformedRatesError(message)
        yield day, currency, value
