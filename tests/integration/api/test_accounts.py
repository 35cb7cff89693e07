from __future__ import annotations

import uuid

import pytest

from tests.integration.api.bank import Bank, Records, assert_problem


def _new_id() -> str:
    return f"A{uuid.uuid4().hex[:16]}"


async def test_account_is_opened_once_and_found_again(bank: Bank) -> None:
    body = {"account_id": _new_id(), "currency": "EUR", "kind": "savings", "overdraft_limit": "500.00"}
    opened = await bank.http.post("/v1/accounts", json=body)
    again = await bank.http.post("/v1/accounts", json=body)
    assert (opened.status_code, again.status_code) == (201, 200)
    assert opened.headers["Location"] == again.headers["Location"] == f"/v1/accounts/{body['account_id']}"
    assert opened.json() == again.json() == (await bank.http.get(opened.headers["Location"])).json()
    assert {name: opened.json()[name] for name in body} == body
    assert opened.json()["status"] == "active"


@pytest.mark.parametrize("change", [{"currency": "USD"}, {"kind": "savings"}, {"overdraft_limit": "0.01"}])
async def test_other_content_under_an_account_id_is_a_conflict(bank: Bank, change: dict[str, str]) -> None:
    body = {"account_id": _new_id(), "currency": "EUR"}
    assert (await bank.http.post("/v1/accounts", json=body)).status_code == 201
    assert_problem(await bank.http.post("/v1/accounts", json={**body, **change}), 409, "account-conflict")
    stored = (await bank.http.get(f"/v1/accounts/{body['account_id']}")).json()
    assert (stored["currency"], stored["kind"], stored["overdraft_limit"]) == ("EUR", "current", "0.00")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("account_id", {"account_id": ""}),
        ("account_id", {"account_id": "A" * 35}),
        ("account_id", {"account_id": "a b"}),
        ("account_id", {"account_id": "-a"}),
        ("account_id", {"account_id": "\u00e4"}),
        ("account_id", {"account_id": 7}),
        ("currency", {"currency": "XXX"}),
        ("currency", {"currency": "eur"}),
        ("kind", {"kind": "internal"}),
        ("overdraft_limit", {"overdraft_limit": "-1"}),
        ("overdraft_limit", {"overdraft_limit": "0.001"}),
        ("overdraft_limit", {"overdraft_limit": "0.000"}),
        ("overdraft_limit", {"overdraft_limit": "0."}),
        ("overdraft_limit", {"overdraft_limit": 0}),
        ("overdraft_limit", {"overdraft_limit": "10000000000000.01"}),
        ("status", {"status": "active"}),
    ],
)
async def test_malformed_account_is_refused_and_not_opened(bank: Bank, records: Records, field: str, change: dict[str, object]) -> None:
    before = records.counts(bank.tenant)
    body: dict[str, object] = {"account_id": _new_id(), "currency": "EUR", **change}
    answer = await bank.http.post("/v1/accounts", json=body)
    problem = assert_problem(answer, 422, "unknown-currency" if field == "currency" else "invalid-input")
    assert problem["errors"][0]["field"] == field
    assert records.counts(bank.tenant) == before


async def test_balance_tells_credits_debits_and_what_is_available(bank: Bank) -> None:
    account = await bank.open("BHD", funds="10.500", overdraft_limit="2")
    await bank.submit({"debtor": account, "amount": "12.001", "currency": "BHD"})
    balance = (await bank.http.get(f"/v1/accounts/{account}/balance")).json()
    assert balance.pop("as_of")
    assert balance == {
        "account_id": account,
        "currency": "BHD",
        "ledger": "-1.501",
        "held": "0.000",
        "available": "0.499",
        "offline": "10.500",
        "online": "12.001",
    }


@pytest.mark.parametrize(
    "method_and_path",
    [
        "GET {}",
        "GET {}/balance",
        "PATCH {}",
        "POST {}/freeze",
        "POST {}/unfreeze",
        "POST {}/dormant",
        "POST {}/reactivate",
        "POST {}/close",
    ],
)
async def test_unknown_account_is_not_found(bank: Bank, other_bank: Bank, method_and_path: str) -> None:
    for unknown in (_new_id(), await other_bank.open()):
        method, path = method_and_path.format(f"/v1/accounts/{unknown}").split()
        body = {"daily_limit": "5.00"} if method == "PATCH" else None
        assert_problem(await bank.http.request(method, path, json=body), 404, "not-found")


async def test_malformed_account_id_in_the_path_is_bad_input(bank: Bank) -> None:
    for malformed in ("%00", "a%20b", "%ED%A0%80", "A" * 35):
        problem = assert_problem(await bank.http.get(f"/v1/accounts/{malformed}/balance"), 422, "invalid-input")
        assert problem["errors"][0]["field"] == "account_id"


async def test_frozen_account_refuses_money_until_it_is_unfrozen(bank: Bank) -> None:
    account = await bank.open(funds="5.00")
    for _ in range(2):  # freezing twice changes nothing
        frozen = await bank.http.post(f"/v1/accounts/{account}/freeze")
        assert (frozen.status_code, frozen.json()["status"]) == (200, "frozen")
    for side in ("creditor", "debtor"):
        refused = await bank.submit({side: account, "amount": "1.00", "currency": "EUR"})
        assert (refused.status_code, refused.json()["status"]) == (201, "rejected")
        assert refused.json()["reason"]["code"] == "account-frozen"
    assert (await bank.http.post(f"/v1/accounts/{account}/unfreeze")).json()["status"] == "active"
    assert (await bank.submit({"debtor": account, "amount": "1.00", "currency": "EUR"})).json()["status"] == "completed"
    assert await bank.ledger(account) == "4.00"


async def test_account_with_money_cannot_be_closed_and_an_empty_one_closes_for_good(bank: Bank) -> None:
    account = await bank.open(funds="5.00")
    problem = assert_problem(await bank.http.post(f"/v1/accounts/{account}/close"), 409, "account-not-closable")
    assert account in problem["detail"]
    await bank.submit({"debtor": account, "amount": "5.00", "currency": "EUR"})
    for _ in range(2):  # closing twice changes nothing
        closed = await bank.http.post(f"/v1/accounts/{account}/close")
        assert (closed.status_code, closed.json()["status"]) == (200, "closed")
    for change in ("freeze", "unfreeze"):
        assert_problem(await bank.http.post(f"/v1/accounts/{account}/{change}"), 409, "account-closed")


async def test_closed_account_is_a_business_rejection_and_recorded_as_such(bank: Bank, records: Records) -> None:
    account = await bank.open()
    await bank.http.post(f"/v1/accounts/{account}/close")
    for side in ("creditor", "debtor"):
        identifier = str(uuid.uuid4())
        answer = await bank.submit({"transaction_id": identifier, side: account, "amount": "1.00", "currency": "EUR"})
        assert (answer.status_code, answer.json()["status"]) == (201, "rejected")
        assert answer.json()["reason"]["code"] == "account-closed"
        assert (
            records.one("SELECT status FROM transaction WHERE tenant = %s AND transaction_id = %s", bank.tenant, identifier) == "rejected"
        )
        assert records.postings(bank.tenant, identifier) == 0
