"""Any node of a cluster may die: under load, work goes on within a bounded time, and nothing is lost, doubled or left open."""

from __future__ import annotations

import asyncio
import os
import time
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Final

import httpx
import psycopg
import pytest

from tests.cluster import report
from tests.cluster.cluster import Cluster
from tests.cluster.faults import Fault, faults_of
from tests.cluster.load import Load
from tests.cluster.namespace import Namespace

BOUND_SECONDS: Final = 60.0
"""How long nothing may be completed after a fault: generous, since the machine that runs this has few cores for so many processes."""
_BEFORE_SECONDS: Final = 3.0
_AFTER_SECONDS: Final = 3.0
_WARM: Final = 30
"""Transactions before the first fault."""
_CHECK_SECONDS: Final = 120.0

_OUTCOMES: Final = "SELECT transaction_id::text, status FROM transaction WHERE transaction_id = ANY (%s::uuid[])"

pytestmark = pytest.mark.cluster


async def test_work_goes_on_whatever_dies_and_nothing_is_lost(cluster: Cluster, apart: Namespace | None, report_file: Path) -> None:
    chosen = os.environ.get("CASAFLOW_CLUSTER_FAULTS", "")
    faults = [fault for fault in faults_of(cluster, apart) if chosen in fault.name]
    load = Load(cluster.apis, cluster.api_key, [f"cluster-{number}" for number in range(20)])
    pauses = []
    await cluster.until_whole()
    async with load.running():
        await _until(load, _WARM)
        for fault in faults:
            pauses.append(await _pause_of(fault, cluster, load))
            print(pauses[-1], flush=True)  # noqa: T201  all of them take a quarter of an hour
            report.write(report_file, pauses, sent_again=load.refused)
    statuses = Counter(each.status for each in load.done.values())
    report.write(report_file, pauses, sent_again=load.refused, transactions=len(load.sent), outcomes=statuses)
    report.show(pauses)
    print(f"{len(load.sent)} transactions: {dict(statuses)}; sent again: {dict(load.refused)}; {report_file}")  # noqa: T201  the report
    await _prove(cluster, load)
    for pause in pauses:
        assert pause.longest_gap_seconds < BOUND_SECONDS, pause
        assert pause.first_after_seconds < BOUND_SECONDS, pause


async def _pause_of(fault: Fault, cluster: Cluster, load: Load) -> report.Pause:
    await cluster.until_whole()
    await asyncio.sleep(_BEFORE_SECONDS)
    began = time.monotonic()
    await fault.inflict()
    await fault.mend()
    await cluster.until_whole()
    whole = time.monotonic()
    await asyncio.sleep(_AFTER_SECONDS)
    return report.pause(fault.name, list(load.done.values()), began=began, whole=whole, ended=time.monotonic())


async def _until(load: Load, completed: int) -> None:
    async with asyncio.timeout(120):
        while len(load.done) < completed:  # noqa: ASYNC110  the load tells nobody
            await asyncio.sleep(0.1)


async def _prove(cluster: Cluster, load: Load) -> None:
    """Every id has one outcome, which is the one that its client was told; the balances are those that follow; the ledger is sound."""
    assert set(load.done) == set(load.sent)
    async with await psycopg.AsyncConnection.connect(cluster.postgres_dsn) as connection:
        rows = await (await connection.execute(_OUTCOMES, [list(load.sent)])).fetchall()
    assert len(rows) == len(load.sent)
    assert dict(rows) == {transaction_id: done.status for transaction_id, done in load.done.items()}
    headers = {"Authorization": f"Bearer {cluster.api_key}"}
    async with httpx.AsyncClient(base_url=cluster.apis[1], headers=headers, trust_env=False) as client:
        for account, expected in load.balances().items():
            answer = await client.get(f"/v1/accounts/{account}/balance")
            assert Decimal(answer.json()["ledger"]) == expected, account
    checked = await asyncio.to_thread(_checked, cluster)
    assert checked == "", checked


def _checked(cluster: Cluster) -> str:
    """What `casaflow check` finds wrong, once the consumers have come as far as the ledger."""
    deadline = time.monotonic() + _CHECK_SECONDS
    while True:
        done = cluster.casaflow("check")
        if done.returncode == 0:
            return ""
        if time.monotonic() > deadline:
            return done.stdout + done.stderr
        time.sleep(1)
