"""Schemas and the AsyncAPI document as the API serves them, and the events of this stack beside them."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from jsonschema import Draft202012Validator

from infra.kafka import asyncapi
from ledger.balances import BALANCE_V1
from ledger.event_types import EVENT_TYPES, schema_of
from tests.integration.api.bank import Bank, assert_problem
from tests.stack_fixtures import RunningStack


async def test_every_type_is_listed_with_its_topic_key_and_schema(bank: Bank) -> None:
    answered = (await bank.http.get("/v1/event-types")).json()["event_types"]
    assert {(each["type"], each["topic"], each["key"]) for each in answered} == {
        (name, event_type.topic, event_type.key) for name, event_type in EVENT_TYPES.items()
    }
    for each in answered:
        schema = await bank.http.get(each["data_schema"])
        assert schema.status_code == 200
        assert schema.headers["Content-Type"] == "application/schema+json"
        assert schema.json() == schema_of(EVENT_TYPES[each["type"]])
        assert each["description"]


async def test_an_unknown_type_has_no_schema(bank: Bank) -> None:
    assert_problem(await bank.http.get("/v1/event-types/casaflow.casa.debited.v0"), 404, "not-found")


async def test_the_asyncapi_document_is_served(bank: Bank) -> None:
    answer = await bank.http.get("/asyncapi.json")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json() == asyncapi.document()


@pytest.mark.parametrize("path", ["/asyncapi.json", "/v1/event-types", "/v1/event-types/casaflow.casa.debited.v1"])
async def test_they_need_a_key_and_are_in_the_openapi_document(bank: Bank, stack: RunningStack, path: str) -> None:
    async with httpx.AsyncClient(base_url=stack.api, trust_env=False) as http:
        assert_problem(await http.get(path), 401, "unauthenticated")
    described = (await bank.http.get("/openapi.json")).json()["paths"]
    operation = described[path.replace("casaflow.casa.debited.v1", "{name}")]["get"]
    assert operation["security"] == [{"HTTPBearer": []}]
    assert "200" in operation["responses"]


async def _do_something_of_each_kind(bank: Bank) -> None:
    """A transfer across currencies with a reference, a rejection, a deposit by clearing, a hold that is captured and one that is voided."""
    debtor, creditor = await bank.open(funds="100.00"), await bank.open("USD")
    body = {"debtor": debtor, "currency": "EUR", "reference": "rent 11/26"}
    transfer = await bank.submit({**body, "creditor": creditor, "amount": "10.00"})
    assert transfer.json()["status"] == "completed"
    assert (await bank.submit({**body, "amount": "5000.00"})).json()["status"] == "rejected"
    deposit = await bank.submit({"creditor": debtor, "amount": "1.00", "currency": "EUR", "settlement": "clearing"})
    assert deposit.json()["status"] == "completed"
    for end, ending in (("capture", {"amount": "2.00"}), ("void", {})):
        expires_at = (dt.datetime.now(dt.UTC) + dt.timedelta(days=7)).isoformat()
        asked = {"hold_id": str(uuid4()), "account_id": debtor, "amount": "5.00", "currency": "EUR", "expires_at": expires_at}
        hold = await bank.http.post("/v1/holds", json=asked)
        assert hold.status_code == 201, hold.text
        ended = await bank.http.post(f"/v1/holds/{asked['hold_id']}/{end}", json=ending or None, headers={"Prefer": "wait=30"})
        assert ended.status_code in {200, 201}, ended.text


async def test_every_event_of_this_stack_fits_the_schema_of_its_type(bank: Bank, stack: RunningStack) -> None:
    await _do_something_of_each_kind(bank)
    with psycopg.connect(stack.postgres_dsn) as connection:
        stored = connection.execute("SELECT type, topic, key, payload::text, tenant FROM event_outbox WHERE topic <> 't'").fetchall()
    seen: Counter[str] = Counter()
    own: list[tuple[str, dict[str, Any]]] = []
    validators = {name: Draft202012Validator(schema_of(event_type)) for name, event_type in EVENT_TYPES.items()}
    for name, topic, _key, payload, tenant in stored:
        if name not in validators:  # of tests that publish what they like
            continue
        assert topic == EVENT_TYPES[name].topic
        data = json.loads(payload)
        validators[name].validate(data)
        seen[name] += 1
        if tenant == bank.tenant:
            own.append((name, data))
    print(f"events by type: {dict(seen)}")  # noqa: T201  shows that the check is not empty
    not_here = {"casaflow.accounting.transaction-reversed.v1", "casaflow.casa.hold-expired.v1", BALANCE_V1}
    assert set(seen) >= set(EVENT_TYPES) - not_here
    assert any(data["instruction"].get("settlement") == "clearing" for name, data in own if name == "casaflow.casa.credited.v1")
    assert any(data["conversion"] for name, data in own if name == "casaflow.casa.credited.v1")
    for _name, data in own:
        for leg in data.get("legs", []):
            assert ("ledger_balance_after" in leg) == ("available_balance_after" in leg) == (leg["version"] is not None)
            assert ("reason" in leg) == (leg["outcome"] == "refused")
