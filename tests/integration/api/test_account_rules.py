"""Rules and status of accounts over HTTP."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from tests.integration.api.bank import Bank, Records, assert_problem

RULES = {
    "overdraft_limit": "1.00",
    "minimum_balance": "2.00",
    "maximum_balance": "3000.00",
    "transaction_limit": "4.00",
    "daily_limit": "5.00",
    "monthly_limit": "6.00",
    "time_zone": "Europe/Prague",
}
NO_RULES = {
    "overdraft_limit": "0.00",
    "minimum_balance": "0.00",
    "maximum_balance": None,
    "transaction_limit": None,
    "daily_limit": None,
    "monthly_limit": None,
    "time_zone": "UTC",
}


async def _change(bank: Bank, account: str, **rules: Any) -> dict[str, Any]:
    changed = await bank.http.patch(f"/v1/accounts/{account}", json=rules)
    assert changed.status_code == 200, changed.text
    content: dict[str, Any] = changed.json()
    return content


async def test_rules_are_given_when_an_account_is_opened_and_shown_in_full(bank: Bank) -> None:
    for rules, shown in ((RULES, RULES), ({}, NO_RULES), (NO_RULES, NO_RULES)):
        body = {"account_id": f"A{uuid.uuid4().hex[:16]}", "currency": "EUR", **rules}
        opened = await bank.http.post("/v1/accounts", json=body)
        assert opened.status_code == 201, opened.text
        assert {name: opened.json()[name] for name in RULES} == shown
        assert (await bank.http.get(f"/v1/accounts/{body['account_id']}")).json() == opened.json()


async def test_only_the_rules_that_are_named_change_and_null_takes_one_away(bank: Bank) -> None:
    account = await bank.open()
    assert {name: (await _change(bank, account, **RULES))[name] for name in RULES} == RULES
    changed = await _change(bank, account, daily_limit=None, maximum_balance="7.00")
    assert {name: changed[name] for name in RULES} == {**RULES, "daily_limit": None, "maximum_balance": "7.00"}
    assert await _change(bank, account) == changed
    for name in ("maximum_balance", "transaction_limit", "monthly_limit"):
        changed = await _change(bank, account, **{name: None})
    assert await _change(bank, account, overdraft_limit="0", minimum_balance="0.0", time_zone="UTC") == {**changed, **NO_RULES}


async def test_opening_again_is_compared_with_the_rules_as_opened(bank: Bank) -> None:
    body = {"account_id": f"A{uuid.uuid4().hex[:16]}", "currency": "EUR", "daily_limit": "5.00"}
    assert (await bank.http.post("/v1/accounts", json=body)).status_code == 201
    changed = await _change(bank, body["account_id"], daily_limit="9.00")
    again = await bank.http.post("/v1/accounts", json=body)
    assert (again.status_code, again.json()) == (200, changed)
    assert_problem(await bank.http.post("/v1/accounts", json={**body, "daily_limit": "9.00"}), 409, "account-conflict")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        *((name, {name: value}) for name in RULES if name != "time_zone" for value in ("-1.00", "0.001", 5, "x", "10000000000000.01")),
        ("overdraft_limit", {"overdraft_limit": None}),
        ("minimum_balance", {"minimum_balance": None}),
        ("maximum_balance", {"maximum_balance": "0"}),
        ("time_zone", {"time_zone": "Europe/Atlantis"}),
        ("time_zone", {"time_zone": "europe/prague"}),
        ("time_zone", {"time_zone": None}),
        ("time_zone", {"time_zone": 1}),
        ("time_zone", {"time_zone": "\u0000"}),
        ("currency", {"currency": "USD"}),
        ("kind", {"kind": "savings"}),
        ("status", {"status": "closed"}),
    ],
    ids=str,
)
async def test_a_malformed_change_names_field_value_and_rule_and_changes_nothing(bank: Bank, field: str, change: dict[str, Any]) -> None:
    account = await bank.open()
    before = (await bank.http.get(f"/v1/accounts/{account}")).json()
    problem = assert_problem(await bank.http.patch(f"/v1/accounts/{account}", json={"daily_limit": "5.00", **change}), 422, "invalid-input")
    assert problem["errors"][0]["field"] == field
    assert problem["errors"][0]["rule"]
    assert (await bank.http.get(f"/v1/accounts/{account}")).json() == before


async def test_a_rule_refuses_the_next_transaction(bank: Bank) -> None:
    account = await bank.open(funds="100.00")
    for rules, side, code in (
        ({"transaction_limit": "4.99"}, "debtor", "transaction-limit"),
        ({"transaction_limit": None, "daily_limit": "4.99"}, "debtor", "daily-limit"),
        ({"daily_limit": None, "monthly_limit": "4.99"}, "debtor", "monthly-limit"),
        ({"monthly_limit": None, "minimum_balance": "95.01"}, "debtor", "minimum-balance"),
        ({"maximum_balance": "104.99"}, "creditor", "maximum-balance"),
    ):
        await _change(bank, account, **rules)
        answer = (await bank.submit({side: account, "amount": "5.00", "currency": "EUR"})).json()
        assert (answer["status"], answer["reason"]["code"]) == ("rejected", code)
    await _change(bank, account, maximum_balance=None, minimum_balance="0")
    assert (await bank.submit({"debtor": account, "amount": "5.00", "currency": "EUR"})).json()["status"] == "completed"


async def test_an_overdraft_limit_below_what_is_used_is_a_conflict_that_says_how_much(bank: Bank) -> None:
    account = await bank.open(overdraft_limit="10.00")
    await bank.submit({"debtor": account, "amount": "7.50", "currency": "EUR"})
    problem = assert_problem(await bank.http.patch(f"/v1/accounts/{account}", json={"overdraft_limit": "7.49"}), 409, "overdraft-in-use")
    assert problem["errors"] == [{"field": "overdraft_limit", "value": "7.49", "rule": "must be at least 7.50, which debits and holds use"}]
    assert (await _change(bank, account, overdraft_limit="7.50"))["overdraft_limit"] == "7.50"


@pytest.mark.parametrize(
    ("side", "status", "refused"),
    [
        ("debits", "debit-frozen", {"debtor": "account-debit-frozen"}),
        ("credits", "credit-frozen", {"creditor": "account-credit-frozen"}),
        ("both", "frozen", {"debtor": "account-frozen", "creditor": "account-frozen"}),
    ],
)
async def test_a_freeze_of_a_side_refuses_that_side_only(bank: Bank, side: str, status: str, refused: dict[str, str]) -> None:
    account = await bank.open(funds="5.00")
    frozen = await bank.http.post(f"/v1/accounts/{account}/freeze", json={"side": side})
    assert (frozen.status_code, frozen.json()["status"]) == (200, status)
    for named in ("debtor", "creditor"):
        answer = (await bank.submit({named: account, "amount": "1.00", "currency": "EUR"})).json()
        assert (answer["reason"]["code"] if answer.get("reason") else None) == refused.get(named)
    assert (await bank.http.post(f"/v1/accounts/{account}/unfreeze")).json()["status"] == "active"


async def test_freezes_add_up_and_an_unknown_side_is_bad_input(bank: Bank) -> None:
    account = await bank.open()
    for side, status in (("debits", "debit-frozen"), ("credits", "frozen"), ("debits", "frozen")):
        assert (await bank.http.post(f"/v1/accounts/{account}/freeze", json={"side": side})).json()["status"] == status
    problem = assert_problem(await bank.http.post(f"/v1/accounts/{account}/freeze", json={"side": "left"}), 422, "invalid-input")
    assert problem["errors"][0]["field"] == "side"


async def test_a_dormant_account_takes_credits_and_no_debits_until_it_is_reactivated(bank: Bank) -> None:
    account = await bank.open(funds="5.00")
    assert (await bank.http.post(f"/v1/accounts/{account}/dormant")).json()["status"] == "dormant"
    refused = (await bank.submit({"debtor": account, "amount": "1.00", "currency": "EUR"})).json()
    assert refused["reason"]["code"] == "account-dormant"
    assert (await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})).json()["status"] == "completed"
    await bank.http.post(f"/v1/accounts/{account}/freeze")
    problem = assert_problem(await bank.http.post(f"/v1/accounts/{account}/reactivate"), 409, "account-frozen")
    assert (problem["errors"][0]["field"], problem["errors"][0]["value"]) == ("status", "active")
    assert (await bank.http.post(f"/v1/accounts/{account}/unfreeze")).json()["status"] == "dormant"
    assert (await bank.http.post(f"/v1/accounts/{account}/reactivate")).json()["status"] == "active"
    assert (await bank.submit({"debtor": account, "amount": "1.00", "currency": "EUR"})).json()["status"] == "completed"


async def test_a_closed_account_takes_no_change_and_every_change_names_its_principal(bank: Bank, colleague: Bank, records: Records) -> None:
    account = await bank.open()
    await colleague.http.patch(f"/v1/accounts/{account}", json={"daily_limit": "1.00"})
    await bank.http.post(f"/v1/accounts/{account}/close")
    problem = assert_problem(await bank.http.patch(f"/v1/accounts/{account}", json={"daily_limit": "2.00"}), 409, "account-closed")
    assert problem["errors"][0]["field"] == "daily_limit"
    for change in ("freeze", "unfreeze", "dormant", "reactivate"):
        assert_problem(await bank.http.post(f"/v1/accounts/{account}/{change}"), 409, "account-closed")
    by = "SELECT string_agg(changed_by, ' ' ORDER BY changed_at) FROM account_change WHERE tenant = %s AND account_id = %s"
    assert records.one(by, bank.tenant, account) == "colleague teller"
