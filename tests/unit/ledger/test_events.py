"""Events: which ones a decision brings, and that they are the same on every retry."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ledger.decisions import LegName
from ledger.events import CREDITED_V1, DEBITED_V1, TOPIC_BALANCE_UPDATED, TOPIC_TRANSACTION_FINISHED, Event, events_of_leg
from ledger.postings import compensation_posting, credit_posting, first_posting
from ledger.rates import convert
from tests.unit.ledger.builders import TODAY, TRANSACTION_ID, posted, rate, refused, request

COMPLETED = "casaflow.accounting.transaction-completed.v1"
REJECTED = "casaflow.accounting.transaction-rejected.v1"
REVERSED = "casaflow.accounting.transaction-reversed.v1"


def data(event: Event) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(event.data)
    return content


def test_a_posted_deposit_brings_its_credit_and_its_completion() -> None:
    posting = first_posting(request(creditor="B"), conversion=None, booking_date=TODAY)
    credited, completed = events_of_leg(posting, posted(LegName.CREDIT, "B", posting.amount))
    assert (credited.topic, credited.type, credited.key) == (TOPIC_BALANCE_UPDATED, CREDITED_V1, "main/B")
    assert (completed.topic, completed.type, completed.key) == (TOPIC_TRANSACTION_FINISHED, COMPLETED, f"main/{TRANSACTION_ID}")
    assert credited.source == "/casaflow/tenants/main"
    assert data(credited)["version"] is None
    assert data(credited)["ledger_balance_after"] is None
    assert data(completed)["status"] == "completed"


def test_a_debit_event_carries_its_version_and_the_balances_after_it() -> None:
    posting = first_posting(request(debtor="A"), conversion=None, booking_date=TODAY)
    debited, _ = events_of_leg(posting, posted(LegName.DEBIT, "A", posting.amount, version=7, ledger_after=-250, available_after=750))
    assert debited.type == DEBITED_V1
    assert data(debited)["version"] == 7
    assert data(debited)["ledger_balance_after"] == {"value": "-2.50", "currency": "EUR"}
    assert data(debited)["available_balance_after"] == {"value": "7.50", "currency": "EUR"}


def test_a_refused_first_leg_brings_only_the_rejection_with_its_reason() -> None:
    posting = first_posting(request(debtor="A", creditor="B"), conversion=None, booking_date=TODAY)
    (rejected,) = events_of_leg(posting, refused(posting))
    assert rejected.type == REJECTED
    assert data(rejected)["reason"] == {"code": "account-frozen", "detail": "account A is frozen", "account_id": "A"}


def test_the_last_event_of_a_compensated_transfer_tells_all_three_legs() -> None:
    debit = first_posting(request(debtor="A", creditor="B"), conversion=None, booking_date=TODAY)
    debited = posted(LegName.DEBIT, "A", debit.amount)
    (only_the_leg,) = events_of_leg(debit, debited)
    credit = credit_posting(debit, debited, conversion=None)
    assert events_of_leg(credit, refused(credit)) == ()
    compensation = compensation_posting(debit, debited, refused(credit))
    credited_back, reversed_ = events_of_leg(compensation, posted(LegName.COMPENSATION, "A", debit.amount))
    assert [event.type for event in (only_the_leg, credited_back, reversed_)] == [DEBITED_V1, CREDITED_V1, REVERSED]
    assert [(leg["leg"], leg["outcome"]) for leg in data(reversed_)["legs"]] == [
        ("debit", "posted"),
        ("credit", "refused"),
        ("compensation", "posted"),
    ]
    assert data(reversed_)["reason"]["code"] == "account-frozen"


def test_events_carry_all_details_of_a_conversion() -> None:
    asked = request(creditor="B:JPY", amount="10.00", reference="INV 7", metadata={"channel": "branch"})
    conversion = convert(asked.amount, rate("EUR", "JPY", "160.12"))
    posting = first_posting(asked, conversion=conversion, booking_date=TODAY)
    credited, _ = events_of_leg(posting, posted(LegName.CREDIT, "B", posting.amount, conversion=conversion))
    told = data(credited)
    assert told["instruction"]["instructed"] == {"value": "10.00", "currency": "EUR"}
    assert told["amount"] == {"value": "1601", "currency": "JPY"}
    assert told["conversion"]["rate"] == "160.12"
    assert told["conversion"]["residual"] == "0.2000"
    assert told["instruction"]["metadata"] == {"channel": "branch"}


@pytest.mark.parametrize("creditor", ["B", "C"])
def test_event_ids_follow_from_transaction_type_and_leg(creditor: str) -> None:
    posting = first_posting(request(creditor=creditor), conversion=None, booking_date=TODAY)
    decision = posted(LegName.CREDIT, creditor, posting.amount)
    assert events_of_leg(posting, decision) == events_of_leg(posting, decision)
    assert len({event.event_id for event in events_of_leg(posting, decision)}) == 2
