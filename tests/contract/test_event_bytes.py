"""The events as they are published, byte for byte: headers, key and data. A changed byte is a decision, since consumers read them.

To record them again after such a decision: ``CASAFLOW_RECORD_GOLDEN=1 ./run test tests/contract``.
"""

from __future__ import annotations

import datetime as dt
import os
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.cloud_events import headers_of
from ledger.accounts import AccountStatus
from ledger.balances import AccountStateV1
from ledger.decisions import LegName
from ledger.event_writer import EventWriter, events_of_leg
from ledger.events import Event, hold_captured, hold_event
from ledger.holds import Hold, HoldStatus
from ledger.money import Money
from ledger.postings import compensation_posting, credit_posting, first_posting, linked_posting
from ledger.rates import convert
from ledger.requests import AccountRef, Override, Share, TransactionRequest
from ledger.results import TransactionStatus
from tests.unit.ledger.builders import NOW, TODAY, TRANSACTION_ID, posted, rate, refused, request

GOLDEN = Path(__file__).parents[2] / "infra" / "kafka" / "examples"
"""In a package, since the AsyncAPI document shows them as examples."""
REVERSAL_ID = "5f7c7a52-3d53-4b7e-9a0e-6a1d53c2b0de"
DETAILS: dict[str, Any] = {"reference": "rent 11/26", "remittance_information": "Miete für März", "metadata": {"channel": "branch"}}


def _events() -> dict[str, Event]:
    asked = request(debtor="A", creditor="B:CZK", **DETAILS)
    conversion = convert(asked.amount, rate("EUR", "CZK", "24.5"))
    debit = first_posting(asked, conversion=conversion, booking_date=TODAY)
    debited = posted(LegName.DEBIT, "A", debit.amount, version=7, ledger_after=-250, available_after=750)
    credit = credit_posting(debit, debited, conversion=conversion)
    credited = posted(LegName.CREDIT, "B", credit.amount, conversion=conversion)
    frozen = refused(credit)
    compensation = compensation_posting(debit, debited, frozen)
    deposit = first_posting(request(creditor="B"), conversion=None, booking_date=TODAY)
    (debit_event,) = events_of_leg(debit, debited)
    credit_event, completed = events_of_leg(credit, credited)
    _, reversed_ = events_of_leg(compensation, posted(LegName.COMPENSATION, "A", debit.amount))
    (rejected,) = events_of_leg(deposit, refused(deposit))
    return {
        "debited": debit_event,
        "credited": credit_event,
        "completed": completed,
        "reversed": reversed_,
        "rejected": rejected,
        **_linked_events(),
        **_hold_events(),
        "balance": AccountStateV1.of(
            tenant="main",
            account_id="A",
            currency="EUR",
            status=AccountStatus.ACTIVE,
            version=7,
            as_of=NOW,
            debited=125_000,
            held=15_000,
            ledger_balance=-250,
            available_balance=84_750,
        ).event(),
    }


def _hold_events() -> dict[str, Event]:
    """Of a hold of which a part was captured, and of its last capture, which gives the rest back."""

    def money(minor_units: int) -> Money:
        return Money(minor_units=minor_units, currency="EUR")

    authorised = Hold(
        tenant="main",
        hold_id=REVERSAL_ID,
        account_id="A",
        amount=money(40_000),
        captured=money(0),
        status=HoldStatus.OPEN,
        created_at=NOW,
        expires_at=NOW + dt.timedelta(days=7),
        reference="hotel Ostrava",
        authorised_by="teller",
    )
    later = {"captured": money(15_000), "closed_at": NOW + dt.timedelta(hours=1)}
    captured = authorised.model_copy(update={**later, "captured": money(25_000), "status": HoldStatus.CAPTURED})
    return {
        "hold-authorised": hold_event(authorised),
        "hold-captured": hold_captured(
            captured, transaction_id=TRANSACTION_ID, capture=money(10_000), released=money(15_000), at=NOW + dt.timedelta(hours=1)
        ),
        "hold-voided": hold_event(authorised.model_copy(update={**later, "status": HoldStatus.VOIDED})),
        "hold-expired": hold_event(
            authorised.model_copy(update={**later, "status": HoldStatus.EXPIRED, "closed_at": authorised.expires_at})
        ),
    }


def _linked_events() -> dict[str, Event]:
    """Of a transfer with a fee, of one with several creditors, and of a reversal by an operator's word."""
    with_fee = _together(
        request(debtor="A", creditor="B", fee=Money(minor_units=50, currency="EUR"), **DETAILS),
        {"version": 7, "ledger_after": 1_000, "available_after": 1_000},
        {"version": 8, "ledger_after": 950, "available_after": 950},
        {},
    )
    parts = (("B", 1_000), ("C", 250))
    shares = tuple(
        Share(account=AccountRef(account_id=name, currency="EUR"), amount=Money(minor_units=part, currency="EUR")) for name, part in parts
    )
    shared = _together(request(debtor="A", shares=shares), {"version": 9, "ledger_after": 0, "available_after": 0}, {}, {})
    override = Override(by="operator", reason="sent to the wrong account")
    reversal = _together(
        request(debtor="B", creditor="A", reverses=TRANSACTION_ID, override=override, transaction_id=REVERSAL_ID),
        {"version": 1, "ledger_after": -250, "available_after": -250},
        {},
    )
    return {
        "fee-debited": with_fee[1],
        "linked-completed": with_fee[-1],
        "share-credited": shared[1],
        "shared-completed": shared[-1],
        "reversal-debited": reversal[0],
        "reversal-completed": reversal[-1],
    }


def _together(asked: TransactionRequest, *after: dict[str, int]) -> list[Event]:
    legs = linked_posting(asked, conversion=None, booking_date=TODAY).legs
    decisions = [posted(leg.leg, leg.account_id, leg.amount, **fields) for leg, fields in zip(legs, after, strict=True)]
    written = EventWriter(asked).events(decisions, status=TransactionStatus.COMPLETED, reason=None)
    return [Event.model_validate(event._asdict()) for event in written]


def _bytes(event: Event) -> bytes:
    headers = b"".join(name.encode() + b": " + value + b"\n" for name, value in headers_of(event))
    return b"topic: " + event.topic.encode() + b"\nkey: " + event.key.encode() + b"\n" + headers + b"\n" + event.data.encode() + b"\n"


@pytest.mark.parametrize("name", list(_events()))
def test_an_event_has_exactly_these_bytes(name: str) -> None:
    file = GOLDEN / f"{name}.v1.txt"
    content = _bytes(_events()[name])
    if os.environ.get("CASAFLOW_RECORD_GOLDEN"):
        file.write_bytes(content)
    assert content == file.read_bytes(), f"{file.name} differs: consumers read these bytes. A field may be added; all else is a new type"


def test_no_example_is_left_without_its_event() -> None:
    assert {file.name for file in GOLDEN.iterdir()} == {f"{name}.v1.txt" for name in _events()}
