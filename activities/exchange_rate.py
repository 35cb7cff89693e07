"""The exchange rate service: one rate for one transaction, or the reason why there is none."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities.call import transaction_call
from ledger.rates import ExchangeRate, age_refusal
from ledger.refusals import Refusal, RefusalCode

if TYPE_CHECKING:
    from ledger.ports import ExchangeRates


class RateInquiry(BaseModel):
    """Which rate a transaction needs."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    transaction_id: str
    base: str
    """Currency that is sold."""
    quote: str
    """Currency that is bought."""
    booking_date: dt.date


class Quotation(BaseModel):
    """The answer: either a rate that may be used, or a business refusal."""

    model_config = ConfigDict(frozen=True)

    rate: ExchangeRate | None = None
    refusal: Refusal | None = None


class ExchangeRateActivities:
    """Looks rates up and applies the rule on their age."""

    def __init__(self, rates: ExchangeRates, *, max_age_days: int) -> None:
        """Take the source of rates, and the most days that a rate's date may lie before the booking date."""
        self._rates = rates
        self._max_age_days = max_age_days

    @activity.defn(name="exchange_rate.quote")
    async def quote(self, inquiry: RateInquiry) -> Quotation:
        """The newest rate on or before the booking date; a refusal when the source has none, or when it is too old.

        Raises:
            ApplicationError: UnavailableError, retryable: the source did not answer.
        """
        with transaction_call(inquiry.tenant, inquiry.transaction_id):
            rate = await self._rates.quote(inquiry.base, inquiry.quote, on=inquiry.booking_date)
            if rate is None:
                detail = f"there is no {inquiry.base}/{inquiry.quote} rate on or before {inquiry.booking_date}"
                return Quotation(refusal=Refusal(code=RefusalCode.RATE_UNAVAILABLE, detail=detail))
            refusal = age_refusal(rate, booking_date=inquiry.booking_date, max_age_days=self._max_age_days)
            return Quotation(refusal=refusal) if refusal is not None else Quotation(rate=rate)
