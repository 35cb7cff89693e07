"""Money: whole minor units, decimal strings in and out, and every bad amount named."""

from __future__ import annotations

from decimal import Decimal

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.currencies import MINOR_UNIT_EXPONENTS, exponent_of
from ledger.errors import InvalidInputError, UnknownCurrencyError
from ledger.money import MAX_MINOR_UNITS, Money, round_to_currency

CURRENCIES = st.sampled_from(sorted(MINOR_UNIT_EXPONENTS))


def test_every_currency_has_the_exponent_that_iso_4217_gives_it() -> None:
    published = {currency.code: currency.exponent for currency in iso4217.Currency if currency.exponent is not None}
    assert published == MINOR_UNIT_EXPONENTS


@pytest.mark.parametrize(("currency", "exponent"), [("JPY", 0), ("EUR", 2), ("BHD", 3), ("CLF", 4)])
def test_exponents_differ_by_currency(currency: str, exponent: int) -> None:
    assert exponent_of(currency) == exponent


@pytest.mark.parametrize("code", ["EURO", "eur", "", "XXX", "XAU", "€", "BTC"])
def test_an_unknown_currency_is_named_with_its_field(code: str) -> None:
    with pytest.raises(UnknownCurrencyError) as caught:
        Money.parse("1", code, currency_field="amount.currency")
    assert (caught.value.field, caught.value.value, caught.value.code) == ("amount.currency", code, "unknown-currency")


@given(minor_units=st.integers(1, MAX_MINOR_UNITS), currency=CURRENCIES)
def test_an_amount_survives_being_written_and_read(minor_units: int, currency: str) -> None:
    money = Money(minor_units=minor_units, currency=currency)
    assert Money.parse(money.decimal_string, currency) == money
    assert Decimal(money.decimal_string).scaleb(exponent_of(currency)) == minor_units


@given(minor_units=st.integers(-(10**30), 10**30), currency=CURRENCIES)
def test_a_decimal_string_always_shows_exactly_the_currencys_decimals(minor_units: int, currency: str) -> None:
    text = Money(minor_units=minor_units, currency=currency).decimal_string
    assert "E" not in text
    assert len(text.partition(".")[2]) == exponent_of(currency)


@pytest.mark.parametrize(
    ("amount", "currency", "rule"),
    [
        ("0", "EUR", "greater than zero"),
        ("0.00", "EUR", "greater than zero"),
        ("-12.50", "EUR", "greater than zero"),
        ("12.505", "EUR", "at most 2 decimals"),
        ("12.5", "JPY", "at most 0 decimals"),
        ("1.2345", "BHD", "at most 3 decimals"),
        ("10000000000000.01", "EUR", "at most 10000000000000.00 EUR"),
        ("1000000000000001", "JPY", "at most 1000000000000000 JPY"),
        ("9" * 10_000, "EUR", "plain digits"),
        ("NaN", "EUR", "plain digits"),
        ("Infinity", "EUR", "plain digits"),
        ("1e3", "EUR", "plain digits"),
        ("1,000.00", "EUR", "plain digits"),
        ("+1.00", "EUR", "plain digits"),
        (" 1.00", "EUR", "plain digits"),
        ("1.", "EUR", "plain digits"),
        (".5", "EUR", "plain digits"),
        ("1_000", "EUR", "plain digits"),
        ("١٢", "EUR", "plain digits"),
        ("", "EUR", "plain digits"),
        ("twelve", "EUR", "plain digits"),
        (12.5, "EUR", "decimal string"),
        (12, "EUR", "decimal string"),
        (None, "EUR", "decimal string"),
        (True, "EUR", "decimal string"),
        (["1"], "EUR", "decimal string"),
    ],
)
def test_a_bad_amount_is_refused_with_field_value_and_rule(amount: object, currency: str, rule: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Money.parse(amount, currency, field="amount")
    assert caught.value.field == "amount"
    assert caught.value.value == amount
    assert rule in caught.value.rule


def test_the_largest_amount_is_accepted() -> None:
    assert Money.parse("10000000000000.00", "EUR").minor_units == MAX_MINOR_UNITS


@pytest.mark.parametrize("value", [1.0, "1", True, Decimal(1)])
def test_minor_units_are_never_anything_but_an_integer(value: object) -> None:
    with pytest.raises(ValidationError):
        Money(minor_units=value, currency="EUR")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("exact", "currency", "rounded", "residual"),
    [
        ("0.125", "EUR", 12, "0.005"),
        ("0.135", "EUR", 14, "-0.005"),
        ("0.5", "JPY", 0, "0.5"),
        ("1.5", "JPY", 2, "-0.5"),
        ("2.5", "JPY", 2, "0.5"),
        ("1.0005", "BHD", 1000, "0.0005"),
    ],
)
def test_rounding_is_half_to_even_and_keeps_the_residual(exact: str, currency: str, rounded: int, residual: str) -> None:
    money, rest = round_to_currency(Decimal(exact), currency)
    assert money.minor_units == rounded
    assert rest == Decimal(residual)
