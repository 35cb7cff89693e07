"""A cancel counts until posting begins, and never after it."""

from __future__ import annotations

import asyncio
import uuid
from decimal import Decimal

import pytest
from temporalio import workflow
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.worker import Worker

from activities.casa import CasaActivities
from ledger import visibility
from ledger.accounts import AccountStatus
from ledger.commands import RETRY
from ledger.decisions import LegName
from ledger.errors import UnavailableError
from ledger.postings import first_posting
from ledger.refusals import RefusalCode
from ledger.requests import TransactionRequest
from ledger.results import TransactionStatus
from tests.unit.ledger.builders import TODAY, request
from tests.workflow.conftest import Bank, Handle, eventually, search_attribute
from tests.workflow.fakes import Hang
from tests.workflow.operators import command
from workflows import policies
from workflows.runner import workflow_runner
from workflows.transaction import TransactionWorkflow


@workflow.defn(name="Unshielded", sandboxed=False)
class Unshielded:
    """Posts as one would at first: without anything against a cancel."""

    @workflow.run
    async def run(self, asked: TransactionRequest) -> str:
        posting = first_posting(asked, conversion=None, booking_date=TODAY)
        decision = await workflow.execute_local_activity_method(
            CasaActivities.post, posting, start_to_close_timeout=policies.POSTING.local_attempt, retry_policy=policies.POSTING.local_retry
        )
        await workflow.sleep(1)
        return decision.outcome


async def _ends_rejected_as_cancelled(bank: Bank, handle: Handle) -> None:
    result = await handle.result()
    assert result.status is TransactionStatus.REJECTED
    assert result.reason is not None
    assert result.reason.code is RefusalCode.CANCELLED
    assert bank.ledger.results[result.transaction_id] == result
    assert not bank.ledger.decisions
    assert bank.publisher.types(result.transaction_id) == ["accounting.transaction-rejected"]
    assert await search_attribute(handle, visibility.REASON) == "cancelled"
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_a_cancel_before_any_worker_saw_the_transaction_rejects_it(bank: Bank) -> None:
    idle = Bank(bank.environment, ledger=bank.ledger, publisher=bank.publisher)  # its task queue has no worker yet
    handle = await idle.start(debtor="A", creditor="B")
    await handle.cancel()
    async with idle.worker():
        await _ends_rejected_as_cancelled(idle, handle)


@pytest.mark.parametrize("locally", [True, False])
async def test_a_cancel_while_the_rate_is_awaited_rejects_the_transaction(bank: Bank, locally: bool) -> None:
    if not locally:
        bank.rates.faults.next.extend([UnavailableError(part="exchange-rates", detail="refused")] * 2)
    bank.rates.faults.for_good = Hang()
    handle = await bank.start(debtor="A", creditor="B:CZK")
    await eventually(lambda: bank.rates.calls >= (1 if locally else 3))
    await handle.cancel()
    await _ends_rejected_as_cancelled(bank, handle)


@pytest.mark.parametrize("creditor_status", [AccountStatus.ACTIVE, AccountStatus.CLOSED])
@pytest.mark.parametrize("leg", [LegName.DEBIT, LegName.CREDIT])
async def test_a_cancel_during_posting_changes_nothing(bank: Bank, leg: LegName, creditor_status: AccountStatus) -> None:
    # The server refuses to end a workflow whose cancel it has not shown yet, and the task is played again from its beginning: the
    # second time the cancel stands before the posting. The ledger knows better.
    bank.ledger.open("B", status=creditor_status)
    bank.ledger.gates[leg].clear()
    handle = await bank.start(debtor="A", creditor="B")
    await bank.ledger.entered[leg].wait()
    await handle.cancel()
    await asyncio.sleep(0.2)
    bank.ledger.open_gates()
    result = await handle.result()
    expected = TransactionStatus.COMPLETED if creditor_status is AccountStatus.ACTIVE else TransactionStatus.REVERSED
    assert result.status is expected
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert bank.balance("A") + bank.balance("B") == 10_000
    assert bank.publisher.types(result.transaction_id)[-1] == f"accounting.transaction-{expected}"


async def test_a_lost_attempt_that_had_posted_is_carried_on_though_a_cancel_came_meanwhile(bank: Bank) -> None:
    idle = Bank(bank.environment, ledger=bank.ledger, rates=bank.rates, publisher=bank.publisher)  # its task queue has no worker yet
    asked = request(transaction_id=str(uuid.uuid4()), debtor="A", creditor="B:CZK")
    handle = await idle.start(transaction_id=asked.transaction_id, debtor="A", creditor="B:CZK")
    await bank.ledger.post(first_posting(asked, conversion=None, booking_date=TODAY))
    await handle.cancel()
    bank.rates.per_euro.clear()
    async with idle.worker():
        # The rate that the credit needs is gone now: the money in transit is shown, and waits.
        await eventually(lambda: _is_parked(handle))
        assert (bank.balance("A"), bank.balance("B")) == (8_750, 0)
        bank.rates.per_euro["CZK"] = Decimal(30)
        await command(handle, RETRY)
        result = await handle.result()
    assert result.status is TransactionStatus.COMPLETED
    assert (bank.balance("A"), bank.balance("B")) == (8_750, 37_500)


async def _is_parked(handle: Handle) -> bool:
    return (await handle.query(TransactionWorkflow.current)).status is TransactionStatus.PARKED


async def test_a_cancel_while_an_ordinary_activity_posts_changes_nothing(bank: Bank) -> None:
    bank.ledger.faults["debit"].next.extend([UnavailableError(part="postgres", detail="refused")] * 2)
    handle = await bank.start(debtor="A", creditor="B")
    await eventually(lambda: bank.ledger.calls["debit"] >= 2)
    bank.ledger.gates[LegName.DEBIT].clear()
    await eventually(lambda: bank.ledger.calls["debit"] >= 3)
    await handle.cancel()
    await asyncio.sleep(0.2)
    bank.ledger.open_gates()
    assert (await handle.result()).status is TransactionStatus.COMPLETED


async def test_a_cancel_during_publishing_changes_nothing(bank: Bank) -> None:
    bank.publisher.faults.for_good = UnavailableError(part="kafka", detail="refused")
    handle = await bank.start(debtor="A", creditor="B")
    await eventually(lambda: bank.publisher.calls >= 2)
    await handle.cancel()
    await handle.cancel()
    await asyncio.sleep(0.2)
    bank.publisher.faults.for_good = None
    result = await handle.result()
    assert result.status is TransactionStatus.COMPLETED
    assert len(bank.publisher.types(result.transaction_id)) == 3


async def test_without_protection_a_posted_transaction_would_end_as_cancelled(bank: Bank) -> None:
    # Why `uninterrupted` exists: should this ever change in the SDK, the protection can go.
    casa = CasaActivities(bank.ledger)
    queue = f"{bank.task_queue}-unshielded"
    async with Worker(bank.client, task_queue=queue, workflows=[Unshielded], activities=[casa.post], workflow_runner=workflow_runner()):
        bank.ledger.gates[LegName.CREDIT].clear()
        handle = await bank.client.start_workflow(Unshielded.run, request(creditor="B"), id=queue, task_queue=queue)
        await bank.ledger.entered[LegName.CREDIT].wait()
        await handle.cancel()
        bank.ledger.open_gates()
        with pytest.raises(WorkflowFailureError):
            await handle.result()
    assert bank.balance("B") == 1250
    assert (await handle.describe()).status is WorkflowExecutionStatus.CANCELED
