"""Exchange rates: crossed over the euro, used as recorded, refused when too old."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.currencies import exponent_of
from ledger.money import Money
from ledger.rates import EUR, RATE_SIGNIFICANT_DIGITS, Conversion, age_refusal, convert, cross_rate
from ledger.refusals import RefusalCode
from tests.unit.ledger.builders import TODAY, rate

PER_EURO = st.decimals(min_value=Decimal("0.0001"), max_value=Decimal(50_000), places=4, allow_nan=False)
CURRENCIES = st.sampled_from(["USD", "CZK", "JPY", "BHD", "CLF"])


@given(minor_units=st.integers(1, 10**15), source=CURRENCIES, target=CURRENCIES, source_per_euro=PER_EURO, target_per_euro=PER_EURO)
def test_a_conversion_can_be_recomputed_from_what_is_recorded(
    minor_units: int, source: str, target: str, source_per_euro: Decimal, target_per_euro: Decimal
) -> None:
    per_euro = {source: source_per_euro, target: target_per_euro}
    quoted = cross_rate(source, target, per_euro=per_euro, as_of=TODAY, source="test")
    assert quoted is not None
    conversion = convert(Money(minor_units=minor_units, currency=source), quoted)
    exact = Fraction(conversion.source.decimal) * Fraction(conversion.rate.rate)
    assert Fraction(conversion.target.decimal) + Fraction(conversion.residual) == exact
    half_a_minor_unit = Fraction(1, 2) / 10 ** exponent_of(target)
    assert abs(Fraction(conversion.residual)) <= half_a_minor_unit
    assert Conversion.model_validate_json(conversion.model_dump_json()) == conversion


@given(per_euro=PER_EURO)
def test_a_rate_from_the_euro_is_the_published_rate(per_euro: Decimal) -> None:
    quoted = cross_rate(EUR, "USD", per_euro={"USD": per_euro}, as_of=TODAY, source="ECB")
    assert quoted is not None
    assert quoted.rate == per_euro


def test_a_cross_rate_is_rounded_before_it_is_used() -> None:
    quoted = cross_rate("CZK", "USD", per_euro={"CZK": Decimal(3), "USD": Decimal(1)}, as_of=TODAY, source="ECB")
    assert quoted is not None
    assert quoted.rate == Decimal("0." + "3" * RATE_SIGNIFICANT_DIGITS)


@pytest.mark.parametrize(("base", "quote"), [("XYZ", "EUR"), ("EUR", "XYZ"), ("XYZ", "USD")])
def test_a_pair_without_a_published_rate_has_none(base: str, quote: str) -> None:
    assert cross_rate(base, quote, per_euro={"USD": Decimal("1.1")}, as_of=TODAY, source="ECB") is None


def test_the_same_quotation_has_the_same_id_and_another_has_another() -> None:
    assert rate("EUR", "USD", "1.1").quote_id == rate("EUR", "USD", "1.1").quote_id
    assert rate("EUR", "USD", "1.1").quote_id != rate("EUR", "USD", "1.2").quote_id


@pytest.mark.parametrize(("age_days", "refused"), [(0, False), (7, False), (8, True)])
def test_a_rate_older_than_the_limit_is_refused(age_days: int, refused: bool) -> None:
    refusal = age_refusal(rate("EUR", "USD", "1.1"), booking_date=TODAY + dt.timedelta(days=age_days), max_age_days=7)
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.code is RefusalCode.RATE_TOO_OLD
        assert "8 days" in refusal.detail


def test_a_rate_converts_only_its_own_base() -> None:
    with pytest.raises(ValueError, match="EUR/USD rate can't convert JPY"):
        convert(Money.parse("1", "JPY"), rate("EUR", "USD", "1.1"))
