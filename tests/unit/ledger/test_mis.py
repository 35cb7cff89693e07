"""What events add to the totals: the same however they come, and what an independent count of the transactions says."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.bands import amount_band, balance_band
from ledger.decisions import LegName
from ledger.errors import InvalidInputError
from ledger.events import (
    CREDITED_V1,
    DEBITED_V1,
    FINISHED_TYPES,
    HOLD_VOIDED_V1,
    Amount,
    BalanceUpdatedV1,
    Instruction,
    Reason,
    TransactionFinishedV1,
)
from ledger.mis import EntryKey, Total, TransactionKey, totals_of
from ledger.money import MAX_MINOR_UNITS, Money
from ledger.results import TransactionStatus
from tests.unit.ledger.builders import NOW, TODAY, request

NINE = NOW.replace(minute=0)
COMPLETED, REJECTED = FINISHED_TYPES[TransactionStatus.COMPLETED], FINISHED_TYPES[TransactionStatus.REJECTED]


@dataclass(frozen=True)
class Told:
    """An event, and what it must add."""

    event: tuple[str, str]
    key: TransactionKey | EntryKey
    amount: int


def finished(status: TransactionStatus, reason: str | None, asked: Money, at: dt.datetime, **sides: str) -> Told:
    of = request(amount=asked.decimal_string, currency=asked.currency, **sides)
    why = Reason(code=reason, detail="", account_id=None) if reason else None
    data = TransactionFinishedV1(instruction=Instruction.of(of), status=status, reason=why, legs=(), finished_at=at)
    hour = dt.datetime(at.year, at.month, at.day, at.hour, tzinfo=dt.UTC)
    code = reason or "" if status is not TransactionStatus.COMPLETED else ""
    key = TransactionKey("main", hour, asked.currency, of.kind.value, status.value, code, amount_band(asked))
    return Told((FINISHED_TYPES[status], data.model_dump_json()), key, asked.minor_units)


def booked(leg: LegName, amount: Money, after: int, at: dt.datetime) -> Told:
    is_debit = leg in {LegName.DEBIT, LegName.FEE}
    balance = Money(minor_units=after, currency=amount.currency)
    data = BalanceUpdatedV1(
        instruction=Instruction.of(request(debtor="A", creditor="B")),
        leg=leg,
        account_id="A",
        amount=Amount.of(amount),
        conversion=None,
        value_date=TODAY,
        booked_at=at,
        version=1 if is_debit else None,
        ledger_balance_after=Amount.of(balance) if is_debit else None,
        available_balance_after=Amount.of(balance) if is_debit else None,
    )
    hour = dt.datetime(at.year, at.month, at.day, at.hour, tzinfo=dt.UTC)
    own_band = balance_band(balance) if is_debit else ""
    key = EntryKey("main", hour, amount.currency, "transfer", leg.value, amount_band(amount), own_band)
    return Told((DEBITED_V1 if is_debit else CREDITED_V1, data.model_dump_json()), key, amount.minor_units)


_AMOUNTS = st.builds(Money, minor_units=st.integers(1, MAX_MINOR_UNITS), currency=st.sampled_from(["EUR", "JPY", "BHD", "CLF"]))
_TIMES = st.datetimes(min_value=dt.datetime(2026, 3, 2, 8), max_value=dt.datetime(2026, 3, 2, 11), timezones=st.just(dt.UTC))  # noqa: DTZ001
_SIDES = st.sampled_from([{"debtor": "A"}, {"creditor": "B"}, {"debtor": "A", "creditor": "B"}])
_FINISHED = st.builds(
    lambda status, reason, asked, at, sides: finished(status, reason, asked, at, **sides),
    st.sampled_from(list(FINISHED_TYPES)),
    st.sampled_from([None, "insufficient-funds", "account-frozen"]),
    _AMOUNTS,
    _TIMES,
    _SIDES,
)
_BOOKED = st.builds(booked, st.sampled_from(list(LegName)), _AMOUNTS, st.integers(-(10**37), 10**37), _TIMES)
_EVENTS = st.lists(_FINISHED | _BOOKED, max_size=30)


def _counted(told: Sequence[Told]) -> dict[Any, Total]:
    """By a model of its own: what each event must add, counted."""
    numbers, amounts = Counter[Any](), Counter[Any]()
    for each in told:
        numbers[each.key] += 1
        amounts[each.key] += each.amount
    return {key: Total(numbers[key], amounts[key]) for key in numbers}


@given(told=_EVENTS, chance=st.randoms(use_true_random=False))
def test_totals_are_the_same_however_events_are_ordered_and_split_into_batches(told: list[Told], chance: Any) -> None:
    shuffled = [each.event for each in told]
    chance.shuffle(shuffled)
    numbers, amounts = Counter[Any](), Counter[Any]()
    while shuffled:
        batch = [shuffled.pop() for _ in range(chance.randint(1, len(shuffled)))]
        totals = totals_of(batch)
        for key, total in [*totals.transactions.items(), *totals.entries.items()]:
            numbers[key] += total.number
            amounts[key] += total.amount
    assert {key: Total(numbers[key], amounts[key]) for key in numbers} == _counted(told)


def test_a_rejected_transfer_is_counted_in_the_hour_in_which_it_ended() -> None:
    told = finished(TransactionStatus.REJECTED, "insufficient-funds", Money.parse("100.00", "EUR"), NOW, debtor="A", creditor="B")
    key = TransactionKey("main", NINE, "EUR", "transfer", "rejected", "insufficient-funds", "100-1000")
    assert totals_of([told.event, told.event]).transactions == {key: Total(2, 20_000)}


def test_a_debit_is_counted_by_the_balance_that_it_leaves_and_a_credit_is_not() -> None:
    debit = booked(LegName.DEBIT, Money.parse("5.00", "EUR"), -1, NOW)
    credit = booked(LegName.CREDIT, Money.parse("5.00", "EUR"), 0, NOW)
    assert totals_of([debit.event, credit.event]).entries == {
        EntryKey("main", NINE, "EUR", "transfer", "debit", "0-100", "overdrawn"): Total(1, 500),
        EntryKey("main", NINE, "EUR", "transfer", "credit", "0-100", ""): Total(1, 500),
    }


def test_what_was_completed_has_no_reason_though_a_leg_of_it_was_refused() -> None:
    told = finished(TransactionStatus.COMPLETED, "account-closed", Money.parse("5.00", "EUR"), NOW, debtor="A", creditor="B")
    assert [key.reason for key in totals_of([told.event]).transactions] == [""]


def test_an_hour_is_one_of_utc_wherever_the_instant_was_written() -> None:
    elsewhere = NOW.astimezone(dt.timezone(dt.timedelta(hours=5, minutes=45)))
    told = finished(TransactionStatus.COMPLETED, None, Money.parse("5.00", "EUR"), NOW, creditor="B")
    written = told.event[1].replace(NOW.isoformat().replace("+00:00", "Z") + '"}', elsewhere.isoformat() + '"}')
    assert written != told.event[1]
    assert [key.hour for key in totals_of([(COMPLETED, written)]).transactions] == [NINE]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ('"value":"5.00"', '"value":"5.0"'),
        ('"value":"5.00"', '"value":"5"'),
        ('"value":"5.00"', '"value":"5.000"'),
        ('"value":"5.00"', '"value":"five"'),
        ('"value":"5.00"', '"value":"\u0665.00"'),
        ('"status":"completed"', '"status":"rejected"'),
        ('"finished_at":"2026-03-02T09:30:00Z"', '"finished_at":"2026-03-02T09:30:00"'),
    ],
)
def test_what_is_not_in_the_form_of_the_contract_is_refused(before: str, after: str) -> None:
    data = finished(TransactionStatus.COMPLETED, None, Money.parse("5.00", "EUR"), NOW, creditor="B").event[1]
    assert before in data
    with pytest.raises(InvalidInputError):
        totals_of([(COMPLETED, data.replace(before, after))])


def test_other_types_and_other_fields_are_refused() -> None:
    data = finished(TransactionStatus.COMPLETED, None, Money.parse("5.00", "EUR"), NOW, creditor="B").event[1]
    with pytest.raises(ValueError, match="adds to no total"):
        totals_of([(HOLD_VOIDED_V1, data)])
    with pytest.raises(ValueError, match="booked_at"):
        totals_of([(CREDITED_V1, data)])
