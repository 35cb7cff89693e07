"""What a new transaction has to wait for: approval above thresholds or on demand, and its execution date."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from infra.settings import Settings
from ledger.approvals import Approval, ApprovalAsked, ApprovalStage
from ledger.errors import InvalidInputError
from ledger.money import Money
from ledger.requests import AccountRef, Override, Share, TransactionRequest
from ledger.waits import ApprovalThresholds, WaitingRules
from tests.unit.ledger.builders import NOW, TODAY, request

RULES = WaitingRules(thresholds=ApprovalThresholds.parse({"EUR": "1000.00", "small": {"EUR": "10.00"}, "JPY": "0"}))
PRAGUE = WaitingRules(time_zone=ZoneInfo("Europe/Prague"))
DAY = dt.timedelta(days=1)


def asked(**fields: Any) -> ApprovalAsked:
    return ApprovalAsked(**fields)


def transfer(amount: str = "12.50", currency: str = "EUR", **fields: Any) -> TransactionRequest:
    return request(**{"debtor": "A", "creditor": "B", "amount": amount, "currency": currency, **fields})


@pytest.mark.parametrize(("amount", "needed"), [("1000.00", False), ("1000.01", True)])
def test_what_is_above_the_threshold_needs_an_approval_before_anything_is_posted(amount: str, needed: bool) -> None:
    approval = RULES.applied_to(transfer(amount)).approval
    assert approval == (Approval(expires_at=NOW + DAY) if needed else None)


def test_a_tenant_may_have_a_threshold_of_its_own() -> None:
    assert RULES.applied_to(transfer("10.01", tenant="small")).approval is not None
    assert RULES.applied_to(transfer("10.00", tenant="small")).approval is None
    assert RULES.applied_to(transfer("1", "JPY", tenant="small")).approval is not None  # where it has none, everybody's counts


@pytest.mark.parametrize(
    ("fields", "needed"),
    [
        ({"currency": "CZK", "debtor": "A:EUR"}, True),
        ({"currency": "CZK", "creditor": "B:EUR"}, True),
        ({"currency": "CZK"}, False),
        ({"currency": "EUR", "creditor": "B:CZK"}, False),
    ],
)
def test_a_currency_without_a_threshold_is_no_way_around_the_one_of_an_account(fields: dict[str, Any], needed: bool) -> None:
    assert (RULES.applied_to(transfer("1.00", **fields)).approval is not None) is needed


def test_a_caller_may_ask_for_an_approval_and_say_how_long_it_is_waited_for() -> None:
    assert RULES.applied_to(transfer(approval_asked=asked())).approval == Approval(expires_at=NOW + DAY)
    before_credit = asked(expires_in_seconds=60, before="credit")
    found = RULES.applied_to(transfer(approval_asked=before_credit)).approval
    assert found == Approval(expires_at=NOW + dt.timedelta(minutes=1), before=ApprovalStage.CREDIT)


@pytest.mark.parametrize("seconds", [-1, 0, 90 * 86_400 + 1])
def test_an_approval_can_be_waited_for_during_90_days_at_most(seconds: int) -> None:
    with pytest.raises(InvalidInputError, match=r"approval\.expires_in must be"):
        RULES.applied_to(transfer(approval_asked=asked(expires_in_seconds=seconds)))


def test_a_caller_can_not_weaken_what_a_threshold_demands() -> None:
    with pytest.raises(InvalidInputError, match="approved before anything is posted"):
        RULES.applied_to(transfer("1000.01", approval_asked=asked(before="credit")))


_ALL_AT_ONCE: list[dict[str, Any]] = [
    {"fee": Money(minor_units=50, currency="EUR")},
    {"balancing": True},
    {"hold_id": str(uuid.uuid4())},
    {"reverses": str(uuid.uuid4())},
    {"override": Override(by="operator", reason="agreed")},
    {
        "creditor": None,
        "shares": (Share(account=AccountRef(account_id="B", currency="EUR"), amount=Money(minor_units=1250, currency="EUR")),),
    },
]


@pytest.mark.parametrize("fields", _ALL_AT_ONCE, ids=lambda fields: next(reversed(fields)))
def test_what_is_posted_all_at_once_can_wait_before_it_but_not_in_the_middle(fields: dict[str, Any]) -> None:
    found = RULES.applied_to(transfer(**fields, approval_asked=asked()))
    assert found.approval == Approval(expires_at=NOW + DAY)
    with pytest.raises(InvalidInputError, match=r"approval\.before must be posting: .* posted at once"):
        RULES.applied_to(transfer(**fields, approval_asked=asked(before="credit")))


@pytest.mark.parametrize("side", ["debtor", "creditor"])
def test_only_a_transfer_has_a_credit_that_can_wait(side: str) -> None:
    with pytest.raises(InvalidInputError, match="has no credit after its debit"):
        RULES.applied_to(request(**{side: "A"}, approval_asked=asked(before="credit")))


@pytest.mark.parametrize(
    ("date", "begins_at"),
    [
        (None, None),
        (TODAY, None),  # it has begun
        (TODAY + DAY, dt.datetime(2026, 3, 2, 23, tzinfo=dt.UTC)),
        (dt.date(2026, 7, 1), dt.datetime(2026, 6, 30, 22, tzinfo=dt.UTC)),  # summer time by then
    ],
)
def test_a_day_begins_at_midnight_of_the_banks_time_zone(date: dt.date | None, begins_at: dt.datetime | None) -> None:
    assert PRAGUE.applied_to(transfer(requested_execution_date=date)).executes_at == begins_at


def test_today_is_today_in_the_banks_time_zone() -> None:
    late = dt.datetime(2026, 3, 2, 23, 30, tzinfo=dt.UTC)  # the third of March in Prague
    with pytest.raises(InvalidInputError, match="must be 2026-03-03"):
        PRAGUE.applied_to(transfer(requested_execution_date=dt.date(2026, 3, 2), submitted_at=late))


@pytest.mark.parametrize(("days", "fits"), [(-1, False), (0, True), (365, True), (366, False)])
def test_a_date_lies_neither_in_the_past_nor_too_far_ahead(days: int, fits: bool) -> None:
    dated = transfer(requested_execution_date=TODAY + days * DAY)
    if fits:
        assert RULES.applied_to(dated).requested_execution_date == TODAY + days * DAY
    else:
        with pytest.raises(InvalidInputError, match=r"requested_execution_date must be 2026-03-02 \(today in UTC\)"):
            RULES.applied_to(dated)


def test_an_approval_must_come_before_the_execution_day_is_over() -> None:
    dated = transfer("2000.00", requested_execution_date=TODAY)
    midnight = dt.datetime(2026, 3, 3, tzinfo=dt.UTC)
    assert RULES.applied_to(dated).approval == Approval(expires_at=midnight)
    later = transfer("2000.00", requested_execution_date=TODAY + 30 * DAY)
    assert RULES.applied_to(later).approval == Approval(expires_at=NOW + DAY)


def test_an_approval_before_the_credit_is_waited_for_from_the_execution_date_on() -> None:
    dated = transfer(requested_execution_date=TODAY + DAY, approval_asked=asked(before="credit"))
    found = RULES.applied_to(dated)
    assert found.approval == Approval(expires_at=dt.datetime(2026, 3, 4, tzinfo=dt.UTC), before=ApprovalStage.CREDIT)
    assert found.waits_between_legs


def test_what_the_bank_demands_is_no_part_of_the_fingerprint_and_what_the_caller_asks_for_is() -> None:
    plain, large = transfer(), transfer("2000.00")
    assert RULES.applied_to(large).fingerprint == large.fingerprint
    wishes = [
        plain,
        transfer(approval_asked=asked()),
        transfer(approval_asked=asked(expires_in_seconds=60)),
        transfer(approval_asked=asked(before="credit")),
        transfer(requested_execution_date=TODAY),
        transfer(requested_execution_date=TODAY + DAY),
    ]
    assert len({wish.fingerprint for wish in wishes}) == len(wishes)
    assert len({PRAGUE.applied_to(wish).fingerprint for wish in wishes}) == len(wishes)


def test_settings_say_what_waits() -> None:
    settings = Settings(
        approval_thresholds={"EUR": "10000.00"},
        approval_expires_in=dt.timedelta(hours=1),
        time_zone="Europe/Prague",
        execution_days_ahead=5,
    )
    rules = settings.waiting_rules
    assert rules == WaitingRules(
        ApprovalThresholds({"EUR": 1_000_000}), dt.timedelta(hours=1), ZoneInfo("Europe/Prague"), most_days_ahead=5
    )


def test_settings_are_read_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CASAFLOW_APPROVAL_THRESHOLDS", '{"EUR": "10000.00", "bank-2": {"JPY": "0"}}')
    monkeypatch.setenv("CASAFLOW_APPROVAL_EXPIRES_IN", "PT2H")
    rules = Settings().waiting_rules
    assert rules.thresholds == ApprovalThresholds({"EUR": 1_000_000}, {"bank-2": {"JPY": 0}})
    assert rules.approval_expires_in == dt.timedelta(hours=2)


@pytest.mark.parametrize(
    "wrong",
    [
        {"approval_thresholds": {"EUR": 10000.0}},
        {"approval_thresholds": {"EUR": "10.001"}},
        {"approval_thresholds": {"XYZ": "0"}},
        {"approval_thresholds": {"bank-2": {"XYZ": "1"}}},
        {"time_zone": "Europe/Nowhere"},
        {"approval_expires_in": dt.timedelta(0)},
    ],
)
def test_settings_that_mean_nothing_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings(**wrong)
