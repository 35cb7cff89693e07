"""Changes of an account's rules and status."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.accounts import Account, AccountKind, AccountRules, AccountState, AccountStatus, debit_status_refusal
from ledger.errors import (
    AccountClosedError,
    AccountFrozenError,
    AccountNotClosableError,
    ImpossibleChangeError,
    InvalidInputError,
    OverdraftInUseError,
)
from ledger.rules import StatusChange, after_close, after_rules_change, after_status_change, parse_time_zone
from tests.unit.ledger.builders import NOW

FREEZES = (StatusChange.FREEZE, StatusChange.FREEZE_DEBITS, StatusChange.FREEZE_CREDITS)


def account(**fields: Any) -> Account:
    values: dict[str, Any] = {
        "tenant": "main",
        "account_id": "A",
        "currency": "EUR",
        "kind": AccountKind.CURRENT,
        "status": AccountStatus.ACTIVE,
        "opened_at": NOW,
    }
    return Account(**{**values, **fields})


def state(**fields: Any) -> AccountState:
    return AccountState(**{"account_id": "A", "currency": "EUR", "status": AccountStatus.ACTIVE, **fields})


@given(changes=st.lists(st.sampled_from(FREEZES), min_size=1), dormant=st.booleans())
def test_freezes_add_up_and_one_unfreeze_gives_back_the_status_before_the_first(changes: list[StatusChange], dormant: bool) -> None:
    before = account(status=AccountStatus.DORMANT if dormant else AccountStatus.ACTIVE)
    frozen = before
    for change in changes:
        frozen = after_status_change(frozen, change)
    debits = dormant or bool({StatusChange.FREEZE, StatusChange.FREEZE_DEBITS} & set(changes))
    credits_too = bool({StatusChange.FREEZE, StatusChange.FREEZE_CREDITS} & set(changes))
    refuses_debits = frozen.status in {AccountStatus.FROZEN, AccountStatus.DEBIT_FROZEN}
    refuses_credits = frozen.status in {AccountStatus.FROZEN, AccountStatus.CREDIT_FROZEN}
    assert (refuses_debits, refuses_credits) == (debits, credits_too)
    assert after_status_change(frozen, StatusChange.UNFREEZE) == before


@pytest.mark.parametrize("freeze", FREEZES)
def test_a_dormant_account_takes_no_debit_whatever_is_frozen_of_it(freeze: StatusChange) -> None:
    frozen = after_status_change(account(status=AccountStatus.DORMANT), freeze)
    assert debit_status_refusal(state(status=frozen.status)) is not None


@pytest.mark.parametrize("change", list(StatusChange))
@pytest.mark.parametrize("status", list(AccountStatus))
def test_asking_twice_is_asking_once(status: AccountStatus, change: StatusChange) -> None:
    before = account(status=status)
    try:
        once = after_status_change(before, change)
    except ImpossibleChangeError:
        return
    assert after_status_change(once, change) == once


def test_dormant_and_reactivate_are_each_others_way_back() -> None:
    dormant = after_status_change(account(), StatusChange.DORMANT)
    assert dormant.status is AccountStatus.DORMANT
    assert after_status_change(dormant, StatusChange.REACTIVATE) == account()


@pytest.mark.parametrize("change", [StatusChange.DORMANT, StatusChange.REACTIVATE])
@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.DEBIT_FROZEN, AccountStatus.CREDIT_FROZEN])
def test_no_other_change_lifts_a_freeze(status: AccountStatus, change: StatusChange) -> None:
    with pytest.raises(AccountFrozenError) as caught:
        after_status_change(account(status=status, status_before_freeze=AccountStatus.ACTIVE), change)
    assert (caught.value.code, caught.value.field) == ("account-frozen", "status")


def test_an_account_that_an_earlier_version_froze_becomes_active_again() -> None:
    assert after_status_change(account(status=AccountStatus.FROZEN), StatusChange.UNFREEZE).status is AccountStatus.ACTIVE


def test_nothing_of_a_closed_account_changes() -> None:
    closed = account(status=AccountStatus.CLOSED)
    for change in StatusChange:
        with pytest.raises(AccountClosedError) as by_status:
            after_status_change(closed, change)
        assert (by_status.value.field, by_status.value.value) == ("status", change.value)
    with pytest.raises(AccountClosedError) as by_rule:
        after_rules_change(closed, state(), {"daily_limit": 5})
    assert (by_rule.value.field, by_rule.value.value) == ("daily_limit", 5)
    assert after_close(closed, state(ledger=5), open_transactions=1) == closed


@pytest.mark.parametrize(
    ("balance", "open_transactions", "rule"),
    [
        ({"ledger": 1}, 0, "ledger balance"),
        ({"ledger": -1, "overdraft_limit": 5}, 0, "ledger balance"),
        ({"held": 1}, 0, "hold"),
        ({}, 1, "transactions"),
    ],
)
def test_what_is_left_keeps_an_account_open(balance: dict[str, int], open_transactions: int, rule: str) -> None:
    with pytest.raises(AccountNotClosableError, match=rule) as caught:
        after_close(account(), state(**balance), open_transactions=open_transactions)
    assert (caught.value.field, caught.value.value) == ("status", "closed")


def test_closing_ends_a_freeze_as_well() -> None:
    frozen = account(status=AccountStatus.FROZEN, status_before_freeze=AccountStatus.DORMANT)
    closed = after_close(frozen, state(), open_transactions=0)
    assert (closed.status, closed.status_before_freeze) == (AccountStatus.CLOSED, None)


@given(ledger=st.integers(-(10**15), 10**15), held=st.integers(0, 10**15), limit=st.integers(0, 10**15))
def test_an_overdraft_limit_is_never_below_what_is_used_of_it(ledger: int, held: int, limit: int) -> None:
    before = account(overdraft_limit=10**15)
    used = state(ledger=ledger, held=held, overdraft_limit=10**15)
    if ledger - held + limit < 0:
        with pytest.raises(OverdraftInUseError):
            after_rules_change(before, used, {"overdraft_limit": limit})
    else:
        assert after_rules_change(before, used, {"overdraft_limit": limit}) == before.model_copy(update={"overdraft_limit": limit})


def test_a_refused_overdraft_limit_says_what_is_used_in_major_units() -> None:
    with pytest.raises(OverdraftInUseError) as caught:
        after_rules_change(account(overdraft_limit=500), state(ledger=-300, held=50), {"overdraft_limit": 349})
    assert (caught.value.value, caught.value.rule) == ("3.49", "must be at least 3.50, which debits and holds use")


def test_only_what_is_named_changes_and_none_takes_a_limit_away() -> None:
    before = account(overdraft_limit=5, daily_limit=6, maximum_balance=7, time_zone="Europe/Prague")
    after = after_rules_change(before, state(), {"daily_limit": None, "minimum_balance": 8})
    assert after == before.model_copy(update={"daily_limit": None, "minimum_balance": 8})
    assert after_rules_change(before, state(), {}) == before


@pytest.mark.parametrize(
    "name", ["overdraft_limit", "minimum_balance", "maximum_balance", "transaction_limit", "daily_limit", "monthly_limit"]
)
def test_a_rule_has_bounds(name: str) -> None:
    for value in (-1, 10**15 + 1, "x"):
        with pytest.raises(ValidationError):
            after_rules_change(account(), state(), {name: value})
    assert getattr(AccountRules.model_validate({name: 10**15}), name) == 10**15


@pytest.mark.parametrize("name", ["UTC", "Europe/Prague", "America/Argentina/Buenos_Aires", "Etc/GMT+12", "America/Port-au-Prince"])
def test_a_time_zones_name_is_taken_as_it_is(name: str) -> None:
    assert parse_time_zone(name) == name


@pytest.mark.parametrize(
    "name", ["", " ", "Europe/", "/Prague", "Europe/Prague\n", "../etc/passwd", "UTC'", "<+05>-5", "á", "A" * 65, None, 5]
)
def test_what_can_not_be_a_time_zones_name_is_bad_input(name: object) -> None:
    with pytest.raises(InvalidInputError, match="IANA") as caught:
        parse_time_zone(name)
    assert (caught.value.field, caught.value.value) == ("time_zone", name)
