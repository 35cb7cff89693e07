"""Processes of each module's own on the running stack's servers, in a database of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from infra.temporal.client import connect
from tests.integration.api.bank import Bank, bank_at
from tests.integration.observed.processes import Installation
from tests.stack_fixtures import RunningStack


@pytest.fixture(scope="session")
async def temporal(stack: RunningStack) -> Client:
    return await connect(stack.temporal_settings)


@pytest.fixture(scope="module")
def installation(stack: RunningStack, postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    folder: Path = tmp_path_factory.mktemp("observed")
    environment = {
        "CASAFLOW_HOME": str(stack.home or folder),
        "CASAFLOW_POSTGRES_URL": postgres_url,
        "CASAFLOW_TEMPORAL_ADDRESS": stack.temporal_address,
        "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers,
        "CASAFLOW_RATES_SOURCE": "ecb-history",
        "CASAFLOW_RATES_MAX_AGE_DAYS": "36500",
    }
    installation = Installation(folder, environment)
    try:
        yield installation
    finally:
        installation.end()


@pytest.fixture
async def bank(installation: Installation, postgres_url: str) -> AsyncIterator[Bank]:
    """A tenant of the test's own, on the API of the installation, which the test starts."""
    async with bank_at(installation.api_url, postgres_url) as opened:
        yield opened
