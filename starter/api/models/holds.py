"""Holds and captures, as the API takes and gives them."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field

from ledger.holds import Hold
from starter.api.models.fields import (
    AccountId,
    Amount,
    Answer,
    CalendarDate,
    Currency,
    DecimalText,
    Metadata,
    Reference,
    RemittanceInformation,
    StrictBody,
    Uuid,
)
from starter.api.models.transactions import ReasonView


class HoldBody(StrictBody):
    """Money to set aside on an account."""

    hold_id: Uuid | None = None
    account_id: AccountId
    amount: Amount
    currency: Currency
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00Z"])]
    """From then on it holds nothing."""
    reference: Reference | None = None


class CaptureBody(StrictBody):
    """A capture: of all that the hold still holds, unless an amount is given."""

    transaction_id: Uuid | None = None
    creditor: AccountId | None = None
    amount: Amount | None = Field(default=None, description="A part, in the currency of the hold.")
    releases_hold: bool = Field(default=True, description="Release what is left afterwards; false: keep it for further captures.")
    settlement: Literal["cash", "clearing"] = "cash"
    reference: Reference | None = None
    remittance_information: RemittanceInformation | None = None
    value_date: CalendarDate | None = None
    metadata: Metadata = Field(default_factory=dict)


class HoldView(Answer):
    """A hold as it stands; amounts in major units of its currency."""

    hold_id: str
    account_id: str
    amount: DecimalText
    captured: DecimalText
    """What captures took of it."""
    remaining: DecimalText
    """What it still holds."""
    currency: str
    status: str
    reason: ReasonView | None
    """Why it was not authorised."""
    reference: str | None
    created_at: dt.datetime
    expires_at: dt.datetime
    closed_at: dt.datetime | None
    """When it ceased to hold anything."""

    @classmethod
    def of(cls, hold: Hold) -> HoldView:
        """The API's form of `hold`."""
        return cls(
            **hold.model_dump(include={"hold_id", "account_id", "status", "reference", "created_at", "expires_at", "closed_at"}),
            amount=hold.amount.decimal_string,
            captured=hold.captured.decimal_string,
            remaining=hold.remaining.decimal_string,
            currency=hold.amount.currency,
            reason=ReasonView.of(hold.refusal),
        )
