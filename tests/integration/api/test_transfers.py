"""A plain transfer end to end, both ways: linked legs in one database transaction, and a saga through the account `transit`."""

from __future__ import annotations

import uuid

from tests.integration.api.bank import Bank, Records

LEGS_TOGETHER = "SELECT count(DISTINCT xmin::text) = 1 FROM decision WHERE tenant = %s AND transaction_id = %s::uuid"
"""Rows that one database transaction has written have the same xmin."""


def _transfer(debtor: str, creditor: str) -> dict[str, str]:
    return {"transaction_id": str(uuid.uuid4()), "debtor": debtor, "creditor": creditor, "amount": "12.50", "currency": "EUR"}


async def test_both_legs_of_a_transfer_are_booked_in_one_database_transaction(bank: Bank, records: Records) -> None:
    body = _transfer(await bank.open(funds="100.00"), await bank.open())
    answer = await bank.submit(body)
    assert [leg["leg"] for leg in answer.json()["legs"]] == ["debit", "credit"]
    assert (answer.json()["status"], await bank.ledger(body["debtor"]), await bank.ledger(body["creditor"])) == (
        "completed",
        "87.50",
        "12.50",
    )
    assert records.one(LEGS_TOGETHER, bank.tenant, body["transaction_id"])


async def test_a_transfer_to_a_frozen_account_is_rejected_and_nothing_is_booked(bank: Bank, records: Records) -> None:
    body = _transfer(await bank.open(funds="100.00"), await bank.open())
    await bank.http.post(f"/v1/accounts/{body['creditor']}/freeze")
    answer = await bank.submit(body)
    assert (answer.json()["status"], answer.json()["reason"]["code"]) == ("rejected", "account-frozen")
    assert records.postings(bank.tenant, body["transaction_id"]) == 0


async def test_with_the_setting_saga_the_legs_are_booked_one_after_the_other(saga_bank: Bank, records: Records) -> None:
    body = _transfer(await saga_bank.open(funds="100.00"), await saga_bank.open())
    answer = await saga_bank.submit(body)
    assert answer.json()["status"] == "completed"
    assert not records.one(LEGS_TOGETHER, saga_bank.tenant, body["transaction_id"])


async def test_with_the_setting_saga_a_refused_credit_is_compensated(saga_bank: Bank) -> None:
    body = _transfer(await saga_bank.open(funds="100.00"), await saga_bank.open())
    await saga_bank.http.post(f"/v1/accounts/{body['creditor']}/freeze")
    answer = await saga_bank.submit(body)
    assert [leg["leg"] for leg in answer.json()["legs"]] == ["debit", "credit", "compensation"]
    assert (answer.json()["status"], await saga_bank.ledger(body["debtor"])) == ("reversed", "100.00")


async def test_a_repeat_after_a_change_of_the_setting_is_the_same_transaction(bank: Bank, saga_bank: Bank, records: Records) -> None:
    body = _transfer(await bank.open(funds="100.00"), await bank.open())
    first = await bank.submit(body)
    again = await saga_bank.http.post("/v1/transactions", json=body, headers={"Authorization": f"Bearer {bank.key}", "Prefer": "wait=30"})
    assert (again.status_code, again.json()) == (200, first.json())
    assert records.postings(bank.tenant, body["transaction_id"]) == 2
