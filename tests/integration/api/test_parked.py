"""Transactions that nothing but an operator moves on: the API says so, and says what is posted already."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from psycopg import sql
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.client import Client, WorkflowExecutionStatus

from infra.temporal.client import connect
from ledger.ids import workflow_id
from tests.integration.api.bank import Bank, assert_problem
from tests.stack_fixtures import RunningStack


@contextmanager
def _defect(stack: RunningStack, account_id: str) -> Iterator[None]:
    """The database refuses every credit of one account: a defect, since the rules allow it."""
    name = sql.Identifier(f"defect_{uuid.uuid4().hex[:12]}")
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        refusal = sql.SQL("ALTER TABLE offline_entry ADD CONSTRAINT {} CHECK (account_id <> {}) NOT VALID")
        connection.execute(refusal.format(name, sql.Literal(account_id)))
        try:
            yield
        finally:
            connection.execute(sql.SQL("ALTER TABLE offline_entry DROP CONSTRAINT {}").format(name))


async def test_a_parked_transaction_is_shown_as_parked_and_goes_on_once_an_operator_has_mended_the_cause(
    saga_bank: Bank, stack: RunningStack
) -> None:
    bank = saga_bank
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    with _defect(stack, creditor):
        submitted = await bank.submit(body, wait_seconds=5)
        assert (submitted.status_code, submitted.json()["status"]) == (202, "parked")
        shown = (await bank.http.get(f"/v1/transactions/{transaction_id}")).json()
        assert shown["status"] == "parked"
        assert [(leg["leg"], leg["outcome"]) for leg in shown["legs"]] == [("debit", "posted")]
        # What may be taken back isn't known yet. A rejection would be final, so there is none.
        assert_problem(await bank.http.post(f"/v1/transactions/{transaction_id}/reverse"), 409, "transaction-not-final")
    client = await connect(stack.temporal_settings)
    await client.get_workflow_handle(workflow_id(bank.tenant, transaction_id)).signal("retry")
    again = await bank.submit(body)
    assert (again.status_code, again.json()["status"]) == (200, "completed")
    assert (await bank.ledger(debtor), await bank.ledger(creditor)) == ("87.50", "12.50")


async def test_a_transaction_whose_workflow_was_ended_half_way_is_shown_as_parked_and_a_reset_carries_it_on(
    saga_bank: Bank, stack: RunningStack
) -> None:
    bank = saga_bank
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    transaction_id = str(uuid.uuid4())
    body = {"transaction_id": transaction_id, "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}
    client = await connect(stack.temporal_settings)
    handle = client.get_workflow_handle(workflow_id(bank.tenant, transaction_id))
    with _defect(stack, creditor):
        await bank.submit(body, wait_seconds=5)
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
