"""Tenants of the tests' own on the running stack, and a look past the API at what they left."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from infra.temporal.client import connect
from tests.integration.api.bank import Bank, Records, bank_at
from tests.integration.api.saga import saga_bank_at
from tests.stack_fixtures import RunningStack


@pytest.fixture(scope="session")
async def bank(stack: RunningStack) -> AsyncIterator[Bank]:
    async with bank_at(stack.api, stack.postgres_dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
async def colleague(stack: RunningStack, bank: Bank) -> AsyncIterator[Bank]:
    """Another principal of the same tenant."""
    async with bank_at(stack.api, stack.postgres_dsn, tenant=bank.tenant, principal="colleague") as opened:
        yield opened


@pytest.fixture(scope="session")
async def other_bank(stack: RunningStack) -> AsyncIterator[Bank]:
    """Another tenant."""
    async with bank_at(stack.api, stack.postgres_dsn) as opened:
        yield opened


@pytest.fixture(scope="session")
async def records(stack: RunningStack) -> Records:
    return Records(stack.postgres_dsn, await connect(stack.temporal_settings))


@pytest.fixture(scope="session")
async def saga_bank(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bank]:
    """A tenant of an API that posts transfers leg by leg."""
    async with saga_bank_at(stack, tmp_path_factory.mktemp("saga")) as opened:
        yield opened
