from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest

from infra.rates import EcbHistoryRates
from infra.rates.published import SOURCE
from ledger.currencies import MINOR_UNIT_EXPONENTS


@pytest.fixture(scope="module")
def history() -> EcbHistoryRates:
    return EcbHistoryRates()


def day(text: str) -> dt.date:
    return dt.date.fromisoformat(text)


async def test_the_published_rate_comes_back_digit_by_digit(history: EcbHistoryRates) -> None:
    rate = await history.quote("EUR", "USD", on=day("1999-01-04"))
    assert rate is not None
    assert (rate.rate, rate.as_of, rate.source) == (Decimal("1.1789"), day("1999-01-04"), SOURCE)


async def test_a_cross_rate_goes_over_the_euro_of_one_day(history: EcbHistoryRates) -> None:
    rate = await history.quote("USD", "CZK", on=day("1999-01-04"))
    assert rate is not None
    # 35.107 CZK and 1.1789 USD per euro.
    assert rate.rate == Decimal("29.7794554245")


async def test_a_weekend_has_the_rate_of_the_friday_before(history: EcbHistoryRates) -> None:
    rate = await history.quote("USD", "EUR", on=day("2024-03-31"))  # Easter Sunday; Good Friday is no TARGET day either
    assert rate is not None
    assert rate.as_of == day("2024-03-28")


async def test_a_pair_has_the_newest_day_that_has_both_currencies(history: EcbHistoryRates) -> None:
    rate = await history.quote("RUB", "USD", on=day("2024-01-15"))
    assert rate is not None
    assert rate.as_of == day("2022-03-01")  # the ECB's last rate of the rouble


@pytest.mark.parametrize(
    ("base", "quote", "on"),
    [("EUR", "USD", "1999-01-03"), ("BRL", "EUR", "1999-06-01"), ("EUR", "BHD", "2024-01-02"), ("TRL", "TRY", "2024-01-02")],
    ids=["before the first day", "before the currency's first day", "never published", "never on one day"],
)
async def test_what_was_not_published_has_no_rate(history: EcbHistoryRates, base: str, quote: str, on: str) -> None:
    assert await history.quote(base, quote, on=day(on)) is None


async def test_the_same_quotation_has_the_same_id_and_another_pair_another(history: EcbHistoryRates) -> None:
    first = await history.quote("USD", "CZK", on=day("2024-01-02"))
    again = await history.quote("USD", "CZK", on=day("2024-01-02"))
    other = await history.quote("CZK", "USD", on=day("2024-01-02"))
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.quote_id == again.quote_id != other.quote_id


async def test_every_rate_of_a_day_is_a_positive_decimal(history: EcbHistoryRates) -> None:
    found = [await history.quote("EUR", currency, on=day("2024-01-02")) for currency in MINOR_UNIT_EXPONENTS]
    published = [rate for rate in found if rate is not None and rate.as_of == day("2024-01-02")]
    assert len(published) == 30  # the 30 of that day without the lev, which is no currency any more, and the euro itself
    assert all(rate.rate > 0 for rate in published)
