"""What makes a hold valid, and what its id stands for."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import HoldNotVoidableError, InvalidInputError
from ledger.holds import Hold, HoldRequest, HoldState, HoldStatus, check_hold, check_void
from ledger.money import MAX_MINOR_UNITS, Money
from tests.unit.ledger.builders import NOW, TRANSACTION_ID

LATER = NOW + dt.timedelta(days=7)


def request(*, minor_units: int = 500, currency: str = "EUR", **fields: Any) -> HoldRequest:
    values: dict[str, Any] = {
        "tenant": "main",
        "hold_id": TRANSACTION_ID,
        "account_id": "A",
        "amount": Money(minor_units=minor_units, currency=currency),
        "expires_at": LATER,
        "authorised_by": "teller",
    }
    return HoldRequest(**{**values, **fields})


def test_a_valid_hold_is_taken() -> None:
    for fields in ({}, {"minor_units": MAX_MINOR_UNITS}, {"expires_at": NOW + dt.timedelta(microseconds=1)}):
        check_hold(request(**fields), currency="EUR", now=NOW)


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("amount", {"minor_units": 0}),
        ("amount", {"minor_units": -1}),
        ("amount", {"minor_units": MAX_MINOR_UNITS + 1}),
        ("currency", {"currency": "CZK"}),
        ("expires_at", {"expires_at": NOW}),
        ("expires_at", {"expires_at": NOW - dt.timedelta(days=1)}),
    ],
)
def test_a_hold_that_can_not_be_is_bad_input(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_hold(request(**fields), currency="EUR", now=NOW)
    assert caught.value.field == field
    assert caught.value.rule


def test_all_that_was_asked_for_makes_the_fingerprint_and_who_asked_does_not() -> None:
    first = request()
    elsewhere = LATER.astimezone(dt.timezone(dt.timedelta(hours=5)))
    assert request(authorised_by="colleague", expires_at=elsewhere).fingerprint == first.fingerprint
    changes: list[dict[str, Any]] = [
        {"account_id": "B"},
        {"minor_units": 501},
        {"currency": "CZK"},
        {"expires_at": LATER + dt.timedelta(microseconds=1)},
        {"reference": "hotel"},
    ]
    assert len({first.fingerprint, *(request(**change).fingerprint for change in changes)}) == len(changes) + 1


@given(amount=st.integers(1, 10**15), parts=st.lists(st.integers(1, 10**15), max_size=5), final=st.booleans())
def test_what_captures_release_and_what_still_is_held_is_the_amount(amount: int, parts: list[int], final: bool) -> None:
    hold = HoldState(amount=amount, captured=0, status=HoldStatus.OPEN.value, expired=False)
    released = captured = 0
    for number, part in enumerate(parts):
        if part > hold.remaining:
            continue
        hold, by_this = hold.after_capture(part, final=final and number == len(parts) - 1)
        released, captured = released + by_this, captured + part
    assert (hold.captured, hold.remaining + released) == (captured, amount)
    assert (hold.status == HoldStatus.OPEN) == (hold.remaining > 0)


@pytest.mark.parametrize("status", list(HoldStatus))
def test_only_an_open_hold_is_voided_and_a_voided_one_stays_so(status: HoldStatus) -> None:
    amount = Money(minor_units=5, currency="EUR")
    hold = Hold(
        tenant="main", hold_id=TRANSACTION_ID, account_id="A", amount=amount, captured=Money(minor_units=0, currency="EUR"), status=status,
        created_at=NOW, expires_at=LATER, authorised_by="teller",
    )  # fmt: skip
    assert hold.remaining.minor_units == (5 if status is HoldStatus.OPEN else 0)
    if status in {HoldStatus.OPEN, HoldStatus.VOIDED}:
        assert check_void(hold) == (status is HoldStatus.OPEN)
        return
    with pytest.raises(HoldNotVoidableError) as caught:
        check_void(hold)
    assert (caught.value.field, caught.value.value, caught.value.status) == ("status", "voided", status.value)
