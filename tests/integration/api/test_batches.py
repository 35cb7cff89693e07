"""Several transactions in one request: each is answered as if it came by itself."""

from __future__ import annotations

import uuid
from typing import Any

import httpx
import pytest

from tests.integration.api.bank import Bank, Records, assert_problem


async def _batch(bank: Bank, *transactions: object, key: str | None = None, wait_seconds: int = 30) -> httpx.Response:
    headers = {"Prefer": f"wait={wait_seconds}", **({"Idempotency-Key": key} if key else {})}
    return await bank.http.post("/v1/transactions/batch", json={"transactions": transactions}, headers=headers)


async def _results(bank: Bank, *transactions: object, key: str | None = None) -> list[dict[str, Any]]:
    answer = await _batch(bank, *transactions, key=key)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["results"])


def _deposit(account: str, **changes: object) -> dict[str, object]:
    return {"creditor": account, "amount": "1.00", "currency": "EUR", **changes}


async def test_each_is_answered_in_its_place_and_a_bad_one_leaves_its_neighbours_alone(bank: Bank) -> None:
    account, used = await bank.open(funds="5.00"), str(uuid.uuid4())
    await bank.submit(_deposit(account, transaction_id=used))
    results = await _results(
        bank,
        _deposit(account),
        {"debtor": account, "amount": "900.00", "currency": "EUR"},
        _deposit(account, amount=1.5),
        "no transaction",
        _deposit(account, transaction_id=used, amount="2.00"),
        _deposit(account, transaction_id=used),
        _deposit("NOBODY"),
        {"debtor": account, "amount": "2.00", "currency": "EUR"},
    )
    assert [result["status"] for result in results] == [201, 201, 422, 422, 409, 200, 422, 201]
    assert [result.get("transaction", {}).get("status") for result in results] == [
        *("completed", "rejected", None, None, None, "completed", None, "completed"),
    ]
    codes = [result.get("problem", {}).get("code") for result in results]
    assert codes == [None, None, "invalid-input", "invalid-input", "transaction-conflict", None, "unknown-account", None]
    assert results[2]["problem"]["errors"][0]["field"] == "amount"
    assert await bank.ledger(account) == "5.00"


async def test_same_id_twice_in_a_batch_is_posted_once(bank: Bank, records: Records) -> None:
    account, once = await bank.open(), str(uuid.uuid4())
    results = await _results(bank, *(_deposit(account, transaction_id=once) for _ in range(5)))
    assert {result["transaction"]["status"] for result in results} == {"completed"}
    assert sorted(result["status"] for result in results) == [200, 200, 200, 200, 201]
    assert (records.postings(bank.tenant, once), await bank.ledger(account)) == (1, "1.00")


async def test_key_joins_the_same_batch_and_refuses_another(bank: Bank) -> None:
    account, key = await bank.open(), uuid.uuid4().hex
    first = await _results(bank, _deposit(account), _deposit(account), key=key)
    again = await _results(bank, _deposit(account), _deposit(account), key=key)
    ids = [[result["transaction"]["transaction_id"] for result in results] for results in (first, again)]
    assert ids[0] == ids[1]
    assert len(set(ids[0])) == 2
    assert [result["status"] for result in again] == [200, 200]
    assert await bank.ledger(account) == "2.00"
    assert_problem(await _batch(bank, _deposit(account), key=key), 422, "idempotency-key-conflict")
    # One transaction by itself is another request.
    assert_problem(await bank.submit(_deposit(account), headers={"Idempotency-Key": key}), 422, "idempotency-key-conflict")
    assert await bank.ledger(account) == "2.00"


async def test_without_waiting_each_is_under_way(bank: Bank) -> None:
    account = await bank.open()
    answer = await _batch(bank, _deposit(account), _deposit(account), wait_seconds=0)
    results = answer.json()["results"]
    assert [result["status"] for result in results] == [202, 202]
    for result in results:
        assert result["transaction"]["status"] == "processing"


async def test_a_hundred_are_carried_out_and_no_more_are_taken(bank: Bank) -> None:
    account = await bank.open()
    results = await _results(bank, *(_deposit(account, reference=f"N{number}") for number in range(100)))
    assert [result["transaction"]["reference"] for result in results] == [f"N{number}" for number in range(100)]
    assert await bank.ledger(account) == "100.00"
    for wrong in ((), (_deposit(account),) * 101):
        assert assert_problem(await _batch(bank, *wrong), 422, "invalid-input")["errors"][0]["field"] == "transactions"
    assert await bank.ledger(account) == "100.00"


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_key_must_be_well_formed(bank: Bank, key: str) -> None:
    headers = {"Idempotency-Key": key}
    answer = await bank.http.post("/v1/transactions/batch", json={"transactions": [_deposit("A1")]}, headers=headers)
    assert assert_problem(answer, 422, "invalid-input")["errors"][0]["field"] == "Idempotency-Key"
