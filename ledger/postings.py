"""Postings: the instruction to book one leg, and the internal (GL) side that keeps every leg at zero per currency."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from fractions import Fraction
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ledger.decisions import Decision, LegName
from ledger.money import MAX_MINOR_UNITS, Money
from ledger.rates import Conversion
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import MAX_LEGS, AccountRef, TransactionKind, TransactionRequest
from ledger.results import TransactionStatus


class GlAccount(StrEnum):
    """The bank's internal accounts, one of each per currency."""

    CASH = "cash"
    CLEARING = "clearing"
    TRANSIT = "transit"
    """Money of a transfer between its two legs; returns to zero."""
    FX_POSITION = "fx-position"
    """What the bank bought and sold by conversions."""
    FEES = "fees"


class GlEntry(NamedTuple):
    """One entry on an internal account; a credit is positive, a debit negative."""

    account: GlAccount
    amount: Money


class Posting(BaseModel):
    """The instruction to book one leg of a transaction, complete: whoever books it has nothing to look up but the account."""

    model_config = ConfigDict(frozen=True)

    request: TransactionRequest
    leg: LegName
    account: AccountRef | None = None
    """The leg's account where the request names several of its kind; None: the request's own."""
    amount: Money
    """What to book, in the account's currency; of a balancing debit the most, of a reversal what remains to be decided under the lock."""
    conversion: Conversion | None = None
    """How `amount` came from the request's amount; None when it is that amount."""
    transit: Money | None = None
    """For the second leg of a transfer and its compensation: what the debit leg put into transit, which this leg takes out."""
    value_date: dt.date
    earlier: tuple[Decision, ...] = ()
    """Decisions of the transaction's earlier legs, so that its last event has all details."""
    status_if_posted: TransactionStatus
    """The transaction's status once this leg is posted; `processing` while legs are to follow."""
    status_if_refused: TransactionStatus
    """The transaction's status once this leg is refused; `processing` while a compensation is to follow."""
    because: Refusal | None = None
    """For a compensation: the refusal that made it necessary; it becomes the transaction's reason."""

    @property
    def account_id(self) -> str:
        """The customer account that this leg books on."""
        account = self.account or (self.request.creditor if self.leg is LegName.CREDIT else self.request.debtor)
        if account is None:
            message = f"a {self.request.kind} has no {self.leg} leg"
            raise ValueError(message)
        return account.account_id

    @property
    def is_debit(self) -> bool:
        """Whether the leg takes money from the account."""
        return self.leg in DEBIT_LEGS


DEBIT_LEGS: Final = frozenset({LegName.DEBIT, LegName.FEE})
"""Legs that take money from the account; the others bring it."""


def gl_entries(posting: Posting) -> tuple[GlEntry, ...]:
    """The internal side of a leg. With the customer's entry it sums to zero in every currency."""
    customer = -posting.amount.minor_units if posting.is_debit else posting.amount.minor_units
    if posting.leg is LegName.FEE:
        return (GlEntry(account=GlAccount.FEES, amount=posting.amount),)
    if posting.transit is not None:
        counterpart, counter_money = GlAccount.TRANSIT, posting.transit
    elif posting.request.kind is TransactionKind.TRANSFER:
        counterpart, counter_money = GlAccount.TRANSIT, posting.amount
    else:
        # In its own currency a leg settles what it books, which may be a part of the request's amount; across currencies, that amount.
        asked = posting.request.amount
        settled = posting.amount if posting.amount.currency == asked.currency else asked
        counterpart, counter_money = GlAccount(posting.request.settlement), settled
    signed = counter_money if posting.is_debit else Money(minor_units=-counter_money.minor_units, currency=counter_money.currency)
    opposite = GlEntry(account=counterpart, amount=signed)
    if counter_money.currency == posting.amount.currency:
        return (opposite,)
    bought = Money(minor_units=-opposite.amount.minor_units, currency=counter_money.currency)
    sold = Money(minor_units=-customer, currency=posting.amount.currency)
    return (
        opposite,
        GlEntry(account=GlAccount.FX_POSITION, amount=bought),
        GlEntry(account=GlAccount.FX_POSITION, amount=sold),
    )


def conversion_refusal(conversion: Conversion) -> Refusal | None:
    """Refuse a conversion whose result can't be booked; None when it can. Checked before the first leg."""
    target = conversion.target
    if target.minor_units == 0:
        detail = f"{conversion.source} is less than half a minor unit of {target.currency}"
        return Refusal(code=RefusalCode.CONVERSION_ROUNDS_TO_ZERO, detail=detail)
    if target.minor_units > MAX_MINOR_UNITS:
        detail = f"{conversion.source} is {target}, above 10^15 minor units"
        return Refusal(code=RefusalCode.CONVERSION_TOO_LARGE, detail=detail)
    return None


def conversion_pair(request: TransactionRequest) -> tuple[str, str] | None:
    """The pair of currencies, sold and bought, that the request needs a rate for; None when its accounts have its currency.

    A reversal needs none: it takes back what the original's legs booked, whatever the rate is by now.
    """
    if request.reverses is not None:
        return None
    for account in (request.debtor, request.creditor):
        if account is not None and account.currency != request.amount.currency:
            return request.amount.currency, account.currency
    return None


def first_posting(request: TransactionRequest, *, conversion: Conversion | None, booking_date: dt.date) -> Posting:
    """The first leg: the debit of a withdrawal or a transfer, the credit of a deposit.

    Args:
        request: what was asked.
        conversion: of the request's amount, when :func:`conversion_pair` names a pair.
        booking_date: the day of booking; the value date unless the request names one.
    """
    leg = LegName.CREDIT if request.debtor is None else LegName.DEBIT
    amount, own_conversion = _booked(request, leg, conversion)
    is_transfer = request.kind is TransactionKind.TRANSFER
    return Posting(
        request=request,
        leg=leg,
        amount=amount,
        conversion=own_conversion,
        value_date=request.value_date or booking_date,
        status_if_posted=TransactionStatus.PROCESSING if is_transfer else TransactionStatus.COMPLETED,
        status_if_refused=TransactionStatus.REJECTED,
    )


def credit_posting(debit: Posting, debited: Decision, *, conversion: Conversion | None) -> Posting:
    """The credit leg of a transfer whose debit leg is posted."""
    amount, own_conversion = _booked(debit.request, LegName.CREDIT, conversion)
    if debit.request.balancing:
        amount = debited.amount  # what was there to take, in the currency of both
    return Posting(
        request=debit.request,
        leg=LegName.CREDIT,
        amount=amount,
        conversion=own_conversion,
        transit=debited.amount,
        value_date=debit.value_date,
        earlier=(debited,),
        status_if_posted=TransactionStatus.COMPLETED,
        status_if_refused=TransactionStatus.PROCESSING,
    )


def booked_debit(request: TransactionRequest, debited: Decision) -> Posting:
    """The debit leg of a transfer as the ledger has it, whatever the rate is by now."""
    return Posting(
        request=request,
        leg=LegName.DEBIT,
        amount=debited.amount,
        conversion=debited.conversion,
        value_date=debited.value_date,
        status_if_posted=TransactionStatus.PROCESSING,
        status_if_refused=TransactionStatus.REJECTED,
    )


def settlement_posting(
    debit: Posting, debited: Decision, *refused: Decision, account: AccountRef, conversion: Conversion | None
) -> Posting:
    """The credit of a transfer whose debit is posted, to another account than its creditor's, as an operator has decided.

    Args:
        debit: as it is booked.
        debited: its decision.
        refused: decisions of the credits that were tried before.
        account: who gets the money; in the debit's currency nothing is converted, in the creditor's it is what the creditor would have got.
        conversion: of the request's amount, when :func:`conversion_pair` names a pair and the rate is known.
    """
    amount, own_conversion = debited.amount, None
    if account.currency != debited.amount.currency:
        amount, own_conversion = _booked(debit.request, LegName.CREDIT, conversion)
    return Posting(
        request=debit.request,
        leg=LegName.CREDIT,
        account=account,
        amount=amount,
        conversion=own_conversion,
        transit=debited.amount,
        value_date=debit.value_date,
        earlier=(debited, *refused),
        status_if_posted=TransactionStatus.COMPLETED,
        status_if_refused=TransactionStatus.PROCESSING,
    )


def compensation_posting(debit: Posting, debited: Decision, *refused: Decision, because: Refusal | None = None) -> Posting:
    """The leg that gives the debtor back exactly what the debit leg took.

    Args:
        debit: the debit leg as it was booked.
        debited: its decision.
        refused: decisions of the credits that were tried before.
        because: why, where it isn't the first refusal.
    """
    return Posting(
        request=debit.request,
        leg=LegName.COMPENSATION,
        amount=debit.amount,
        transit=debited.amount,
        value_date=debit.value_date,
        earlier=(debited, *refused),
        status_if_posted=TransactionStatus.REVERSED,
        status_if_refused=TransactionStatus.PARKED,
        because=because or next((decision.refusal for decision in refused), None),
    )


class LinkedPosting(BaseModel):
    """The instruction to book all legs of a transaction at once, all of them or none. All its accounts are in one database."""

    model_config = ConfigDict(frozen=True)

    request: TransactionRequest
    legs: tuple[Posting, ...] = Field(min_length=1, max_length=MAX_LEGS)
    """In the order in which they are decided: debit, fee, credits."""


def linked_posting(request: TransactionRequest, *, conversion: Conversion | None, booking_date: dt.date) -> LinkedPosting:
    """All legs of a request.

    Args:
        request: what was asked.
        conversion: of the request's amount, when :func:`conversion_pair` names a pair.
        booking_date: the day of booking; the value date unless the request names one.
    """
    value_date = request.value_date or booking_date
    is_transfer = request.kind is TransactionKind.TRANSFER
    legs: list[Posting] = []

    def add(leg: LegName, amount: Money, *, account: AccountRef | None = None, conversion: Conversion | None = None) -> None:
        # Of a transfer each credit takes out of transit what the debits put there: its own share, or all that the one debit brought.
        brought = (amount if request.shares else legs[0].amount) if is_transfer and leg is LegName.CREDIT else None
        posting = Posting(
            request=request, leg=leg, account=account, amount=amount, conversion=conversion, transit=brought, value_date=value_date,
            status_if_posted=TransactionStatus.COMPLETED, status_if_refused=TransactionStatus.REJECTED,
        )  # fmt: skip
        legs.append(posting)

    is_reversal = request.reverses is not None
    if request.debtor is not None:
        amount, own_conversion = _linked_amount(request, LegName.DEBIT, conversion)
        add(LegName.DEBIT, amount, conversion=own_conversion)
    if request.fee is not None:
        add(LegName.FEE, request.fee)
    for share in request.shares if is_reversal else ():
        add(LegName.DEBIT, share.amount, account=share.account)
    if request.creditor is not None:
        amount, own_conversion = _linked_amount(request, LegName.CREDIT, conversion)
        add(LegName.CREDIT, amount, conversion=own_conversion)
    for share in () if is_reversal else request.shares:
        add(LegName.CREDIT, share.amount, account=share.account)
    return LinkedPosting(request=request, legs=tuple(legs))


def reversed_share(leg_minor_units: int, *, already: int, original: int, reversed_before: int, part: int) -> int:
    """What a reversal of `part` takes back of one leg, in minor units of the leg's currency.

    Rounded so that the parts of several reversals sum to the leg exactly once the whole is reversed: what ought to be back after this part,
    half to even, less what is back `already`.

    Args:
        leg_minor_units: what the leg booked.
        already: what earlier reversals took back of the leg.
        original: the original's amount, in its own currency.
        reversed_before: what earlier reversals took back of it.
        part: what this one takes back of it.
    """
    due = Fraction(leg_minor_units * (reversed_before + part), original)
    return round(due) - already


def _booked(request: TransactionRequest, leg: LegName, conversion: Conversion | None) -> tuple[Money, Conversion | None]:
    account = request.creditor if leg is LegName.CREDIT else request.debtor
    if account is None or account.currency == request.amount.currency:
        return request.amount, None
    if conversion is None or conversion.target.currency != account.currency:
        message = f"the {leg} leg needs a conversion from {request.amount.currency} to {account.currency}"
        raise ValueError(message)
    return conversion.target, conversion


def _linked_amount(request: TransactionRequest, leg: LegName, conversion: Conversion | None) -> tuple[Money, Conversion | None]:
    account = request.creditor if leg is LegName.CREDIT else request.debtor
    if request.reverses is None or account is None or account.currency == request.amount.currency:
        return _booked(request, leg, conversion)
    # What the original booked in the other currency is known under its lock only; until then one minor unit stands for it.
    return Money(minor_units=1, currency=account.currency), None
