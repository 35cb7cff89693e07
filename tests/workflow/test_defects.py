"""Defects: visible at once while nothing is posted, parked for an operator once something is."""

from __future__ import annotations

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from ledger import visibility
from ledger.accounts import AccountStatus
from ledger.commands import RETRY
from ledger.errors import CasaflowError, LedgerIntegrityError, TransactionConflictError, UnavailableError, UnknownAccountError
from ledger.results import TransactionResult, TransactionStatus
from tests.workflow.conftest import Bank, Handle, eventually, search_attribute
from tests.workflow.operators import command
from workflows.transaction import TransactionWorkflow

DEFECTS = [
    LedgerIntegrityError("a check failed"),
    TransactionConflictError(transaction_id="t"),
    UnknownAccountError(field="debtor", account_id="A"),
]


@pytest.mark.parametrize("locally", [True, False])
@pytest.mark.parametrize("defect", DEFECTS, ids=lambda defect: type(defect).__name__)
async def test_a_defect_of_the_first_leg_fails_the_workflow_under_the_errors_own_name(
    bank: Bank, defect: CasaflowError, locally: bool
) -> None:
    if not locally:
        bank.ledger.faults["debit"].next.extend([UnavailableError(part="postgres", detail="refused")] * 2)
    bank.ledger.faults["debit"].next.append(defect)
    handle = await bank.start(debtor="A", creditor="B")
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == type(defect).__name__
    assert failed.value.cause.details[0] == defect.code
    assert (await handle.describe()).status is WorkflowExecutionStatus.FAILED
    assert await search_attribute(handle, visibility.REASON) == type(defect).__name__
    assert bank.ledger.calls["debit"] == (1 if locally else 3)
    assert not bank.ledger.decisions


async def _parked(handle: Handle) -> TransactionResult | None:
    result = await handle.query(TransactionWorkflow.current)
    return result if result.status is TransactionStatus.PARKED else None


@pytest.mark.parametrize("leg", ["credit", "compensation"])
async def test_a_defect_with_money_in_transit_parks_until_an_operator_asks_for_another_try(bank: Bank, leg: str) -> None:
    if leg == "compensation":
        bank.ledger.open("B", status=AccountStatus.CLOSED)
    bank.ledger.faults[leg].next.extend([DEFECTS[0], DEFECTS[0]])
    handle = await bank.start(debtor="A", creditor="B")
    parked = await eventually(lambda: _parked(handle))
    assert len(parked.legs) == (1 if leg == "credit" else 2)
    assert await search_attribute(handle, visibility.STATUS) == "parked"
    assert await search_attribute(handle, visibility.REASON) == "LedgerIntegrityError"

    await handle.cancel()  # can't strand the money either
    await command(handle, RETRY)
    await eventually(lambda: bank.ledger.calls[leg] >= 2)
    await eventually(lambda: _parked(handle))
    await command(handle, RETRY)
    result = await handle.result()
    assert result.status is (TransactionStatus.COMPLETED if leg == "credit" else TransactionStatus.REVERSED)
    assert bank.balance("A") + bank.balance("B") == 10_000
    assert await search_attribute(handle, visibility.STATUS) == result.status
    # What parked it is no outcome.
    assert await search_attribute(handle, visibility.REASON) == (result.reason.code if result.reason is not None else None)


async def test_a_bug_in_an_activity_is_retried_until_it_is_mended(bank: Bank) -> None:
    bank.ledger.faults["credit"].next.extend([TypeError("a bug")] * 4)
    assert (await bank.carry_out(creditor="B")).status is TransactionStatus.COMPLETED


async def test_a_workflow_that_is_put_out_of_memory_after_each_task_ends_the_same(bank: Bank) -> None:
    forgetful = Bank(bank.environment, ledger=bank.ledger, rates=bank.rates, publisher=bank.publisher)
    for part in ("debit", "credit", "compensation"):
        bank.ledger.faults[part].next.extend([UnavailableError(part="postgres", detail="refused")] * 3)
    bank.rates.faults.next.extend([UnavailableError(part="exchange-rates", detail="refused")] * 3)
    bank.ledger.open("B", status=AccountStatus.CLOSED)
    async with forgetful.worker(max_cached_workflows=0):
        result = await forgetful.carry_out(debtor="A", creditor="B:CZK")
    assert result.status is TransactionStatus.REVERSED
    assert bank.balance("A") == 10_000
    assert [bank.ledger.calls[leg] for leg in ("debit", "credit", "compensation")] == [4, 4, 4]
