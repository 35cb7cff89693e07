"""Local activities give way to ordinary ones when a part refuses or hangs; nothing is posted twice."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from contextlib import suppress

import pytest
from temporalio.client import WorkflowFailureError

from activities.notification import OUTAGE_MEMORY_SECONDS
from ledger.accounts import AccountStatus
from ledger.errors import CasaflowError, LedgerIntegrityError, UnavailableError
from ledger.refusals import RefusalCode
from ledger.results import TransactionStatus
from tests.workflow.conftest import Bank, Handle, eventually
from tests.workflow.fakes import Faults, Hang
from workflows import policies

REFUSES = UnavailableError(part="a part", detail="refused")

SERVICES = {
    "debit": "casa.post",
    "credit": "casa.post",
    "compensation": "casa.post",
    "reject": "casa.reject",
    "outbox": "notification.publish",
    "publisher": "notification.publish",
    "rates": "exchange_rate.quote",
}
"""What may fail, and the activity that needs it."""


async def ordinary_activities(handle: Handle) -> Counter[str]:
    """Names of the ordinary activities in a workflow's history; local ones leave no such event."""
    history = await handle.fetch_history()
    names = [event.activity_task_scheduled_event_attributes.activity_type.name for event in history.events]
    return Counter(name for name in names if name)


def _faults(bank: Bank, part: str) -> Faults:
    return {"publisher": bank.publisher.faults, "rates": bank.rates.faults, **bank.ledger.faults}[part]


async def _transaction_that_needs(bank: Bank, part: str) -> Handle:
    if part == "compensation":
        bank.ledger.open("B", status=AccountStatus.CLOSED)
    if part == "reject":
        return await bank.start(creditor="B:XPF")
    return await bank.start(debtor="A", creditor="B:CZK" if part == "rates" else "B")


def _expected(part: str) -> TransactionStatus:
    return {"compensation": TransactionStatus.REVERSED, "reject": TransactionStatus.REJECTED}.get(part, TransactionStatus.COMPLETED)


@pytest.mark.parametrize("part", SERVICES)
async def test_a_part_that_refuses_for_a_while_only_delays(bank: Bank, part: str) -> None:
    _faults(bank, part).next.extend([REFUSES] * 5)
    handle = await _transaction_that_needs(bank, part)
    result = await handle.result()
    assert result.status is _expected(part)
    assert await ordinary_activities(handle) == {SERVICES[part]: 1}
    kinds = bank.publisher.types(result.transaction_id)
    assert len(kinds) == len(set(kinds))


@pytest.mark.parametrize("part", ["debit", "credit", "publisher"])
async def test_one_failed_attempt_of_posting_is_mended_locally_and_publishing_gives_way_at_once(bank: Bank, part: str) -> None:
    _faults(bank, part).next.append(REFUSES)
    handle = await _transaction_that_needs(bank, part)
    await handle.result()
    assert await ordinary_activities(handle) == ({SERVICES[part]: 1} if part == "publisher" else {})


@pytest.mark.parametrize("after_the_work", [False, True])
@pytest.mark.parametrize("part", ["debit", "credit"])
async def test_a_hanging_posting_is_settled_by_posting_the_same_leg_again(bank: Bank, part: str, after_the_work: bool) -> None:
    _faults(bank, part).next.append(Hang(after_the_work=after_the_work))
    handle = await _transaction_that_needs(bank, part)
    assert (await handle.result()).status is TransactionStatus.COMPLETED
    assert (bank.balance("A"), bank.balance("B")) == (8750, 1250)
    assert bank.ledger.calls[part] == 2


async def test_a_port_that_keeps_hanging_leaves_the_workflow_task_in_time(bank: Bank) -> None:
    _faults(bank, "debit").next.extend([Hang()] * 2)
    handle = await bank.start(debtor="A")
    assert (await handle.result()).status is TransactionStatus.COMPLETED
    history = await handle.fetch_history()
    assert not [event for event in history.events if event.HasField("workflow_task_timed_out_event_attributes")]
    assert await ordinary_activities(handle) == {"casa.post": 1}
    assert bank.balance("A") == 8750


@pytest.mark.parametrize("failure", [UnavailableError(part="postgres", detail="refused"), LedgerIntegrityError("refused")], ids=type)
async def test_what_a_driver_says_of_its_statement_and_parameters_stays_out_of_the_history(bank: Bank, failure: CasaflowError) -> None:
    failure.__cause__ = RuntimeError("[parameters: {'remittance_information': 'private'}]")
    bank.ledger.faults["debit"].next.extend([failure] * 3)
    handle = await bank.start(debtor="A")
    with suppress(WorkflowFailureError):
        await handle.result()
    history = (await handle.fetch_history()).to_json()
    assert "refused" in history
    assert "private" not in history


async def test_a_workflow_that_is_replayed_after_its_local_attempts_timed_out_goes_on_where_it_was(bank: Bank) -> None:
    # A replay gives a time-out of a local activity another type than the running workflow saw.
    forgetful = Bank(bank.environment, ledger=bank.ledger, publisher=bank.publisher)
    _faults(bank, "debit").next.extend([Hang()] * 2)
    _faults(bank, "publisher").next.append(Hang())
    async with forgetful.worker(max_cached_workflows=0):
        handle = await forgetful.start(debtor="A")
        async with asyncio.timeout(30):
            assert (await handle.result()).status is TransactionStatus.COMPLETED
    assert await ordinary_activities(handle) == {"casa.post": 1, "notification.publish": 1}


async def test_a_rate_that_never_comes_rejects_the_transaction_at_the_deadline(skipping_bank: Bank) -> None:
    bank = skipping_bank
    bank.rates.faults.for_good = REFUSES
    handle = await bank.start(debtor="A", creditor="B:CZK")
    result = await handle.result()
    assert result.status is TransactionStatus.REJECTED
    assert result.reason is not None
    assert result.reason.code is RefusalCode.RATE_UNAVAILABLE
    assert not bank.ledger.decisions
    description = await handle.describe()
    assert description.close_time is not None
    assert policies.RATE.deadline is not None
    assert description.close_time - description.start_time <= policies.RATE.deadline * 1.1


async def test_once_publishing_failed_local_attempts_give_way_at_once_until_it_works_again(bank: Bank) -> None:
    bank.publisher.faults.next.append(Hang())
    bank.publisher.faults.for_good = REFUSES
    first = await bank.start(creditor="B")
    await eventually(lambda: bank.publisher.calls >= 2)  # the local attempt hung, an ordinary one failed: the outage is known
    started = time.monotonic()
    second = await bank.start(creditor="B")
    await eventually(lambda: ordinary_activities(second))
    assert time.monotonic() - started < policies.PUBLISHING.local_attempt.total_seconds() / 2
    bank.publisher.faults.for_good = None
    await first.result()
    await second.result()
    third = await bank.start(creditor="B")
    await third.result()
    assert await ordinary_activities(third) == {}
    assert policies.PUBLISHING.local_attempt.total_seconds() < OUTAGE_MEMORY_SECONDS


def test_local_attempts_end_well_before_the_workflow_task_does() -> None:
    for policy in (policies.RATE, policies.POSTING, policies.PUBLISHING):
        assert policy.local_retry.maximum_attempts > 0
        assert policy.local_total.total_seconds() <= 5
        assert policy.local_attempt < policy.local_total
        assert policy.retry.maximum_interval is not None
        assert policy.retry.maximum_interval.total_seconds() <= 10
