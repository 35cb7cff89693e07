"""Accounts and the rules that their status sets. Pure: the state under lock comes in, the first refusal that holds comes out."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from ledger.money import Money
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


class Account(BaseModel):
    """An account as it was opened, and its rules as they are now."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    account_id: str
    currency: str
    kind: AccountKind
    status: AccountStatus
    overdraft_limit: int = Field(ge=0)
    """Minor units that the ledger balance may go below zero."""
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


class DebtorState(BaseModel):
    """What a debit is decided on: the online row as locked, with the credits summed under that lock. Minor units."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    currency: str
    status: AccountStatus
    overdraft_limit: int
    ledger: int
    held: int
    version: int
    """Version of the last debit; the next one gets the next number, without a gap."""

    @property
    def available(self) -> int:
        """Ledger balance - holds + overdraft limit."""
        return self.ledger - self.held + self.overdraft_limit

    def after_debit(self, minor_units: int) -> DebtorState:
        """The state that the next debit of the same batch is decided on."""
        return self.model_copy(update={"ledger": self.ledger - minor_units, "version": self.version + 1})


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


def debit_refusal(state: DebtorState, minor_units: int) -> Refusal | None:
    """Why a debit of `minor_units` is refused, by :data:`ledger.refusals.PRECEDENCE`; None when it is accepted."""
    by_status = _status_refusal(_DEBIT_REFUSED_BY_STATUS, state.status, state.account_id)
    if by_status is not None:
        return by_status
    if minor_units > state.available:
        available = Money(minor_units=state.available, currency=state.currency)
        asked = Money(minor_units=minor_units, currency=state.currency)
        detail = f"account {state.account_id} has {available} available, less than {asked}"
        return Refusal(code=RefusalCode.INSUFFICIENT_FUNDS, detail=detail, account_id=state.account_id)
    return None


def credit_refusal(status: AccountStatus, account_id: str) -> Refusal | None:
    """Why a credit is refused; None when it is accepted. The balance plays no part, so a credit needs no lock."""
    return _status_refusal(_CREDIT_REFUSED_BY_STATUS, status, account_id)
