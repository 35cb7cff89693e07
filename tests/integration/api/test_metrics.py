"""`/metrics`: what a monitoring system reads, without a key."""

from __future__ import annotations

import asyncio
import json
from collections import Counter

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


async def test_what_waits_to_be_published_is_counted_with_its_age(stack: RunningStack) -> None:
    # In the future, so that no relay takes it.
    stored = """
        INSERT INTO event_outbox (event_id, topic, key, payload, type, source, subject, time, tenant, transaction_id, position, created_at)
        VALUES (gen_random_uuid(), 't', 'k', '{}', 't', 's', 's', now(), 'nobody', gen_random_uuid(), 0, now() + interval '1 hour')
    """
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute(stored)
        try:
            found = await _metrics(stack)
        finally:
            connection.execute("DELETE FROM event_outbox WHERE tenant = 'nobody'")
    assert found["casaflow_outbox_unpublished_events"] >= 1
    assert "casaflow_outbox_oldest_age_seconds" in found


async def test_metrics_are_documented_as_text_without_a_key(bank: Bank) -> None:
    operation = (await bank.http.get("/openapi.json")).json()["paths"]["/metrics"]["get"]
    assert "security" not in operation
    assert set(operation["responses"]["200"]["content"]) == {"text/plain"}


def _families(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    families = text_string_to_metric_families(text)
    return {(sample.name, frozenset(sample.labels.items())): sample.value for family in families for sample in family.samples}


async def _read(url: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    async with httpx.AsyncClient(trust_env=False) as http:
        answer = await http.get(url)
    assert answer.status_code == 200, answer.text
    return _families(answer.text)


def _count(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


async def test_requests_are_counted_by_route_and_status_whoever_answered_them(stack: RunningStack, bank: Bank) -> None:
    name = "casaflow_http_request_duration_seconds_count"
    asked = {
        _count(name, method="GET", route="/v1/accounts/{account_id}/balance", status="404"): "/v1/accounts/nobody/balance",
        _count(name, method="GET", route="none", status="404"): "/v1/nowhere",
        _count(name, method="GET", route="none", status="401"): "/v1/rates",
    }
    before = await _read(f"{stack.api}/metrics")
    for (_, labels), path in asked.items():
        status = int(dict(labels)["status"])
        headers = {"Authorization": "Bearer nothing"} if status == 401 else {}
        assert (await bank.http.get(path, headers=headers)).status_code == status
    after = await _read(f"{stack.api}/metrics")
    assert [after[key] - before.get(key, 0) for key in asked] == [1, 1, 1]
    assert after["casaflow_http_requests_in_flight", frozenset()] == 1  # the one that asks


async def test_the_worker_shows_its_ledger_and_temporals_sdk_in_seconds_and_with_units(stack: RunningStack, bank: Bank) -> None:
    url = json.loads((stack.home / "stack.json").read_text())["metrics"]["worker"] if stack.home else ""
    refused = _count("casaflow_ledger_refusals_total", reason="insufficient-funds")
    # The API carries transactions as well, and which of the two took this one is not for a test to say.
    before = await _read_both(url, f"{stack.api}/metrics")
    account = await bank.open(funds="1.00")
    assert (await bank.submit({"debtor": account, "amount": "2.00", "currency": "EUR"})).json()["status"] == "rejected"
    after = await _read_both(url, f"{stack.api}/metrics")
    assert after[refused] - before.get(refused, 0) == 1
    for side in ("credit", "debit"):
        postings = _count("casaflow_ledger_batch_postings_sum", side=side)
        assert after[postings] > before.get(postings, 0)
    names = {name for name, _ in after}
    assert {"temporal_workflow_completed_total", "temporal_local_activity_execution_latency_seconds_count"} <= names
    assert "temporal_request_latency_seconds_count" in {name for name, _ in await _read(f"{stack.api}/metrics")}


async def _read_both(*urls: str) -> Counter[tuple[str, frozenset[tuple[str, str]]]]:
    """The sums over several processes."""
    found: Counter[tuple[str, frozenset[tuple[str, str]]]] = Counter()
    for url in urls:
        found.update(await _read(url))
    return found


async def test_another_path_of_the_workers_metrics_is_not_found(stack: RunningStack) -> None:
    url = json.loads((stack.home / "stack.json").read_text())["metrics"]["worker"] if stack.home else ""
    async with httpx.AsyncClient(trust_env=False) as http:
        assert (await http.get(url.replace("/metrics", "/"))).status_code == 404


async def test_consumers_count_what_each_group_has_applied(stack: RunningStack, bank: Bank) -> None:
    assert stack.home is not None
    url = json.loads((stack.home / "stack.json").read_text())["metrics"]["consumers"]
    applied = _count("casaflow_consumer_records_total", group="mis")
    before = (await _read(url)).get(applied, 0)
    await bank.open(funds="1.00")
    async with asyncio.timeout(30):
        while (after := await _read(url)).get(applied, 0) < before + 2:  # noqa: ASYNC110  a consumer tells nobody here
            await asyncio.sleep(0.1)
    assert after[_count("casaflow_consumer_batch_duration_seconds_count", group="mis")] > 0
    assert not [name for name, _ in after if name.startswith("temporal_")]
