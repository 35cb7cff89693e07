"""Requests whose legs are posted together, the legs they have, and what a reversal takes back of each."""

from __future__ import annotations

from collections import Counter
from decimal import ROUND_HALF_EVEN, Decimal, localcontext
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.decisions import LegName
from ledger.errors import InvalidInputError
from ledger.event_writer import EventWriter
from ledger.money import MAX_MINOR_UNITS, Money
from ledger.postings import GlAccount, LinkedPosting, conversion_pair, conversion_refusal, gl_entries, linked_posting, reversed_share
from ledger.rates import convert
from ledger.requests import MAX_LEGS, AccountRef, Override, Share, TransactionKind, TransactionRequest
from ledger.results import TransactionResult, TransactionStatus
from ledger.reversals import reversal_request, reversible
from tests.unit.ledger.builders import NOW, TODAY, TRANSACTION_ID, posted, rate, request

OVERRIDE = Override(by="operator", reason="agreed")
HOLD = "5f7c7a52-3d53-4b7e-9a0e-6a1d53c2b0de"


def eur(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency="EUR")


def shares(*parts: tuple[str, int], currency: str = "EUR") -> tuple[Share, ...]:
    return tuple(Share(account=AccountRef(account_id=name, currency=currency), amount=eur(part)) for name, part in parts)


def sums(linked: LinkedPosting) -> tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]:
    """All entries of each leg by currency, and of all legs by internal account and currency."""
    of_legs: Counter[tuple[str, str]] = Counter()
    internal: Counter[tuple[str, str]] = Counter()
    for number, posting in enumerate(linked.legs):
        key = (str(number), posting.amount.currency)
        of_legs[key] += -posting.amount.minor_units if posting.is_debit else posting.amount.minor_units
        for entry in gl_entries(posting):
            of_legs[str(number), entry.amount.currency] += entry.amount.minor_units
            internal[entry.account, entry.amount.currency] += entry.amount.minor_units
    return dict(of_legs), dict(internal)


@pytest.mark.parametrize(
    ("fields", "linked"),
    [
        ({}, False),
        ({"reference": "r", "metadata": {"a": "b"}, "settlement": "clearing"}, False),
        ({"linked": True}, True),
        ({"fee": eur(1)}, True),
        ({"balancing": True}, True),
        ({"hold_id": HOLD}, True),
        ({"override": OVERRIDE}, True),
        ({"reverses": TRANSACTION_ID}, True),
        ({"creditor": None, "shares": shares(("B", 1_250))}, True),
        ({"fee": None, "balancing": False, "hold_id": None, "override": None, "reverses": None, "shares": ()}, False),
    ],
)
def test_only_a_request_that_needs_it_posts_its_legs_together(fields: dict[str, Any], linked: bool) -> None:
    assert request(**{"debtor": "A", "creditor": "B", **fields}).posts_linked is linked


@pytest.mark.parametrize(
    ("fields", "may_be"),
    [
        ({"debtor": "A", "creditor": "B"}, True),
        ({"debtor": "A", "creditor": "B:CZK"}, True),
        ({"debtor": "A"}, False),
        ({"creditor": "B"}, False),
        ({"debtor": "A", "creditor": "B", "fee": eur(1)}, False),
    ],
)
def test_plain_transfers_are_what_may_be_posted_either_way(fields: dict[str, Any], may_be: bool) -> None:
    assert request(**fields).may_be_linked is may_be


def test_how_a_transfer_is_posted_is_no_part_of_what_was_asked() -> None:
    asked = {"debtor": "A", "creditor": "B"}
    assert request(**asked, linked=True).fingerprint == request(**asked).fingerprint
    told = [EventWriter(request(**asked, linked=linked))._instruction for linked in (True, False)]
    assert told[0] == told[1]


@pytest.mark.parametrize(
    "fields",
    [
        {"debtor": None, "fee": eur(1)},
        {"debtor": None, "balancing": True},
        {"debtor": None, "override": OVERRIDE},
        {"debtor": None, "hold_id": HOLD},
        {"fee": Money(minor_units=1, currency="USD")},
        {"balancing": True, "fee": eur(1)},
        {"balancing": True, "hold_id": HOLD},
        {"balancing": True, "creditor": "B:CZK"},
        {"reverses": TRANSACTION_ID, "fee": eur(1)},
        {"reverses": TRANSACTION_ID, "balancing": True},
        {"reverses": TRANSACTION_ID, "hold_id": HOLD},
        {"shares": shares(("C", 1_250))},  # beside a creditor
        {"creditor": None, "shares": shares(("C", 1_249))},
        {"creditor": None, "shares": shares(("C", 650), ("C", 600))},
        {"creditor": None, "shares": shares(("A", 1_250))},
        {"creditor": None, "shares": shares(("C", 1_250), currency="CZK")},
        {"creditor": None, "shares": shares(("C", 1_250)), "balancing": True},
        {"creditor": None, "amount": "2.56", "shares": shares(*((f"C{number}", 1) for number in range(MAX_LEGS)))},
        {"creditor": None, "amount": "2.55", "shares": shares(*((f"C{n}", 1) for n in range(MAX_LEGS - 1))), "fee": eur(1)},
        {"creditor": None, "shares": shares(("C", 1_250)), "reverses": TRANSACTION_ID},  # those give back, beside a debtor
    ],
)
def test_parts_that_do_not_fit_together_are_no_request(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        request(**{"debtor": "A", "creditor": "B", **fields})


@pytest.mark.parametrize(
    ("fields", "kind", "legs"),
    [
        ({"debtor": "A", "creditor": "B", "fee": eur(1)}, TransactionKind.TRANSFER, ["debit A", "fee A", "credit B"]),
        ({"debtor": "A", "fee": eur(1)}, TransactionKind.WITHDRAWAL, ["debit A", "fee A"]),
        ({"debtor": "A", "shares": shares(("B", 1_000), ("C", 250))}, TransactionKind.TRANSFER, ["debit A", "credit B", "credit C"]),
        ({"shares": shares(("B", 1_000), ("C", 250))}, TransactionKind.DEPOSIT, ["credit B", "credit C"]),
        (
            {"creditor": "A", "shares": shares(("B", 1_000), ("C", 250)), "reverses": TRANSACTION_ID, "override": OVERRIDE},
            TransactionKind.TRANSFER,
            ["debit B", "debit C", "credit A"],
        ),
        ({"shares": shares(("B", 1_250)), "reverses": TRANSACTION_ID}, TransactionKind.WITHDRAWAL, ["debit B"]),
    ],
)
def test_the_legs_are_decided_in_the_order_debits_fee_credits(fields: dict[str, Any], kind: TransactionKind, legs: list[str]) -> None:
    asked = request(**fields)
    linked = linked_posting(asked, conversion=None, booking_date=TODAY)
    assert (asked.kind, [f"{leg.leg} {leg.account_id}" for leg in linked.legs]) == (kind, legs)
    of_legs, internal = sums(linked)
    assert set(of_legs.values()) == {0}
    assert internal.get((GlAccount.TRANSIT, "EUR"), 0) == 0
    assert internal.get((GlAccount.FEES, "EUR"), 0) == (1 if asked.fee else 0)


@pytest.mark.parametrize(
    ("debtor", "creditor"), [("A", "B"), ("A", "B:JPY"), ("A:JPY", "B"), ("A", None), ("A:JPY", None), (None, "B:JPY")]
)
@given(minor_units=st.integers(1, 10**12), fee=st.integers(0, 10**6), value=st.decimals(min_value="0.01", max_value=200, places=4))
def test_every_leg_sums_to_zero_and_transit_is_empty(
    debtor: str | None, creditor: str | None, minor_units: int, fee: int, value: Decimal
) -> None:
    currency = debtor.partition(":")[2] or "EUR" if debtor else "EUR"
    charged = Money(minor_units=fee, currency=currency) if fee and debtor else None
    asked = request(debtor=debtor, creditor=creditor, amount=eur(minor_units).decimal_string, fee=charged)
    pair = conversion_pair(asked)
    conversion = convert(asked.amount, rate(*pair, str(value))) if pair else None
    if conversion is not None and conversion_refusal(conversion) is not None:
        return
    of_legs, internal = sums(linked_posting(asked, conversion=conversion, booking_date=TODAY))
    assert set(of_legs.values()) == {0}
    assert all(amount == 0 for (account, _), amount in internal.items() if account == GlAccount.TRANSIT)


def test_a_balancing_withdrawal_settles_what_it_books() -> None:
    (debit,) = linked_posting(request(debtor="A", balancing=True), conversion=None, booking_date=TODAY).legs
    (entry,) = gl_entries(debit.model_copy(update={"amount": eur(3)}))
    assert (entry.account, entry.amount) == (GlAccount.CASH, eur(3))


@pytest.mark.parametrize(("debtor", "creditor"), [("A:CZK", "B"), ("A", "B:CZK"), ("A:CZK", None), (None, "B:CZK")])
def test_a_reversal_needs_no_rate_and_its_legs_have_their_accounts_currencies(debtor: str | None, creditor: str | None) -> None:
    asked = request(debtor=debtor, creditor=creditor, reverses=TRANSACTION_ID)
    assert conversion_pair(asked) is None
    linked = linked_posting(asked, conversion=None, booking_date=TODAY)
    currencies = {leg.account_id: leg.amount.currency for leg in linked.legs}
    assert currencies == {side[0]: side[2:] or "EUR" for side in (debtor, creditor) if side}


parts_of_a_whole = st.integers(1, MAX_MINOR_UNITS).flatmap(
    lambda original: st.tuples(st.just(original), st.lists(st.integers(1, original), max_size=12))
)


@given(booked=st.integers(1, MAX_MINOR_UNITS), whole=parts_of_a_whole)
def test_parts_take_back_a_leg_exactly_once_the_whole_is_reversed(booked: int, whole: tuple[int, list[int]]) -> None:
    """Whatever the parts: after each the leg's share is back to within half a minor unit, by an independent calculation in decimals."""
    original, wanted = whole
    parts: list[int] = []
    for part in wanted:
        parts.append(min(part, original - sum(parts)))
    parts = [part for part in [*parts, original - sum(parts)] if part]
    already = before = 0
    for part in parts:
        share = reversed_share(booked, already=already, original=original, reversed_before=before, part=part)
        assert share >= 0
        already, before = already + share, before + part
        with localcontext() as context:
            context.prec = 80
            due = Decimal(booked) * before / original
            assert abs(due - already) <= Decimal("0.5")
            assert already == int(due.quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    assert (already, before) == (booked, original)


@given(original=st.integers(1, MAX_MINOR_UNITS), before=st.integers(0, MAX_MINOR_UNITS), part=st.integers(1, MAX_MINOR_UNITS))
def test_in_the_originals_currency_a_part_is_what_was_asked(original: int, before: int, part: int) -> None:
    before %= original
    part = 1 + part % (original - before)
    assert reversed_share(original, already=before, original=original, reversed_before=before, part=part) == part


def _back(original: TransactionRequest, amount: Money, **fields: Any) -> TransactionRequest:
    values: dict[str, Any] = {"reference": None, "override": None, "submitted_by": "teller", "submitted_at": NOW, "transaction_id": HOLD}
    return reversal_request(original, amount=amount, **{**values, **fields})


def test_a_reversal_swaps_the_sides_and_keeps_the_rest_but_the_fee() -> None:
    original = request(debtor="A:CZK", creditor="B", fee=Money(minor_units=5, currency="CZK"), settlement="clearing", metadata={"a": "b"})
    reversal = _back(original, eur(10), reference="wrong", override=OVERRIDE)
    assert (reversal.debtor, reversal.creditor, reversal.amount) == (original.creditor, original.debtor, eur(10))
    assert (reversal.reverses, reversal.settlement, reversal.fee) == (original.transaction_id, "clearing", None)
    assert (reversal.reference, reversal.metadata, reversal.override) == ("wrong", {}, OVERRIDE)


@pytest.mark.parametrize(
    ("fields", "changes", "field"),
    [
        ({"debtor": "A", "shares": shares(("B", 1_000), ("C", 250))}, {"amount": eur(1_249)}, "amount"),
        ({"debtor": "A"}, {"override": OVERRIDE}, "override"),
    ],
)
def test_what_no_reversal_can_be_is_bad_input(fields: dict[str, Any], changes: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as found:
        _back(request(**fields), **{"amount": eur(1_250), **changes})
    assert found.value.field == field


@pytest.mark.parametrize("debtor", ["A", None])
def test_a_reversal_of_a_reversal_is_a_request_that_the_ledger_can_refuse(debtor: str | None) -> None:
    original = request(debtor=debtor, shares=shares(("B", 1_000), ("C", 250)))
    reversal = _back(original, original.amount)
    assert (reversal.shares, reversal.creditor, reversal.debtor) == (original.shares, original.debtor, None)
    again = _back(reversal, reversal.amount)
    assert again.posts_linked
    assert [leg.leg for leg in linked_posting(again, conversion=None, booking_date=TODAY).legs][-1] is LegName.CREDIT


def test_of_a_balancing_transaction_what_it_took_is_reversible() -> None:
    asked = request(debtor="A", creditor="B", balancing=True)
    took = TransactionResult(transaction_id=TRANSACTION_ID, status=TransactionStatus.COMPLETED, legs=(posted(LegName.DEBIT, "A", eur(7)),))
    nothing = TransactionResult(transaction_id=TRANSACTION_ID, status=TransactionStatus.REJECTED)
    assert (reversible(asked, took), reversible(asked, nothing)) == (eur(7), asked.amount)
    assert reversible(request(debtor="A", creditor="B"), took) == eur(1_250)
