"""Reversals: the transaction that takes another one back, or a part of it. Pure; the ledger decides it under the original's lock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ledger.errors import InvalidInputError
from ledger.requests import Override, TransactionRequest

if TYPE_CHECKING:
    import datetime as dt

    from ledger.money import Money
    from ledger.results import TransactionResult


def reversible(request: TransactionRequest, result: TransactionResult) -> Money:
    """What all reversals of a transaction together may take back: its amount; of a balancing one what it took."""
    taken = next((leg.amount for leg in result.legs if leg.posted), None)
    return taken if request.balancing and taken is not None else request.amount


def reversal_request(
    original: TransactionRequest,
    *,
    transaction_id: str,
    amount: Money,
    reference: str | None,
    override: Override | None,
    submitted_by: str,
    submitted_at: dt.datetime,
) -> TransactionRequest:
    """The request that takes `amount` of the original back: debtor and creditor swapped, over the same internal account, the fee kept.

    Raises:
        InvalidInputError: a part of a transaction with several creditors, or an override where nobody is debited.
    """
    debtor, creditor, shares = original.creditor, original.debtor, original.shares
    if original.reverses is not None and shares:
        creditor, shares = shares[0].account, ()  # Refused whatever it names, since a reversal can't be reversed; but with a stored result.
    if shares and amount != original.amount:
        rule = f"must be left out, or {original.amount.decimal_string}: a transaction with several creditors is reversed as a whole"
        raise InvalidInputError(field="amount", value=amount.decimal_string, rule=rule)
    if override is not None and debtor is None and not shares:
        raise InvalidInputError(field="override", value=override.reason, rule="must be left out: giving a debit back debits nobody")
    return TransactionRequest(
        tenant=original.tenant,
        transaction_id=transaction_id,
        debtor=debtor,
        creditor=creditor,
        shares=shares,
        amount=amount,
        settlement=original.settlement,
        reference=reference,
        reverses=original.transaction_id,
        override=override,
        submitted_by=submitted_by,
        submitted_at=submitted_at,
    )
