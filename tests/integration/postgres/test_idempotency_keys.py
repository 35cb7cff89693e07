from __future__ import annotations

import asyncio

import pytest

from ledger.errors import IdempotencyKeyConflictError
from tests.integration.postgres.bank import Bank, new_id


async def _claim(bank: Bank, transaction_id: str, *, request_hash: str = "h1", key: str = "key 1", principal: str = "teller") -> str:
    return await bank.transactions.claim_idempotency_key(
        tenant=bank.tenant, principal=principal, key=key, request_hash=request_hash, transaction_id=transaction_id
    )


async def test_a_key_stands_for_its_first_transaction(bank: Bank) -> None:
    first = new_id()
    assert await _claim(bank, first) == first
    assert await _claim(bank, new_id()) == first


async def test_a_key_with_another_body_is_a_conflict_and_the_first_one_stands(bank: Bank) -> None:
    first = new_id()
    await _claim(bank, first)
    with pytest.raises(IdempotencyKeyConflictError):
        await _claim(bank, new_id(), request_hash="h2")
    assert await _claim(bank, new_id()) == first


async def test_a_key_belongs_to_its_principal_and_tenant(bank: Bank) -> None:
    other_bank = Bank(url=bank.url, database=bank.database, rows=bank.rows)
    ids = [new_id() for _ in range(4)]
    assert await _claim(bank, ids[0]) == ids[0]
    assert await _claim(bank, ids[1], principal="other") == ids[1]
    assert await _claim(bank, ids[2], key="key 2") == ids[2]
    assert await _claim(other_bank, ids[3], request_hash="h2") == ids[3]


async def test_claims_of_one_key_that_race_agree_on_one_transaction(bank: Bank) -> None:
    for number in range(5):
        bound = await asyncio.gather(*(_claim(bank, new_id(), key=f"race {number}") for _ in range(8)))
        assert len(set(bound)) == 1


async def test_claims_with_different_bodies_that_race_leave_one_and_refuse_the_others(bank: Bank) -> None:
    bodies = [f"h{number % 2}" for number in range(8)]
    results = await asyncio.gather(*(_claim(bank, new_id(), request_hash=body) for body in bodies), return_exceptions=True)
    winners = {body for body, result in zip(bodies, results, strict=True) if isinstance(result, str)}
    assert len(winners) == 1
    assert sum(isinstance(result, IdempotencyKeyConflictError) for result in results) == 4
