"""Transactions that wait, end to end: approval by a second person, execution dates, cancels, and who may do what."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from infra.temporal.client import connect
from ledger.ids import workflow_id
from ledger.scopes import Scope
from tests.integration.api.bank import Bank, Records, assert_problem, bank_at
from tests.integration.api.saga import api_process
from tests.stack_fixtures import RunningStack

LARGE = "1000.01"
"""Above the threshold of the tests' API."""


@pytest.fixture(scope="module")
async def api(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """An API that wants approvals; the stack's own worker carries its transactions."""
    log = tmp_path_factory.mktemp("approvals") / "api.log"
    async with api_process(stack, log, APPROVAL_THRESHOLDS='{"EUR": "1000.00"}', TIME_ZONE="Europe/Prague") as url:
        yield url


@pytest.fixture(scope="module")
async def teller(api: str, stack: RunningStack) -> AsyncIterator[Bank]:
    """Submits, and can't approve anything."""
    async with bank_at(api, stack.postgres_dsn, scopes=(Scope.STANDARD,)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def approver(api: str, stack: RunningStack, teller: Bank) -> AsyncIterator[Bank]:
    """Approves, and can't submit anything."""
    async with bank_at(api, stack.postgres_dsn, tenant=teller.tenant, principal="approver", scopes=(Scope.TRANSACTIONS_APPROVE,)) as opened:
        yield opened


@pytest.fixture(scope="module")
async def director(api: str, stack: RunningStack, teller: Bank) -> AsyncIterator[Bank]:
    """May do everything."""
    async with bank_at(api, stack.postgres_dsn, tenant=teller.tenant, principal="director") as opened:
        yield opened


@pytest.fixture(scope="module")
async def temporal(stack: RunningStack) -> Client:
    return await connect(stack.temporal_settings)


@pytest.fixture(scope="module")
async def accounts(teller: Bank) -> tuple[str, str]:
    """A debtor with money, paid in below the threshold, and a creditor."""
    debtor, creditor = await teller.open(overdraft_limit="1000000"), await teller.open()
    return debtor, creditor


async def _submit(bank: Bank, accounts: tuple[str, str], amount: str = LARGE, **fields: Any) -> dict[str, Any]:
    body = {
        "transaction_id": str(uuid.uuid4()),
        "debtor": accounts[0],
        "creditor": accounts[1],
        "amount": amount,
        "currency": "EUR",
        **fields,
    }
    submitted = await bank.submit(body, wait_seconds=30)
    assert submitted.status_code == 202, submitted.text
    content: dict[str, Any] = submitted.json()
    return content


async def _decide(bank: Bank, transaction_id: str, action: str, reason: str | None = None) -> httpx.Response:
    body = {"reason": reason} if reason else None
    return await bank.http.post(f"/v1/transactions/{transaction_id}/{action}", json=body, headers={"Prefer": "wait=30"})


async def _read(bank: Bank, transaction_id: str) -> dict[str, Any]:
    found = await bank.http.get(f"/v1/transactions/{transaction_id}")
    assert found.status_code == 200, found.text
    content: dict[str, Any] = found.json()
    return content


async def test_above_the_threshold_nothing_is_posted_before_a_second_person_has_seen_and_approved_it(
    teller: Bank, approver: Bank, accounts: tuple[str, str], records: Records
) -> None:
    waiting = await _submit(teller, accounts)
    assert (waiting["status"], waiting["waiting_for"]["what"], waiting["legs"]) == ("processing", "approval", [])
    identifier = waiting["transaction_id"]
    shown = await _read(approver, identifier)
    # Who decides has to see what he decides on, though the ledger knows nothing of it yet.
    assert (shown["amount"], shown["debtor"], shown["creditor"], shown["submitted_by"]) == (LARGE, *accounts, "teller")
    assert shown["waiting_for"] == waiting["waiting_for"]
    assert shown["approval"]["before"] == "posting"
    assert records.postings(teller.tenant, identifier) == 0
    approved = await _decide(approver, identifier, "approve", "seen the invoice")
    assert (approved.status_code, approved.json()["status"]) == (200, "completed"), approved.text
    assert approved.json()["waiting_for"] is None
    assert records.postings(teller.tenant, identifier) == 2


async def test_the_same_approval_again_is_answered_the_same_and_anybody_elses_is_refused(
    teller: Bank, approver: Bank, director: Bank, accounts: tuple[str, str], records: Records
) -> None:
    identifier = (await _submit(teller, accounts))["transaction_id"]
    first = await _decide(approver, identifier, "approve")
    again = await _decide(approver, identifier, "approve")
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert_problem(await _decide(director, identifier, "approve"), 409, "not-waiting")
    assert_problem(await _decide(approver, identifier, "decline"), 409, "not-waiting")
    assert_problem(await _decide(teller, identifier, "cancel"), 409, "not-cancellable")
    assert records.postings(teller.tenant, identifier) == 2


async def test_two_approvals_at_once_post_once(
    teller: Bank, approver: Bank, director: Bank, accounts: tuple[str, str], records: Records
) -> None:
    identifier = (await _submit(teller, accounts))["transaction_id"]
    answers = await asyncio.gather(*(_decide(bank, identifier, "approve") for bank in (approver, director, approver, director)))
    assert sorted({answer.status_code for answer in answers}) == [200, 409]
    assert records.postings(teller.tenant, identifier) == 2


async def test_who_submitted_it_can_not_approve_it_and_neither_can_a_key_without_the_scope(
    teller: Bank, director: Bank, approver: Bank, accounts: tuple[str, str]
) -> None:
    identifier = (await _submit(director, accounts))["transaction_id"]
    for action in ("approve", "decline"):
        assert_problem(await _decide(director, identifier, action), 403, "same-principal")
        assert_problem(await _decide(teller, identifier, action), 403, "missing-scope")
    assert (await _read(approver, identifier))["waiting_for"]["what"] == "approval"
    assert (await _decide(approver, identifier, "approve")).json()["status"] == "completed"


async def test_a_key_for_approving_can_do_nothing_else(teller: Bank, approver: Bank, accounts: tuple[str, str]) -> None:
    body = {"creditor": accounts[0], "amount": "1.00", "currency": "EUR"}
    assert_problem(await approver.submit(body), 403, "missing-scope")
    identifier = (await _submit(teller, accounts))["transaction_id"]
    assert_problem(await _decide(approver, identifier, "cancel"), 403, "missing-scope")
    assert (await _decide(teller, identifier, "cancel")).status_code == 200


async def test_what_is_declined_is_rejected_with_who_and_why(teller: Bank, approver: Bank, accounts: tuple[str, str]) -> None:
    identifier = (await _submit(teller, accounts))["transaction_id"]
    declined = await _decide(approver, identifier, "decline", "no invoice")
    assert (declined.status_code, declined.json()["status"]) == (200, "rejected")
    assert declined.json()["reason"] == {"code": "declined", "detail": "it was declined by approver: no invoice"}
    assert await _read(teller, identifier) == declined.json()


async def test_what_nobody_approves_expires(teller: Bank, approver: Bank, accounts: tuple[str, str]) -> None:
    waiting = await _submit(teller, accounts, approval={"expires_in": "PT1S"})
    identifier = waiting["transaction_id"]
    async with asyncio.timeout(60):
        while (shown := await _read(teller, identifier))["status"] == "processing":  # noqa: ASYNC110  the API tells nobody
            await asyncio.sleep(0.1)
    assert (shown["status"], shown["reason"]["code"]) == ("rejected", "approval-expired")
    assert_problem(await _decide(approver, identifier, "approve"), 409, "approval-expired")


async def test_a_credit_that_is_declined_is_given_back(teller: Bank, approver: Bank, accounts: tuple[str, str]) -> None:
    before = await teller.ledger(accounts[0])
    waiting = await _submit(teller, accounts, "10.00", approval={"before": "credit"})
    assert [(leg["leg"], leg["outcome"]) for leg in (await _read(teller, waiting["transaction_id"]))["legs"]] == [("debit", "posted")]
    assert (await _read(teller, waiting["transaction_id"]))["waiting_for"]["what"] == "approval"
    assert_problem(await _decide(teller, waiting["transaction_id"], "cancel"), 409, "not-cancellable")
    declined = (await _decide(approver, waiting["transaction_id"], "decline")).json()
    assert (declined["status"], declined["reason"]["code"]) == ("reversed", "declined")
    assert [leg["leg"] for leg in declined["legs"]] == ["debit", "compensation"]
    assert await teller.ledger(accounts[0]) == before


async def test_a_settlement_run_that_waits_for_the_approval_says_so_and_takes_it(
    teller: Bank, approver: Bank, accounts: tuple[str, str], temporal: Client, stack: RunningStack
) -> None:
    before = await teller.ledger(accounts[1])
    waiting = await _submit(teller, accounts, "10.00", approval={"before": "credit"})
    identifier = waiting["transaction_id"]
    await temporal.get_workflow_handle(workflow_id(teller.tenant, identifier)).terminate()
    assert (await _read(teller, identifier))["status"] == "parked"
    assert_problem(await _decide(approver, identifier, "approve"), 409, "not-waiting")
    swept = stack.casaflow("sweep", "--older-than", "0", "--json")
    assert identifier in swept.stdout, swept.stderr
    async with asyncio.timeout(60):
        while (shown := await _read(approver, identifier))["waiting_for"] is None:  # noqa: ASYNC110  the API tells nobody
            await asyncio.sleep(0.1)
    assert (shown["status"], shown["waiting_for"]) == ("processing", waiting["waiting_for"])
    assert (await _decide(approver, identifier, "approve")).json()["status"] == "completed"
    assert float(await teller.ledger(accounts[1])) - float(before) == 10


async def test_a_credit_that_is_approved_is_posted(teller: Bank, approver: Bank, accounts: tuple[str, str]) -> None:
    before = await teller.ledger(accounts[1])
    identifier = (await _submit(teller, accounts, "10.00", approval={"before": "credit"}))["transaction_id"]
    assert await teller.ledger(accounts[1]) == before
    assert (await _decide(approver, identifier, "approve")).json()["status"] == "completed"
    assert float(await teller.ledger(accounts[1])) - float(before) == 10


async def test_reversals_above_the_threshold_need_an_approval_too(teller: Bank, approver: Bank, accounts: tuple[str, str]) -> None:
    identifier = (await _submit(teller, accounts))["transaction_id"]
    await _decide(approver, identifier, "approve")
    reversal = await teller.http.post(f"/v1/transactions/{identifier}/reverse", headers={"Prefer": "wait=30"})
    assert (reversal.status_code, reversal.json()["waiting_for"]["what"]) == (202, "approval")
    assert (await _decide(approver, reversal.json()["transaction_id"], "approve")).json()["status"] == "completed"
    assert (await _read(teller, identifier))["reversed_amount"] == LARGE


async def test_a_future_dated_transaction_waits_and_can_be_cancelled(teller: Bank, accounts: tuple[str, str], records: Records) -> None:
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=3)
    waiting = await _submit(teller, accounts, "10.00", requested_execution_date=day.isoformat())
    assert (waiting["waiting_for"]["what"], waiting["requested_execution_date"]) == ("execution-date", day.isoformat())
    until = dt.datetime.fromisoformat(waiting["waiting_for"]["until"])
    assert until.astimezone(dt.UTC).hour in {22, 23}  # midnight in Prague
    identifier = waiting["transaction_id"]
    cancelled = await _decide(teller, identifier, "cancel", "a mistake")
    assert (cancelled.status_code, cancelled.json()["status"], cancelled.json()["reason"]["code"]) == (200, "rejected", "cancelled")
    assert cancelled.json()["reason"]["detail"].startswith("it was cancelled by teller")
    again = await _decide(teller, identifier, "cancel")
    assert (again.status_code, again.json()) == (200, cancelled.json())
    assert records.postings(teller.tenant, identifier) == 0


async def test_a_repeat_is_answered_though_its_date_would_be_refused_by_now(
    stack: RunningStack, teller: Bank, accounts: tuple[str, str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    day = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=3)
    fields = {"requested_execution_date": day.isoformat(), "transaction_id": str(uuid.uuid4())}
    waiting = await _submit(teller, accounts, "10.00", **fields)
    # An API that lets nobody look ahead stands for one that is asked after the day.
    log = tmp_path_factory.mktemp("later") / "api.log"
    async with api_process(stack, log, EXECUTION_DAYS_AHEAD="0") as url, bank_at(url, stack.postgres_dsn, tenant=teller.tenant) as later:
        assert (await _submit(later, accounts, "10.00", **fields))["waiting_for"] == waiting["waiting_for"]
        body = {"creditor": accounts[0], "amount": "1.00", "currency": "EUR", "requested_execution_date": day.isoformat()}
        assert_problem(await later.submit(body), 422, "invalid-input")
        other = {**body, "transaction_id": fields["transaction_id"]}
        assert_problem(await later.submit(other), 409, "transaction-conflict")
    await _decide(teller, waiting["transaction_id"], "cancel")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"approval": {"required": False}}, "approval.required"),
        ({"approval": {"expires_in": "24h"}}, "approval.expires_in"),
        ({"approval": {"expires_in": "PT"}}, "approval.expires_in"),
        ({"approval": {"expires_in": "P91D"}}, "approval.expires_in"),
        ({"approval": {"expires_in": "PT0S"}}, "approval.expires_in"),
        ({"approval": {"before": "never"}}, "approval.before"),
        ({"approval": {"before": "credit"}, "amount": LARGE}, "approval.before"),
        ({"approval": {"before": "credit"}, "fee": {"amount": "1.00", "currency": "EUR"}}, "approval.before"),
        ({"approval": {"before": "credit"}, "balancing": True}, "approval.before"),
        ({"approval": {"before": "credit"}, "creditor": None}, "approval.before"),
        ({"requested_execution_date": "2020-01-01"}, "requested_execution_date"),
        ({"requested_execution_date": "9999-12-31"}, "requested_execution_date"),
        ({"requested_execution_date": 20260101}, "requested_execution_date"),
    ],
)
async def test_a_wait_that_can_not_be_had_is_refused_by_its_field(
    teller: Bank, accounts: tuple[str, str], records: Records, fields: dict[str, Any], field: str
) -> None:
    identifier = str(uuid.uuid4())
    body = {"transaction_id": identifier, "debtor": accounts[0], "creditor": accounts[1], "amount": "10.00", "currency": "EUR", **fields}
    problem = assert_problem(await teller.submit(body), 422, "invalid-input")
    assert problem["errors"][0]["field"] == field
    assert not await records.workflow_exists(teller.tenant, identifier)


async def test_an_update_that_does_not_come_through_the_api_is_not_obeyed(
    teller: Bank, approver: Bank, accounts: tuple[str, str], temporal: Client
) -> None:
    identifier = (await _submit(teller, accounts))["transaction_id"]
    handle = temporal.get_workflow_handle(workflow_id(teller.tenant, identifier))
    typed = {
        "action": "approve", "tenant": teller.tenant, "transaction_id": identifier, "by": "approver",
        "at": dt.datetime.now(dt.UTC).isoformat(), "signature": "0" * 64,
    }  # fmt: skip
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await handle.execute_update("approve", typed)
    assert isinstance(failed.value.cause, ApplicationError)
    assert failed.value.cause.type == "UnauthenticatedCommandError"
    assert (await _read(teller, identifier))["waiting_for"]["what"] == "approval"
    assert (await _decide(approver, identifier, "decline")).status_code == 200


async def test_an_unknown_transaction_is_not_found_and_another_tenants_is_not_either(
    teller: Bank, director: Bank, bank: Bank, accounts: tuple[str, str]
) -> None:
    assert_problem(await _decide(director, str(uuid.uuid4()), "approve"), 404, "not-found")
    identifier = (await _submit(teller, accounts))["transaction_id"]
    assert_problem(await _decide(bank, identifier, "approve"), 404, "not-found")
    assert (await _decide(teller, identifier, "cancel")).status_code == 200


async def test_operators_find_what_waits_and_read_who_may_do_what(
    teller: Bank, director: Bank, accounts: tuple[str, str], temporal: Client
) -> None:
    identifier = (await _submit(teller, accounts))["transaction_id"]
    found = f"CasaflowWaitingFor = 'approval' AND CasaflowTenant = '{teller.tenant}' AND CasaflowWaitingUntil > '2026-01-01T00:00:00Z'"
    async with asyncio.timeout(30):
        while workflow_id(teller.tenant, identifier) not in [each.id async for each in temporal.list_workflows(found)]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert (await _decide(director, identifier, "decline")).status_code == 200
    async with asyncio.timeout(30):
        while workflow_id(teller.tenant, identifier) in [each.id async for each in temporal.list_workflows(found)]:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
