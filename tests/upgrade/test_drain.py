"""`casaflow drain`: no new work is taken, what has begun is finished, and nobody who asks again is refused for good."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from tests.integration.api.bank import Bank, bank_at
from tests.integration.stack.conftest import Home
from tests.stack_fixtures import RunningStack
from tests.upgrade.load import Load, open_accounts

_SEEN_WITHIN_SECONDS = 10


@pytest.fixture
def closing(stack: RunningStack) -> Iterator[RunningStack]:
    """The stack of all tests, whose intake is opened again whatever happens."""
    yield stack
    opened = stack.casaflow("drain", "--off", "--json")
    assert opened.returncode == 0, opened.stdout + opened.stderr
    assert json.loads(opened.stdout)["intake"]["is_open"] is True


async def test_while_it_drains_new_work_is_refused_and_what_has_begun_is_answered(closing: RunningStack) -> None:
    async with bank_at(closing.api, closing.postgres_dsn) as bank:
        account = await bank.open(funds="10.00")
        known = _payment(account)
        assert (await bank.submit(known)).status_code == 201
        done = await asyncio.to_thread(closing.casaflow, "drain", "--timeout", "0", "--reason", "release 2")
        assert done.returncode == 1, done.stdout + done.stderr
        assert "not drained: no new work is taken" in done.stdout
        refused = await _refused(bank, account)
        assert (refused.status_code, refused.json()["code"], refused.headers["Retry-After"]) == (503, "draining", "5")
        assert "release 2" in refused.json()["detail"]
        hold = {"account_id": account, "amount": "1.00", "currency": "EUR", "expires_at": "2100-01-01T00:00:00Z"}
        for answer in (
            await bank.http.post("/v1/holds", json=hold),
            await bank.http.post("/v1/files", content=b"x", headers={"Content-Type": "text/csv"}),
        ):
            assert (answer.status_code, answer.json()["code"]) == (503, "draining")
        batch = (await bank.http.post("/v1/transactions/batch", json={"transactions": [_payment(account), known]})).json()["results"]
        assert [result["status"] for result in batch] == [503, 200]
        assert (await bank.submit(known)).status_code == 200
        assert await bank.ledger(account) == "9.00"
        assert (await bank.http.get("/readyz")).status_code == 200
        with psycopg.connect(closing.postgres_dsn) as connection:
            acts = connection.execute("SELECT action, detail FROM administrative_act ORDER BY at DESC LIMIT 1").fetchall()
        assert acts == [("intake.closed", {"reason": "release 2"})]


def _payment(account: str) -> dict[str, Any]:
    return {"transaction_id": str(uuid.uuid4()), "debtor": account, "amount": "1.00", "currency": "EUR"}


async def _refused(bank: Bank, account: str) -> httpx.Response:
    """The first refusal of a new transaction, which comes within seconds. What comes before asks for too much, and changes nothing."""
    deadline = time.monotonic() + _SEEN_WITHIN_SECONDS
    while True:
        answer = await bank.submit(_payment(account) | {"amount": "1000.00"})
        if answer.status_code != 201 or time.monotonic() > deadline:
            return answer


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    opened = Home(tmp_path / ".casaflow")
    try:
        yield opened
    finally:
        opened.remove()


@pytest.mark.slow
async def test_a_stack_that_is_drained_under_load_and_started_anew_loses_nothing(home: Home) -> None:
    await asyncio.to_thread(home.up)
    stack = home.stack()
    await asyncio.to_thread(open_accounts, stack["api"], stack["api_key"])
    load = Load([stack["api"]], stack["api_key"])
    load.start()
    await load.until(100)
    load.begin("draining")
    done = await asyncio.to_thread(home.casaflow, "drain", "--json", "--timeout", "60")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["in_flight"] == {"transactions": 0, "files": 0, "events": 0, "standing": 0}
    assert load.phase.attempts_that_failed["503 draining"] > 0
    before = _transactions(stack)
    await asyncio.to_thread(home.down)
    await asyncio.to_thread(home.up)
    stack = home.stack()
    load.addresses[:] = [stack["api"]]
    assert (await asyncio.to_thread(home.casaflow, "drain", "--report")).returncode == 0, "it stays drained over a start"
    assert _transactions(stack) == before, "nothing was taken in between"
    load.begin("opened again")
    assert (await asyncio.to_thread(home.casaflow, "drain", "--off")).returncode == 0
    await load.until(100)
    await load.stop()
    assert Counter(load.outcomes.values()) == {"completed": len(load.outcomes)}
    checked = await asyncio.to_thread(home.casaflow, "check")
    assert checked.returncode == 0, checked.stdout + checked.stderr


def _transactions(stack: dict[str, Any]) -> int:
    with psycopg.connect(stack["postgres_dsn"], autocommit=True) as connection:
        found = connection.execute("SELECT count(*) FROM transaction").fetchone()
    assert found is not None
    return int(found[0])
