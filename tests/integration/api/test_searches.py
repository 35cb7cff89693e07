"""Searches through the API: by each condition, in pages, of the caller's tenant alone."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.api.bank import Bank, assert_problem, bank_at
from tests.stack_fixtures import RunningStack


@pytest.fixture(scope="module")
async def filled(stack: RunningStack) -> Any:
    """A tenant with a few of everything: accounts A (funded) and B, transactions in the order of their names, a hold."""
    async with bank_at(stack.api, stack.postgres_dsn) as bank:
        ids: dict[str, str] = {"a": await bank.open(), "b": await bank.open(overdraft_limit="5.00"), "jpy": await bank.open("JPY")}
        bodies: dict[str, dict[str, Any]] = {
            "deposit": {"creditor": ids["a"], "amount": "100.00", "currency": "EUR", "reference": "RENT 1"},
            "transfer": {"debtor": ids["a"], "creditor": ids["b"], "amount": "12.50", "currency": "EUR", "reference": "RENT 2"},
            "refused": {"debtor": ids["b"], "amount": "99.99", "currency": "EUR"},
            "yen": {"creditor": ids["jpy"], "amount": "500", "currency": "JPY"},
            "several": {
                "debtor": ids["a"],
                "creditors": [{"creditor": ids["b"], "amount": "1.00"}],
                "amount": "1.00",
                "currency": "EUR",
            },
        }
        for name, body in bodies.items():
            ids[name] = (await bank.submit(body)).json()["transaction_id"]
        hold = {"account_id": ids["a"], "amount": "3.00", "currency": "EUR", "expires_at": "2999-01-01T00:00:00Z"}
        ids["hold"] = (await bank.http.post("/v1/holds", json=hold)).json()["hold_id"]
        yield bank, ids


async def _found(bank: Bank, path: str, **query: object) -> list[dict[str, Any]]:
    answer = await bank.http.get(path, params={name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.text
    (rows,) = [value for name, value in answer.json().items() if name != "next_cursor"]
    return list(rows)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ({}, "several yen refused transfer deposit"),
        ({"order": "oldest-first"}, "deposit transfer refused yen several"),
        ({"account_id": "a"}, "several transfer deposit"),
        ({"account_id": "b"}, "several refused transfer"),
        ({"status": "completed"}, "several yen transfer deposit"),
        ({"status": "rejected"}, "refused"),
        ({"status": "processing"}, ""),
        ({"status": "parked"}, ""),
        ({"kind": "transfer"}, "several transfer"),
        ({"kind": "withdrawal"}, "refused"),
        ({"currency": "JPY"}, "yen"),
        ({"currency": "EUR", "amount": "12.5"}, "transfer"),
        ({"currency": "EUR", "amount_min": "12.50", "amount_max": "99.99"}, "refused transfer"),
        ({"currency": "EUR", "amount_min": "12.51"}, "refused deposit"),
        ({"reference": "RENT 2"}, "transfer"),
        ({"reference": "RENT"}, ""),
        ({"reason": "insufficient-funds"}, "refused"),
        ({"submitted_by": "teller", "kind": "deposit"}, "yen deposit"),
        ({"submitted_by": "nobody"}, ""),
        ({"submitted_from": "2999-01-01T00:00:00Z"}, ""),
        ({"submitted_to": "2999-01-01T00:00:00Z", "account_id": "b", "kind": "transfer"}, "several transfer"),
    ],
)
async def test_transactions_are_found_by_condition(filled: tuple[Bank, dict[str, str]], query: dict[str, str], wanted: str) -> None:
    bank, ids = filled
    names = {value: name for name, value in ids.items()}
    query = {name: ids[value] if name == "account_id" else value for name, value in query.items()}
    found = await _found(bank, "/v1/transactions", **query)
    assert [names[row["transaction_id"]] for row in found] == wanted.split()


async def test_found_transaction_is_as_when_it_is_looked_up(filled: tuple[Bank, dict[str, str]]) -> None:
    bank, ids = filled
    (found,) = await _found(bank, "/v1/transactions", reference="RENT 2")
    assert found == (await bank.http.get(f"/v1/transactions/{ids['transfer']}")).json()
    assert found["legs"]


async def test_pages_follow_each_other_without_gap_or_repeat(filled: tuple[Bank, dict[str, str]]) -> None:
    bank, ids = filled
    found: list[str] = []
    query = {"limit": "2", "currency": "EUR"}
    while True:
        page = (await bank.http.get("/v1/transactions", params=query)).json()
        assert len(page["transactions"]) <= 2
        found += [row["transaction_id"] for row in page["transactions"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert found == [ids[name] for name in ("several", "refused", "transfer", "deposit")]
    query["currency"] = "JPY"
    assert_problem(await bank.http.get("/v1/transactions", params=query), 422, "invalid-input")


async def test_transaction_that_only_temporal_knows_is_left_out_until_it_is_recorded(filled: tuple[Bank, dict[str, str]]) -> None:
    bank, ids = filled
    reference = f"W{uuid.uuid4().hex[:20]}"
    body = {"creditor": ids["a"], "amount": "1.00", "currency": "EUR", "reference": reference, "approval": {}}
    waiting = (await bank.submit(body)).json()
    assert waiting["waiting_for"]["what"] == "approval"
    assert not await _found(bank, "/v1/transactions", reference=reference)
    cancelled = await bank.http.post(f"/v1/transactions/{waiting['transaction_id']}/cancel", headers={"Prefer": "wait=30"})
    assert cancelled.json()["status"] == "rejected", cancelled.text
    (found,) = await _found(bank, "/v1/transactions", reference=reference, status="rejected")
    assert found["transaction_id"] == waiting["transaction_id"]


async def test_accounts_and_holds_are_found_by_condition(filled: tuple[Bank, dict[str, str]]) -> None:
    bank, ids = filled
    by_id = sorted(ids[name] for name in ("a", "b", "jpy"))
    assert [row["account_id"] for row in await _found(bank, "/v1/accounts")] == by_id
    assert [row["account_id"] for row in await _found(bank, "/v1/accounts", currency="JPY", status="active")] == [ids["jpy"]]
    assert [row["account_id"] for row in await _found(bank, "/v1/accounts", prefix=ids["b"][:12], kind="current")] == [ids["b"]]
    assert not await _found(bank, "/v1/accounts", status="frozen")
    assert [row["hold_id"] for row in await _found(bank, "/v1/holds", account_id=ids["a"], status="open")] == [ids["hold"]]
    assert not await _found(bank, "/v1/holds", account_id=ids["b"])
    assert not await _found(bank, "/v1/holds", status="voided")


async def test_another_tenant_finds_nothing_of_it(filled: tuple[Bank, dict[str, str]], other_bank: Bank) -> None:
    _, ids = filled
    assert not await _found(other_bank, "/v1/transactions", account_id=ids["a"])
    assert not await _found(other_bank, "/v1/transactions", reference="RENT 1")
    assert not await _found(other_bank, "/v1/accounts", prefix=ids["a"])
    assert not await _found(other_bank, "/v1/holds", account_id=ids["a"])


@pytest.mark.parametrize(
    ("path", "query", "field"),
    [
        ("/v1/transactions", {"amount": "1.00"}, "currency"),
        ("/v1/transactions", {"amount": "1.001", "currency": "EUR"}, "amount"),
        ("/v1/transactions", {"amount": "1.00", "amount_min": "1.00", "currency": "EUR"}, "amount"),
        ("/v1/transactions", {"currency": "XXX"}, "currency"),
        ("/v1/transactions", {"status": "done"}, "status"),
        ("/v1/transactions", {"account_id": "a b"}, "account_id"),
        ("/v1/transactions", {"submitted_from": "yesterday"}, "submitted_from"),
        ("/v1/transactions", {"reference": "\x00"}, "reference"),
        ("/v1/transactions", {"cursor": "e30"}, "cursor"),
        ("/v1/transactions", {"limit": "101"}, "limit"),
        ("/v1/transactions", {"acount_id": "A1"}, "acount_id"),
        ("/v1/accounts", {"prefix": "%"}, "prefix"),
        ("/v1/accounts", {"cursor": "x"}, "cursor"),
        ("/v1/holds", {"status": "void"}, "status"),
        ("/v1/holds", {"cursor": "\u00e9"}, "cursor"),
    ],
)
async def test_bad_condition_is_named(bank: Bank, path: str, query: dict[str, str], field: str) -> None:
    content = assert_problem(await bank.http.get(path, params=query), 422, (await bank.http.get(path, params=query)).json()["code"])
    assert content["errors"][0]["field"] == field
