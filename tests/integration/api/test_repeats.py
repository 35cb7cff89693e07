from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from tests.integration.api.bank import Bank, Records, assert_problem


async def test_repeat_of_a_finished_transaction_answers_it_again(bank: Bank, colleague: Bank, records: Records) -> None:
    account = await bank.open()
    body = {"transaction_id": str(uuid.uuid4()), "creditor": account, "amount": "7.00", "currency": "EUR"}
    first = await bank.submit(body)
    for repeater in (bank, colleague):
        again = await repeater.submit({**body, "transaction_id": body["transaction_id"].upper()}, wait_seconds=0)
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["Location"] == first.headers["Location"]
    assert records.postings(bank.tenant, body["transaction_id"]) == 1
    assert await bank.ledger(account) == "7.00"


@pytest.mark.parametrize(
    "change",
    [
        {"amount": "7.01"},
        {"currency": "USD"},
        {"settlement": "clearing"},
        {"reference": "other"},
        {"remittance_information": "other"},
        {"value_date": "2026-02-01"},
        {"metadata": {"a": "b"}},
        {"side": "debtor"},
        {"account": "other"},
    ],
)
async def test_other_content_under_a_transaction_id_is_a_conflict(bank: Bank, records: Records, change: dict[str, Any]) -> None:
    account = await bank.open(funds="50.00")
    body: dict[str, Any] = {"transaction_id": str(uuid.uuid4()), "creditor": account, "amount": "7.00", "currency": "EUR"}
    assert (await bank.submit(body)).status_code == 201
    before = records.counts(bank.tenant)
    if "side" in change:
        del body["creditor"]
        change = {"debtor": account}
    if "account" in change:
        change = {"creditor": await bank.open()}
        before["account"] += 1
    assert_problem(await bank.submit({**body, **change}), 409, "transaction-conflict")
    assert records.counts(bank.tenant) == before
    assert await bank.ledger(account) == "57.00"


async def test_same_id_sent_many_times_at_once_posts_once(bank: Bank, records: Records) -> None:
    account = await bank.open()
    body = {"transaction_id": str(uuid.uuid4()), "creditor": account, "amount": "7.00", "currency": "EUR"}
    answers = await asyncio.gather(*(bank.submit(body) for _ in range(12)))
    codes = sorted(answer.status_code for answer in answers)
    assert codes == [200] * 11 + [201]
    assert {answer.json()["status"] for answer in answers} == {"completed"}
    assert records.postings(bank.tenant, body["transaction_id"]) == 1


async def test_two_contents_racing_for_one_id_end_as_one_transaction_and_one_conflict(bank: Bank) -> None:
    account = await bank.open()
    identifier = str(uuid.uuid4())
    bodies = [{"transaction_id": identifier, "creditor": account, "amount": amount, "currency": "EUR"} for amount in ("1.00", "2.00")]
    answers = await asyncio.gather(*(bank.submit(body) for body in bodies))
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    won = next(answer.json() for answer in answers if answer.status_code == 201)
    assert await bank.ledger(account) == won["amount"]


async def test_idempotency_key_joins_the_first_request(bank: Bank, records: Records) -> None:
    account = await bank.open()
    body = {"creditor": account, "amount": "3.00", "currency": "EUR", "metadata": {"a": "1", "b": "2"}}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    first = await bank.submit(body, headers=headers)
    again = await bank.submit(body, headers=headers)
    # The same body, written by another JSON library.
    reordered = await bank.submit(dict(reversed({**body, "metadata": {"b": "2", "a": "1"}}.items())), headers=headers)
    assert (first.status_code, again.status_code, reordered.status_code) == (201, 200, 200)
    assert first.json() == again.json() == reordered.json()
    assert records.postings(bank.tenant, first.json()["transaction_id"]) == 1
    assert await bank.ledger(account) == "3.00"


async def test_concurrent_requests_with_one_idempotency_key_are_one_transaction(bank: Bank) -> None:
    account = await bank.open()
    body = {"creditor": account, "amount": "3.00", "currency": "EUR"}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    answers = await asyncio.gather(*(bank.submit(body, headers=headers) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["transaction_id"] for answer in answers}) == 1
    assert await bank.ledger(account) == "3.00"


async def test_idempotency_key_with_another_body_is_refused(bank: Bank, records: Records) -> None:
    account = await bank.open()
    body = {"creditor": account, "amount": "3.00", "currency": "EUR"}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    await bank.submit(body, headers=headers)
    before = records.counts(bank.tenant)
    for other in ({**body, "amount": "3.01"}, {**body, "transaction_id": str(uuid.uuid4())}):
        assert_problem(await bank.submit(other, headers=headers), 422, "idempotency-key-conflict")
    assert records.counts(bank.tenant) == before


async def test_idempotency_key_of_another_principal_or_tenant_is_another_transaction(bank: Bank, colleague: Bank, other_bank: Bank) -> None:
    account, foreign = await bank.open(), await other_bank.open()
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    body = {"creditor": account, "amount": "3.00", "currency": "EUR"}
    answers = [await bank.submit(body, headers=headers), await colleague.submit(body, headers=headers)]
    answers.append(await other_bank.submit({**body, "creditor": foreign}, headers=headers))
    assert [answer.status_code for answer in answers] == [201, 201, 201]
    assert len({answer.json()["transaction_id"] for answer in answers}) == 3
    assert await bank.ledger(account) == "6.00"


async def test_ids_are_a_tenants_own(bank: Bank, other_bank: Bank, records: Records) -> None:
    account = await bank.open(funds="10.00")
    identifier = str(uuid.uuid4())
    body = {"transaction_id": identifier, "creditor": account, "amount": "3.00", "currency": "EUR"}
    assert (await bank.submit(body)).status_code == 201
    before = records.counts(other_bank.tenant)
    assert_problem(await other_bank.http.get(f"/v1/transactions/{identifier}"), 404, "not-found")
    for path in ("", "/balance"):
        assert_problem(await other_bank.http.get(f"/v1/accounts/{account}{path}"), 404, "not-found")
    for change in ("freeze", "unfreeze", "close"):
        assert_problem(await other_bank.http.post(f"/v1/accounts/{account}/{change}"), 404, "not-found")
    for side in ("creditor", "debtor"):
        touched = await other_bank.submit({"transaction_id": str(uuid.uuid4()), side: account, "amount": "1.00", "currency": "EUR"})
        assert_problem(touched, 422, "unknown-account")
    assert records.counts(other_bank.tenant) == before
    assert (await bank.http.get(f"/v1/accounts/{account}")).json()["status"] == "active"
    assert await bank.ledger(account) == "13.00"
    # The same account id and the same transaction id may be used by the other tenant, for something else.
    assert (await other_bank.http.post("/v1/accounts", json={"account_id": account, "currency": "USD"})).status_code == 201
    own = await other_bank.submit({**body, "amount": "5.00", "currency": "USD"})
    assert own.status_code == 201
    assert (await other_bank.ledger(account), await bank.ledger(account)) == ("5.00", "13.00")


async def test_joining_a_transaction_under_way_tells_who_asked_first(bank: Bank, colleague: Bank) -> None:
    account = await bank.open()
    body = {"transaction_id": str(uuid.uuid4()), "creditor": account, "amount": "3.00", "currency": "EUR"}
    answers = await asyncio.gather(bank.submit(body), colleague.submit(body), bank.submit(body), colleague.submit(body))
    first = next(answer.json() for answer in answers if answer.status_code == 201)
    assert {answer.json()["submitted_by"] for answer in answers} == {first["submitted_by"]}
    assert {answer.json()["submitted_at"] for answer in answers} == {first["submitted_at"]}
