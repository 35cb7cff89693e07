"""The statement group's statements over HTTP and on the command line."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.integration.api.bank import Bank, assert_problem
from tests.integration.api.closed import closed_statement
from tests.stack_fixtures import RunningStack


async def _statements(bank: Bank, account: str, **query: str) -> dict[str, Any]:
    answer = await bank.http.get(f"/v1/accounts/{account}/statements", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def test_what_is_booked_is_on_the_current_statement_within_seconds(bank: Bank) -> None:
    account = await bank.open()
    empty = await _statements(bank, account)
    assert empty["current"]["lines"] == 0
    for side, amount in (("creditor", "10.00"), ("debtor", "2.50")):
        answer = await bank.submit({side: account, "amount": amount, "currency": "EUR"})
        assert answer.json()["status"] == "completed", answer.text
    async with asyncio.timeout(30):
        while (found := await _statements(bank, account))["current"]["lines"] < 2:  # noqa: ASYNC110  a consumer tells nobody
            await asyncio.sleep(0.05)
    assert found == {
        "account_id": account,
        "currency": "EUR",
        "current": {
            "since": None,
            "opening_balance": "0.00",
            "credited": "10.00",
            "debited": "2.50",
            "closing_balance": "7.50",
            "lines": 2,
        },
        "closed": [],
        "next_before": None,
    }


async def test_a_closed_statement_is_listed_and_read_by_its_number(bank: Bank, stack: RunningStack) -> None:
    account = await bank.open()
    with closed_statement(stack, bank.tenant, account):
        listed = await _statements(bank, account)
        first = (await bank.http.get(f"/v1/accounts/{account}/statements/1", params={"limit": 2})).json()
        cursor = {"cursor": first["page"]["next_cursor"]}
        rest = (await bank.http.get(f"/v1/accounts/{account}/statements/1", params=cursor)).json()
    (closed,) = listed["closed"]
    del closed["closed_at"]
    assert closed == {
        "number": 1, "since": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z", "opening_balance": "0.00", "credited": "3.03",
        "debited": "0.00", "closing_balance": "3.03", "lines": 3,
    }  # fmt: skip
    assert listed["current"]["since"] == "2026-02-01T00:00:00Z"
    assert first["statement"]["closing_balance"] == "3.03"
    assert [line["ledger_balance_after"] for line in first["page"]["lines"]] == ["1.00", "2.01"]
    assert [line["ledger_balance_after"] for line in rest["page"]["lines"]] == ["3.03"]
    assert rest["page"]["next_cursor"] is None


async def test_what_is_not_there_or_not_ones_own_is_not_found(bank: Bank, other_bank: Bank) -> None:
    account = await bank.open()
    assert_problem(await bank.http.get("/v1/accounts/nobody/statements"), 404, "not-found")
    assert_problem(await other_bank.http.get(f"/v1/accounts/{account}/statements"), 404, "not-found")
    assert_problem(await bank.http.get(f"/v1/accounts/{account}/statements/1"), 404, "not-found")
    assert_problem(await bank.http.get(f"/v1/accounts/{account}/statements/0"), 422, "invalid-input")
    assert_problem(await bank.http.get(f"/v1/accounts/{account}/statements", params={"bfore": "3"}), 422, "invalid-input")
