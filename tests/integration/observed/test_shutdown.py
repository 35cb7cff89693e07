"""SIGTERM amid what runs: it is finished, and nothing is asked twice for it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from typing import Any

import httpx
import psycopg
import pytest
from temporalio.client import Client

from ledger.ids import workflow_id
from tests.integration.api.bank import Bank, until
from tests.integration.observed.processes import Installation

IN_FLIGHT = 50


def _waiting_for_the_row(postgres_url: str) -> int:
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        ).fetchone()
    return int(found[0]) if found else 0


def _transactions(postgres_url: str, tenant: str) -> Counter[str]:
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT status, count(*) FROM transaction WHERE tenant = %s GROUP BY status", (tenant,)).fetchall()
    return Counter(dict(found))


async def _withdraw_fifty(bank: Bank, account: str, *, wait_seconds: int) -> list[asyncio.Task[Any]]:
    body = {"debtor": account, "amount": "1.00", "currency": "EUR"}
    return [asyncio.create_task(bank.submit(body, wait_seconds=wait_seconds)) for _ in range(IN_FLIGHT)]


async def test_an_api_that_is_asked_to_stop_answers_what_it_was_asked(
    installation: Installation, temporal: Client, postgres_url: str, bank: Bank
) -> None:
    api = await installation.api()
    worker = await installation.worker(temporal)
    account = await bank.open(funds="1000.00")
    with psycopg.connect(postgres_url) as holder:
        # Nothing is decided while somebody has the account's row, so all fifty are in flight when the signal comes.
        holder.execute("SELECT 1 FROM online_balance WHERE tenant = %s AND account_id = %s FOR UPDATE", (bank.tenant, account))
        asked = await _withdraw_fifty(bank, account, wait_seconds=12)
        await until(lambda: _waiting_for_the_row(postgres_url) > 0)
        await _all_started(temporal, bank.tenant)
        api.process.send_signal(signal.SIGTERM)
        # It takes no new connection any more, which is how a load balancer sees it.
        await until(lambda: "Shutting down" in api.log.read_text())
    answers = await asyncio.gather(*asked)
    assert Counter((answer.status_code, answer.json()["status"]) for answer in answers) == {(201, "completed"): IN_FLIGHT}
    assert await api.ended() == 0
    worker.process.send_signal(signal.SIGTERM)
    assert await worker.ended() == 0


@pytest.mark.slow
async def test_an_api_behind_a_balancer_is_not_ready_and_goes_on_serving_before_it_stops(installation: Installation, bank: Bank) -> None:
    api = await installation.api({"CASAFLOW_API_STOP_AFTER_SECONDS": "3"})
    account = await bank.open()
    asked_at = time.monotonic()
    api.process.send_signal(signal.SIGTERM)
    async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False) as http:
        while (answer := await http.get(f"{installation.api_url}/readyz")).is_success:  # noqa: ASYNC110  a signal's handler tells nobody
            await asyncio.sleep(0.02)
    told = answer.json()
    assert (told["status"], told["parts"]["api"], told["parts"]["postgres"]) == ("not ready", "about to stop", "ready")
    assert await bank.ledger(account) == "0.00"
    assert await api.ended() == 0
    assert time.monotonic() - asked_at >= 3


async def _all_started(temporal: Client, tenant: str) -> None:
    async with asyncio.timeout(60):
        query = f"CasaflowTenant = '{tenant}' AND ExecutionStatus = 'Running'"
        while (await temporal.count_workflows(query)).count < IN_FLIGHT:  # noqa: ASYNC110  Temporal tells nobody that a workflow has begun
            await asyncio.sleep(0.05)


async def test_a_worker_that_is_asked_to_stop_finishes_the_posting_that_it_has_begun(
    installation: Installation, temporal: Client, postgres_url: str, bank: Bank
) -> None:
    api = await installation.api()
    worker = await installation.worker(temporal)
    account = await bank.open(funds="1000.00")
    before = _transactions(postgres_url, bank.tenant)["completed"]
    with psycopg.connect(postgres_url) as holder:
        holder.execute("SELECT 1 FROM online_balance WHERE tenant = %s AND account_id = %s FOR UPDATE", (bank.tenant, account))
        asked = await _withdraw_fifty(bank, account, wait_seconds=0)
        await until(lambda: _waiting_for_the_row(postgres_url) > 0)
        worker.process.send_signal(signal.SIGTERM)
        await until(lambda: bool(worker.said("worker.stopping")))
    submitted = [answer.json()["transaction_id"] for answer in await asyncio.gather(*asked)]
    assert await worker.ended() == 0
    assert worker.said("worker.stopped")
    # What was being posted when the signal came is posted, and published: no event waits for another worker.
    posted = _transactions(postgres_url, bank.tenant)["completed"] - before
    assert posted > 0
    with psycopg.connect(postgres_url) as connection:
        cut_off = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
        ).fetchone()
    assert cut_off == (0,)
    # The rest is carried on by the next worker, each once.
    await installation.worker(temporal)
    async with asyncio.timeout(90):
        for transaction_id in submitted:
            result = await temporal.get_workflow_handle(workflow_id(bank.tenant, transaction_id)).result()
            assert result["status"] == "completed"
    assert _transactions(postgres_url, bank.tenant) == {"completed": before + IN_FLIGHT}
    assert await bank.ledger(account) == "950.00"
    api.process.send_signal(signal.SIGTERM)
    assert await api.ended() == 0


@pytest.fixture(autouse=True)
def _stop_all(installation: Installation) -> Any:
    yield
    installation.end()
