"""One documented order of refusal reasons: of every two that can hold at once, the earlier one of PRECEDENCE is the answer."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.accounts import AccountState, AccountStatus, credit_refusal, debit_refusal
from ledger.holds import HoldState, HoldStatus, capture_refusal, hold_refusal
from ledger.refusals import PRECEDENCE, Refusal, RefusalCode

_STATUS_THAT_REFUSES_DEBITS = {
    RefusalCode.ACCOUNT_CLOSED: AccountStatus.CLOSED,
    RefusalCode.ACCOUNT_FROZEN: AccountStatus.FROZEN,
    RefusalCode.ACCOUNT_DEBIT_FROZEN: AccountStatus.DEBIT_FROZEN,
    RefusalCode.ACCOUNT_DORMANT: AccountStatus.DORMANT,
}
_STATUS_THAT_REFUSES_CREDITS = {
    RefusalCode.ACCOUNT_CLOSED: AccountStatus.CLOSED,
    RefusalCode.ACCOUNT_FROZEN: AccountStatus.FROZEN,
    RefusalCode.ACCOUNT_CREDIT_FROZEN: AccountStatus.CREDIT_FROZEN,
}
AMOUNT = st.integers(2, 10**15)


def _breaking(draw: st.DrawFn, reason: RefusalCode, amount: int) -> dict[str, Any]:
    """Fields of a state in which `reason` stands against a debit of `amount`, whatever its other fields."""
    less = st.integers(0, amount - 1)
    limit = draw(less)
    match reason:
        case RefusalCode.TRANSACTION_LIMIT:
            return {"transaction_limit": limit}
        case RefusalCode.DAILY_LIMIT:
            return {"daily_limit": limit + (spent := draw(st.integers(0, 10**15))), "spent_on_day": spent}
        case RefusalCode.MONTHLY_LIMIT:
            return {"monthly_limit": limit + (spent := draw(st.integers(0, 10**15))), "spent_in_month": spent}
        case RefusalCode.INSUFFICIENT_FUNDS:
            held, overdraft_limit = draw(st.integers(0, 10**15)), draw(st.integers(0, 10**15))
            return {"held": held, "overdraft_limit": overdraft_limit, "ledger": draw(less) + held - overdraft_limit}
        case RefusalCode.MINIMUM_BALANCE:
            floor = draw(st.integers(1, 10**15))
            return {"minimum_balance": floor, "ledger": amount + draw(st.integers(0, floor - 1))}
        case _:
            return {"status": _STATUS_THAT_REFUSES_DEBITS[reason]}


_DEBIT_REASONS = [
    *_STATUS_THAT_REFUSES_DEBITS,
    RefusalCode.TRANSACTION_LIMIT,
    RefusalCode.DAILY_LIMIT,
    RefusalCode.MONTHLY_LIMIT,
    RefusalCode.MINIMUM_BALANCE,
    RefusalCode.INSUFFICIENT_FUNDS,
]
# An account has one status at a time. Of minimum and funds the second one's ledger balance breaks both.
DEBIT_PAIRS = [pair for pair in itertools.combinations(_DEBIT_REASONS, 2) if not {*pair} <= _STATUS_THAT_REFUSES_DEBITS.keys()]
_FEW = settings(max_examples=20)


@st.composite
def _refused(draw: st.DrawFn, *reasons: RefusalCode) -> tuple[AccountState, int]:
    """A state and a debit, against which each of the reasons stands."""
    amount = draw(AMOUNT)
    fields: dict[str, Any] = {"account_id": "A", "currency": "EUR", "status": AccountStatus.ACTIVE, "ledger": 10**16}
    for reason in reasons:
        fields |= _breaking(draw, reason, amount)
    return AccountState(**fields), amount


def test_all_reasons_that_an_account_may_have_against_a_debit_are_paired() -> None:
    of_other_parts = {
        *(code for code in RefusalCode if code.value.startswith(("hold-", "rate-", "conversion-"))),
        RefusalCode.CANCELLED,
        RefusalCode.ABANDONED,
        RefusalCode.REVERSED_BY_OPERATOR,
        RefusalCode.DECLINED,
        RefusalCode.APPROVAL_EXPIRED,
        RefusalCode.NOT_REVERSIBLE,
        RefusalCode.REVERSAL_EXCEEDS_ORIGINAL,
        RefusalCode.ACCOUNT_CREDIT_FROZEN,
        RefusalCode.MAXIMUM_BALANCE,
    }
    assert set(_DEBIT_REASONS) == set(RefusalCode) - of_other_parts, "a new reason needs its pairs"
    assert len(DEBIT_PAIRS) == 9 * 8 // 2 - 4 * 3 // 2


@pytest.mark.parametrize("decide", [debit_refusal, hold_refusal])
@pytest.mark.parametrize("reason", _DEBIT_REASONS)
@_FEW
@given(data=st.data())
def test_each_reason_alone_refuses_a_debit_and_a_hold(
    decide: Callable[[AccountState, int], Refusal | None], reason: RefusalCode, data: st.DataObject
) -> None:
    refusal = decide(*data.draw(_refused(reason)))
    assert refusal is not None
    assert refusal.code is reason


@pytest.mark.parametrize("decide", [debit_refusal, hold_refusal])
@pytest.mark.parametrize("pair", DEBIT_PAIRS, ids=" and ".join)
@_FEW
@given(data=st.data())
def test_of_two_reasons_against_a_debit_or_a_hold_the_earlier_is_the_answer(
    decide: Callable[[AccountState, int], Refusal | None], pair: tuple[RefusalCode, RefusalCode], data: st.DataObject
) -> None:
    refusal = decide(*data.draw(_refused(*pair)))
    assert refusal is not None
    assert refusal.code is min(pair, key=PRECEDENCE.index)


@pytest.mark.parametrize("status", _STATUS_THAT_REFUSES_CREDITS.items(), ids=lambda item: item[0])
@given(amount=AMOUNT, maximum=st.integers(1, 10**15), above=st.integers(1, 10**15))
def test_of_a_status_and_a_maximum_against_a_credit_the_status_is_the_answer(
    status: tuple[RefusalCode, AccountStatus], amount: int, maximum: int, above: int
) -> None:
    state = AccountState(
        account_id="A", currency="EUR", status=AccountStatus.ACTIVE, maximum_balance=maximum, ledger=maximum - amount + above
    )
    alone = credit_refusal(state, amount)
    assert alone is not None
    assert alone.code is RefusalCode.MAXIMUM_BALANCE
    by_status, refuses = status
    both = credit_refusal(state._replace(status=refuses), amount)
    assert both is not None
    assert both.code is by_status is min(by_status, alone.code, key=PRECEDENCE.index)


_HOLDS = {
    RefusalCode.HOLD_UNKNOWN: (HoldStatus.REFUSED,),
    RefusalCode.HOLD_CLOSED: (HoldStatus.CAPTURED, HoldStatus.VOIDED),
    RefusalCode.HOLD_EXPIRED: (HoldStatus.EXPIRED, HoldStatus.OPEN),
}


@pytest.mark.parametrize("reason", _HOLDS)
@given(amount=AMOUNT, captured=st.integers(0, 10**15), more=st.integers(1, 10**15), data=st.data())
def test_what_has_become_of_a_hold_comes_before_what_it_holds(
    reason: RefusalCode, amount: int, captured: int, more: int, data: st.DataObject
) -> None:
    status = data.draw(st.sampled_from(_HOLDS[reason]))
    # A closed hold that is past its end as well is closed; one that nobody closed has expired.
    is_past = reason is RefusalCode.HOLD_EXPIRED or data.draw(st.booleans())
    hold = HoldState(amount=captured + amount, captured=captured, status=status.value, expired=is_past)
    for asked in (1, amount, amount + more):
        refusal = capture_refusal(hold, asked, currency="EUR", hold_id="H", account_id="A")
        assert refusal is not None
        assert refusal.code is reason is min(reason, RefusalCode.HOLD_EXCEEDED, key=PRECEDENCE.index)
    still_open = hold._replace(status=HoldStatus.OPEN.value, expired=False)
    exceeded = capture_refusal(still_open, amount + more, currency="EUR", hold_id="H", account_id="A")
    assert exceeded is not None
    assert exceeded.code is RefusalCode.HOLD_EXCEEDED
    assert capture_refusal(still_open, amount, currency="EUR", hold_id="H", account_id="A") is None


def test_a_hold_that_is_not_there_is_unknown() -> None:
    refusal = capture_refusal(None, 1, currency="EUR", hold_id="H", account_id="A")
    assert refusal is not None
    assert refusal.code is RefusalCode.HOLD_UNKNOWN
