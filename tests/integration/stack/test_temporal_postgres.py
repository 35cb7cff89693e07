"""`casaflow up --temporal postgres`: Temporal's state is in PostgreSQL, stays there, and outlives the stack and a killed server."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from temporalio.client import Client, WorkflowExecutionStatus

from infra.stack.temporal_postgres import HISTORY_SHARDS
from ledger.ids import workflow_id
from tests.integration.stack.conftest import Home, balance, call, deposit, kill, wait_until

BUILD_SECONDS = 1800
"""The first start of a user builds the server."""

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    home = Home(tmp_path_factory.mktemp("temporal on postgres") / ".casaflow")
    try:
        started = home.casaflow("up", "--detach", "--temporal", "postgres", seconds=BUILD_SECONDS)
        assert started.returncode == 0, started.stdout + started.stderr
        yield home
    finally:
        home.remove()


async def _status(stack: dict[str, Any], transaction_id: str) -> WorkflowExecutionStatus | None:
    client = await Client.connect(stack["temporal_address"])
    return (await client.get_workflow_handle(workflow_id("main", transaction_id)).describe()).status


async def _completed(stack: dict[str, Any]) -> int:
    client = await Client.connect(stack["temporal_address"])
    return (await client.count_workflows("CasaflowStatus = 'completed'")).count


def _paid(stack: dict[str, Any], amount: str) -> str:
    paid = call(stack, "POST", "/v1/transactions", {"debtor": "T1", "creditor": "T2", "amount": amount, "currency": "EUR"})
    assert paid["status"] == "completed", paid
    return str(paid["transaction_id"])


def _shards(stack: dict[str, Any]) -> int:
    with psycopg.connect(stack["postgres_dsn"], dbname="temporal") as connection:
        row = connection.execute("SELECT count(*) FROM shards").fetchone()
    assert row is not None
    return int(row[0])


def test_a_stack_on_it_takes_transactions_and_has_them_after_another_start(home: Home) -> None:
    stack = home.stack()
    deposit(stack, "T1", "100.00")
    deposit(stack, "T2", "1.00")
    before = _paid(stack, "40.00")
    assert _shards(stack) == HISTORY_SHARDS
    assert httpx.get(stack["temporal_ui"], trust_env=False).is_success
    wait_until(lambda: asyncio.run(_completed(stack)) == 3, "three transactions are found by their search attribute", seconds=30)
    home.down()
    assert not (home.path / "temporal" / "temporal.db").exists()
    home.up()  # without the option: what was chosen stays chosen
    stack = home.stack()
    assert asyncio.run(_status(stack, before)) is WorkflowExecutionStatus.COMPLETED
    _paid(stack, "10.00")
    assert (balance(stack, "T1"), balance(stack, "T2")) == ("50.00", "51.00")
    checked = home.casaflow("check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_it_is_started_again_when_it_dies(home: Home) -> None:
    killed = home.part("temporal").pid
    assert killed is not None
    kill(killed)
    wait_until(lambda: home.part("temporal").restarts > 0, "the death is seen")
    wait_until(home.is_healthy, "everything is healthy")
    _paid(home.stack(), "1.00")


def test_the_home_is_not_switched_back(home: Home) -> None:
    refused = home.casaflow("up", "--detach", "--temporal", "sqlite")
    assert refused.returncode == 1
    assert "nothing moves it" in refused.stderr
    assert Path(home.places.temporal_store_file).read_text() == "postgres\n"
