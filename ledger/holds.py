"""Holds: money that is set aside for a later debit. Pure: the hold under lock comes in, the refusal or the next state comes out."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ledger.accounts import debit_refusal
from ledger.errors import HoldNotVoidableError, InvalidInputError
from ledger.money import MAX_MINOR_UNITS, Money
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import MAX_REFERENCE_LENGTH

if TYPE_CHECKING:
    from ledger.accounts import AccountState


class HoldStatus(StrEnum):
    """Exactly one of these; only an open hold holds anything."""

    OPEN = "open"
    CAPTURED = "captured"
    """Captured in full, or in part with the rest released."""
    VOIDED = "voided"
    EXPIRED = "expired"
    REFUSED = "refused"
    """It was never authorised; kept, so that a repeat gets the same answer."""


class HoldRequest(BaseModel):
    """A well-formed request to set money aside."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    hold_id: str
    account_id: str
    amount: Money
    expires_at: AwareDatetime
    """From then on it holds nothing."""
    reference: str | None = Field(default=None, min_length=1, max_length=MAX_REFERENCE_LENGTH)
    authorised_by: str
    """The authenticated principal."""

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all that the caller asked for, without who asked. The same id with another fingerprint is a conflict."""
        content = {
            "account_id": self.account_id,
            "minor_units": self.amount.minor_units,
            "currency": self.amount.currency,
            "expires_at": self.expires_at.astimezone(dt.UTC).isoformat(),
            "reference": self.reference,
        }
        return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()).hexdigest()


class Hold(BaseModel):
    """A hold as the ledger keeps it."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    hold_id: str
    account_id: str
    amount: Money
    captured: Money
    status: HoldStatus
    created_at: dt.datetime
    expires_at: dt.datetime
    closed_at: dt.datetime | None = None
    """When it ceased to hold anything."""
    reference: str | None = None
    authorised_by: str
    refusal: Refusal | None = None
    """Why it was not authorised."""
    announced: bool = False
    """Whether its changes are told as events; false for one from before they were."""

    @property
    def remaining(self) -> Money:
        """What it still holds."""
        open_units = self.amount.minor_units - self.captured.minor_units if self.status is HoldStatus.OPEN else 0
        return Money(minor_units=open_units, currency=self.amount.currency)

    @property
    def request(self) -> HoldRequest:
        """What was asked for when it was authorised."""
        names = {"tenant", "hold_id", "account_id", "expires_at", "reference", "authorised_by"}
        return HoldRequest(**self.model_dump(include=names), amount=self.amount)


class HoldState(NamedTuple):
    """What a capture is decided on. Minor units of the account's currency."""

    amount: int
    captured: int
    status: str
    expired: bool
    """Whether its end has passed, by the database's clock."""
    announced: bool = False
    """Whether its changes are told as events."""
    created_at: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    reference: str | None = None
    authorised_by: str = ""

    @property
    def remaining(self) -> int:
        """What it still holds."""
        return self.amount - self.captured if self.status == HoldStatus.OPEN else 0

    def after_capture(self, minor_units: int, *, final: bool) -> tuple[HoldState, int]:
        """The hold after a capture, and what it no longer holds: with `final`, the rest as well."""
        released = self.remaining if final else minor_units
        captured = self.captured + minor_units
        status = HoldStatus.CAPTURED if final or captured == self.amount else HoldStatus.OPEN
        return self._replace(captured=captured, status=status.value), released


def capture_refusal(hold: HoldState | None, minor_units: int, *, currency: str, hold_id: str, account_id: str) -> Refusal | None:
    """Why a capture of `minor_units` is refused; None when the hold covers it. The balance plays no part: the money was set aside."""

    def refused(code: RefusalCode, detail: str) -> Refusal:
        return Refusal(code=code, detail=f"hold {hold_id} of account {account_id} {detail}", account_id=account_id)

    if hold is None or hold.status == HoldStatus.REFUSED:
        return refused(RefusalCode.HOLD_UNKNOWN, "is not known, or was never authorised")
    if hold.status == HoldStatus.EXPIRED or (hold.status == HoldStatus.OPEN and hold.expired):
        return refused(RefusalCode.HOLD_EXPIRED, "has expired")
    if hold.status != HoldStatus.OPEN:
        return refused(RefusalCode.HOLD_CLOSED, f"was {hold.status} before")
    if minor_units > hold.remaining:
        left = Money(minor_units=hold.remaining, currency=currency)
        return refused(RefusalCode.HOLD_EXCEEDED, f"still holds {left}, less than {Money(minor_units=minor_units, currency=currency)}")
    return None


def check_hold(request: HoldRequest, *, currency: str, now: dt.datetime) -> None:
    """Refuse a hold that can't be decided, whatever the balance.

    Args:
        request: what was asked.
        currency: the account's.
        now: by the ledger's clock.

    Raises:
        InvalidInputError: the amount, its currency, or the end breaks a rule.
    """
    amount = request.amount
    if not 0 < amount.minor_units <= MAX_MINOR_UNITS:
        rule = "must be greater than zero, and at most 10^15 minor units"
        raise InvalidInputError(field="amount", value=amount.decimal_string, rule=rule)
    if amount.currency != currency:
        raise InvalidInputError(field="currency", value=amount.currency, rule=f"must be the account's currency ({currency})")
    if request.expires_at <= now:
        raise InvalidInputError(field="expires_at", value=request.expires_at.isoformat(), rule="must be in the future")


def hold_refusal(state: AccountState, minor_units: int) -> Refusal | None:
    """Why money can't be set aside; None when it can. As for a debit: it is one that is booked later, or never."""
    return debit_refusal(state, minor_units)


def check_void(hold: Hold) -> bool:
    """Whether a hold is to be voided now; False when it was before.

    Raises:
        HoldNotVoidableError: it was captured, refused or has expired.
    """
    if hold.status is HoldStatus.VOIDED:
        return False
    if hold.status is not HoldStatus.OPEN:
        raise HoldNotVoidableError(hold_id=hold.hold_id, status=hold.status.value)
    return True
