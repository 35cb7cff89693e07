"""Runs that settle what another run has left: nothing of it is lost, and nothing happens twice."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from ledger import visibility
from ledger.accounts import AccountStatus
from ledger.decisions import LegName
from ledger.money import Money
from ledger.postings import first_posting, linked_posting
from ledger.refusals import RefusalCode
from ledger.results import TransactionStatus
from tests.unit.ledger.builders import TODAY, request
from tests.workflow.conftest import Bank, search_attribute

COMPLETED, REJECTED, REVERSED = TransactionStatus.COMPLETED, TransactionStatus.REJECTED, TransactionStatus.REVERSED
FEE = Money(minor_units=50, currency="EUR")


@pytest.mark.parametrize(
    "fields",
    [
        {"creditor": "B"},
        {"debtor": "A"},
        {"debtor": "A", "creditor": "B"},
        {"debtor": "A", "creditor": "B:CZK"},
        {"debtor": "A", "creditor": "B", "linked": True},
        {"debtor": "A", "creditor": "B", "fee": FEE},
    ],
    ids=repr,
)
async def test_what_was_not_begun_is_rejected_as_abandoned(bank: Bank, fields: dict[str, Any]) -> None:
    handle = await bank.start(**fields, settles="terminated")
    result = await handle.result()
    assert result.reason is not None
    assert (result.status, result.reason.code) == (REJECTED, RefusalCode.ABANDONED)
    assert result.reason.detail == "its workflow was terminated before anything was posted"
    assert not bank.ledger.decisions
    assert bank.publisher.types(result.transaction_id) == ["accounting.transaction-rejected"]
    assert await search_attribute(handle, visibility.REASON) == "abandoned"


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize(("creditor_status", "status"), [(AccountStatus.ACTIVE, COMPLETED), (AccountStatus.CLOSED, REVERSED)])
async def test_what_is_half_done_is_completed_or_compensated(
    bank: Bank, creditor_status: AccountStatus, status: TransactionStatus, linked: bool
) -> None:
    asked = request(debtor="A", creditor="B", transaction_id=str(uuid.uuid4()))
    await bank.ledger.post(first_posting(asked, conversion=None, booking_date=TODAY))
    bank.ledger.open("B", status=creditor_status)
    result = await bank.carry_out(debtor="A", creditor="B", transaction_id=asked.transaction_id, settles="terminated", linked=linked)
    assert result.status is status
    assert bank.balance("A") + bank.balance("B") == 10_000
    assert bank.publisher.types(result.transaction_id)[-1] == f"accounting.transaction-{status}"


async def test_what_has_ended_keeps_its_outcome_and_its_waiting_events_are_published(bank: Bank) -> None:
    asked = request(debtor="A", creditor="B", fee=FEE, transaction_id=str(uuid.uuid4()))
    await bank.ledger.post_linked(linked_posting(asked, conversion=None, booking_date=TODAY))
    result = await bank.carry_out(debtor="A", creditor="B", fee=FEE, transaction_id=asked.transaction_id, settles="failed")
    assert result.status is COMPLETED
    assert bank.ledger.calls["linked"] == 1
    assert bank.publisher.types(result.transaction_id)[-1] == "accounting.transaction-completed"


async def test_a_leg_that_is_still_on_its_way_when_its_transaction_is_settled_is_carried_on(bank: Bank) -> None:
    transaction_id = str(uuid.uuid4())
    bank.ledger.gates[LegName.CREDIT].clear()
    first = await bank.start(debtor="A", creditor="B", transaction_id=transaction_id)
    await bank.ledger.entered[LegName.CREDIT].wait()
    await first.terminate()
    settling = await bank.start(debtor="A", creditor="B", transaction_id=transaction_id, settles="terminated")
    bank.ledger.open_gates()
    assert (await settling.result()).status is COMPLETED
    assert (bank.balance("A"), bank.balance("B")) == (8_750, 1_250)
