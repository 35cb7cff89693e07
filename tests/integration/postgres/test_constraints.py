"""What the database itself refuses, whoever asks."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg
import pytest

from ledger.money import MAX_MINOR_UNITS
from tests.integration.postgres.bank import BOOKING_DATE, Bank, new_id

ENTRIES = ("offline_entry", "online_entry", "gl_entry")


@pytest.mark.parametrize("table", ENTRIES)
@pytest.mark.parametrize(
    "change", ["UPDATE {} SET amount = amount", "DELETE FROM {}", "TRUNCATE {}", "UPDATE {} SET amount = 1 WHERE false"]
)
async def test_entries_are_never_changed_or_taken_away(bank: Bank, table: str, change: LiteralString) -> None:
    account = await bank.open(funds=1000)
    await bank.post(bank.withdrawal(account, 5))
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="insert-only"):
        await bank.rows.execute(psycopg.sql.SQL(change).format(psycopg.sql.Identifier(table)))
    assert (await bank.balance(account)).ledger == 995


async def _insert(bank: Bank, table: str, values: dict[str, Any]) -> None:
    query = psycopg.sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        psycopg.sql.Identifier(table),
        psycopg.sql.SQL(", ").join(psycopg.sql.Identifier(name) for name in values),
        psycopg.sql.SQL(", ").join(psycopg.sql.Placeholder() for _ in values),
    )
    await bank.rows.execute(query, list(values.values()))


def _valid(bank: Bank, table: str) -> dict[str, Any]:
    entry = {"tenant": bank.tenant, "account_id": "alice", "currency": "EUR", "amount": 5, "transaction_id": new_id()}
    debit = {"leg": "debit", "posted_at": "2026-03-02 09:30:00+00", "value_date": BOOKING_DATE}
    rows: dict[str, dict[str, Any]] = {
        "offline_entry": {**entry, "leg": "credit", "value_date": BOOKING_DATE},
        "online_entry": {**entry, **debit, "version": 1, "balance_after": 0, "available_after": 0},
        "gl_entry": {**entry, "account_id": "cash", "leg": "credit", "customer_account_id": "alice", "posted_at": "2026-03-02 09:30:00+00"},
        "decision": {**entry, "leg": "credit", "outcome": "posted", "value_date": BOOKING_DATE, "decided_at": "2026-03-02 09:30:00+00"},
        "hold": {
            "tenant": bank.tenant,
            "account_id": "alice",
            "hold_id": new_id(),
            "amount": 5,
            "status": "open",
            "expires_at": "infinity",
            "currency": "EUR",
            "fingerprint": "f",
            "authorised_by": "teller",
        },
        "account": {"tenant": bank.tenant, "account_id": new_id()[:34], "currency": "EUR", "kind": "current"},
        "online_balance": {"tenant": bank.tenant, "account_id": new_id()},
        "transaction": {
            "tenant": bank.tenant,
            "transaction_id": new_id(),
            "fingerprint": "f",
            "kind": "deposit",
            "creditor": "alice",
            "request": "{}",
            "status": "processing",
            "submitted_by": "teller",
            "submitted_at": "2026-03-02 09:30:00+00",
        },
    }
    return rows[table]


@pytest.mark.parametrize(
    ("table", "change"),
    [
        ("offline_entry", {"amount": MAX_MINOR_UNITS + 1}),
        ("offline_entry", {"amount": 0}),
        ("offline_entry", {"amount": -5}),
        ("offline_entry", {"leg": "debit"}),
        ("online_entry", {"amount": MAX_MINOR_UNITS + 1}),
        ("online_entry", {"amount": 0}),
        ("online_entry", {"available_after": -1}),
        ("online_entry", {"version": 0}),
        ("online_entry", {"leg": "credit"}),
        ("gl_entry", {"amount": 0}),
        ("gl_entry", {"account_id": "alice"}),
        ("decision", {"amount": MAX_MINOR_UNITS + 1}),
        ("decision", {"reversed": 6}),
        ("decision", {"reversed": -1}),
        ("decision", {"outcome": "refused"}),
        ("decision", {"reason": "{}"}),
        ("hold", {"amount": MAX_MINOR_UNITS + 1}),
        ("hold", {"captured": 6}),
        ("hold", {"status": "odd"}),
        ("hold", {"status": "refused"}),
        ("account", {"minimum_balance": -1}),
        ("account", {"maximum_balance": 0}),
        ("account", {"transaction_limit": -1}),
        ("account", {"daily_limit": -1}),
        ("account", {"monthly_limit": -1}),
        ("online_balance", {"held": -1}),
        ("account", {"account_id": "a" * 35}),
        ("account", {"account_id": ""}),
        ("account", {"tenant": ""}),
        ("account", {"currency": "eur"}),
        ("account", {"kind": "loan"}),
        ("account", {"status": "odd"}),
        ("account", {"overdraft_limit": -1}),
        ("online_balance", {"debited": -1}),
        ("online_balance", {"folded": -1}),
        ("transaction", {"status": "completed"}),
        ("transaction", {"finished_at": "2026-03-02 09:30:00+00"}),
        ("transaction", {"creditor": None}),
        ("transaction", {"status": "odd"}),
    ],
)
async def test_the_database_refuses_what_no_rule_allows(bank: Bank, table: str, change: dict[str, Any]) -> None:
    await _insert(bank, table, _valid(bank, table))
    with pytest.raises(psycopg.errors.CheckViolation):
        await _insert(bank, table, {**_valid(bank, table), **change, **({"version": 2} if "available_after" in change else {})})


async def test_a_debit_below_zero_needs_an_override_on_its_entry(bank: Bank) -> None:
    await _insert(bank, "online_entry", {**_valid(bank, "online_entry"), "available_after": -1, "override": '{"by": "operator"}'})


@pytest.mark.parametrize("table", ["offline_entry", "online_entry", "gl_entry", "decision", "transaction"])
async def test_a_leg_cannot_be_written_twice(bank: Bank, table: str) -> None:
    row = _valid(bank, table)
    await _insert(bank, table, row)
    with pytest.raises(psycopg.errors.UniqueViolation):
        await _insert(bank, table, {**row, **({"version": 2} if table == "online_entry" else {})})


async def test_a_version_cannot_be_given_twice(bank: Bank) -> None:
    await _insert(bank, "online_entry", _valid(bank, "online_entry"))
    with pytest.raises(psycopg.errors.UniqueViolation):
        await _insert(bank, "online_entry", _valid(bank, "online_entry"))


async def test_the_largest_amount_is_allowed(bank: Bank) -> None:
    for table in ("offline_entry", "online_entry", "decision", "hold"):
        await _insert(bank, table, {**_valid(bank, table), "amount": MAX_MINOR_UNITS})
