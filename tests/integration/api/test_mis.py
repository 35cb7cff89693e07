"""Management information over HTTP: what was submitted through the API, counted by the running stack's own group."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pytest

from tests.integration.api.bank import Bank, assert_problem, bank_at
from tests.stack_fixtures import RunningStack

_TRANSACTIONS = 6
"""That :func:`busy` has, two of them rejected."""
_ENTRIES = 5
"""That these have."""


@pytest.fixture(scope="module")
async def busy(stack: RunningStack) -> Any:
    """A tenant with transactions in two currencies, once all of them are counted."""
    async with bank_at(stack.api, stack.postgres_dsn) as bank:
        debtor, creditor, yen = await bank.open(funds="500.00"), await bank.open(), await bank.open("JPY", funds="1000")
        assert (await bank.submit({"debtor": debtor, "creditor": creditor, "amount": "100.00", "currency": "EUR"})).status_code == 201
        assert (await bank.submit({"debtor": debtor, "amount": "12.50", "currency": "EUR"})).status_code == 201
        for debited, amount, currency in ((creditor, "2000000", "EUR"), (yen, "99000", "JPY")):
            refused = await bank.submit({"debtor": debited, "amount": amount, "currency": currency})
            assert refused.json()["status"] == "rejected", refused.text
        async with asyncio.timeout(60):
            while not await _all_are_counted(bank):  # noqa: ASYNC110  totals tell nobody that they have grown
                await asyncio.sleep(0.1)
        yield bank


async def _all_are_counted(bank: Bank) -> bool:
    transactions, entries = (await chart(bank, "transactions", by=""))["rows"], (await chart(bank, "entries", by=""))["rows"]
    return (sum(row["transactions"] for row in transactions), sum(row["entries"] for row in entries)) == (_TRANSACTIONS, _ENTRIES)


async def chart(bank: Bank, what: str, **query: str) -> dict[str, Any]:
    answer = await bank.http.get(f"/v1/mis/{what}", params=query)
    assert answer.status_code == 200, answer.text
    content: dict[str, Any] = answer.json()
    return content


def _summed(rows: list[dict[str, Any]], *names: str) -> dict[tuple[str | None, ...], int]:
    """Numbers by dimensions; the test may run while an hour ends."""
    sums: dict[tuple[str | None, ...], int] = {}
    for row in rows:
        key = tuple(row[name] for name in names)
        sums[key] = sums.get(key, 0) + row["transactions" if "transactions" in row else "entries"]
    return sums


async def test_transactions_are_told_apart_by_the_dimensions_that_were_asked_for(busy: Bank) -> None:
    content = await chart(busy, "transactions", by="currency,kind,outcome,reason,band")
    assert _summed(content["rows"], "currency", "kind", "outcome", "reason", "band") == {
        ("EUR", "deposit", "completed", None, "100-1000"): 1,
        ("EUR", "transfer", "completed", None, "100-1000"): 1,
        ("EUR", "withdrawal", "completed", None, "0-100"): 1,
        ("EUR", "withdrawal", "rejected", "insufficient-funds", "1000000+"): 1,
        ("JPY", "deposit", "completed", None, "1000-10000"): 1,
        ("JPY", "withdrawal", "rejected", "insufficient-funds", "10000-100000"): 1,
    }
    names = {"at", "currency", "kind", "outcome", "reason", "band", "transactions", "amount"}
    assert all(set(row) == names for row in content["rows"])
    (paid_out,) = (row for row in content["rows"] if row["kind"] == "withdrawal" and row["outcome"] == "completed")
    assert paid_out["amount"] == {"value": "12.50", "currency": "EUR"}
    assert (content["per"], content["time_zone"]) == ("hour", "UTC")
    since, until = dt.datetime.fromisoformat(content["from"]), dt.datetime.fromisoformat(content["to"])
    assert until - since == dt.timedelta(days=1)
    assert all(since <= dt.datetime.fromisoformat(row["at"]) < until for row in content["rows"])


async def test_entries_are_told_apart_by_the_balance_that_a_debit_leaves(busy: Bank) -> None:
    content = await chart(busy, "entries", by="currency,leg,direction,band,balance_band")
    assert _summed(content["rows"], "currency", "leg", "direction", "band", "balance_band") == {
        ("EUR", "credit", "credit", "100-1000", None): 2,
        ("EUR", "debit", "debit", "100-1000", "100-1000"): 1,
        ("EUR", "debit", "debit", "0-100", "100-1000"): 1,
        ("JPY", "credit", "credit", "1000-10000", None): 1,
    }
    # Unless something else is asked for, amounts are told by currency, and by nothing else.
    rows = (await chart(busy, "entries"))["rows"]
    assert all(set(row) == {"at", "currency", "entries", "amount"} for row in rows)
    assert {row["currency"]: row["entries"] for row in rows} == {"EUR": 4, "JPY": 1}


async def test_without_the_currency_there_are_no_amounts(busy: Bank) -> None:
    rows = (await chart(busy, "transactions", by="outcome"))["rows"]
    assert all(set(row) == {"at", "outcome", "transactions"} for row in rows)
    assert _summed(rows, "outcome") == {("completed",): 4, ("rejected",): 2}


async def test_days_begin_at_midnight_of_the_time_zone(busy: Bank) -> None:
    now = dt.datetime.now(dt.UTC)
    for zone, hours in (("Etc/GMT-14", 14), ("Etc/GMT+12", -12), ("UTC", 0)):
        rows = (await chart(busy, "transactions", per="day", by="", time_zone=zone))["rows"]
        assert sum(row["transactions"] for row in rows) == _TRANSACTIONS
        days = {dt.datetime.fromisoformat(row["at"]) for row in rows}
        assert all(day.utcoffset() == dt.timedelta(hours=hours) and day.time() == dt.time(0) for day in days)
        assert all(day <= now < day + dt.timedelta(days=1, minutes=10) for day in days)


async def test_a_period_has_its_hours_and_no_others(busy: Bank) -> None:
    at = (await chart(busy, "transactions", by=""))["rows"][0]["at"]
    hour = dt.datetime.fromisoformat(at)
    before = await chart(busy, "transactions", by="", **{"from": (hour - dt.timedelta(hours=3)).isoformat(), "to": at})
    assert before["rows"] == []
    within = await chart(busy, "transactions", by="", **{"from": at, "to": (hour + dt.timedelta(minutes=1)).isoformat()})
    assert [row["at"] for row in within["rows"]] == [at]
    assert dt.datetime.fromisoformat(within["to"]) == hour + dt.timedelta(hours=1)


async def test_a_tenant_sees_its_own_only_and_any_of_its_keys_may_look(busy: Bank, stack: RunningStack) -> None:
    async with bank_at(stack.api, stack.postgres_dsn) as stranger:
        for what in ("transactions", "entries"):
            assert (await chart(stranger, what, by=""))["rows"] == []
    async with bank_at(stack.api, stack.postgres_dsn, tenant=busy.tenant, scopes=("transactions:approve",)) as approver:
        assert sum(row["transactions"] for row in (await chart(approver, "transactions", by=""))["rows"]) == _TRANSACTIONS


@pytest.mark.parametrize(
    ("field", "query"),
    [
        ("from", {"from": "yesterday"}),
        ("to", {"to": "2026-03-02"}),
        ("to", {"from": "2026-03-02T10:00:00Z", "to": "2026-03-02T09:00:00Z"}),
        ("from", {"from": "2001-03-02T10:00:00Z", "per": "day"}),
        ("by", {"by": "customer"}),
        ("by", {"by": "currency; DROP TABLE mis.entry_total"}),
        ("per", {"per": "week"}),
        ("time_zone", {"time_zone": "Mars/Olympus"}),
        ("time_zone", {"time_zone": "Asia/Kolkata"}),
        ("time_zone", {"time_zone": "../../etc/passwd"}),
        ("group", {"group": "kind"}),
    ],
)
@pytest.mark.parametrize("what", ["transactions", "entries"])
async def test_what_breaks_a_rule_is_refused(bank: Bank, what: str, field: str, query: dict[str, str]) -> None:
    answer = await bank.http.get(f"/v1/mis/{what}", params=query)
    problem = assert_problem(answer, 422, "invalid-input")
    assert field in problem["errors"][0]["field"]
