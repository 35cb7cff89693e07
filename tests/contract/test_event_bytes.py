"""The events as they are published, byte for byte: headers, key and data. A changed byte is a decision, since consumers read them.

To record them again after such a decision: ``CASAFLOW_RECORD_GOLDEN=1 ./run test tests/contract``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from infra.kafka.cloud_events import headers_of
from ledger.decisions import LegName
from ledger.events import Event, events_of_leg
from ledger.postings import compensation_posting, credit_posting, first_posting
from ledger.rates import convert
from tests.unit.ledger.builders import TODAY, posted, rate, refused, request

GOLDEN = Path(__file__).with_name("golden")
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
    return {"debited": debit_event, "credited": credit_event, "completed": completed, "reversed": reversed_, "rejected": rejected}


def _bytes(event: Event) -> bytes:
    headers = b"".join(name.encode() + b": " + value + b"\n" for name, value in headers_of(event))
    return b"topic: " + event.topic.encode() + b"\nkey: " + event.key.encode() + b"\n" + headers + b"\n" + event.data.encode() + b"\n"


@pytest.mark.parametrize("name", ["debited", "credited", "completed", "reversed", "rejected"])
def test_an_event_has_exactly_these_bytes(name: str) -> None:
    file = GOLDEN / f"{name}.v1.txt"
    content = _bytes(_events()[name])
    if os.environ.get("CASAFLOW_RECORD_GOLDEN"):
        file.write_bytes(content)
    assert content == file.read_bytes(), f"{file.name} differs: consumers read these bytes. A field may be added; all else is a new type"
