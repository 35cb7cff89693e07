"""Who may, at every endpoint: without a key, without the scope, with another tenant's key."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import psycopg
import pytest
from psycopg import sql

from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from ledger.scopes import Scope, granted
from tests.integration.api.bank import Bank, assert_problem, bank_at, until
from tests.integration.api.endpoints import ENDPOINTS, LISTS, Things, declared, request
from tests.integration.api.saga import api_process
from tests.stack_fixtures import RunningStack

DECLARED = declared()
WALK = sorted(ENDPOINTS, key=lambda endpoint: (endpoint[1], endpoint[0]))
_UPKEEP = {"online_balance", "value_date_balance", "balance_checkpoint"}
"""Written by the upkeep at any time; what they say is asked for as a balance."""


def _nothing() -> Things:
    """Ids that nobody has."""
    ids = (str(uuid.uuid4()) for _ in range(6))
    return Things(
        account=f"A{uuid.uuid4().hex[:16]}",
        other_account=f"A{uuid.uuid4().hex[:16]}",
        spare_account=f"A{uuid.uuid4().hex[:16]}",
        transaction=next(ids),
        waiting=next(ids),
        hold=next(ids),
        order=next(ids),
        customer=f"C{uuid.uuid4().hex[:12]}",
        message=next(ids),
        key=uuid.uuid4().hex[:16],
        file=next(ids),
    )


@pytest.fixture(scope="module")
async def api(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """An API where larger amounts wait for a second person."""
    thresholds = '{"EUR": "100.00"}'
    async with api_process(stack, tmp_path_factory.mktemp("crossing") / "api.log", APPROVAL_THRESHOLDS=thresholds) as url:
        yield url


@pytest.fixture(scope="module")
async def owner(stack: RunningStack, api: str) -> AsyncIterator[Bank]:
    async with bank_at(api, stack.postgres_dsn, principal="owner") as opened:
        yield opened


@pytest.fixture(scope="module")
async def stranger(stack: RunningStack, api: str) -> AsyncIterator[Bank]:
    async with bank_at(api, stack.postgres_dsn, principal="stranger") as opened:
        yield opened


@pytest.fixture(scope="module")
async def owned(stack: RunningStack, owner: Bank) -> Things:
    """One of each thing, for real."""
    account, other = await owner.open(funds="90.00"), await owner.open(funds="10.00")
    sent = await owner.submit({"debtor": account, "creditor": other, "amount": "1.00", "currency": "EUR"})
    waiting = await owner.submit({"creditor": account, "amount": "500.00", "currency": "EUR"}, wait_seconds=0)
    end = {"expires_at": "2099-01-01T00:00:00Z"}
    hold = await owner.http.post("/v1/holds", json={"account_id": account, "amount": "2.00", "currency": "EUR", **end})
    schedule = {"frequency": "monthly", "start_date": "2099-01-01", "time_zone": "Europe/Prague"}
    money = {"amount": "1.00", "currency": "EUR"}
    order = await owner.http.post("/v1/standing-orders", json={"debtor": account, "creditor": other, **money, "schedule": schedule})
    customer = f"C{uuid.uuid4().hex[:12]}"
    told = await owner.http.put(f"/v1/customers/{customer}/notifications", json={"accounts": [account], "email": "jana@bank.example"})
    for answer in (sent, waiting, hold, order, told):
        assert answer.status_code < 300, answer.text
    with psycopg.connect(stack.postgres_dsn) as connection:
        message = str(uuid.uuid4())
        connection.execute(
            "INSERT INTO notification.message (message_id, tenant, event_id, transaction_id, customer_id, channel, kind, endpoint, address,"
            " subject, body, not_before, created_at, status)"
            " VALUES (%s, %s, gen_random_uuid(), %s, %s, 'email', 'credit', 'smtp', 'jana@bank.example', 's', 'b', now(), now(), 'dead')",
            (message, owner.tenant, sent.json()["transaction_id"], customer),
        )
    csv = f"creditor,amount,currency\n{account},1.00,EUR\n".encode()
    file = await owner.http.post("/v1/files", content=csv, headers={"Content-Type": "text/csv"})
    assert file.status_code == 202, file.text
    made = await owner.http.post("/v1/keys", json={"principal": "clerk", "scopes": ["read"]})
    assert made.status_code == 201, made.text
    return Things(
        account=account,
        other_account=other,
        spare_account=await owner.open(funds="5.00"),
        transaction=sent.json()["transaction_id"],
        waiting=waiting.json()["transaction_id"],
        hold=hold.json()["hold_id"],
        order=order.json()["order_id"],
        customer=customer,
        message=message,
        key=made.json()["key_id"],
        file=file.json()["file_id"],
    )


def test_every_endpoint_declares_a_scope() -> None:
    assert DECLARED
    assert not [endpoint for endpoint, found in DECLARED.items() if found.scopes is None], "see starter.api.services: ReadsAccounts…"


def test_only_what_is_no_tenants_is_open_to_any_key_and_nobody_changes_anything_who_may_only_read() -> None:
    assert {path for (_, path), found in DECLARED.items() if found.scopes == ()} == {
        "/openapi.json",
        "/asyncapi.json",
        "/v1/event-types",
        "/v1/event-types/{name}",
        "/v1/rates",
    }
    reading = granted((Scope.READ,))
    changing = {endpoint for endpoint, found in DECLARED.items() if not reading & set(found.scopes or ())}
    assert {endpoint for endpoint in DECLARED if endpoint[0] != "GET"} <= changing


def test_every_endpoint_is_walked_over() -> None:
    assert set(ENDPOINTS) == set(DECLARED), "a new endpoint goes into tests/integration/api/endpoints.py"


async def test_the_scopes_stand_in_the_openapi_document(owner: Bank) -> None:
    document = (await owner.http.get("/openapi.json")).json()
    for (method, path), found in DECLARED.items():
        operation = document["paths"].get(path, {}).get(method.lower())
        if operation is not None:
            assert operation["security"] == [{"HTTPBearer": [scope]} for scope in found.scopes or ()] or [{"HTTPBearer": []}]


@pytest.mark.parametrize("endpoint", WALK, ids=" ".join)
async def test_nobody_comes_in_without_a_key(owner: Bank, owned: Things, endpoint: tuple[str, str]) -> None:
    async with httpx.AsyncClient(base_url=owner.http.base_url, trust_env=False, timeout=60) as http:
        for key in (None, f"casaflow_{owned.key}_{'A' * 43}"):
            refused = await request(http, endpoint, owned, key)
            assert_problem(refused, 401, "unauthenticated")
            assert owned.key not in refused.text


@pytest.fixture(scope="module")
async def key_of(stack: RunningStack, owner: Bank) -> AsyncIterator[dict[frozenset[str], str]]:
    """Keys of the owner's tenant by their scopes: for each that is needed, one with it, and one with all that don't contain it."""
    database = Database.open(stack.postgres_dsn, pool_size=1)
    keys: dict[frozenset[str], str] = {}
    for found in DECLARED.values():
        needed = found.scopes or ()
        for scopes in (_without(needed), *(frozenset({scope}) for scope in needed)):
            if scopes not in keys:
                keys[scopes] = (await PostgresApiKeys(database).create(owner.tenant, "scoped", sorted(scopes))).plaintext
    yield keys
    await database.close()


def _without(needed: tuple[str, ...]) -> frozenset[str]:
    return frozenset(scope.value for scope in Scope if not granted((scope,)) & set(needed))


@pytest.mark.parametrize("endpoint", WALK, ids=" ".join)
async def test_a_key_needs_the_scope_that_is_declared_and_no_other(
    owner: Bank, key_of: dict[frozenset[str], str], endpoint: tuple[str, str]
) -> None:
    needed = DECLARED[endpoint].scopes or ()
    if needed:
        refused = await request(owner.http, endpoint, _nothing(), key_of[_without(needed)])
        problem = assert_problem(refused, 403, "missing-scope")
        assert all(scope in problem["detail"] for scope in needed)
        assert 'error="insufficient_scope"' in refused.headers["WWW-Authenticate"]
    for scope in needed:
        taken = await request(owner.http, endpoint, _nothing(), key_of[frozenset({scope})])
        assert taken.status_code not in {401, 403}, taken.text


@pytest.mark.parametrize("endpoint", WALK, ids=" ".join)
async def test_what_another_tenant_has_is_as_good_as_nothing(
    owner: Bank, stranger: Bank, owned: Things, stack: RunningStack, endpoint: tuple[str, str]
) -> None:
    await until(lambda: _unpublished(stack.postgres_dsn, owner.tenant) == 0)
    before = _everything(stack.postgres_dsn, owner.tenant)
    nothing = _nothing()
    theirs = await request(stranger.http, endpoint, owned, stranger.key)
    nobodys = await request(stranger.http, endpoint, nothing, stranger.key)
    assert theirs.status_code == nobodys.status_code, theirs.text
    assert theirs.status_code not in {401, 403}
    if theirs.status_code == 422 and endpoint not in {("POST", "/v1/keys"), *LISTS}:
        assert theirs.json()["code"] == "unknown-account", "the request is wrong in itself, so it proves nothing"
    if endpoint in LISTS:
        # Who walks may have opened an account of this id, and sees that.
        told = replace(owned, spare_account="no id").hidden(theirs.text)
        assert "<" not in told.replace("<instant>", "")
    else:
        assert owned.hidden(theirs.text) == nothing.hidden(nobodys.text)
    assert owned.hidden(str(theirs.headers.get("Location"))) == nothing.hidden(str(nobodys.headers.get("Location")))
    assert _everything(stack.postgres_dsn, owner.tenant) == before


async def test_the_same_walk_finds_what_is_the_owners(owner: Bank, owned: Things) -> None:
    """Without this the walk could prove nothing: its requests might be refused whoever sends them."""
    found = {endpoint: (await request(owner.http, endpoint, owned, owner.key)).status_code for endpoint in WALK if endpoint[0] == "GET"}
    missing = {endpoint for endpoint, status in found.items() if status != 200}
    assert missing == {
        ("GET", "/v1/accounts/{account_id}/statements/{number}"),
        ("GET", "/v1/event-types/{name}"),
        ("GET", "/v1/transactions/batch"),
    }


def _unpublished(dsn: str, tenant: str) -> int:
    with psycopg.connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM event_outbox WHERE tenant = %s AND published_at IS NULL", (tenant,)).fetchone()
    assert row is not None
    return int(row[0])


def _everything(dsn: str, tenant: str) -> dict[str, str]:
    """All rows of a tenant in the ledger's tables, as a digest of each table; when a key was used last is left out."""
    with psycopg.connect(dsn) as connection:
        tables = connection.execute(
            "SELECT c.table_name FROM information_schema.columns c JOIN information_schema.tables t USING (table_schema, table_name)"
            " WHERE c.column_name = 'tenant' AND t.table_type = 'BASE TABLE' AND c.table_schema = current_schema()"
        ).fetchall()
        found = {}
        for (table,) in tables:
            if table in _UPKEEP:
                continue
            query = sql.SQL("SELECT CAST(to_jsonb(r) - 'last_used_at' AS text) FROM {} r WHERE tenant = %s").format(sql.Identifier(table))
            rows = sorted(row[0] for row in connection.execute(query, (tenant,)))
            found[table] = f"{len(rows)} {hashlib.sha256(repr(rows).encode()).hexdigest()}"
        assert len(found) > 10
        return found
