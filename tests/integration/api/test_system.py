"""How the system is, in one answer; and what may be done to the stack, by whom, and where."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from infra.stack.control import part_states
from infra.stack.model import WORKER
from ledger.scopes import Scope
from tests.integration.api.bank import Bank, assert_problem, bank_at
from tests.integration.api.saga import api_process
from tests.stack_fixtures import RunningStack


async def test_system_tells_of_pace_parts_groups_and_links(stack: RunningStack) -> None:
    async with bank_at(stack.api, stack.postgres_dsn) as bank:
        account = await bank.open(funds="10.00")
        await bank.submit({"debtor": account, "amount": "99.00", "currency": "EUR"})
        asked = {"creditor": account, "amount": "1.00", "currency": "EUR", "approval": {"required": True}}
        waiting = (await bank.submit(asked)).json()
        system = (await bank.http.get("/v1/system")).json()
        attention = (await bank.http.get("/v1/system/attention")).json()
    assert system["parts"] == {"postgres": "ready", "temporal": "ready", "kafka": "ready"}
    pace = system["throughput"]
    assert (pace["completed"], pace["rejected"], pace["reversed"], pace["open"]) == (1, 1, 0, 0)
    assert pace["latency_p50_ms"] > 0
    assert sum(second["completed"] + second["rejected"] for second in pace["seconds"]) <= 2
    assert (system["tenant"], system["principal"], system["scopes"]) == (bank.tenant, "teller", ["all"])
    assert system["standing"]["waiting_for_approval"] == 1
    assert {group["group"] for group in system["groups"]} >= {"audit", "statement"}
    assert system["web_ui"]["transaction"].startswith(stack.temporal_ui)
    assert bank.tenant in system["web_ui"]["transaction"]
    assert {"worker", "api", "kafka"} <= {part["name"] for part in system["stack"]}
    (found,) = attention["transactions"]
    # Whoever is to approve it sees what was asked, though nothing of it is recorded in the ledger yet.
    assert (found["transaction_id"], found["amount"], found["creditor"]) == (waiting["transaction_id"], "1.00", account)
    assert attention["complete"]


async def test_tenant_sees_nothing_of_another_ones_transactions(bank: Bank, other_bank: Bank) -> None:
    account = await bank.open(funds="1.00")
    await bank.submit({"creditor": account, "amount": "1.00", "currency": "EUR", "approval": {"required": True}})
    standing = (await other_bank.http.get("/v1/system")).json()["standing"]
    assert standing["waiting_for_approval"] == 0
    assert (await other_bank.http.get("/v1/system/attention")).json()["transactions"] == []


async def test_only_a_key_for_everything_kills_a_worker(bank: Bank, stack: RunningStack) -> None:
    assert stack.home is not None
    # Those of now: an earlier test may have killed one.
    workers = {part.pid for part in part_states(stack.home) if part.name.startswith(WORKER) and part.pid is not None}
    assert workers
    async with bank_at(stack.api, stack.postgres_dsn, tenant=bank.tenant, scopes=[Scope.STANDARD]) as teller:
        refused = await teller.http.post("/v1/system/workers/kill")
    assert_problem(refused, 403, "missing-scope")
    assert all(psutil.pid_exists(pid) for pid in workers)


async def test_api_outside_of_a_stack_has_no_workers_to_kill_and_a_broker_that_is_away_leaves_the_rest_to_be_seen(
    bank: Bank, stack: RunningStack, tmp_path: Path
) -> None:
    assert stack.home is not None
    # With the home of a stack, but without the setting that its supervisor makes.
    async with (
        api_process(stack, tmp_path / "api.log", HOME=str(stack.home), KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1") as api,
        bank_at(api, stack.postgres_dsn, tenant=bank.tenant) as elsewhere,
    ):
        refused = await elsewhere.http.post("/v1/system/workers/kill")
        system = (await elsewhere.http.get("/v1/system")).json()
    assert_problem(refused, 404, "not-found")
    assert (system["stack"], system["web_ui"]) == (None, None)
    assert system["parts"]["kafka"] != "ready"
    assert system["parts"]["postgres"] == system["parts"]["temporal"] == "ready"
    assert system["groups"] is None
    assert system["throughput"] is not None


@pytest.mark.parametrize("path", ["/v1/system", "/v1/system/attention"])
async def test_nobody_looks_without_a_key(bank: Bank, path: str) -> None:
    assert_problem(await bank.http.get(path, headers={"Authorization": ""}), 401, "unauthenticated")
