"""Holds over HTTP: authorised, shown, voided, captured."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import httpx
import psycopg
import pytest
from temporalio.client import WorkflowHandle, WorkflowUpdateFailedError

from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.settings import Settings
from infra.temporal.client import connect
from ledger.commands import sign
from ledger.holds import Hold, HoldRequest
from ledger.ids import hold_workflow_id
from ledger.money import Money
from tests.integration.api.bank import Bank, Records, assert_problem, until
from tests.stack_fixtures import RunningStack

NEXT_WEEK = (dt.datetime.now(dt.UTC) + dt.timedelta(days=7)).isoformat()


def _body(account: str, amount: str = "4.00", **fields: Any) -> dict[str, Any]:
    return {"hold_id": str(uuid.uuid4()), "account_id": account, "amount": amount, "currency": "EUR", "expires_at": NEXT_WEEK, **fields}


async def _authorise(bank: Bank, body: dict[str, Any]) -> httpx.Response:
    return await bank.http.post("/v1/holds", json=body)


async def _capture(bank: Bank, hold_id: str, **body: Any) -> dict[str, Any]:
    answer = await bank.http.post(f"/v1/holds/{hold_id}/capture", json=body, headers={"Prefer": "wait=30"})
    assert answer.status_code in {200, 201}, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def _balance(bank: Bank, account: str) -> tuple[str, str, str]:
    balance = (await bank.http.get(f"/v1/accounts/{account}/balance")).json()
    return balance["ledger"], balance["held"], balance["available"]


async def test_a_hold_is_authorised_once_and_found_again(bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    body = _body(account, reference="hotel")
    authorised, again = await _authorise(bank, body), await _authorise(bank, body)
    assert (authorised.status_code, again.status_code) == (201, 200)
    assert authorised.headers["Location"] == again.headers["Location"] == f"/v1/holds/{body['hold_id']}"
    assert authorised.json() == again.json() == (await bank.http.get(authorised.headers["Location"])).json()
    hold = authorised.json()
    assert (hold["status"], hold["amount"], hold["captured"], hold["remaining"]) == ("open", "4.00", "0.00", "4.00")
    assert (hold["reference"], hold["reason"], hold["closed_at"]) == ("hotel", None, None)
    assert dt.datetime.fromisoformat(hold["expires_at"]) == dt.datetime.fromisoformat(NEXT_WEEK)
    assert await _balance(bank, account) == ("10.00", "4.00", "6.00")


async def test_a_hold_without_an_id_gets_one(bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    body = {name: value for name, value in _body(account).items() if name != "hold_id"}
    first, second = (await _authorise(bank, body)).json(), (await _authorise(bank, body)).json()
    assert first["hold_id"] != second["hold_id"]
    assert await _balance(bank, account) == ("10.00", "8.00", "2.00")


async def test_a_refused_hold_is_a_result_and_not_an_error(bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    body = _body(account, "10.01")
    refused = await _authorise(bank, body)
    assert (refused.status_code, refused.json()["status"], refused.json()["reason"]["code"]) == (201, "refused", "insufficient-funds")
    assert (await _authorise(bank, body)).json() == refused.json()
    assert_problem(await bank.http.post(f"/v1/holds/{body['hold_id']}/void"), 409, "hold-not-voidable")


async def test_a_hold_is_voided_once_and_for_all(bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    voided = [await bank.http.post(f"/v1/holds/{hold_id}/void") for _ in range(2)]
    assert [answer.status_code for answer in voided] == [200, 200]
    assert voided[0].json() == voided[1].json()
    assert (voided[0].json()["status"], voided[0].json()["remaining"]) == ("voided", "0.00")
    assert await _balance(bank, account) == ("10.00", "0.00", "10.00")
    assert (await _capture(bank, hold_id, amount="1.00"))["reason"]["code"] == "hold-closed"


async def test_a_captured_hold_is_not_voided_and_the_problem_says_why(bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    assert (await _capture(bank, hold_id))["status"] == "completed"
    problem = assert_problem(await bank.http.post(f"/v1/holds/{hold_id}/void"), 409, "hold-not-voidable")
    assert problem["errors"] == [{"field": "status", "value": "voided", "rule": "must not change once a hold is captured"}]


async def test_a_hold_is_captured_in_parts_and_the_last_one_releases_the_rest(bank: Bank) -> None:
    account, merchant = await bank.open(funds="10.00"), await bank.open()
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    part = await _capture(bank, hold_id, amount="1.50", creditor=merchant, releases_hold=False)
    assert (part["status"], part["hold_id"], part["debtor"], part["creditor"]) == ("completed", hold_id, account, merchant)
    assert await _balance(bank, account) == ("8.50", "2.50", "6.00")
    assert (await _capture(bank, hold_id, amount="2.51", releases_hold=False))["reason"]["code"] == "hold-exceeded"
    assert (await _capture(bank, hold_id, amount="2.00"))["status"] == "completed"
    hold = (await bank.http.get(f"/v1/holds/{hold_id}")).json()
    assert (hold["status"], hold["captured"], hold["remaining"]) == ("captured", "3.50", "0.00")
    assert (await _balance(bank, account), await bank.ledger(merchant)) == (("6.50", "0.00", "6.50"), "1.50")


async def test_a_capture_without_an_amount_takes_the_whole_once_however_often_it_is_asked_for(bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    first, second = await _capture(bank, hold_id), await _capture(bank, hold_id)
    assert first["transaction_id"] == second["transaction_id"]
    assert (first["status"], first["amount"]) == ("completed", "4.00")
    assert await _balance(bank, account) == ("6.00", "0.00", "6.00")


@pytest.mark.parametrize("change", [{"amount": "4.01"}, {"expires_at": "2999-01-01T00:00:00Z"}, {"reference": "other"}])
async def test_other_content_under_a_hold_id_is_a_conflict(bank: Bank, change: dict[str, str]) -> None:
    account = await bank.open(funds="10.00")
    body = _body(account)
    first = await _authorise(bank, body)
    assert_problem(await _authorise(bank, {**body, **change}), 409, "hold-conflict")
    assert (await bank.http.get(f"/v1/holds/{body['hold_id']}")).json() == first.json()


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("hold_id", {"hold_id": "7"}),
        ("account_id", {"account_id": "a b"}),
        ("account_id", {"account_id": "Unknown1"}),
        ("amount", {"amount": "0"}),
        ("amount", {"amount": "-1.00"}),
        ("amount", {"amount": 4}),
        ("amount", {"amount": "1.001"}),
        ("amount", {"amount": "10000000000000.01"}),
        ("currency", {"currency": "USD"}),
        ("currency", {"currency": "XXX"}),
        ("expires_at", {"expires_at": "2020-01-01T00:00:00Z"}),
        ("expires_at", {"expires_at": "2999-01-01"}),
        ("expires_at", {"expires_at": "2999-01-01T00:00:00"}),
        ("expires_at", {"expires_at": 4102444800}),
        ("expires_at", {"expires_at": None}),
        ("reference", {"reference": ""}),
        ("reference", {"reference": "x" * 36}),
        ("reference", {"reference": "a\u0000b"}),
        ("captured", {"captured": "1.00"}),
    ],
    ids=str,
)
async def test_a_malformed_hold_names_field_value_and_rule_and_holds_nothing(bank: Bank, field: str, change: dict[str, Any]) -> None:
    account = await bank.open(funds="10.00")
    answer = await _authorise(bank, _body(account) | change)
    problem = assert_problem(answer, 422, answer.json()["code"])
    assert problem["errors"][0]["field"] == field
    assert problem["errors"][0]["rule"]
    assert await _balance(bank, account) == ("10.00", "0.00", "10.00")


async def test_a_hold_is_its_tenants_alone(bank: Bank, other_bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    for method, path in (("GET", ""), ("POST", "/void"), ("POST", "/capture")):
        assert_problem(await other_bank.http.request(method, f"/v1/holds/{hold_id}{path}"), 404, "not-found")
        assert_problem(await bank.http.request(method, f"/v1/holds/{uuid.uuid4()}{path}"), 404, "not-found")
        assert_problem(await bank.http.request(method, f"/v1/holds/7{path}"), 422, "invalid-input")
    assert_problem(await _authorise(other_bank, _body(account)), 422, "unknown-account")
    assert await _balance(bank, account) == ("10.00", "4.00", "6.00")


async def _workflow(stack: RunningStack, bank: Bank, hold_id: str) -> WorkflowHandle[Any, Any]:
    client = await connect(Settings(temporal_address=stack.temporal_address))
    return client.get_workflow_handle(hold_workflow_id(bank.tenant, hold_id))


def _told(records: Records, hold_id: str) -> list[str]:
    """A hold's events that are published."""
    found: str = records.one(
        "SELECT coalesce(string_agg(substring(type FROM 'hold-([a-z]+)'), ' ' ORDER BY created_at), '') FROM event_outbox"
        " WHERE subject = %s AND published_at IS NOT NULL",
        hold_id,
    )
    return found.split()


async def test_a_hold_has_a_workflow_in_which_operators_see_how_it_stands(bank: Bank, stack: RunningStack, records: Records) -> None:
    account = await bank.open(funds="10.00")
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    handle = await _workflow(stack, bank, hold_id)
    described = await handle.describe()
    attributes = {pair.key.name: pair.value for pair in described.typed_search_attributes}
    assert (attributes["CasaflowKind"], attributes["CasaflowStatus"], attributes["CasaflowAccounts"]) == ("hold", "open", [account])
    assert await described.static_summary() == f"Hold of 4.00 EUR on account {account}"
    await _capture(bank, hold_id, amount="1.50", releases_hold=False)
    async with asyncio.timeout(30):
        while (await handle.query("current", result_type=Hold)).captured.decimal_string != "1.50":  # noqa: ASYNC110  a query can't wait
            await asyncio.sleep(0.05)
    await _capture(bank, hold_id, amount="1.00")
    ended = Hold.model_validate(await handle.result())
    assert (ended.status, ended.captured.decimal_string) == ("captured", "2.50")
    await until(lambda: _told(records, hold_id) == ["authorised", "captured", "captured"])


async def test_a_hold_expires_by_itself_and_its_workflow_ends(bank: Bank, stack: RunningStack, records: Records) -> None:
    account = await bank.open(funds="10.00")
    ends = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=4)
    hold_id = (await _authorise(bank, _body(account, expires_at=ends.isoformat()))).json()["hold_id"]
    ended = Hold.model_validate(await (await _workflow(stack, bank, hold_id)).result())
    assert ended.status == "expired"
    assert await _balance(bank, account) == ("10.00", "0.00", "10.00")
    await until(lambda: _told(records, hold_id) == ["authorised", "expired"])
    assert (await _capture(bank, hold_id))["reason"]["code"] == "hold-expired"


async def test_a_void_is_told_and_an_unsigned_one_is_not_obeyed(bank: Bank, stack: RunningStack, records: Records) -> None:
    account = await bank.open(funds="10.00")
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    handle = await _workflow(stack, bank, hold_id)
    forged = sign(b"?" * 32, action="void", tenant=bank.tenant, transaction_id=hold_id, by="teller", at=dt.datetime.now(dt.UTC))
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("void", forged)
    assert await _balance(bank, account) == ("10.00", "4.00", "6.00")
    assert (await bank.http.post(f"/v1/holds/{hold_id}/void")).json()["status"] == "voided"
    await handle.result()
    await until(lambda: _told(records, hold_id) == ["authorised", "voided"])


async def test_a_hold_whose_workflow_was_terminated_is_taken_over_by_its_void(bank: Bank, stack: RunningStack, records: Records) -> None:
    account = await bank.open(funds="10.00")
    hold_id = (await _authorise(bank, _body(account))).json()["hold_id"]
    await (await _workflow(stack, bank, hold_id)).terminate()
    assert (await bank.http.post(f"/v1/holds/{hold_id}/void")).json()["status"] == "voided"
    await until(lambda: _told(records, hold_id) == ["authorised", "voided"])


async def test_a_hold_from_before_it_had_a_workflow_is_captured_and_voided(bank: Bank, stack: RunningStack) -> None:
    account = await bank.open(funds="10.00")
    database = Database.open(stack.postgres_dsn, pool_size=1)
    holds = []
    for _ in range(2):
        request = HoldRequest(
            tenant=bank.tenant,
            hold_id=str(uuid.uuid4()),
            account_id=account,
            amount=Money(minor_units=300, currency="EUR"),
            expires_at=dt.datetime.fromisoformat(NEXT_WEEK),
            authorised_by="teller",
        )
        holds.append((await PostgresHolds(database).authorise(request))[0].hold_id)
    await database.close()
    with psycopg.connect(stack.postgres_dsn) as connection:
        connection.execute(
            "UPDATE hold SET announced = false WHERE tenant = %s AND hold_id = ANY (CAST(%s AS uuid[]))", (bank.tenant, holds)
        )
        connection.execute("DELETE FROM event_outbox WHERE subject = ANY (%s)", (holds,))
    assert (await _capture(bank, holds[0]))["status"] == "completed"
    assert (await bank.http.post(f"/v1/holds/{holds[1]}/void")).json()["status"] == "voided"
    assert await _balance(bank, account) == ("7.00", "0.00", "7.00")


async def test_a_key_stands_for_one_hold(bank: Bank) -> None:
    account = await bank.open(funds="10.00")
    body = {name: value for name, value in _body(account).items() if name != "hold_id"}
    key = {"Idempotency-Key": f"key-{uuid.uuid4()}"}
    first, second = [await bank.http.post("/v1/holds", json=body, headers=key) for _ in range(2)]
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json() == second.json()
    assert await _balance(bank, account) == ("10.00", "4.00", "6.00")
    other = await bank.http.post("/v1/holds", json={**body, "amount": "5.00"}, headers=key)
    assert_problem(other, 422, "idempotency-key-conflict")
    assert_problem(await bank.http.post("/v1/holds", json=body, headers={"Idempotency-Key": "a b"}), 422, "invalid-input")


async def test_the_same_hold_asked_for_at_once_is_one_hold(bank: Bank) -> None:
    account = await bank.open(funds="100.00")
    body = _body(account)
    answers = await asyncio.gather(*(_authorise(bank, body) for _ in range(8)))
    assert [answer.status_code for answer in answers].count(201) == 1
    assert {answer.status_code for answer in answers} == {200, 201}
    assert await _balance(bank, account) == ("100.00", "4.00", "96.00")
