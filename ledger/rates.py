"""Exchange rates, and conversion with a recorded rounding residual."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping  # noqa: TC003
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from ledger.ids import quote_id
from ledger.money import Money, round_to_currency
from ledger.refusals import Refusal, RefusalCode

EUR: Final = "EUR"
RATE_SIGNIFICANT_DIGITS: Final = 12
"""A cross rate is rounded to this many significant digits, half to even, before it is used, so that the recorded rate is the one used."""


class ExchangeRate(BaseModel):
    """One unit of `base` buys `rate` units of `quote`."""

    model_config = ConfigDict(frozen=True)

    quote_id: str
    """Identifies the quotation (uuid5 of source, date and pair): the same rate has the same id wherever it is looked up."""
    base: str
    quote: str
    rate: Decimal = Field(gt=0)
    source: str
    """Who published it: ``ECB euro foreign exchange reference rates``."""
    as_of: dt.date
    """The day for which the source published it."""


class Conversion(BaseModel):
    """What a conversion did, in full, so that anyone can recompute it: ``target = round(source * rate)``."""

    model_config = ConfigDict(frozen=True)

    source: Money
    target: Money
    rate: ExchangeRate
    rounding: Literal["half-even"] = "half-even"
    residual: Decimal
    """Exact result minus `target`, in major units of the target currency. At most half a minor unit either way."""


def cross_rate(base: str, quote: str, *, per_euro: Mapping[str, Decimal], as_of: dt.date, source: str) -> ExchangeRate | None:
    """The rate from `base` to `quote` over the euro.

    Args:
        base: currency that is sold.
        quote: currency that is bought.
        per_euro: units of each currency that one euro buys, as the source published them for `as_of`; EUR itself may be absent.
        as_of: the day of the rates.
        source: who published them.

    Returns:
        The rate, rounded to :data:`RATE_SIGNIFICANT_DIGITS`; None when the source has no rate for one of the two.
    """
    base_per_euro = Decimal(1) if base == EUR else per_euro.get(base)
    quote_per_euro = Decimal(1) if quote == EUR else per_euro.get(quote)
    if base_per_euro is None or quote_per_euro is None:
        return None
    rate = Context(prec=RATE_SIGNIFICANT_DIGITS, rounding=ROUND_HALF_EVEN).divide(quote_per_euro, base_per_euro)
    identifier = quote_id(source=source, as_of=as_of, base=base, quote=quote, rate=rate)
    return ExchangeRate(quote_id=identifier, base=base, quote=quote, rate=rate, source=source, as_of=as_of)


def age_refusal(rate: ExchangeRate, *, booking_date: dt.date, max_age_days: int) -> Refusal | None:
    """Refuse a rate that is more than `max_age_days` days older than the booking date; None when it may be used."""
    age_days = (booking_date - rate.as_of).days
    if age_days <= max_age_days:
        return None
    detail = (
        f"the {rate.base}/{rate.quote} rate is of {rate.as_of}, {age_days} days before {booking_date}; at most {max_age_days} are allowed"
    )
    return Refusal(code=RefusalCode.RATE_TOO_OLD, detail=detail)


def convert(source: Money, rate: ExchangeRate) -> Conversion:
    """Convert `source` at `rate`, rounding half to even to the minor unit of the rate's quote currency.

    Raises:
        ValueError: the rate's base is not the source's currency.
    """
    if rate.base != source.currency:
        message = f"a {rate.base}/{rate.quote} rate can't convert {source.currency}"
        raise ValueError(message)
    with localcontext() as context:
        context.prec = 60
        exact = source.decimal * rate.rate
        target, residual = round_to_currency(exact, rate.quote)
    return Conversion(source=source, target=target, rate=rate, residual=residual)
