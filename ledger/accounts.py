"""Accounts and their rules. Pure: the state under lock comes in, the first refusal that holds comes out."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ledger.money import MAX_MINOR_UNITS, Money
from ledger.refusals import Refusal, RefusalCode


class AccountKind(StrEnum):
    """What an account is for. Internal accounts belong to the bank and can't be debtor or creditor of a request."""

    CURRENT = "current"
    SAVINGS = "savings"
    INTERNAL = "internal"


class AccountStatus(StrEnum):
    """What an account may take part in."""

    ACTIVE = "active"
    DEBIT_FROZEN = "debit-frozen"
    CREDIT_FROZEN = "credit-frozen"
    FROZEN = "frozen"
    DORMANT = "dormant"
    CLOSED = "closed"


class AccountRules(BaseModel):
    """What an account's legs are decided by, its status aside. Amounts in minor units of its currency."""

    model_config = ConfigDict(frozen=True)

    overdraft_limit: int = Field(default=0, ge=0, le=MAX_MINOR_UNITS)
    """How far the ledger balance may go below zero."""
    minimum_balance: int = Field(default=0, ge=0, le=MAX_MINOR_UNITS)
    """What a debit must leave available."""
    maximum_balance: int | None = Field(default=None, ge=1, le=MAX_MINOR_UNITS)
    """What a credit may bring the ledger balance to; None: any. With one, credits take the online row's lock."""
    transaction_limit: int | None = Field(default=None, ge=0, le=MAX_MINOR_UNITS)
    """What one debit may take; None: any."""
    daily_limit: int | None = Field(default=None, ge=0, le=MAX_MINOR_UNITS)
    """What the debits and holds of one day in `time_zone` may take together; None: any."""
    monthly_limit: int | None = Field(default=None, ge=0, le=MAX_MINOR_UNITS)
    """What the debits and holds of one calendar month in `time_zone` may take together; None: any."""
    time_zone: str = "UTC"
    """IANA name; days and months of the limits begin at its midnight."""


class Account(AccountRules):
    """An account, with its rules as they are now."""

    tenant: str
    account_id: str
    currency: str
    kind: AccountKind
    status: AccountStatus
    status_before_freeze: AccountStatus | None = None
    """What unfreezing gives back; None where nothing is frozen."""
    opened_at: dt.datetime


class Balance(BaseModel):
    """An account's balance at one instant, in minor units."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    account_id: str
    currency: str
    offline: int
    """Sum of all credits."""
    online: int
    """Sum of all debits."""
    ledger: int
    """`offline - online`."""
    held: int
    """Sum of open holds."""
    available: int
    """`ledger - held + overdraft limit`: what the next debit may take."""
    as_of: dt.datetime


class AccountState(NamedTuple):
    """What legs are decided on: the account's rules, and its balance where the online row is locked. Minor units of its currency.

    A named tuple, since one is made for each leg of a batch.
    """

    account_id: str
    currency: str
    status: AccountStatus
    overdraft_limit: int = 0
    minimum_balance: int = 0
    """What a debit must leave on the ledger balance, holds taken off."""
    maximum_balance: int | None = None
    """What a credit may bring the ledger balance to; None: no such rule, and credits take no lock."""
    transaction_limit: int | None = None
    daily_limit: int | None = None
    monthly_limit: int | None = None
    local_day: dt.date = dt.date.min
    """Today in the account's time zone."""
    spent_on_day: int = 0
    """What debits and holds of this local day sum to."""
    spent_in_month: int = 0
    locked: bool = True
    """Whether the online row is locked; only then are the following known."""
    ledger: int = 0
    held: int = 0
    version: int = 0
    """Version of the last debit; the next one gets the next number, without a gap."""

    @property
    def available(self) -> int:
        """Ledger balance - holds + overdraft limit."""
        return self.ledger - self.held + self.overdraft_limit

    def after_debit(self, minor_units: int, *, released: int = 0, spent: int | None = None) -> AccountState:
        """The state that the next leg of the same batch is decided on.

        Args:
            minor_units: what was debited.
            released: what a hold, captured by the debit, no longer holds.
            spent: what counts towards the limits; all of it unless given.
        """
        counted = minor_units if spent is None else spent
        # Made for each debit; `_replace` takes four times as long.
        return AccountState(
            self.account_id, self.currency, self.status, self.overdraft_limit, self.minimum_balance, self.maximum_balance,
            self.transaction_limit, self.daily_limit, self.monthly_limit, self.local_day, self.spent_on_day + counted,
            self.spent_in_month + counted, self.locked, self.ledger - minor_units, self.held - released, self.version + 1,
        )  # fmt: skip

    def after_credit(self, minor_units: int) -> AccountState:
        """The state after a credit; only where the row is locked, since elsewhere the balance isn't known."""
        return self._replace(ledger=self.ledger + minor_units) if self.locked else self


_DEBIT_REFUSED_BY_STATUS = {
    AccountStatus.CLOSED: (RefusalCode.ACCOUNT_CLOSED, "is closed"),
    AccountStatus.FROZEN: (RefusalCode.ACCOUNT_FROZEN, "is frozen"),
    AccountStatus.DEBIT_FROZEN: (RefusalCode.ACCOUNT_DEBIT_FROZEN, "is frozen for debits"),
    AccountStatus.DORMANT: (RefusalCode.ACCOUNT_DORMANT, "is dormant; it must be reactivated before its first debit"),
}
_CREDIT_REFUSED_BY_STATUS = {
    AccountStatus.CLOSED: (RefusalCode.ACCOUNT_CLOSED, "is closed"),
    AccountStatus.FROZEN: (RefusalCode.ACCOUNT_FROZEN, "is frozen"),
    AccountStatus.CREDIT_FROZEN: (RefusalCode.ACCOUNT_CREDIT_FROZEN, "is frozen for credits"),
}


def _status_refusal(table: dict[AccountStatus, tuple[RefusalCode, str]], status: AccountStatus, account_id: str) -> Refusal | None:
    if status not in table:
        return None
    code, is_what = table[status]
    return Refusal(code=code, detail=f"account {account_id} {is_what}", account_id=account_id)


def debit_status_refusal(state: AccountState) -> Refusal | None:
    """Why the account's status refuses any debit; None when it doesn't. No override helps against it."""
    return _status_refusal(_DEBIT_REFUSED_BY_STATUS, state.status, state.account_id)


def debit_refusal(state: AccountState, minor_units: int) -> Refusal | None:
    """Why a debit, or a hold, of `minor_units` is refused, by :data:`ledger.refusals.PRECEDENCE`; None when it is accepted."""
    return debit_status_refusal(state) or limit_refusal(state, minor_units) or funds_refusal(state, minor_units)


def limit_refusal(state: AccountState, minor_units: int) -> Refusal | None:
    """Why the account's limits on debits refuse `minor_units`; None when they don't."""
    if state.transaction_limit is None and state.daily_limit is None and state.monthly_limit is None:
        return None
    for code, limit, spent, period in (
        (RefusalCode.TRANSACTION_LIMIT, state.transaction_limit, 0, "transaction"),
        (RefusalCode.DAILY_LIMIT, state.daily_limit, state.spent_on_day, f"day, of which {state.local_day} has used"),
        (RefusalCode.MONTHLY_LIMIT, state.monthly_limit, state.spent_in_month, f"month, of which {state.local_day:%Y-%m} has used"),
    ):
        if limit is not None and spent + minor_units > limit:
            used = f" {_money(state, spent)}" if "used" in period else ""
            detail = (
                f"account {state.account_id} may be debited by {_money(state, limit)} per {period}{used}; "
                f"{_money(state, minor_units)} is more than that leaves"
            )
            return Refusal(code=code, detail=detail, account_id=state.account_id)
    return None


def funds_refusal(state: AccountState, minor_units: int) -> Refusal | None:
    """Why the account's balance refuses a debit of `minor_units`; None when it is enough."""
    if minor_units > state.available:
        detail = f"account {state.account_id} has {_money(state, state.available)} available, less than {_money(state, minor_units)}"
        return Refusal(code=RefusalCode.INSUFFICIENT_FUNDS, detail=detail, account_id=state.account_id)
    left = state.available - minor_units
    if left < state.minimum_balance:
        detail = (
            f"account {state.account_id} must keep {_money(state, state.minimum_balance)} available; "
            f"{_money(state, minor_units)} would leave {_money(state, left)}"
        )
        return Refusal(code=RefusalCode.MINIMUM_BALANCE, detail=detail, account_id=state.account_id)
    return None


def credit_status_refusal(status: AccountStatus, account_id: str) -> Refusal | None:
    """Why the account's status refuses any credit; None when it doesn't."""
    return _status_refusal(_CREDIT_REFUSED_BY_STATUS, status, account_id)


def credit_refusal(state: AccountState, minor_units: int) -> Refusal | None:
    """Why a credit is refused; None when it is accepted. Without a maximum the balance plays no part, so a credit needs no lock."""
    refusal = credit_status_refusal(state.status, state.account_id)
    if refusal is not None or state.maximum_balance is None:
        return refusal
    if state.ledger + minor_units > state.maximum_balance:
        detail = (
            f"account {state.account_id} may hold {_money(state, state.maximum_balance)} at most; "
            f"{_money(state, minor_units)} would bring it to {_money(state, state.ledger + minor_units)}"
        )
        return Refusal(code=RefusalCode.MAXIMUM_BALANCE, detail=detail, account_id=state.account_id)
    return None


def _money(state: AccountState, minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency=state.currency)
