"""Holds: money that is set aside for a later debit. Pure: the hold under lock comes in, the refusal or the next state comes out."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from ledger.money import Money
from ledger.refusals import Refusal, RefusalCode


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
    expires_at: dt.datetime
    reference: str | None = None
    authorised_by: str
    """The authenticated principal."""


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
    reference: str | None = None
    authorised_by: str
    refusal: Refusal | None = None
    """Why it was not authorised."""

    @property
    def remaining(self) -> Money:
        """What it still holds, if it is open and has not expired."""
        open_units = self.amount.minor_units - self.captured.minor_units if self.status is HoldStatus.OPEN else 0
        return Money(minor_units=open_units, currency=self.amount.currency)


class HoldState(NamedTuple):
    """What a capture is decided on. Minor units of the account's currency."""

    amount: int
    captured: int
    status: str
    expired: bool
    """Whether its end has passed, by the database's clock."""

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
