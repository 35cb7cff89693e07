"""A server is away: the API says so, loses nothing, and does nothing twice."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from tests.integration.api.bank import Bank, Records, assert_problem, bank_at, until
from tests.integration.api.outages import Fragile, fragile_stack
from tests.stack_fixtures import RunningStack

BOUND_SECONDS = 60
"""Far above the longest time-out on any way (15 s for a database transaction), far below for ever."""


@pytest.fixture(scope="module")
async def fragile(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Fragile]:
    async with fragile_stack(stack, tmp_path_factory.mktemp("outages")) as started:
        yield started


@pytest.fixture(scope="module")
async def shaky_bank(stack: RunningStack, fragile: Fragile) -> AsyncIterator[Bank]:
    """A tenant seen through the API behind the proxies."""
    async with bank_at(fragile.api, stack.postgres_dsn) as opened:
        yield opened


@pytest.fixture(autouse=True)
async def _all_is_back_afterwards(fragile: Fragile) -> AsyncIterator[None]:
    yield
    await fragile.restore()
    async with httpx.AsyncClient(base_url=fragile.api, timeout=60, trust_env=False) as client, asyncio.timeout(BOUND_SECONDS):
        while not (await client.get("/readyz")).is_success:  # noqa: ASYNC110  a server tells nobody that it is ready
            await asyncio.sleep(0.1)


def _deposit(account: str) -> dict[str, Any]:
    return {"transaction_id": str(uuid.uuid4()), "creditor": account, "amount": "5.00", "currency": "EUR"}


async def _until_answered(bank: Bank, body: dict[str, Any], headers: dict[str, str] | None = None) -> httpx.Response:
    """Repeat the same request for as long as the API says that it can't tell."""
    async with asyncio.timeout(BOUND_SECONDS):
        while True:
            answer = await bank.submit(body, headers=headers)
            if answer.status_code != 503:
                return answer
            await asyncio.sleep(0.2)


def _assert_unavailable(answer: httpx.Response, part: str) -> None:
    problem = assert_problem(answer, 503, "unavailable")
    assert part in problem["detail"]
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.parametrize("fault", ["refuse", "hang"])
async def test_without_kafka_money_moves_and_its_events_wait(fragile: Fragile, shaky_bank: Bank, records: Records, fault: str) -> None:
    account = await shaky_bank.open(funds="1.00")
    if fault == "refuse":
        await fragile.kafka.refuse()
    else:
        await fragile.kafka.hang()
    body = _deposit(account)
    answer = await shaky_bank.submit(body)
    assert (answer.status_code, answer.json()["status"]) == (201, "completed")
    assert await shaky_bank.ledger(account) == "6.00"
    assert records.unpublished(shaky_bank.tenant, body["transaction_id"]) == 2
    again = await shaky_bank.submit(body)
    assert (again.status_code, again.json()) == (200, answer.json())
    await fragile.kafka.accept()
    await until(lambda: records.unpublished(shaky_bank.tenant, body["transaction_id"]) == 0, within_seconds=BOUND_SECONDS)
    assert records.postings(shaky_bank.tenant, body["transaction_id"]) == 1


@pytest.mark.parametrize("fault", ["refuse", "hang"])
async def test_without_postgres_every_request_is_unavailable_and_done_once_later(
    fragile: Fragile, shaky_bank: Bank, records: Records, fault: str
) -> None:
    account = await shaky_bank.open()
    body = _deposit(account)
    await getattr(fragile.postgres, fault)()
    async with asyncio.timeout(BOUND_SECONDS):
        answers = await asyncio.gather(
            shaky_bank.submit(body),
            shaky_bank.http.get(f"/v1/accounts/{account}/balance"),
            shaky_bank.http.post("/v1/accounts", json={"account_id": account, "currency": "EUR"}),
            shaky_bank.http.get(f"/v1/transactions/{body['transaction_id']}"),
            shaky_bank.http.get("/readyz"),
            shaky_bank.http.get("/healthz"),
        )
    *requests, ready, alive = answers
    for answer in requests:
        _assert_unavailable(answer, "postgres")
    assert ready.status_code == 503
    assert ready.json()["status"] == "not ready"
    assert ready.json()["parts"]["temporal"] == "ready" != ready.json()["parts"]["postgres"]
    assert alive.status_code == 200
    await fragile.postgres.accept()
    final = await _until_answered(shaky_bank, body)
    assert (final.status_code, final.json()["status"]) == (201, "completed")
    assert records.postings(shaky_bank.tenant, body["transaction_id"]) == 1
    assert await shaky_bank.ledger(account) == "5.00"


@pytest.mark.parametrize("fault", [pytest.param("refuse", marks=pytest.mark.slow), "hang"])
async def test_without_temporal_nothing_starts_and_the_same_request_is_done_once_later(
    fragile: Fragile, shaky_bank: Bank, records: Records, fault: str
) -> None:
    account = await shaky_bank.open()
    body = _deposit(account)
    before = records.counts(shaky_bank.tenant)
    await getattr(fragile.temporal, fault)()
    async with asyncio.timeout(BOUND_SECONDS):
        submitted, looked_up, ready = await asyncio.gather(
            shaky_bank.submit(body),
            shaky_bank.http.get(f"/v1/transactions/{body['transaction_id']}"),
            shaky_bank.http.get("/readyz"),
        )
    for answer in (submitted, looked_up):
        _assert_unavailable(answer, "temporal")
    assert ready.status_code == 503
    assert ready.json()["parts"]["postgres"] == "ready" != ready.json()["parts"]["temporal"]
    # What needs no Temporal goes on.
    assert await shaky_bank.ledger(account) == "0.00"
    assert records.counts(shaky_bank.tenant) == before
    await fragile.temporal.accept()
    final = await _until_answered(shaky_bank, body)
    assert final.json()["status"] == "completed"
    assert final.status_code in {200, 201}  # 200 where the lost request had arrived all the same
    assert records.postings(shaky_bank.tenant, body["transaction_id"]) == 1
    assert await shaky_bank.ledger(account) == "5.00"


@pytest.mark.slow
async def test_idempotency_key_joins_over_an_outage(fragile: Fragile, shaky_bank: Bank, records: Records) -> None:
    account = await shaky_bank.open()
    body = {"creditor": account, "amount": "5.00", "currency": "EUR"}
    headers = {"Idempotency-Key": uuid.uuid4().hex}
    await fragile.temporal.refuse()
    _assert_unavailable(await shaky_bank.submit(body, headers=headers), "temporal")
    await fragile.temporal.accept()
    answer = await _until_answered(shaky_bank, body, headers)
    assert answer.json()["status"] == "completed"
    assert (await shaky_bank.submit(body, headers=headers)).json() == answer.json()
    assert records.postings(shaky_bank.tenant, answer.json()["transaction_id"]) == 1


async def test_worker_without_postgres_leaves_the_transaction_under_way(fragile: Fragile, shaky_bank: Bank, records: Records) -> None:
    account = await shaky_bank.open()
    body = _deposit(account)
    await fragile.workers_postgres.refuse()
    answer = await shaky_bank.submit(body, wait_seconds=1)
    assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    found = await shaky_bank.http.get(answer.headers["Location"])
    assert (found.status_code, found.json()["status"]) == (200, "processing")
    # The running workflow is compared with, too: other content is a conflict while nothing is recorded yet.
    assert_problem(await shaky_bank.submit({**body, "amount": "6.00"}, wait_seconds=0), 409, "transaction-conflict")
    assert (await shaky_bank.submit(body, wait_seconds=0)).status_code == 202
    await fragile.workers_postgres.accept()
    final = await shaky_bank.submit(body, wait_seconds=60)
    assert (final.status_code, final.json()["status"]) == (200, "completed")
    assert records.postings(shaky_bank.tenant, body["transaction_id"]) == 1


@pytest.mark.parametrize("part", [pytest.param("temporal", marks=pytest.mark.slow), "postgres"])
async def test_server_that_goes_away_during_the_wait(fragile: Fragile, shaky_bank: Bank, records: Records, part: str) -> None:
    account = await shaky_bank.open()
    body = _deposit(account)
    await fragile.workers_postgres.refuse()  # so that it is still waiting when the other goes
    async with asyncio.timeout(BOUND_SECONDS):
        waiting = asyncio.create_task(shaky_bank.submit(body, wait_seconds=3))
        while not await records.workflow_exists(shaky_bank.tenant, body["transaction_id"]):  # noqa: ASYNC110  as above
            await asyncio.sleep(0.05)
        await getattr(fragile, part).refuse()
        answer = await waiting
    if answer.status_code == 503:
        _assert_unavailable(answer, part)
    else:
        assert (answer.status_code, answer.json()["status"]) == (202, "processing")
    await fragile.restore()
    final = await _until_answered(shaky_bank, body)
    assert (final.status_code, final.json()["status"]) == (200, "completed")
    assert records.postings(shaky_bank.tenant, body["transaction_id"]) == 1


async def test_api_starts_without_its_servers_and_serves_once_they_are_there(fragile: Fragile, shaky_bank: Bank) -> None:
    account = await shaky_bank.open()
    await fragile.stop("api")
    await fragile.postgres.refuse()
    await fragile.temporal.refuse()
    await fragile.start_api()
    ready = await shaky_bank.http.get("/readyz")
    assert ready.status_code == 503
    assert "ready" not in ready.json()["parts"].values()
    _assert_unavailable(await shaky_bank.submit(_deposit(account)), "postgres")
    await fragile.postgres.accept()
    _assert_unavailable(await shaky_bank.submit(_deposit(account)), "temporal")
    await fragile.temporal.accept()
    assert (await _until_answered(shaky_bank, _deposit(account))).status_code == 201
