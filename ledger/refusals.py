"""Business refusals: why a transaction ends as rejected. They are results, never exceptions, and are stored and answered again.

Order of precedence: when several reasons hold for a leg at once, the first of :data:`PRECEDENCE` is the answer. Of several legs that are
posted together the first one that is refused gives the reason, in the order debit, fee, credits.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict


class RefusalCode(StrEnum):
    """Stable codes of business refusals, in order of precedence."""

    CANCELLED = "cancelled"
    """A cancel arrived before posting had begun."""
    ABANDONED = "abandoned"
    """Its workflow was ended before anything was posted, and a sweep has settled it."""
    DECLINED = "declined"
    """A second person was asked to approve it, and declined."""
    APPROVAL_EXPIRED = "approval-expired"
    """Nobody approved it in time."""
    RATE_UNAVAILABLE = "rate-unavailable"
    """The rates' source has no rate for this pair of currencies."""
    RATE_TOO_OLD = "rate-too-old"
    """The newest rate is older than the configured age."""
    CONVERSION_ROUNDS_TO_ZERO = "conversion-rounds-to-zero"
    """The converted amount is less than half a minor unit."""
    CONVERSION_TOO_LARGE = "conversion-too-large"
    """The converted amount is above 10^15 minor units."""
    ACCOUNT_CLOSED = "account-closed"
    """The account is closed for good."""
    ACCOUNT_FROZEN = "account-frozen"
    """The account takes neither debits nor credits until it is unfrozen."""
    ACCOUNT_DEBIT_FROZEN = "account-debit-frozen"
    """The account takes no debits until it is unfrozen."""
    ACCOUNT_CREDIT_FROZEN = "account-credit-frozen"
    """The account takes no credits until it is unfrozen."""
    ACCOUNT_DORMANT = "account-dormant"
    """A customer's debit needs the account reactivated first."""
    HOLD_UNKNOWN = "hold-unknown"
    """The account has no such hold, or it was never authorised."""
    HOLD_CLOSED = "hold-closed"
    """The hold was captured or voided before."""
    HOLD_EXPIRED = "hold-expired"
    """The hold's end has passed: it holds nothing."""
    HOLD_EXCEEDED = "hold-exceeded"
    """The capture is more than the hold still holds."""
    NOT_REVERSIBLE = "not-reversible"
    """The transaction to reverse has not completed, or is a reversal itself."""
    REVERSAL_EXCEEDS_ORIGINAL = "reversal-exceeds-original"
    """With what was reversed before, it would be more than the original."""
    TRANSACTION_LIMIT = "transaction-limit"
    """The amount with its fee is above what the account may set in motion by one transaction."""
    DAILY_LIMIT = "daily-limit"
    """With what was set in motion before on this day, in the account's time zone, it would be above the limit of a day."""
    MONTHLY_LIMIT = "monthly-limit"
    """The same of the calendar month."""
    INSUFFICIENT_FUNDS = "insufficient-funds"
    """The available balance (ledger balance - holds + overdraft limit) is less than the amount."""
    MINIMUM_BALANCE = "minimum-balance"
    """The debit would leave less than the account's minimum balance."""
    MAXIMUM_BALANCE = "maximum-balance"
    """The credit would bring the account above its maximum balance."""
    REVERSED_BY_OPERATOR = "reversed-by-operator"
    """It stood parked, and an operator had the debit given back."""


PRECEDENCE: Final[tuple[RefusalCode, ...]] = tuple(RefusalCode)
"""First match wins. The enumeration's own order is the order of precedence."""


class Refusal(BaseModel):
    """Why something was refused: a stable code for programs, a detail for people, and the account that it is about, if any."""

    model_config = ConfigDict(frozen=True)

    code: RefusalCode
    detail: str
    account_id: str | None = None
