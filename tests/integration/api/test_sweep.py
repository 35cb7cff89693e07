"""What a terminated workflow has left is found and settled by the sweep, and a repeat of the burnt id gets that outcome."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from typing import Any

import psycopg
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client, ScheduleOverlapPolicy

from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.temporal.client import connect
from infra.temporal.sweep_schedule import SCHEDULE_ID
from ledger.holds import Hold
from ledger.ids import hold_workflow_id, settlement_id, workflow_id
from ledger.requests import TransactionRequest
from tests.integration.api.bank import Bank, Records, assert_problem
from tests.integration.defects import credits_are_refused
from tests.stack_fixtures import RunningStack
from tests.unit.ledger.builders import request
from tests.workflow.conftest import eventually
from workflows.transaction import TransactionWorkflow

_A_MINUTE, _AN_HOUR = dt.timedelta(minutes=1), dt.timedelta(hours=1)


@pytest.fixture
async def temporal(stack: RunningStack) -> Client:
    return await connect(stack.temporal_settings)


def _sweep(stack: RunningStack, *, of: str = "swept") -> dict[str, str]:
    """Sweep by hand, as an operator would; how each of the transactions, or of the holds, that it found stood."""
    done = stack.casaflow("sweep", "--older-than", "0", "--json")
    assert done.returncode == 0, done.stderr
    identifier = "transaction_id" if of == "swept" else "hold_id"
    return {each[identifier]: each["found"] for each in json.loads(done.stdout)[of]}


async def _transfer(bank: Bank) -> dict[str, Any]:
    debtor, creditor = await bank.open(funds="100.00"), await bank.open()
    return {"transaction_id": str(uuid.uuid4()), "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}


async def _left_half_done(bank: Bank, stack: RunningStack, temporal: Client, body: dict[str, Any]) -> None:
    """The debit is posted, and then the workflow is terminated."""
    with credits_are_refused(stack, "account_id", body["creditor"]):
        await bank.park(body)
        await temporal.get_workflow_handle(workflow_id(bank.tenant, body["transaction_id"])).terminate()


@pytest.mark.parametrize(
    ("frozen", "status", "balances"), [(False, "completed", ("87.50", "12.50")), (True, "reversed", ("100.00", "0.00"))]
)
async def test_what_a_terminated_workflow_has_left_half_done_is_ended(
    saga_bank: Bank, stack: RunningStack, temporal: Client, records: Records, frozen: bool, status: str, balances: tuple[str, str]
) -> None:
    bank, body = saga_bank, await _transfer(saga_bank)
    await _left_half_done(bank, stack, temporal, body)
    assert (await bank.http.get(f"/v1/transactions/{body['transaction_id']}")).json()["status"] == "parked"
    # What it has posted is told without it.
    await eventually(lambda: records.unpublished(bank.tenant, body["transaction_id"]) == 0, seconds=30)
    if frozen:
        await bank.http.post(f"/v1/accounts/{body['creditor']}/freeze")
    assert _sweep(stack)[body["transaction_id"]] == "terminated"
    await temporal.get_workflow_handle(settlement_id(bank.tenant, body["transaction_id"])).result()
    again = await bank.submit(body)
    assert (again.status_code, again.json()["status"]) == (200, status)
    assert (await bank.ledger(body["debtor"]), await bank.ledger(body["creditor"])) == balances
    await eventually(lambda: records.unpublished(bank.tenant, body["transaction_id"]) == 0)
    assert body["transaction_id"] not in _sweep(stack)


async def test_a_burnt_id_of_which_nothing_is_posted_gets_an_answer(bank: Bank, stack: RunningStack, temporal: Client) -> None:
    body = await _transfer(bank)
    asked: TransactionRequest = request(
        **{name: body[name] for name in ("debtor", "creditor", "amount", "currency", "transaction_id")}, tenant=bank.tenant
    )
    # Terminated before a worker saw it.
    handle = await temporal.start_workflow(
        TransactionWorkflow.run,
        asked,
        id=workflow_id(bank.tenant, asked.transaction_id),
        task_queue="casaflow-transactions",
        start_delay=_AN_HOUR,
        memo={"fingerprint": asked.fingerprint},
    )
    await handle.terminate()
    assert (await bank.submit(body, wait_seconds=1)).json()["status"] == "parked"
    # It is known, though the ledger has never heard of it, and nothing takes a command for it.
    transaction = f"/v1/transactions/{asked.transaction_id}"
    for action, code in (("cancel", "not-cancellable"), ("retry", "transaction-not-parked")):
        assert_problem(await bank.http.post(f"{transaction}/{action}", json={"reason": "why"}), 409, code)
    assert _sweep(stack)[asked.transaction_id] == "terminated"
    await temporal.get_workflow_handle(settlement_id(bank.tenant, asked.transaction_id)).result()
    for answer in (await bank.submit(body), await bank.http.get(f"/v1/transactions/{asked.transaction_id}")):
        content = answer.json()
        assert (answer.status_code, content["status"], content["reason"]["code"]) == (200, "rejected", "abandoned")
    assert await bank.ledger(body["debtor"]) == "100.00"


async def test_a_hold_whose_workflow_was_terminated_and_that_nobody_voids_expires_and_is_told_of(
    bank: Bank, stack: RunningStack, temporal: Client, records: Records
) -> None:
    account = await bank.open(funds="10.00")
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    body = {"hold_id": str(uuid.uuid4()), "account_id": account, "amount": "4.00", "currency": "EUR", "expires_at": tomorrow.isoformat()}
    assert (await bank.http.post("/v1/holds", json=body)).json()["status"] == "open"
    handle = temporal.get_workflow_handle(hold_workflow_id(bank.tenant, body["hold_id"]))
    await eventually(lambda: _are_told(records, body["hold_id"], "authorised"), seconds=30)
    await handle.terminate()
    await _let_a_day_pass(stack, bank.tenant, body["hold_id"])
    # The scheduled sweep may have come first.
    assert _sweep(stack, of="holds").get(body["hold_id"], "terminated") == "terminated"
    assert Hold.model_validate(await handle.result()).status == "expired"
    assert records.one("SELECT status FROM hold WHERE hold_id = CAST(%s AS uuid)", body["hold_id"]) == "expired"
    await eventually(lambda: _are_told(records, body["hold_id"], "authorised", "expired"))
    assert body["hold_id"] not in _sweep(stack, of="holds")
    # Without its event the check would name it: its end is longer ago than five minutes.
    assert body["hold_id"] not in stack.casaflow("check", "--json").stdout


async def _let_a_day_pass(stack: RunningStack, tenant: str, hold_id: str) -> None:
    """The hold's end, with all that rests on it, is moved to a quarter of an hour ago."""
    key = {"tenant": tenant, "hold_id": hold_id}
    database = Database.open(stack.postgres_dsn, pool_size=1)
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        where = "WHERE tenant = %(tenant)s AND hold_id = CAST(%(hold_id)s AS uuid)"
        moved = f"UPDATE hold SET created_at = created_at - INTERVAL '1 day', expires_at = now() - INTERVAL '15 minutes' {where}"  # noqa: S608
        connection.execute(moved, key)
        hold = await PostgresHolds(database).get(tenant, hold_id)
        assert hold is not None
        connection.execute(f"UPDATE hold SET fingerprint = %(fingerprint)s {where}", key | {"fingerprint": hold.request.fingerprint})  # noqa: S608
    await database.close()


async def _are_told(records: Records, hold_id: str, *changes: str) -> bool:
    """Whether these events of a hold, and no others, are published."""
    found = records.one(
        "SELECT coalesce(string_agg(substring(type FROM 'hold-([a-z]+)'), ' ' ORDER BY created_at), '') FROM event_outbox"
        " WHERE subject = %s AND published_at IS NOT NULL",
        hold_id,
    )
    return bool(found == " ".join(changes))


async def test_an_id_sent_again_after_temporal_has_forgotten_it_gets_its_old_answer(bank: Bank, temporal: Client, records: Records) -> None:
    body = await _transfer(bank)
    first = await bank.submit(body)
    assert first.json()["status"] == "completed"
    await _forget(temporal, workflow_id(bank.tenant, body["transaction_id"]))
    # Temporal deletes once its queue has written down how far it has come, which it does once a minute.
    await eventually(lambda: _is_forgotten(records, bank, body["transaction_id"]), seconds=240)
    again = await bank.submit(body)
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await bank.submit({**body, "amount": "1.00"})).status_code == 409
    assert records.postings(bank.tenant, body["transaction_id"]) == 2
    assert not await records.workflow_exists(bank.tenant, body["transaction_id"])


async def _forget(temporal: Client, identifier: str) -> None:
    await temporal.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(namespace=temporal.namespace, workflow_execution=WorkflowExecution(workflow_id=identifier))
    )


async def _is_forgotten(records: Records, bank: Bank, transaction_id: str) -> bool:
    return not await records.workflow_exists(bank.tenant, transaction_id)


async def test_the_workers_schedule_the_sweep(temporal: Client) -> None:
    described = await temporal.get_schedule_handle(SCHEDULE_ID).describe()
    schedule = described.schedule
    assert [interval.every for interval in schedule.spec.intervals] == [_A_MINUTE]
    assert schedule.policy.overlap is ScheduleOverlapPolicy.SKIP


async def test_a_settlement_that_is_under_way_is_known_to_the_check(saga_bank: Bank, stack: RunningStack, temporal: Client) -> None:
    body = await _transfer(saga_bank)
    await _left_half_done(saga_bank, stack, temporal, body)
    with credits_are_refused(stack, "account_id", body["creditor"]):
        assert _sweep(stack)[body["transaction_id"]] == "terminated"
        await eventually(lambda: _is_parked(saga_bank, body["transaction_id"]), seconds=30)
        # Somebody carries it.
        report = json.loads(stack.casaflow("check", "--json").stdout)
        (outcomes,) = [finding for finding in report["findings"] if finding["number"] == 6]
        assert not [line for line in outcomes["offending"] if body["transaction_id"] in line]
        # An operator commands the run that settles it as he would its own.
        settle = f"/v1/transactions/{body['transaction_id']}/reverse"
        answer = await saga_bank.http.post(settle, json={"reason": "asked"}, headers={"Prefer": "wait=30"})
    assert (answer.status_code, answer.json()["status"]) == (200, "reversed")


async def _is_parked(bank: Bank, transaction_id: str) -> bool:
    found = (await bank.http.get(f"/v1/transactions/{transaction_id}")).json()
    return bool(found["status"] == "parked")
