"""A parked transaction: what an operator sees, what he can do, and that nobody else can."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from ledger import visibility
from ledger.accounts import AccountStatus
from ledger.commands import RETRY, REVERSE, SETTLE_TO, sign
from ledger.errors import LedgerIntegrityError
from ledger.postings import first_posting
from ledger.refusals import RefusalCode
from ledger.results import TransactionResult, TransactionStatus
from tests.unit.ledger.builders import TODAY, request
from tests.workflow.conftest import Bank, Handle, eventually, search_attribute
from tests.workflow.operators import SECRET, command, signed
from workflows.transaction import TransactionWorkflow

COMPLETED, PARKED, REVERSED = TransactionStatus.COMPLETED, TransactionStatus.PARKED, TransactionStatus.REVERSED
DEFECT = LedgerIntegrityError("a check failed")
TO_C: dict[str, Any] = {"account_id": "C", "currency": "EUR"}


async def _parked(handle: Handle) -> bool:
    return (await handle.query(TransactionWorkflow.current)).status is PARKED


async def _parked_transfer(bank: Bank, leg: str = "credit", *, times: int = 1, **fields: Any) -> Handle:
    bank.ledger.open("C")
    if leg == "compensation":
        bank.ledger.open("B", status=AccountStatus.CLOSED)
    bank.ledger.faults[leg].next.extend([DEFECT] * times)
    handle = await bank.start(**{"debtor": "A", "creditor": "B", **fields})
    await eventually(lambda: _parked(handle))
    return handle


async def _details(handle: Handle) -> str:
    described: Any = await handle.query("__temporal_workflow_metadata")
    return str(described.current_details)


def _done(bank: Bank) -> list[tuple[str, str, str | None]]:
    return [(action.action, action.by, action.reason) for action in bank.ledger.actions]


@pytest.mark.parametrize("leg", ["credit", "compensation"])
async def test_retry_tries_the_same_leg_again(bank: Bank, leg: str) -> None:
    handle = await _parked_transfer(bank, leg)
    result = await command(handle, RETRY)
    assert result == await handle.result()
    assert result.status is (COMPLETED if leg == "credit" else REVERSED)
    assert _done(bank) == [("retry", "olga", "agreed")]
    assert bank.balance("A") + bank.balance("B") == 10_000


@pytest.mark.parametrize("leg", ["credit", "compensation"])
async def test_reverse_gives_the_debtor_the_money_back(bank: Bank, leg: str) -> None:
    handle = await _parked_transfer(bank, leg)
    result = await command(handle, REVERSE, reason="the customer asked")
    assert result == await handle.result()
    assert result.reason is not None
    # Who was refused before is told for that reason, whatever the operator said.
    code = RefusalCode.REVERSED_BY_OPERATOR if leg == "credit" else RefusalCode.ACCOUNT_CLOSED
    assert (result.status, result.reason.code, result.legs[-1].leg) == (REVERSED, code, "compensation")
    assert (bank.balance("A"), bank.balance("B")) == (10_000, 0)
    assert _done(bank) == [("reverse", "olga", "the customer asked")]
    assert bank.publisher.types(result.transaction_id)[-1] == "accounting.transaction-reversed"


@pytest.mark.parametrize("leg", ["credit", "compensation"])
async def test_settle_to_credits_another_account(bank: Bank, leg: str) -> None:
    handle = await _parked_transfer(bank, leg)
    result = await command(handle, SETTLE_TO, **TO_C)
    assert result == await handle.result()
    assert (result.status, result.reason, result.legs[-1].account_id) == (COMPLETED, None, "C")
    assert (bank.balance("A"), bank.balance("B"), bank.balance("C")) == (8_750, 0, 1_250)
    assert bank.ledger.actions[0].detail == {"account_id": "C", "currency": "EUR"}
    assert bank.publisher.types(result.transaction_id)[-1] == "accounting.transaction-completed"


async def test_across_currencies_the_money_can_be_settled_in_either(bank: Bank) -> None:
    for currency, units in (("EUR", 1_250), ("CZK", 30_625)):
        handle = await _parked_transfer(bank, creditor="B:CZK")
        result = await command(handle, SETTLE_TO, account_id="C", currency=currency)
        assert (result.status, bank.balance("C")) == (COMPLETED, units)


async def test_an_account_that_refuses_the_money_parks_it_again_and_the_next_command_counts(bank: Bank) -> None:
    handle = await _parked_transfer(bank)
    bank.ledger.open("C", status=AccountStatus.CLOSED)
    bank.ledger.open("D")
    first = await command(handle, SETTLE_TO, **TO_C)
    assert first.status is PARKED
    assert "closed" in await _details(handle)
    assert (await command(handle, SETTLE_TO, account_id="D", currency="EUR")).status is COMPLETED
    assert (bank.balance("A"), bank.balance("D")) == (8_750, 1_250)
    assert [action for action, _, _ in _done(bank)] == ["settle_to", "settle_to"]


async def test_a_missing_rate_with_money_in_transit_parks_and_can_be_reversed_or_settled_in_the_debits_currency(bank: Bank) -> None:
    bank.rates.per_euro.clear()
    bank.ledger.open("C")
    for action, fields, balances in ((REVERSE, {}, (10_000, 0)), (SETTLE_TO, TO_C, (8_750, 1_250))):
        asked = request(transaction_id=str(uuid.uuid4()), debtor="A", creditor="B:CZK")
        await bank.ledger.post(first_posting(asked, conversion=None, booking_date=TODAY))
        handle = await bank.start(transaction_id=asked.transaction_id, debtor="A", creditor="B:CZK")
        await eventually(lambda: _parked(handle))  # noqa: B023  awaited at once
        assert "rate" in await _details(handle)
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await command(handle, SETTLE_TO, account_id="C", currency="CZK")
        assert _refusal(refused.value) == "ActionNotPossibleError"
        result = await command(handle, action, **fields)
        assert result.final
        assert (bank.balance("A"), bank.balance("C")) == balances
        bank.ledger.open("A", balance=10_000)


def _refusal(error: WorkflowUpdateFailedError) -> str | None:
    assert isinstance(error.cause, ApplicationError)
    return error.cause.type


async def _is_refused(handle: Handle, action: str, argument: object, kind: str) -> None:
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await handle.execute_update(action, argument, result_type=TransactionResult)
    assert _refusal(refused.value) == kind


async def test_a_command_that_the_api_has_not_signed_moves_nothing(bank: Bank) -> None:
    handle = await _parked_transfer(bank)
    forged = signed(handle, REVERSE, secret=b"somebody else's secret, as long as it is")
    for argument in (forged, signed(handle, REVERSE).model_copy(update={"by": "boris"}), signed(handle, RETRY)):
        await _is_refused(handle, REVERSE, argument, "UnauthenticatedCommandError")
    other = sign(SECRET, **{**forged.model_dump(exclude={"signature"}), "transaction_id": str(uuid.uuid4())})
    await _is_refused(handle, REVERSE, other, "UnauthenticatedCommandError")
    assert await _parked(handle)
    assert _done(bank) == []
    await command(handle, RETRY)


async def test_the_signal_of_the_web_ui_is_not_obeyed(bank: Bank) -> None:
    handle = await _parked_transfer(bank)
    await handle.signal("retry")
    assert await _parked(handle)
    assert bank.ledger.calls["credit"] == 1
    assert (await command(handle, RETRY)).status is COMPLETED


async def test_the_same_command_counts_once(bank: Bank) -> None:
    handle = await _parked_transfer(bank, times=2)
    again = signed(handle, RETRY)
    assert (await handle.execute_update(RETRY, again, result_type=TransactionResult)).status is PARKED
    await _is_refused(handle, RETRY, again, "TransactionNotParkedError")
    await command(handle, RETRY)


async def test_a_transaction_that_is_not_parked_takes_no_command(bank: Bank) -> None:
    bank.ledger.gates["debit"].clear()
    handle = await bank.start(debtor="A", creditor="B")
    await bank.ledger.entered["debit"].wait()
    bank.ledger.faults["credit"].next.append(DEFECT)
    update = handle.execute_update(RETRY, signed(handle, RETRY), result_type=TransactionResult)
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await update
    assert _refusal(refused.value) == "TransactionNotParkedError"
    bank.ledger.open_gates()
    await eventually(lambda: _parked(handle))
    await command(handle, RETRY)


@pytest.mark.parametrize(
    "fields", [{"account_id": "A"}, {"account_id": "B"}, {"account_id": None}, {"currency": "CZK"}, {"currency": None}]
)
async def test_money_is_settled_to_a_third_account_of_its_currency_only(bank: Bank, fields: dict[str, str | None]) -> None:
    handle = await _parked_transfer(bank)
    await _is_refused(handle, SETTLE_TO, signed(handle, SETTLE_TO, **{**TO_C, **fields}), "ActionNotPossibleError")
    await command(handle, RETRY)


async def test_a_parked_transaction_says_what_happened_what_is_posted_and_what_can_be_done(bank: Bank) -> None:
    handle = await _parked_transfer(bank)
    details = await _details(handle)
    identifier = handle.id.removeprefix("transaction-main-")
    expected = ("LedgerIntegrityError: a check failed", "debit 12.50 EUR, account `A`: posted", f"casaflow transaction retry {identifier}")
    for text in (*expected, f"POST /v1/transactions/{identifier}/settle", f"casaflow transaction reverse {identifier}", "kept in EUR"):
        assert text in details
    assert await search_attribute(handle, visibility.STATUS) == "parked"
    await command(handle, RETRY)
    await handle.result()
    assert "Parked" not in await _details(handle)
    assert await search_attribute(handle, visibility.STATUS) == "completed"


async def test_a_cancel_that_comes_too_late_is_refused_visibly(bank: Bank) -> None:
    handle = await _parked_transfer(bank)
    await handle.cancel()
    await eventually(lambda: _says(handle, "Cancel refused"))
    assert "### Parked" in await _details(handle)
    assert (await command(handle, RETRY)).status is COMPLETED
    await handle.result()
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert "Cancel refused" in await _details(handle)


async def _says(handle: Handle, text: str) -> bool:
    return text in await _details(handle)


async def test_a_workflow_that_forgets_everything_between_tasks_obeys_the_same(bank: Bank) -> None:
    forgetful = Bank(bank.environment, ledger=bank.ledger, rates=bank.rates, publisher=bank.publisher)
    async with forgetful.worker(max_cached_workflows=0):
        handle = await _parked_transfer(forgetful, times=2)
        assert (await command(handle, RETRY)).status is PARKED
        assert (await command(handle, SETTLE_TO, **TO_C)).status is COMPLETED
        await handle.result()
    assert (bank.balance("A"), bank.balance("C")) == (8_750, 1_250)
    assert len(_done(bank)) == 2
