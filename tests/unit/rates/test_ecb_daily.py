from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from decimal import Decimal

import pytest

from infra.rates import EcbDailyRates, EcbHistoryRates, open_rates
from infra.rates.ecb_daily import MalformedRatesError, parse_daily
from infra.settings import Settings
from ledger.errors import UnavailableError
from tests.unit.rates.server import BOMB, DAILY, Answer, RatesServer, answers, breaks_off, hangs

DAY = dt.date(2030, 1, 15)


@pytest.fixture
async def server() -> AsyncIterator[RatesServer]:
    async with RatesServer() as server:
        yield server


def adapter(
    server: RatesServer,
    *,
    history: EcbHistoryRates | None = None,
    refresh_seconds: float = 60,
    usable_seconds: float = 60,
    retry_seconds: float = 0,
    read_timeout_seconds: float = 5,  # a busy machine may take its time over the first request
) -> EcbDailyRates:
    return EcbDailyRates(
        server.url,
        history=history,
        refresh_seconds=refresh_seconds,
        usable_seconds=usable_seconds,
        retry_seconds=retry_seconds,
        read_timeout_seconds=read_timeout_seconds,
    )


async def test_the_file_of_the_day_is_read_digit_by_digit(server: RatesServer) -> None:
    rate = await adapter(server).quote("EUR", "IDR", on=DAY)
    assert rate is not None
    assert (rate.rate, rate.as_of) == (Decimal("20275.17"), DAY)


async def test_a_later_day_has_the_files_rate_and_an_earlier_one_none(server: RatesServer) -> None:
    rates = adapter(server)
    later = await rates.quote("USD", "CZK", on=DAY + dt.timedelta(days=3))
    assert later is not None
    assert (later.rate, later.as_of) == (Decimal("21.7982456140"), DAY)
    assert await rates.quote("USD", "CZK", on=DAY - dt.timedelta(days=1)) is None


async def test_a_day_that_the_history_covers_has_the_rate_that_was_published_then(server: RatesServer) -> None:
    rates = adapter(server, history=EcbHistoryRates())
    rate = await rates.quote("EUR", "USD", on=dt.date(1999, 1, 4))
    assert rate is not None
    assert rate.rate == Decimal("1.1789")
    assert server.requests == 0


async def test_a_day_between_the_history_and_the_file_has_no_rate_rather_than_a_guess(server: RatesServer) -> None:
    history = EcbHistoryRates()
    rates = adapter(server, history=history)
    assert await rates.quote("EUR", "USD", on=history.newest_day + dt.timedelta(days=1)) is None
    assert await rates.quote("EUR", "USD", on=history.newest_day) is not None


async def test_a_currency_that_the_file_lacks_has_no_rate(server: RatesServer) -> None:
    assert await adapter(server).quote("EUR", "BHD", on=DAY) is None


async def test_many_transactions_cost_one_request(server: RatesServer) -> None:
    server.delay_seconds = 0.05
    rates = adapter(server)
    await asyncio.gather(*(rates.quote("EUR", "USD", on=DAY) for _ in range(50)))
    await rates.quote("EUR", "USD", on=DAY)
    assert server.requests == 1


async def test_an_old_file_is_read_again(server: RatesServer) -> None:
    rates = adapter(server, refresh_seconds=0)
    await rates.quote("EUR", "USD", on=DAY)
    server.answer = answers(DAILY.replace("2030-01-15", "2030-01-16").replace("1.1172", "1.2000"))
    rate = await rates.quote("EUR", "USD", on=dt.date(2030, 1, 16))
    assert rate is not None
    assert rate.rate == Decimal("1.2000")


BAD_DAYS = {
    "not found": answers("gone", status="404 Not Found"),
    "server error": answers("oops", status="503 Service Unavailable"),
    "garbage": answers(b"\x00\xff\xfe garbage"),
    "HTML": answers("<html><body>Under maintenance</body></html>"),
    "empty": answers(""),
    "an XML bomb": answers(BOMB),
    "a huge file": answers(b" " * 2_000_000),
    "no rates": answers(DAILY.split("<Cube currency")[0] + "</Cube></Cube></gesmes:Envelope>"),
    "a rate of zero": answers(DAILY.replace("1.1172", "0")),
    "a rate that is text": answers(DAILY.replace("1.1172", "about 1")),
    "a rate that is NaN": answers(DAILY.replace("1.1172", "NaN")),
    "a broken day": answers(DAILY.replace("2030-01-15", "15 January")),
    "a broken-off answer": breaks_off,
    "a hanging answer": hangs,
}


@pytest.mark.parametrize("answer", BAD_DAYS.values(), ids=BAD_DAYS.keys())
async def test_a_bad_day_of_the_server_is_an_error_in_bounded_time(server: RatesServer, answer: Answer) -> None:
    server.answer = answer
    with pytest.raises(UnavailableError) as away:
        async with asyncio.timeout(60):  # without a limit of its own, a hanging answer would not end by then
            await adapter(server, read_timeout_seconds=1).quote("EUR", "USD", on=DAY)
    assert away.value.part == "exchange-rates"


@pytest.mark.parametrize("answer", BAD_DAYS.values(), ids=BAD_DAYS.keys())
async def test_a_young_file_outlives_a_bad_day(server: RatesServer, answer: Answer) -> None:
    rates = adapter(server, refresh_seconds=0)
    await rates.quote("EUR", "USD", on=DAY)
    server.answer = answer
    rate = await rates.quote("EUR", "USD", on=DAY)
    assert rate is not None
    assert rate.rate == Decimal("1.1172")
    assert server.requests == 2


async def test_a_file_that_is_too_old_does_not(server: RatesServer) -> None:
    rates = adapter(server, refresh_seconds=0, usable_seconds=0)
    await rates.quote("EUR", "USD", on=DAY)
    server.answer = answers("oops", status="500 Internal Server Error")
    with pytest.raises(UnavailableError, match="500"):
        await rates.quote("EUR", "USD", on=DAY)


async def test_a_refused_connection_is_an_error_and_the_next_read_after_it_succeeds(server: RatesServer) -> None:
    away = EcbDailyRates("http://127.0.0.1:1/daily.xml", retry_seconds=0)
    with pytest.raises(UnavailableError):
        await away.quote("EUR", "USD", on=DAY)
    away._url = server.url
    assert await away.quote("EUR", "USD", on=DAY) is not None


async def test_a_failing_server_is_not_asked_again_at_once(server: RatesServer) -> None:
    server.answer = answers("oops", status="503 Service Unavailable")
    rates = adapter(server, retry_seconds=60)
    for _ in range(5):
        with pytest.raises(UnavailableError, match="503"):
            await rates.quote("EUR", "USD", on=DAY)
    assert server.requests == 1


async def test_a_cancelled_caller_does_not_take_the_read_from_the_others(server: RatesServer) -> None:
    server.delay_seconds = 0.2
    rates = adapter(server)
    leaves = asyncio.create_task(rates.quote("EUR", "USD", on=DAY))
    stays = asyncio.create_task(rates.quote("EUR", "USD", on=DAY))
    await asyncio.sleep(0.05)
    leaves.cancel()
    assert await stays is not None
    assert leaves.cancelled()
    assert server.requests == 1


def test_a_bomb_is_refused_for_being_one() -> None:
    with pytest.raises(MalformedRatesError, match="DTDForbidden"):
        parse_daily(BOMB.encode())


def test_the_settings_choose_the_source() -> None:
    assert isinstance(open_rates(Settings(rates_source="ecb-history")), EcbHistoryRates)
    assert isinstance(open_rates(Settings(rates_source="ecb-daily")), EcbDailyRates)
