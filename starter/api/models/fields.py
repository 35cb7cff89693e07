"""The types of fields that bodies, queries and answers share."""

from __future__ import annotations

import datetime as dt
import re
from typing import Annotated, Final

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ledger.requests import (
    MAX_METADATA_KEY_LENGTH,
    MAX_METADATA_KEYS,
    MAX_METADATA_VALUE_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_REMITTANCE_LENGTH,
)


def _printable(text: str) -> str:
    if not text.isprintable():
        message = "must have printable characters only (no control characters, no line breaks)"
        raise ValueError(message)
    return text


def _calendar_date(value: object) -> dt.date:
    # pydantic would take numbers too, as seconds since 1970: 20260101 is no day that anybody means.
    rule = "must be a date such as 2026-01-31"
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError(rule)
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise ValueError(rule) from None


def _one_value(value: object) -> object:
    if isinstance(value, dict | list):
        message = 'must be a decimal string, such as "12.50"'
        raise ValueError(message)  # noqa: TRY004  pydantic reports ValueError only
    return value


def _whole_number(value: object) -> object:
    if isinstance(value, bool | str):  # pydantic would take true for 1, and "60" for 60
        message = "must be a whole number"
        raise ValueError(message)  # noqa: TRY004  pydantic reports ValueError only
    return value


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


CalendarDate = Annotated[dt.date, BeforeValidator(_calendar_date)]


_AMOUNT_SCHEMA: Final = {"type": "string", "format": "decimal", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["12.50"]}


Amount = Annotated[
    object,
    BeforeValidator(_one_value),
    WithJsonSchema({**_AMOUNT_SCHEMA, "description": "In major units."}),
]
"""Read by :meth:`ledger.money.Money.parse`, which knows the currency's decimals. A JSON number is refused: it may have been a float."""


AmountOrNone = Annotated[
    object,
    BeforeValidator(_one_value),
    WithJsonSchema({"anyOf": [_AMOUNT_SCHEMA, {"type": "null"}]}),
]
"""Of a rule that an account may do without: null takes it away."""


DecimalText = Annotated[str, WithJsonSchema({"type": "string", "format": "decimal"})]
"""An amount, or a rate, in an answer: a decimal string, so that no reader takes it for a float."""


Text = Annotated[str, AfterValidator(_printable)]


WholeNumber = Annotated[int, BeforeValidator(_whole_number)]
"""Of a body. `5.0` is one to JSON Schema, so it is one here."""


AccountId = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,33}$", "examples": ["704"]})]


Currency = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["EUR"]})]


Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]


MetadataKey = Annotated[str, Field(min_length=1, max_length=MAX_METADATA_KEY_LENGTH), AfterValidator(_printable)]


MetadataValue = Annotated[str, Field(max_length=MAX_METADATA_VALUE_LENGTH), AfterValidator(_printable)]


class StrictBody(BaseModel):
    """What is asked: nothing unknown, and nothing changed on the way."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Answer(BaseModel):
    """What is answered. What stands below a field is its description in the OpenAPI document."""

    model_config = ConfigDict(use_attribute_docstrings=True)


AMOUNT_RULES: Final = ("overdraft_limit", "minimum_balance", "maximum_balance", "transaction_limit", "daily_limit", "monthly_limit")
"""Fields of the rules that are amounts in the account's currency."""


Reference = Annotated[Text, Field(min_length=1, max_length=MAX_REFERENCE_LENGTH)]


RemittanceInformation = Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)]


Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_KEYS)]


def _duration(value: object) -> dt.timedelta:
    rule = "must be an ISO 8601 duration of days, hours, minutes and seconds, such as PT24H"
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(rule)
    return dt.timedelta(**{unit: int(number) for unit, number in found.groupdict().items() if number is not None})


_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:(?P<days>[0-9]{1,4})D)?(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,6})H)?(?:(?P<minutes>[0-9]{1,8})M)?(?:(?P<seconds>[0-9]{1,8})S)?)?",
    re.ASCII,
)


Duration = Annotated[
    dt.timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT24H"]})
]


Reason = Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)]
