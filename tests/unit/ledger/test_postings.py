"""Postings: the internal side of every leg sums to zero with the customer's, and transit returns to zero."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.decisions import Decision, LegName, Outcome
from ledger.money import MAX_MINOR_UNITS, Money
from ledger.postings import (
    GlAccount,
    Posting,
    compensation_posting,
    conversion_pair,
    conversion_refusal,
    credit_posting,
    first_posting,
    gl_entries,
)
from ledger.rates import Conversion, convert
from ledger.refusals import Refusal, RefusalCode
from ledger.results import TransactionStatus
from tests.unit.ledger.builders import NOW, TODAY, posted, rate, request

REFUSED = Refusal(code=RefusalCode.ACCOUNT_CLOSED, detail="account B is closed", account_id="B")


def leg_sums(posting: Posting) -> dict[str, int]:
    """All entries of one leg, customer's and internal, by currency."""
    sums: Counter[str] = Counter()
    sums[posting.amount.currency] += -posting.amount.minor_units if posting.is_debit else posting.amount.minor_units
    for entry in gl_entries(posting):
        sums[entry.amount.currency] += entry.amount.minor_units
    return dict(sums)


def transit_sums(*postings: Posting) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for posting in postings:
        for entry in gl_entries(posting):
            if entry.account is GlAccount.TRANSIT:
                sums[entry.amount.currency] += entry.amount.minor_units
    return dict(sums)


def refused_credit(posting: Posting) -> Decision:
    return Decision(
        leg=LegName.CREDIT,
        account_id="B",
        outcome=Outcome.REFUSED,
        amount=posting.amount,
        value_date=TODAY,
        decided_at=NOW,
        refusal=REFUSED,
    )


def conversion_of(debtor: str | None, creditor: str | None, amount: Money, value: str) -> Conversion | None:
    pair = conversion_pair(request(debtor=debtor, creditor=creditor, amount=amount.decimal_string, currency=amount.currency))
    return convert(amount, rate(*pair, value)) if pair else None


@pytest.mark.parametrize(
    ("debtor", "creditor"),
    [(None, "B:EUR"), (None, "B:JPY"), ("A:EUR", None), ("A:JPY", None), ("A:EUR", "B:EUR"), ("A:EUR", "B:JPY"), ("A:JPY", "B:EUR")],
)
@given(minor_units=st.integers(1, 10**12), value=st.decimals(min_value="0.01", max_value=200, places=4))
def test_every_leg_sums_to_zero_in_every_currency(debtor: str | None, creditor: str | None, minor_units: int, value: Decimal) -> None:
    amount = Money(minor_units=minor_units, currency="EUR")
    conversion = conversion_of(debtor, creditor, amount, str(value))
    if conversion is not None and conversion_refusal(conversion) is not None:
        return
    asked = request(debtor=debtor, creditor=creditor, amount=amount.decimal_string)
    first = first_posting(asked, conversion=conversion, booking_date=TODAY)
    postings = [first]
    if debtor and creditor:
        debited = posted(LegName.DEBIT, "A", first.amount)
        credit = credit_posting(first, debited, conversion=conversion)
        compensation = compensation_posting(first, debited, refused_credit(credit))
        assert compensation.amount == first.amount
        assert set(transit_sums(first, compensation).values()) == {0}
        assert set(transit_sums(first, credit).values()) == {0}
        postings += [credit, compensation]
    for posting in postings:
        assert set(leg_sums(posting).values()) == {0}


def test_a_conversion_passes_through_the_position_in_both_currencies() -> None:
    asked = request(debtor="A", creditor="B:JPY", amount="10.00")
    conversion = convert(asked.amount, rate("EUR", "JPY", "160"))
    debit = first_posting(asked, conversion=conversion, booking_date=TODAY)
    credit = credit_posting(debit, posted(LegName.DEBIT, "A", debit.amount), conversion=conversion)
    written = [(entry.account, entry.amount.minor_units, entry.amount.currency) for entry in gl_entries(credit)]
    assert written == [
        (GlAccount.TRANSIT, -1000, "EUR"),
        (GlAccount.FX_POSITION, 1000, "EUR"),
        (GlAccount.FX_POSITION, -1600, "JPY"),
    ]


@pytest.mark.parametrize("settlement", ["cash", "clearing"])
def test_a_deposit_and_a_withdrawal_settle_over_the_account_that_the_request_names(settlement: str) -> None:
    deposit = first_posting(request(creditor="B", settlement=settlement), conversion=None, booking_date=TODAY)
    withdrawal = first_posting(request(debtor="A", settlement=settlement), conversion=None, booking_date=TODAY)
    assert [(entry.account, entry.amount.minor_units) for entry in gl_entries(deposit)] == [(settlement, -1250)]
    assert [(entry.account, entry.amount.minor_units) for entry in gl_entries(withdrawal)] == [(settlement, 1250)]


@pytest.mark.parametrize(
    ("minor_units", "value", "code"),
    [(1, "0.4", RefusalCode.CONVERSION_ROUNDS_TO_ZERO), (MAX_MINOR_UNITS, "1.01", RefusalCode.CONVERSION_TOO_LARGE), (100, "1.01", None)],
)
def test_a_conversion_that_cannot_be_booked_is_refused_before_the_first_leg(minor_units: int, value: str, code: RefusalCode | None) -> None:
    refusal = conversion_refusal(convert(Money(minor_units=minor_units, currency="EUR"), rate("EUR", "USD", value)))
    assert (refusal.code if refusal else None) == code


@pytest.mark.parametrize(
    ("debtor", "creditor", "pair"),
    [
        ("A", "B", None),
        ("A:USD", "B", ("EUR", "USD")),
        ("A", "B:USD", ("EUR", "USD")),
        (None, "B:JPY", ("EUR", "JPY")),
        ("A:JPY", None, ("EUR", "JPY")),
        (None, "B", None),
    ],
)
def test_a_rate_is_needed_only_where_an_account_has_another_currency(
    debtor: str | None, creditor: str | None, pair: tuple[str, str] | None
) -> None:
    assert conversion_pair(request(debtor=debtor, creditor=creditor)) == pair


def test_statuses_follow_the_legs() -> None:
    deposit = first_posting(request(creditor="B"), conversion=None, booking_date=TODAY)
    debit = first_posting(request(debtor="A", creditor="B"), conversion=None, booking_date=TODAY)
    debited = posted(LegName.DEBIT, "A", debit.amount)
    credit = credit_posting(debit, debited, conversion=None)
    compensation = compensation_posting(debit, debited, refused_credit(credit))
    assert (deposit.status_if_posted, deposit.status_if_refused) == (TransactionStatus.COMPLETED, TransactionStatus.REJECTED)
    assert (debit.status_if_posted, debit.status_if_refused) == (TransactionStatus.PROCESSING, TransactionStatus.REJECTED)
    assert (credit.status_if_posted, credit.status_if_refused) == (TransactionStatus.COMPLETED, TransactionStatus.PROCESSING)
    assert (compensation.status_if_posted, compensation.because) == (TransactionStatus.REVERSED, REFUSED)


def test_a_leg_in_another_currency_needs_its_conversion() -> None:
    with pytest.raises(ValueError, match="needs a conversion from EUR to JPY"):
        first_posting(request(debtor="A:JPY", creditor="B"), conversion=None, booking_date=TODAY)


def test_the_value_date_is_the_booking_date_unless_the_request_names_one() -> None:
    named = request(creditor="B", value_date=TODAY.replace(day=1))
    assert first_posting(named, conversion=None, booking_date=TODAY).value_date == TODAY.replace(day=1)
    assert first_posting(request(creditor="B"), conversion=None, booking_date=TODAY).value_date == TODAY
