"""The rules of an account: which status refuses what, and what a debit may take."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.accounts import AccountState, AccountStatus, credit_refusal, debit_refusal
from ledger.refusals import PRECEDENCE, RefusalCode

AMOUNTS = st.integers(0, 10**15)


def state(**fields: Any) -> AccountState:
    values: dict[str, Any] = {
        "account_id": "A",
        "currency": "EUR",
        "status": AccountStatus.ACTIVE,
        "overdraft_limit": 0,
        "ledger": 0,
        "held": 0,
        "version": 0,
    }
    return AccountState(**{**values, **fields})


@given(ledger=st.integers(-(10**15), 10**15), held=AMOUNTS, overdraft_limit=AMOUNTS, amount=st.integers(1, 10**15))
def test_a_debit_is_accepted_exactly_when_the_available_balance_covers_it(
    ledger: int, held: int, overdraft_limit: int, amount: int
) -> None:
    refusal = debit_refusal(state(ledger=ledger, held=held, overdraft_limit=overdraft_limit), amount)
    assert (refusal is None) == (ledger - held + overdraft_limit - amount >= 0)


def test_debits_of_one_batch_are_decided_one_after_the_other() -> None:
    before = state(ledger=100, version=7)
    after = before.after_debit(60)
    assert (after.available, after.version) == (40, 8)
    refusal = debit_refusal(after, 41)
    assert refusal is not None
    assert refusal.code is RefusalCode.INSUFFICIENT_FUNDS
    assert "0.40 EUR available, less than 0.41 EUR" in refusal.detail


@pytest.mark.parametrize(
    ("status", "debit", "credit"),
    [
        (AccountStatus.ACTIVE, None, None),
        (AccountStatus.DEBIT_FROZEN, RefusalCode.ACCOUNT_DEBIT_FROZEN, None),
        (AccountStatus.CREDIT_FROZEN, None, RefusalCode.ACCOUNT_CREDIT_FROZEN),
        (AccountStatus.FROZEN, RefusalCode.ACCOUNT_FROZEN, RefusalCode.ACCOUNT_FROZEN),
        (AccountStatus.DORMANT, RefusalCode.ACCOUNT_DORMANT, None),
        (AccountStatus.CLOSED, RefusalCode.ACCOUNT_CLOSED, RefusalCode.ACCOUNT_CLOSED),
    ],
)
def test_each_status_refuses_its_own_sides(status: AccountStatus, debit: RefusalCode | None, credit: RefusalCode | None) -> None:
    refused_debit = debit_refusal(state(status=status, ledger=1000), 1)
    refused_credit = credit_refusal(state(status=status), 1)
    assert (refused_debit.code if refused_debit else None) == debit
    assert (refused_credit.code if refused_credit else None) == credit


@pytest.mark.parametrize("status", [AccountStatus.DEBIT_FROZEN, AccountStatus.FROZEN, AccountStatus.DORMANT, AccountStatus.CLOSED])
def test_a_status_comes_before_missing_funds(status: AccountStatus) -> None:
    refusal = debit_refusal(state(status=status, ledger=0), 1)
    assert refusal is not None
    assert PRECEDENCE.index(refusal.code) < PRECEDENCE.index(RefusalCode.INSUFFICIENT_FUNDS)
