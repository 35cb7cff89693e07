"""A real Prometheus scrapes a real stack by our rules, and every query of the dashboards and the alerts finds figures there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import yaml

from tests.deploy.conftest import Tool
from tests.deploy.test_observability import DASHBOARDS, RULES, alerts, expressions, records
from tests.deploy.tools import folder
from tests.integration.api.bank import bank_at
from tests.integration.observed.processes import free_port
from tests.stack_fixtures import RunningStack

pytestmark = pytest.mark.deploy

_AFTER_EVENTS: Final = {
    "casaflow_notification_attempts_total": "nobody here has an address that is written to",
    "casaflow_notification_dead_total": "one that was given up",
    "temporal_activity_execution_failed_total": "an activity that failed",
    "temporal_local_activity_execution_failed_total": "an activity that failed",
    "temporal_request_failure_total": "a request that failed",
    "temporal_sticky_cache_total_forced_eviction_total": "more workflows at one time than a worker keeps in memory",
}
"""Series that appear with the first event of their kind, which a healthy stack doesn't have, and what that would be."""
_METRIC = re.compile(r"\b(?:casaflow|temporal|process)[_:][a-z0-9_:]+|\bup\b")
"""Figures of ours and of the SDK; what stands in braces or after `by` is no figure."""
_LABELS = re.compile(r"\{[^}]*\}|\b(?:by|without)\s*\([^)]*\)")


def names_in(expression: str) -> set[str]:
    return set(_METRIC.findall(_LABELS.sub("", expression)))


class Prometheus:
    """The server's HTTP API."""

    def __init__(self, address: str) -> None:
        self._http = httpx.AsyncClient(base_url=address, trust_env=False, timeout=20)

    async def get(self, path: str, **parameters: str) -> Any:
        answer = await self._http.get(path, params=parameters)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    async def result(self, expression: str) -> list[Any]:
        found: list[Any] = (await self.get("/api/v1/query", query=expression))["result"]
        return found

    async def is_ready(self) -> bool:
        try:
            return (await self._http.get("/-/ready")).is_success
        except httpx.HTTPError:
            return False

    async def close(self) -> None:
        await self._http.aclose()


@pytest.fixture(scope="module")
async def prometheus(tool: Tool, stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Prometheus]:
    """Scrapes the stack under the names of jobs that the Compose file and the chart give, each second."""
    assert stack.home is not None
    at = tmp_path_factory.mktemp("prometheus")
    served: dict[str, str] = json.loads((stack.home / "stack.json").read_text())["metrics"]
    jobs = {"api": "casaflow-api", "worker": "casaflow-worker", "consumers": "casaflow-consumer"}
    scraped = [{"job_name": jobs[name], "static_configs": [{"targets": [httpx.URL(url).netloc.decode()]}]} for name, url in served.items()]
    assert {job["job_name"] for job in scraped} == set(jobs.values())
    every = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (at / "prometheus.yml").write_text(yaml.safe_dump({"global": every, "rule_files": [str(RULES)], "scrape_configs": scraped}))
    address = f"127.0.0.1:{free_port()}"
    with (at / "log").open("wb") as log:
        process = subprocess.Popen(  # noqa: ASYNC220  it is started once, and doesn't block
            [str(folder() / "bin" / "prometheus"), f"--config.file={at / 'prometheus.yml'}", f"--storage.tsdb.path={at / 'data'}",
             f"--web.listen-address={address}"],
            stdout=log, stderr=log,
        )  # fmt: skip
    server = Prometheus(f"http://{address}")
    try:
        async with asyncio.timeout(60):
            while not await server.is_ready():
                assert process.poll() is None, (at / "log").read_text()
                await asyncio.sleep(0.1)
        yield server
    finally:
        await server.close()
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
async def busy(prometheus: Prometheus, stack: RunningStack) -> Prometheus:
    """With transactions of each outcome, files, whose tasks go through the server, and scraped often enough for a rate."""
    async with bank_at(stack.api, stack.postgres_dsn) as bank, asyncio.timeout(150):
        poor = await bank.open(funds="1.00")
        while (
            len(await prometheus.result("casaflow:postings:rate1m > 0")) < 2
            or not await prometheus.result("casaflow:refusals:rate5m > 0")
            or not await prometheus.result("casaflow:workflow_task_schedule_to_start_seconds:p99_rate5m >= 0")
        ):
            rich = await bank.open(funds="100.00")
            assert (await bank.submit({"debtor": rich, "creditor": poor, "amount": "0.01", "currency": "EUR"})).json()[
                "status"
            ] == "completed"
            assert (await bank.submit({"debtor": poor, "amount": "50.00", "currency": "EUR"})).json()["status"] == "rejected"
            file = f"debtor,creditor,amount,currency,reference\n{rich},{poor},0.01,EUR,{rich}\n"
            sent = await bank.http.post("/v1/files", content=file, headers={"Content-Type": "text/csv"})
            assert sent.status_code == 202, sent.text
        # Maintenance runs once a minute, and tells its age only then.
        while not await prometheus.result("casaflow_maintenance_last_run_age_seconds"):  # noqa: ASYNC110  a server tells nobody
            await asyncio.sleep(0.5)
    return prometheus


async def test_prometheus_takes_what_every_process_serves(busy: Prometheus) -> None:
    targets = (await busy.get("/api/v1/targets"))["activeTargets"]
    assert {(each["labels"]["job"], each["health"], each["lastError"]) for each in targets} == {
        ("casaflow-api", "up", ""), ("casaflow-worker", "up", ""), ("casaflow-consumer", "up", "")
    }  # fmt: skip


async def test_every_rule_is_evaluated_without_an_error(busy: Prometheus) -> None:
    groups = (await busy.get("/api/v1/rules"))["groups"]
    evaluated = {rule["name"]: rule for group in groups for rule in group["rules"]}
    assert set(evaluated) == {rule["alert"] for rule in alerts()} | {rule["record"] for rule in records()}
    assert {name: rule.get("lastError") for name, rule in evaluated.items() if rule["health"] != "ok"} == {}
    pages = {rule["alert"] for rule in alerts() if rule["labels"]["severity"] == "page"}
    firing = {name for name in pages if any(alert["state"] == "firing" for alert in evaluated[name]["alerts"])}
    assert firing == set(), "a stack that is well wakes somebody"


async def test_every_figure_that_an_alert_is_about_is_there(busy: Prometheus) -> None:
    there = set(await busy.get("/api/v1/label/__name__/values"))
    missing = {rule["alert"]: found for rule in alerts() if (found := names_in(rule["expr"]) - there - set(_AFTER_EVENTS))}
    assert missing == {}
    empty = [rule["record"] for rule in records() if not await busy.result(rule["record"])]
    assert empty == []


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: path.stem)
async def test_every_panel_of_a_dashboard_shows_something(busy: Prometheus, dashboard: Path) -> None:
    empty = [
        f"{title}: {expression}"
        for title, expression in expressions(dashboard)
        if not names_in(expression) <= set(_AFTER_EVENTS) and not await busy.result(expression)
    ]
    assert not empty, "\n".join(empty)
