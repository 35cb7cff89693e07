"""A tenant of a test's own: its key, its accounts, its transactions, and what the database and Temporal hold of them."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import httpx
import psycopg
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from ledger.ids import workflow_id
from ledger.scopes import Scope

COUNTED_TABLES = ("account", "transaction", "decision", "offline_entry", "online_entry", "gl_entry", "event_outbox", "idempotency_key")


@dataclass(frozen=True)
class Bank:
    """One tenant, seen through the HTTP API with one key."""

    http: httpx.AsyncClient
    tenant: str
    key: str

    async def open(self, currency: str = "EUR", *, funds: str | None = None, overdraft_limit: str = "0") -> str:
        """Open an account, put money on it, and return its id."""
        account_id = f"A{uuid.uuid4().hex[:16]}"
        body = {"account_id": account_id, "currency": currency, "overdraft_limit": overdraft_limit}
        opened = await self.http.post("/v1/accounts", json=body)
        assert opened.status_code == 201, opened.text
        if funds is not None:
            paid_in = await self.submit({"creditor": account_id, "amount": funds, "currency": currency})
            assert paid_in.json()["status"] == "completed", paid_in.text
        return account_id

    async def submit(self, body: dict[str, Any], *, wait_seconds: int = 30, headers: dict[str, str] | None = None) -> httpx.Response:
        """Submit a transaction, and wait for its outcome."""
        return await self.http.post("/v1/transactions", json=body, headers={"Prefer": f"wait={wait_seconds}", **(headers or {})})

    async def park(self, body: dict[str, Any]) -> None:
        """Submit a transaction that can't be posted, and wait until it stands parked."""
        assert (await self.submit(body, wait_seconds=0)).is_success
        async with asyncio.timeout(60):
            while (await self.http.get(f"/v1/transactions/{body['transaction_id']}")).json()["status"] != "parked":  # noqa: ASYNC110  as in until
                await asyncio.sleep(0.05)

    async def ledger(self, account_id: str) -> str:
        """An account's ledger balance."""
        found = await self.http.get(f"/v1/accounts/{account_id}/balance")
        assert found.status_code == 200, found.text
        return str(found.json()["ledger"])


@asynccontextmanager
async def bank_at(
    api: str, postgres_dsn: str, *, tenant: str | None = None, principal: str = "teller", scopes: Sequence[str] = (Scope.ALL,)
) -> AsyncIterator[Bank]:
    """A new tenant, or a new key of one."""
    tenant = tenant or f"bank-{uuid.uuid4().hex[:12]}"
    database = Database.open(postgres_dsn, pool_size=1)
    try:
        _, key = await PostgresApiKeys(database).create(tenant, principal, scopes)
    finally:
        await database.close()
    async with httpx.AsyncClient(base_url=api, headers={"Authorization": f"Bearer {key}"}, timeout=100, trust_env=False) as http:
        yield Bank(http, tenant, key)


class Records:
    """What is recorded of a tenant, read past the API."""

    def __init__(self, postgres_dsn: str, temporal: Client) -> None:
        self._dsn = postgres_dsn
        self._temporal = temporal

    def counts(self, tenant: str) -> dict[str, int]:
        """Rows of the tenant in each table."""
        with psycopg.connect(self._dsn) as connection:
            rows = {
                table: connection.execute(f"SELECT count(*) FROM {table} WHERE tenant = %s", (tenant,)).fetchone()  # noqa: S608  constants
                for table in COUNTED_TABLES
            }
        return {table: row[0] for table, row in rows.items() if row is not None}

    def one(self, query: LiteralString, *values: object) -> Any:
        """The first column of the query's only row."""
        with psycopg.connect(self._dsn) as connection:
            (row,) = connection.execute(query, values).fetchall()
        return row[0]

    def postings(self, tenant: str, transaction_id: str) -> int:
        """Entries on customers' accounts that a transaction has."""
        return int(
            self.one(
                "SELECT (SELECT count(*) FROM offline_entry WHERE tenant = %s AND transaction_id = %s::uuid)"
                " + (SELECT count(*) FROM online_entry WHERE tenant = %s AND transaction_id = %s::uuid)",
                *(tenant, transaction_id) * 2,
            )
        )

    def unpublished(self, tenant: str, transaction_id: str) -> int:
        """Events of a transaction that wait in the outbox."""
        query = "SELECT count(*) FROM event_outbox WHERE tenant = %s AND transaction_id = %s::uuid AND published_at IS NULL"
        return int(self.one(query, tenant, transaction_id))

    async def workflow_exists(self, tenant: str, transaction_id: str) -> bool:
        """Whether Temporal has, or had, a workflow for the transaction."""
        try:
            await self._temporal.get_workflow_handle(workflow_id(tenant, transaction_id)).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return False
        return True


async def until(condition: Callable[[], bool], *, within_seconds: float = 60) -> None:
    """Wait until a condition holds; a test fails when it doesn't in time."""
    async with asyncio.timeout(within_seconds):
        while not condition():  # noqa: ASYNC110  a database tells nobody that a row has changed
            await asyncio.sleep(0.05)


def assert_problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """The response is a problem by RFC 9457 with this status and code; returns its content."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    content: dict[str, Any] = response.json()
    assert {"type", "title", "status", "code", "detail"} <= set(content)
    assert (content["status"], content["code"], content["type"]) == (status, code, f"/problems/{code}")
    assert content["title"]
    assert content["detail"]
    return content
