"""What was decided for one leg. Stored with the leg, and answered again whenever the same id comes back."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

from pydantic import BaseModel, ConfigDict

from ledger.money import Money
from ledger.rates import Conversion
from ledger.refusals import Refusal
from ledger.requests import Override


class LegName(StrEnum):
    """The legs a transaction may have; each touches one customer account, in one database transaction."""

    DEBIT = "debit"
    FEE = "fee"
    """A second debit of the debtor, in favour of the bank's fees."""
    CREDIT = "credit"
    COMPENSATION = "compensation"
    """A credit that takes back the transaction's own debit. It can't be refused."""


class Outcome(StrEnum):
    """How a leg was decided."""

    POSTED = "posted"
    REFUSED = "refused"


class Decision(BaseModel):
    """The stored decision of a leg."""

    model_config = ConfigDict(frozen=True)

    leg: LegName
    account_id: str
    outcome: Outcome
    amount: Money
    """What was booked, or would have been, in the account's currency."""
    conversion: Conversion | None = None
    value_date: dt.date
    decided_at: dt.datetime
    """Booking time of a posted leg, by the database's clock."""
    refusal: Refusal | None = None
    version: int | None = None
    """A posted debit's gapless number on its account; None for credits and refusals."""
    ledger_after: int | None = None
    """A posted debit's ledger balance after it, in minor units; None for credits and refusals."""
    available_after: int | None = None
    """A posted debit's available balance after it, in minor units; None for credits and refusals."""
    hold_id: str | None = None
    """The hold that a debit captured from."""
    override: Override | None = None
    """What an operator said when the account's limits and balance were not to count."""

    @property
    def posted(self) -> bool:
        """Whether money moved."""
        return self.outcome is Outcome.POSTED
