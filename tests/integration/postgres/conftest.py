"""A fresh database for each test module (`postgres_url`), and in it a bank, a tenant of its own, for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.privileges import APPLICATION_ROLE
from tests.integration.postgres.bank import FAULTY_TIMEOUT_SECONDS, Bank, connected
from tests.integration.postgres.proxy import PostgresProxy

POOL_SIZE = 16
_OPERATION_TIMEOUT_SECONDS = 30.0


# As production runs: by the role that may post, and can't touch what was posted. The bank's `rows` are the owner's.
@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database.open(postgres_url, pool_size=POOL_SIZE, operation_timeout_seconds=_OPERATION_TIMEOUT_SECONDS, role=APPLICATION_ROLE)
    yield database
    await database.close()


@pytest.fixture
async def bank(postgres_url: str, database: Database) -> AsyncIterator[Bank]:
    async with connected(postgres_url, autocommit=True) as rows:
        yield Bank(url=postgres_url, database=database, rows=rows)


@pytest.fixture
async def proxy(postgres_url: str) -> AsyncIterator[PostgresProxy]:
    async with PostgresProxy(postgres_url) as proxy:
        yield proxy


@pytest.fixture
async def faulty(proxy: PostgresProxy) -> AsyncIterator[Database]:
    """The same database, behind the proxy."""
    database = Database.open(proxy.dsn, pool_size=4, operation_timeout_seconds=FAULTY_TIMEOUT_SECONDS)
    yield database
    await proxy.accept()
    await database.close()


@pytest.fixture
async def ledger(bank: Bank) -> AsyncIterator[PostgresLedger]:
    """One ledger, as a worker process has it: what is posted on it at the same time meets in its lanes."""
    shared = PostgresLedger(bank.database)
    yield shared
    await shared.drain()
