"""The legs that the benchmarks post: plain deposits and withdrawals."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from ledger.postings import first_posting
from ledger.requests import AccountRef, TransactionRequest

if TYPE_CHECKING:
    import datetime as dt

    from ledger.money import Money
    from ledger.postings import Posting


def leg(tenant: str, account_id: str, money: Money, *, debit: bool, at: dt.datetime) -> Posting:
    """The leg of a new withdrawal or deposit of `money`, submitted and booked at `at`."""
    side = AccountRef(account_id=account_id, currency=money.currency)
    request = TransactionRequest(
        tenant=tenant,
        transaction_id=str(uuid.uuid4()),
        debtor=side if debit else None,
        creditor=None if debit else side,
        amount=money,
        submitted_by="bench",
        submitted_at=at,
    )
    return first_posting(request, conversion=None, booking_date=at.date())
