"""Money as whole minor units of one currency. A float never touches it."""

from __future__ import annotations

import re
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Annotated, Final, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from ledger.currencies import exponent_of
from ledger.errors import InvalidInputError, UnknownCurrencyError

MAX_MINOR_UNITS: Final = 10**15
"""The largest amount of one leg, in minor units; the database checks the same bound."""

_DECIMAL_STRING: Final = re.compile(r"[0-9]+(?:\.[0-9]+)?", re.ASCII)
_LONGEST_AMOUNT: Final = 40
"""Characters; longer ones can't be a valid amount, and are refused before they are parsed."""


class Money(BaseModel):
    """An amount of one currency: `minor_units` whole minor units (cents for EUR, yen for JPY). May be zero or negative, as balances are."""

    model_config = ConfigDict(frozen=True, strict=True)

    minor_units: int
    currency: Annotated[str, Field(min_length=3, max_length=3)]

    @field_validator("currency")
    @classmethod
    def _currency_is_known(cls, currency: str) -> str:
        try:
            exponent_of(currency)
        except UnknownCurrencyError as error:
            raise ValueError(error.args[0]) from error
        return currency

    @property
    def decimal(self) -> Decimal:
        """The amount in major units, with exactly the currency's decimals."""
        # From a string, since arithmetic would round to the context's 28 digits, and the sum of a large account may have 38.
        return Decimal(f"{self.minor_units}E-{exponent_of(self.currency)}")

    @property
    def decimal_string(self) -> str:
        """The amount in major units as the API writes it: ``"12.50"`` for 1,250 minor units of EUR."""
        return decimal_text(self.minor_units, exponent_of(self.currency))

    def __str__(self) -> str:
        """Amount and currency, for people: ``12.50 EUR``."""
        return f"{self.decimal_string} {self.currency}"

    @classmethod
    def parse(cls, amount: object, currency: str, *, field: str = "amount", currency_field: str = "currency") -> Self:
        """Read the positive amount of a request.

        Args:
            amount: a decimal string in major units, ``"12.50"``. Numbers are refused, since a JSON number may have been a float.
            currency: ISO 4217 code.
            field: name of the amount's field, for the error.
            currency_field: name of the currency's field, for the error.

        Raises:
            UnknownCurrencyError: the currency is unknown.
            InvalidInputError: not a plain decimal string, more decimals than the currency has, zero, negative, or above
                :data:`MAX_MINOR_UNITS`.
        """
        exponent = exponent_of(currency, field=currency_field)
        if not isinstance(amount, str):
            raise InvalidInputError(field=field, value=amount, rule='must be a decimal string, such as "12.50"')
        if amount.startswith("-") and _DECIMAL_STRING.fullmatch(amount[1:]):
            raise InvalidInputError(field=field, value=amount, rule="must be greater than zero")
        if len(amount) > _LONGEST_AMOUNT or not _DECIMAL_STRING.fullmatch(amount):
            raise InvalidInputError(field=field, value=amount, rule='must be a decimal string of plain digits, such as "12.50"')
        _, _, decimals = amount.partition(".")
        if len(decimals) > exponent:
            raise InvalidInputError(field=field, value=amount, rule=f"must have at most {exponent} decimals in {currency}")
        minor_units = int(Decimal(amount).scaleb(exponent))
        if minor_units == 0:
            raise InvalidInputError(field=field, value=amount, rule="must be greater than zero")
        if minor_units > MAX_MINOR_UNITS:
            most = cls(minor_units=MAX_MINOR_UNITS, currency=currency).decimal_string
            raise InvalidInputError(field=field, value=amount, rule=f"must be at most {most} {currency} (10^15 minor units)")
        return cls(minor_units=minor_units, currency=currency)


def decimal_text(minor_units: int, exponent: int) -> str:
    """Minor units as a decimal string in major units, with exactly `exponent` decimals: ``"-0.05"`` for -5 and 2."""
    if exponent == 0:
        return str(minor_units)
    digits = str(abs(minor_units)).zfill(exponent + 1)
    sign = "-" if minor_units < 0 else ""
    return f"{sign}{digits[:-exponent]}.{digits[-exponent:]}"


def round_to_currency(exact: Decimal, currency: str) -> tuple[Money, Decimal]:
    """Round an exact amount in major units to whole minor units, half to even.

    Returns:
        The rounded money, and the residual ``exact - rounded`` in major units: what rounding took (positive) or gave (negative).
    """
    with localcontext() as context:
        context.prec = 60
        minor_units = exact.scaleb(exponent_of(currency)).quantize(Decimal(1), rounding=ROUND_HALF_EVEN)
        money = Money(minor_units=int(minor_units), currency=currency)
        return money, exact - money.decimal
