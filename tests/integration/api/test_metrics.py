"""`/metrics`: what a monitoring system reads, without a key."""

from __future__ import annotations

import asyncio

import httpx
import psycopg
from prometheus_client.parser import text_string_to_metric_families

from tests.integration.api.bank import Bank
from tests.stack_fixtures import RunningStack


async def _metrics(stack: RunningStack) -> dict[str, float]:
    async with httpx.AsyncClient(base_url=stack.api, trust_env=False) as http:
        answer = await http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(answer.text)
    return {sample.name: sample.value for family in families for sample in family.samples}


async def test_metrics_need_no_key_and_tell_of_upkeep_that_the_worker_does_by_itself(stack: RunningStack) -> None:
    async with asyncio.timeout(90):
        while "casaflow_maintenance_last_run_age_seconds" not in (found := await _metrics(stack)):  # noqa: ASYNC110  a run tells nobody here that it ended
            await asyncio.sleep(0.2)
    assert found["casaflow_postgres_up"] == 1
    assert found["casaflow_longest_tail_credits"] >= 0
    assert found["process_resident_memory_bytes"] > 0


async def test_an_old_writing_transaction_is_seen(stack: RunningStack) -> None:
    with psycopg.connect(stack.postgres_dsn) as long_one, psycopg.connect(stack.postgres_dsn, autocommit=True) as other:
        long_one.execute("SELECT pg_current_xact_id()")
        for _ in range(5):
            other.execute("SELECT pg_current_xact_id()")
        found = await _metrics(stack)
        assert found["casaflow_oldest_writing_transaction_xids"] >= 5
        assert found["casaflow_oldest_writing_transaction_seconds"] > 0


async def test_metrics_are_documented_as_text_without_a_key(bank: Bank) -> None:
    operation = (await bank.http.get("/openapi.json")).json()["paths"]["/metrics"]["get"]
    assert "security" not in operation
    assert set(operation["responses"]["200"]["content"]) == {"text/plain"}
