"""Valid requests, postings and decisions for the ledger's tests; each argument overrides one field."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from ledger.decisions import Decision, LegName, Outcome
from ledger.money import Money
from ledger.postings import Posting
from ledger.rates import ExchangeRate, cross_rate
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import AccountRef, TransactionRequest

NOW = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)
TODAY = NOW.date()
TRANSACTION_ID = "0b8f0f6e-5d8e-4a53-9f0a-3f2d1c5b7a90"


def request(
    *, debtor: str | None = None, creditor: str | None = None, amount: str = "12.50", currency: str = "EUR", **fields: Any
) -> TransactionRequest:
    """A request; accounts are written as ``"id"`` (in the request's currency) or ``"id:CZK"``."""
    values: dict[str, Any] = {
        "tenant": "main",
        "transaction_id": TRANSACTION_ID,
        "debtor": _account(debtor, currency),
        "creditor": _account(creditor, currency),
        "amount": Money.parse(amount, currency),
        "submitted_by": "teller",
        "submitted_at": NOW,
    }
    return TransactionRequest(**{**values, **fields})


def rate(base: str, quote: str, value: str) -> ExchangeRate:
    """A rate of today."""
    per_euro = {quote: Decimal(value)} if base == "EUR" else {base: Decimal(1), quote: Decimal(value)}
    found = cross_rate(base, quote, per_euro=per_euro, as_of=TODAY, source="test")
    assert found is not None
    return found


def posted(leg: LegName, account_id: str, amount: Money, **fields: Any) -> Decision:
    """A posted decision; debits get version 1 and a zero balance after them."""
    debit = {"version": 1, "ledger_after": 0, "available_after": 0} if leg is LegName.DEBIT else {}
    values: dict[str, Any] = {
        "leg": leg,
        "account_id": account_id,
        "outcome": Outcome.POSTED,
        "amount": amount,
        "value_date": TODAY,
        "decided_at": NOW,
    }
    return Decision(**{**values, **debit, **fields})


def refused(posting: Posting) -> Decision:
    """A refusal of a leg: its account is frozen."""
    refusal = Refusal(code=RefusalCode.ACCOUNT_FROZEN, detail=f"account {posting.account_id} is frozen", account_id=posting.account_id)
    return Decision(
        leg=posting.leg,
        account_id=posting.account_id,
        outcome=Outcome.REFUSED,
        amount=posting.amount,
        value_date=TODAY,
        decided_at=NOW,
        refusal=refusal,
    )


def _account(written: str | None, currency: str) -> AccountRef | None:
    if written is None:
        return None
    account_id, _, own_currency = written.partition(":")
    return AccountRef(account_id=account_id, currency=own_currency or currency)
