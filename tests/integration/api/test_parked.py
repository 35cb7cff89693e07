"""Transactions that nothing but an operator moves on: the API says so, and says what is posted already."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from infra.temporal.client import connect
from ledger.ids import workflow_id
from tests.integration.api.bank import Bank, assert_problem
from tests.integration.defects import credits_are_refused
from tests.stack_fixtures import RunningStack

WAIT = {"Prefer": "wait=30"}


async def test_a_parked_transaction_is_shown_as_parked_and_goes_on_once_an_operator_has_mended_the_cause(
    saga_bank: Bank, stack: RunningStack
) -> None:
    bank = saga_bank
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    with credits_are_refused(stack, "account_id", creditor):
        submitted = await bank.submit(body, wait_seconds=5)
        assert (submitted.status_code, submitted.json()["status"]) == (202, "parked")
        shown = (await bank.http.get(f"/v1/transactions/{transaction_id}")).json()
        assert shown["status"] == "parked"
        assert [(leg["leg"], leg["outcome"]) for leg in shown["legs"]] == [("debit", "posted")]
        # A parked one is reversed as a whole, and for a reason.
        reverse = f"/v1/transactions/{transaction_id}/reverse"
        for wrong in ({}, {"reason": "asked", "amount": "1.00"}):
            assert_problem(await bank.http.post(reverse, json=wrong), 422, "invalid-input")
    retried = await bank.http.post(f"/v1/transactions/{transaction_id}/retry", json={"reason": "mended"}, headers=WAIT)
    assert (retried.status_code, retried.json()["status"]) == (200, "completed")
    again = await bank.submit(body)
    assert (again.status_code, again.json()["status"]) == (200, "completed")
    for answer in (retried, again, await bank.http.get(f"/v1/transactions/{transaction_id}")):
        (action,) = answer.json()["operator_actions"]
        assert (action["action"], action["by"], action["reason"]) == ("retry", "teller", "mended")
    too_late = await bank.http.post(f"/v1/transactions/{transaction_id}/retry", json={"reason": "again"})
    assert_problem(too_late, 409, "transaction-not-parked")
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("87.50", "12.50")


async def test_a_parked_transfer_is_settled_to_another_account_and_the_check_finds_nothing_wrong(
    saga_bank: Bank, stack: RunningStack
) -> None:
    bank = saga_bank
    debtor, creditor, other, foreign = await bank.open(funds="100.00"), await bank.open(), await bank.open(), await bank.open("CZK")
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    settle = f"/v1/transactions/{transaction_id}/settle"
    with credits_are_refused(stack, "account_id", creditor):
        await bank.park(body)
        wrong = {"creditor": f"{other}x", "reason": "agreed"}
        assert_problem(await bank.http.post(settle, json=wrong), 422, "unknown-account")
        for account in (debtor, creditor, foreign):
            wrong = {"creditor": account, "reason": "agreed"}
            assert_problem(await bank.http.post(settle, json=wrong), 409, "action-not-possible")
        answer = await bank.http.post(settle, json={"creditor": other, "reason": "agreed"}, headers=WAIT)
    content = answer.json()
    assert (answer.status_code, content["status"], content["reason"]) == (200, "completed", None)
    assert [(leg["leg"], leg["account_id"]) for leg in content["legs"]] == [("debit", debtor), ("credit", other)]
    assert [await bank.ledger(account) for account in (debtor, creditor, other)] == ["87.50", "0.00", "12.50"]
    assert (await bank.submit(body)).json() == content


async def test_a_parked_transfer_that_is_reversed_gives_the_debtor_the_money_back(saga_bank: Bank, stack: RunningStack) -> None:
    bank = saga_bank
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    with credits_are_refused(stack, "account_id", creditor):
        await bank.park(body)
        answer = await bank.http.post(f"/v1/transactions/{transaction_id}/reverse", json={"reason": "asked"}, headers=WAIT)
    content = answer.json()
    assert (answer.status_code, content["status"], content["reason"]["code"]) == (200, "reversed", "reversed-by-operator")
    assert (await bank.ledger(debtor), content["operator_actions"][0]["by"]) == ("100.00", "teller")


async def test_an_update_from_elsewhere_than_the_api_moves_nothing(saga_bank: Bank, stack: RunningStack) -> None:
    debtor, creditor = await saga_bank.open(funds="100.00"), await saga_bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    client = await connect(stack.temporal_settings)
    handle = client.get_workflow_handle(workflow_id(saga_bank.tenant, transaction_id))
    with credits_are_refused(stack, "account_id", creditor):
        await saga_bank.park(body)
        by_hand = {"action": "reverse", "tenant": saga_bank.tenant, "transaction_id": transaction_id, "by": "teller", "signature": "0" * 64}
        with pytest.raises(WorkflowUpdateFailedError) as refused:
            await handle.execute_update("reverse", {**by_hand, "at": "2026-01-01T00:00:00Z", "reason": "let me"})
        assert isinstance(refused.value.cause, ApplicationError)
        assert refused.value.cause.type == "UnauthenticatedCommandError"
        shown = (await saga_bank.http.get(f"/v1/transactions/{transaction_id}")).json()
        assert (shown["status"], shown["operator_actions"]) == ("parked", None)
    await saga_bank.http.post(f"/v1/transactions/{transaction_id}/retry", json={"reason": "mended"}, headers=WAIT)


async def test_nobody_commands_the_transaction_of_another_tenant(saga_bank: Bank, other_bank: Bank, stack: RunningStack) -> None:
    debtor, creditor = await saga_bank.open(funds="100.00"), await saga_bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    with credits_are_refused(stack, "account_id", creditor):
        await saga_bank.park(body)
        answer = await other_bank.http.post(f"/v1/transactions/{transaction_id}/retry", json={"reason": "mine"})
        assert_problem(answer, 404, "not-found")
    await saga_bank.http.post(f"/v1/transactions/{transaction_id}/retry", json={"reason": "mended"}, headers=WAIT)


async def test_a_transaction_whose_workflow_was_ended_half_way_is_shown_as_parked_and_a_reset_carries_it_on(
    saga_bank: Bank, stack: RunningStack
) -> None:
    bank = saga_bank
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    client = await connect(stack.temporal_settings)
    handle = client.get_workflow_handle(workflow_id(bank.tenant, transaction_id))
    with credits_are_refused(stack, "account_id", creditor):
        await bank.park(body)
        await handle.terminate()
    shown = (await bank.http.get(f"/v1/transactions/{transaction_id}")).json()
    assert (shown["status"], len(shown["legs"])) == ("parked", 1)
    await _reset(client, handle.id)
    again = await bank.submit(body)
    assert again.json()["status"] == "completed"
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("87.50", "12.50")


async def _reset(client: Client, identifier: str) -> None:
    """What an operator does with the Web UI's button Reset, at the first workflow task."""
    described = await client.get_workflow_handle(identifier).describe()
    assert described.status is WorkflowExecutionStatus.TERMINATED
    await client.workflow_service.reset_workflow_execution(
        ResetWorkflowExecutionRequest(
            namespace=client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=identifier, run_id=described.run_id),
            reason="carry it on",
            workflow_task_finish_event_id=4,
            request_id=str(uuid.uuid4()),
        )
    )


async def _parked(bank: Bank) -> str:
    """The figure; it is left out for as long as Temporal doesn't answer."""
    async with asyncio.timeout(30):
        while True:
            figures = (await bank.http.get("/metrics")).text
            for line in figures.splitlines():
                if line.startswith("casaflow_transactions_parked "):
                    return line


async def test_what_stands_parked_is_counted_for_whoever_watches_until_it_moves_on(saga_bank: Bank, stack: RunningStack) -> None:
    debtor, creditor = await saga_bank.open(funds="10.00"), await saga_bank.open()
    before = await _parked(saga_bank)
    body = {"transaction_id": str(uuid.uuid4()), "debtor": debtor, "creditor": creditor, "amount": "1.00", "currency": "EUR"}
    with credits_are_refused(stack, "account_id", creditor):
        await saga_bank.park(body)
        # Temporal's list of workflows, which is what is counted, follows what these do.
        async with asyncio.timeout(30):
            while await _parked(saga_bank) == before:  # noqa: ASYNC110  a list tells nobody
                await asyncio.sleep(0.1)
    retried = await saga_bank.http.post(f"/v1/transactions/{body['transaction_id']}/retry", json={"reason": "mended"}, headers=WAIT)
    assert retried.json()["status"] == "completed", retried.text
    async with asyncio.timeout(30):
        while await _parked(saga_bank) != before:  # noqa: ASYNC110  as above
            await asyncio.sleep(0.1)
