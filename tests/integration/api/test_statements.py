"""Statements and balances in time over HTTP."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import uuid
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.integration.api.bank import Bank, assert_problem
from tests.stack_fixtures import RunningStack

AMOUNTS = ("10.00", "-2.50", "0.01", "7.49", "-15.00")


async def _posted(bank: Bank, **fields: Any) -> str:
    """An account with :data:`AMOUNTS` on it, one after the other."""
    account = await bank.open()
    for amount in AMOUNTS:
        side = "debtor" if amount.startswith("-") else "creditor"
        answer = await bank.submit({side: account, "amount": amount.removeprefix("-"), "currency": "EUR", **fields})
        assert answer.json()["status"] == "completed", answer.text
    return account


@pytest.fixture(scope="module")
async def account(bank: Bank) -> str:
    return await _posted(bank, reference="invoice 7", value_date="2026-03-31")


async def _statement(bank: Bank, account: str, **query: str) -> dict[str, Any]:
    answer = await bank.http.get(f"/v1/accounts/{account}/statement", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def _signed(line: dict[str, Any]) -> Decimal:
    return Decimal(line["amount"]) * (-1 if line["direction"] == "debit" else 1)


async def _settled(bank: Bank, account: str) -> dict[str, Any]:
    """The whole statement, once nothing that others write on this server stands before its lines any more."""
    page = await _statement(bank, account)
    async with asyncio.timeout(60):
        while not all(line["settled"] for line in page["lines"]):
            await asyncio.sleep(0.05)
            page = await _statement(bank, account)
    return page


async def test_lines_have_a_running_balance_that_ends_with_the_balance_of_the_account(bank: Bank, account: str) -> None:
    page = await _settled(bank, account)
    lines = page["lines"]
    assert [f"{_signed(line):f}" for line in lines] == list(AMOUNTS)
    assert [line["ledger_balance_after"] for line in lines] == ["10.00", "7.50", "7.51", "15.00", "0.00"]
    assert (page["account_id"], page["currency"], page["order"], page["next_cursor"]) == (account, "EUR", "oldest-first", None)
    assert (page["opening_balance"], page["closing_balance"]) == ("0.00", await bank.ledger(account))
    first = lines[0]
    transaction = (await bank.http.get(f"/v1/transactions/{first['transaction_id']}")).json()
    assert first == {
        "booked_at": transaction["legs"][0]["decided_at"],
        "value_date": "2026-03-31",
        "direction": "credit",
        "amount": "10.00",
        "currency": "EUR",
        "ledger_balance_after": "10.00",
        "settled": True,
        "transaction_id": transaction["transaction_id"],
        "leg": "credit",
        "version": None,
        "counterparty": None,
        "reference": "invoice 7",
        "remittance_information": None,
    }
    assert [line["version"] for line in lines] == [None, 1, None, None, 2]


@pytest.mark.parametrize("order", ["oldest-first", "newest-first"])
async def test_pages_of_either_order_are_the_whole_statement(bank: Bank, account: str, order: str) -> None:
    whole = (await _settled(bank, account))["lines"]
    page = await _statement(bank, account, order=order, limit="2")
    pages = [page]
    while page["next_cursor"] is not None:
        page = await _statement(bank, account, cursor=page["next_cursor"], limit="2")
        pages.append(page)
    assert [len(page["lines"]) for page in pages] == [2, 2, 1]
    lines = [line for page in pages for line in page["lines"]]
    assert lines == (whole if order == "oldest-first" else whole[::-1])
    assert all(Decimal(page["opening_balance"]) + sum(map(_signed, page["lines"])) == Decimal(page["closing_balance"]) for page in pages)


async def test_a_range_has_its_first_instant_and_not_its_last(bank: Bank, account: str) -> None:
    whole = (await _settled(bank, account))["lines"]
    page = await _statement(bank, account, **{"from": whole[1]["booked_at"], "to": whole[3]["booked_at"]})
    assert page["lines"] == whole[1:3]
    assert (page["opening_balance"], page["closing_balance"]) == ("10.00", "7.51")
    elsewhere = dt.datetime.fromisoformat(whole[1]["booked_at"]).astimezone(dt.timezone(dt.timedelta(hours=5))).isoformat()
    assert (await _statement(bank, account, **{"from": elsewhere}))["lines"] == whole[1:]


async def test_balance_as_of_an_instant_and_as_of_a_value_date(bank: Bank, account: str) -> None:
    whole = (await _settled(bank, account))["lines"]
    for line in whole:
        balance = (await bank.http.get(f"/v1/accounts/{account}/balance", params={"at": line["booked_at"]})).json()
        assert balance["ledger"] == line["ledger_balance_after"]
        assert (balance["as_of"], balance["settled"]) == (line["booked_at"], True)
        assert set(balance) == {"account_id", "currency", "ledger", "offline", "online", "as_of", "settled"}
    before = (await bank.http.get(f"/v1/accounts/{account}/balance", params={"at": "2020-01-01T00:00:00Z"})).json()
    assert (before["ledger"], before["offline"], before["online"]) == ("0.00", "0.00", "0.00")
    for day, ledger, offline in (("2026-03-30", "0.00", "0.00"), ("2026-03-31", "0.00", "17.50"), ("9999-12-31", "0.00", "17.50")):
        balance = (await bank.http.get(f"/v1/accounts/{account}/balance", params={"value_date": day})).json()
        assert (balance["ledger"], balance["offline"], balance["value_date"]) == (ledger, offline, day)
        assert "available" not in balance


async def test_a_line_behind_an_open_posting_is_told_as_provisional(bank: Bank, stack: RunningStack) -> None:
    account = await bank.open(funds="1.00")
    await _settled(bank, account)
    with psycopg.connect(stack.postgres_dsn) as connection:
        connection.execute("SELECT pg_current_xact_id()")
        await bank.submit({"creditor": account, "amount": "2.00", "currency": "EUR"})
        page = await _statement(bank, account)
        assert [(line["amount"], line["settled"]) for line in page["lines"]] == [("1.00", True), ("2.00", False)]
        at = page["lines"][1]["booked_at"]
        balance = (await bank.http.get(f"/v1/accounts/{account}/balance", params={"at": at})).json()
        assert (balance["ledger"], balance["settled"]) == ("3.00", False)
    assert [line["settled"] for line in (await _settled(bank, account))["lines"]] == [True, True]


async def test_counterparty_is_the_other_account_of_a_transfer(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds="5.00"), await bank.open()
    await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "5.00", "currency": "EUR", "remittance_information": "thanks"})
    (received,) = (await _statement(bank, creditor))["lines"]
    paid = (await _statement(bank, debtor))["lines"][-1]
    assert (received["counterparty"], paid["counterparty"]) == (debtor, creditor)
    assert received["remittance_information"] == paid["remittance_information"] == "thanks"


# ---- bad input ----

_OTHERS = base64.urlsafe_b64encode(
    json.dumps(["B", "oldest-first", None, None, 1, str(uuid.UUID(int=1)), "credit"], separators=(",", ":")).encode()
).decode()


@pytest.mark.parametrize(
    ("path", "field", "query"),
    [
        ("statement", "from", {"from": "yesterday"}),
        ("statement", "from", {"from": "2026-03-02T12:00:00"}),
        ("statement", "from", {"from": ""}),
        ("statement", "to", {"to": "2026-03-02"}),
        ("statement", "to", {"from": "2026-03-02T12:00:00Z", "to": "2026-03-02T11:00:00Z"}),
        ("statement", "limit", {"limit": "0"}),
        ("statement", "limit", {"limit": "501"}),
        ("statement", "limit", {"limit": "many"}),
        ("statement", "order", {"order": "sideways"}),
        ("statement", "cursor", {"cursor": ""}),
        ("statement", "cursor", {"cursor": "bm90aGluZw"}),
        ("statement", "cursor", {"cursor": _OTHERS.rstrip("=")}),
        ("statement", "form", {"form": "2026-03-02T12:00:00Z"}),
        ("balance", "at", {"at": "now"}),
        ("balance", "at", {"at": "2026-03-02T12:00:00 01:00"}),
        ("balance", "value_date", {"value_date": "20260302"}),
        ("balance", "value_date", {"value_date": "2026-02-30"}),
        ("balance", "value_date", {"at": "2026-03-02T12:00:00Z", "value_date": "2026-03-02"}),
        ("balance", "vale_date", {"vale_date": "2026-03-02"}),
    ],
)
async def test_bad_input_is_named_by_field_value_and_rule(bank: Bank, account: str, path: str, field: str, query: dict[str, str]) -> None:
    answer = await bank.http.get(f"/v1/accounts/{account}/{path}", params=query)
    (wrong,) = assert_problem(answer, 422, "invalid-input")["errors"]
    assert (wrong["field"], wrong["value"]) == (field, query[field])
    assert wrong["rule"]


async def test_unknown_account_has_no_statement_and_no_past_balance(bank: Bank, other_bank: Bank, account: str) -> None:
    for asked in (bank.http.get("/v1/accounts/Nobody/statement"), other_bank.http.get(f"/v1/accounts/{account}/statement")):
        assert_problem(await asked, 404, "not-found")
    for query in ({"at": "2026-03-02T12:00:00Z"}, {"value_date": "2026-03-02"}):
        assert_problem(await other_bank.http.get(f"/v1/accounts/{account}/balance", params=query), 404, "not-found")
