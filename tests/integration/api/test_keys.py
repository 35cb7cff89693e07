from __future__ import annotations

import asyncio
import uuid

import httpx
import pytest

from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from ledger.scopes import Scope
from tests.integration.api.bank import Bank, Records, assert_problem, bank_at
from tests.stack_fixtures import RunningStack

ENDPOINTS = [
    ("POST", "/v1/accounts"),
    ("GET", "/v1/accounts/A1"),
    ("GET", "/v1/accounts/A1/balance"),
    ("POST", "/v1/accounts/A1/freeze"),
    ("POST", "/v1/accounts/A1/unfreeze"),
    ("POST", "/v1/accounts/A1/close"),
    ("PATCH", "/v1/accounts/A1"),
    ("POST", "/v1/accounts/A1/dormant"),
    ("POST", "/v1/accounts/A1/reactivate"),
    ("POST", "/v1/holds"),
    ("GET", "/v1/accounts"),
    ("GET", "/v1/transactions"),
    ("GET", "/v1/events"),
    ("POST", "/v1/transactions/batch"),
    ("GET", "/v1/holds"),
    ("GET", "/v1/holds/6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11"),
    ("POST", "/v1/holds/6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11/void"),
    ("POST", "/v1/holds/6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11/capture"),
    ("POST", "/v1/transactions"),
    ("GET", "/v1/transactions/6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11"),
    ("GET", "/v1/rates?base=USD&quote=EUR"),
    ("GET", "/openapi.json"),
    ("GET", "/v1/accounts/%00"),  # no hint at what is well-formed either
    ("GET", "/no-such-path"),
]


@pytest.fixture
async def anyone(stack: RunningStack) -> httpx.AsyncClient:
    """A client without a key."""
    return httpx.AsyncClient(base_url=stack.api, timeout=30, trust_env=False)


@pytest.mark.parametrize(("method", "path"), ENDPOINTS)
async def test_no_endpoint_but_health_answers_without_a_key(anyone: httpx.AsyncClient, method: str, path: str) -> None:
    async with anyone:
        answer = await anyone.request(method, path)
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_health_needs_no_key(anyone: httpx.AsyncClient) -> None:
    async with anyone:
        alive, ready = await anyone.get("/healthz"), await anyone.get("/readyz")
    assert (alive.status_code, alive.json()) == (200, {"status": "alive"})
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "parts": {"postgres": "ready", "temporal": "ready"}})


@pytest.mark.parametrize(
    "authorization",
    [
        b"",
        b"Bearer",
        b"Bearer casaflow_",
        b"Basic dXNlcjpwYXNz",
        b"Bearer not-a-key",
        b"Bearer casaflow_0123456789abcdef_" + b"x" * 43,  # well-formed, but nobody's
        b"Bearer \xe9\xff",
        b"Bearer " + b"x" * 10_000,
    ],
)
async def test_missing_malformed_and_unknown_keys_are_refused(anyone: httpx.AsyncClient, authorization: bytes) -> None:
    async with anyone:
        answer = await anyone.get("/v1/accounts/A1", headers=[(b"Authorization", authorization)])
    assert_problem(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


async def test_right_id_with_a_wrong_secret_is_refused(bank: Bank) -> None:
    wrong = bank.key[:-1] + ("a" if bank.key[-1] != "a" else "b")
    answer = await bank.http.get("/v1/rates?base=USD&quote=EUR", headers={"Authorization": f"Bearer {wrong}"})
    assert_problem(answer, 401, "unauthenticated")


async def test_key_that_is_revoked_elsewhere_is_worthless_within_the_stated_seconds(bank: Bank, stack: RunningStack) -> None:
    account = await bank.open()
    database = Database.open(stack.postgres_dsn, pool_size=1)
    try:
        key_id, key = await PostgresApiKeys(database).create(bank.tenant, "leaver")
        headers = {"Authorization": f"Bearer {key}"}
        assert (await bank.http.get(f"/v1/accounts/{account}", headers=headers)).status_code == 200
        await PostgresApiKeys(database).revoke(key_id)
    finally:
        await database.close()
    async with asyncio.timeout(30):  # CASAFLOW_KEY_CACHE_SECONDS is 5; the rest is for a busy machine
        while (refused := await bank.http.get(f"/v1/accounts/{account}", headers=headers)).status_code == 200:
            pass
    assert_problem(refused, 401, "unauthenticated")
    assert refused.headers["WWW-Authenticate"].startswith("Bearer")
    assert (await bank.http.get(f"/v1/accounts/{account}")).status_code == 200


async def test_request_without_a_key_is_refused_before_its_body_is_read(anyone: httpx.AsyncClient, bank: Bank, records: Records) -> None:
    before = records.counts(bank.tenant)
    async with anyone:
        malformed = await anyone.post("/v1/transactions", content=b"{", headers={"Content-Type": "application/json"})
        large = await anyone.post("/v1/accounts", content=b"x" * 100_000, headers={"Content-Type": "application/json"})
        valid = await anyone.post("/v1/accounts", json={"account_id": f"A{uuid.uuid4().hex[:16]}", "currency": "EUR"})
    for answer in (malformed, large, valid):
        assert_problem(answer, 401, "unauthenticated")
    assert records.counts(bank.tenant) == before


async def test_principal_is_recorded_as_submitter(colleague: Bank, records: Records) -> None:
    account = await colleague.open()
    answer = await colleague.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})
    query = "SELECT submitted_by FROM transaction WHERE tenant = %s AND transaction_id = %s"
    assert records.one(query, colleague.tenant, answer.json()["transaction_id"]) == "colleague"


async def test_an_override_takes_a_scope_of_its_own_and_nothing_is_done_without_it(
    bank: Bank, stack: RunningStack, records: Records
) -> None:
    account = await bank.open(funds="10.00")
    original = (await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR"})).json()["transaction_id"]
    body = {"debtor": account, "amount": "50.00", "currency": "EUR", "override": {"reason": "court order 7/26"}}
    reverse, reversal = f"/v1/transactions/{original}/reverse", {"override": {"reason": "court order 7/26"}}
    before = records.counts(bank.tenant)
    async with bank_at(stack.api, stack.postgres_dsn, tenant=bank.tenant, principal="plain", scopes=(Scope.STANDARD,)) as plain:
        refused = await plain.submit(body, headers={"Idempotency-Key": "k"})
        assert_problem(refused, 403, "missing-scope")
        assert "transactions:override" in refused.json()["detail"]
        assert_problem(await plain.http.post(reverse, json=reversal), 403, "missing-scope")
        assert records.counts(bank.tenant) == before
        without = {name: value for name, value in body.items() if name != "override"}
        assert (await plain.submit(without)).json()["reason"]["code"] == "insufficient-funds"
    scopes = (Scope.STANDARD, Scope.TRANSACTIONS_OVERRIDE)
    async with bank_at(stack.api, stack.postgres_dsn, tenant=bank.tenant, principal="chief", scopes=scopes) as chief:
        assert (await chief.submit(body)).json()["override"] == {"by": "chief", "reason": "court order 7/26"}
        done = await chief.http.post(reverse, json=reversal, headers={"Prefer": "wait=30"})
        assert done.json()["status"] == "completed", done.text
    async with bank_at(stack.api, stack.postgres_dsn, tenant=bank.tenant, principal="only", scopes=(Scope.TRANSACTIONS_OVERRIDE,)) as only:
        assert_problem(await only.submit(body), 403, "missing-scope")


async def test_only_a_hash_of_the_secret_is_stored(bank: Bank, records: Records) -> None:
    secret = bank.key.rpartition("_")[2] if bank.key.count("_") == 2 else bank.key.split("_", 2)[2]
    stored = records.one("SELECT k::text FROM api_key k WHERE key_id = %s", bank.key.split("_", 2)[1])
    assert secret not in stored
