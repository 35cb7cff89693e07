"""Accounts, their rules and balances, as the API takes and gives them."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import Field

from ledger.accounts import Account, Balance
from ledger.money import Money
from ledger.statements import (
    PastBalance,
)
from starter.api.models.fields import AMOUNT_RULES, AccountId, Amount, AmountOrNone, Answer, CalendarDate, Currency, DecimalText, StrictBody


class RulesBody(StrictBody):
    """Rules of an account: what is not given stays as it is."""

    overdraft_limit: Amount = "0"
    """How far below zero the ledger balance may go."""
    minimum_balance: Amount = "0"
    """What a debit must leave available."""
    maximum_balance: AmountOrNone = None
    """What a credit may bring the ledger balance to."""
    transaction_limit: AmountOrNone = None
    """What one debit may take."""
    daily_limit: AmountOrNone = None
    """What the debits and holds of one day may take together."""
    monthly_limit: AmountOrNone = None
    """What the debits and holds of one calendar month may take together."""
    time_zone: str = "UTC"
    """IANA name; days and months of the limits begin at its midnight."""


class AccountBody(RulesBody):
    """A new account. Rules that are not given are as if there were none."""

    account_id: AccountId
    currency: Currency
    kind: Literal["current", "savings"] = "current"


class FreezeBody(StrictBody):
    """What a freeze refuses from now on."""

    side: Literal["debits", "credits", "both"] = "both"


class AccountView(Answer):
    """An account."""

    account_id: str
    currency: str
    kind: str
    status: str
    overdraft_limit: DecimalText
    minimum_balance: DecimalText
    maximum_balance: DecimalText | None
    transaction_limit: DecimalText | None
    daily_limit: DecimalText | None
    monthly_limit: DecimalText | None
    time_zone: str
    opened_at: dt.datetime

    @classmethod
    def of(cls, account: Account) -> AccountView:
        """The API's form of `account`."""
        fields = account.model_dump(include=set(cls.model_fields))
        for name in AMOUNT_RULES:
            if fields[name] is not None:
                fields[name] = Money(minor_units=fields[name], currency=account.currency).decimal_string
        return cls(**fields)


class BalanceView(Answer):
    """A balance at one instant; amounts in major units of the account's currency."""

    account_id: str
    currency: str
    ledger: DecimalText
    """All credits minus all debits."""
    held: DecimalText | None = None
    """Only of the balance now, as is what is available."""
    available: DecimalText | None = None
    """What the next debit may take: ledger - held + overdraft limit."""
    offline: DecimalText
    """All credits."""
    online: DecimalText
    """All debits."""
    as_of: dt.datetime
    """Entries booked then or before count."""
    value_date: dt.date | None = None
    """Where it was asked for: of those, the entries with this value date or an earlier one count."""
    settled: bool | None = None
    """Where an instant was asked for: whether no late commit can change the answer any more."""

    @classmethod
    def of(cls, balance: Balance) -> BalanceView:
        """The API's form of `balance`."""
        names = ("ledger", "held", "available", "offline", "online")
        amounts = {name: Money(minor_units=getattr(balance, name), currency=balance.currency).decimal_string for name in names}
        return cls(account_id=balance.account_id, currency=balance.currency, as_of=balance.as_of, **amounts)

    @classmethod
    def of_past(cls, balance: PastBalance) -> BalanceView:
        """The API's form of a balance as of an instant or a value date."""
        parts = {"ledger": balance.ledger, "offline": balance.credited, "online": balance.debited}
        amounts = {name: Money(minor_units=units, currency=balance.currency).decimal_string for name, units in parts.items()}
        return cls(**balance.model_dump(include={"account_id", "currency", "as_of", "value_date", "settled"}), **amounts)


class BalanceQuery(StrictBody):
    """Which balance; the one now unless an instant or a value date is given."""

    at: str | None = Field(default=None, description="As of this instant (RFC 3339): entries booked then or before count.")
    value_date: CalendarDate | None = Field(default=None, description="As of this value date: entries valued then or before count.")
