"""What the exchange rate service would use."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query

from ledger.currencies import exponent_of
from ledger.errors import InvalidInputError, NotFoundError
from ledger.rates import age_refusal
from starter.api.answers import answer
from starter.api.models.fields import CalendarDate
from starter.api.models.transactions import RateView
from starter.api.services import AnyHolder, UsesServices

router = APIRouter(prefix="/v1/rates", tags=["rates"])


@router.get("", responses=answer(404, "There is no rate that a transaction of that day may use."))
async def read_rate(
    services: UsesServices,
    _principal: AnyHolder,
    base: Annotated[str, Query(description="Currency that is sold.", examples=["USD"])],
    quote: Annotated[str, Query(description="Currency that is bought.", examples=["EUR"])],
    date: Annotated[CalendarDate | None, Query(description="Booking date; today (UTC) unless it is given.")] = None,
) -> RateView:
    """The newest rate on or before the date; 404 when there is none that a transaction of that day may use."""
    for field, currency in (("base", base), ("quote", quote)):
        exponent_of(currency, field=field)
    if base == quote:
        raise InvalidInputError(field="quote", value=quote, rule="must be another currency than base")
    booking_date = date or dt.datetime.now(dt.UTC).date()
    rate = await services.rates.quote(base, quote, on=booking_date)
    if rate is None or age_refusal(rate, booking_date=booking_date, max_age_days=services.rates_max_age_days) is not None:
        raise NotFoundError(kind=f"{base}/{quote} rate that a transaction may use on", identifier=booking_date.isoformat())
    return RateView.of(rate)
