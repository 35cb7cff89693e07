"""The benchmark of events runs all its sides and every group, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient

from bench.events.report import GOALS
from consumers.__main__ import GROUPS
from tests.stack_fixtures import RunningStack

ROOT = Path(__file__).parents[3]


def casaflow_bench(stack: RunningStack, *arguments: str) -> subprocess.CompletedProcess[str]:
    servers = {"CASAFLOW_POSTGRES_URL": stack.postgres_dsn, "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers}
    return subprocess.run(
        [sys.executable, "-m", "starter.cli", "bench", "events", *arguments],
        cwd=ROOT,
        env={**os.environ, **servers},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


async def names_left(stack: RunningStack) -> list[str]:
    """Databases and topics of a benchmark."""
    with psycopg.connect(stack.postgres_dsn) as connection:
        names = [str(name) for (name,) in connection.execute("SELECT datname FROM pg_database")]
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        names += await admin.list_topics()
    finally:
        await admin.close()
    return [name for name in names if "casaflow_bench" in name]


@pytest.mark.slow
async def test_a_small_run_tells_of_every_group_and_leaves_no_database_and_no_topic(stack: RunningStack, tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    done = await asyncio.to_thread(casaflow_bench, stack, "--quick", "--events", "200", "--seconds", "0.5", "--json", "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert all(isinstance(printed[name], float) and printed[name] > 0 for name in ("publish_per_s", "relay_per_s", *GOALS)), printed
    for of_groups in (printed["apply_per_s"], printed["apply_vs_plain"]):
        assert set(of_groups) == set(GROUPS)
        assert all(figure > 0 for figure in of_groups.values())
    assert set(printed["lag_ms"]) == set(GROUPS)
    assert all(0 < lag["p50"] <= lag["p99"] for lag in printed["lag_ms"].values())
    # Each event is about one leg or one transaction, and only the audit group reads of both.
    assert printed["figures"]["apply: audit"]["events"]["median"] == 200
    assert printed["figures"]["apply: statement"]["events"]["median"] == 100
    assert printed["server"]["fsync"] == printed["server"]["synchronous_commit"] == "on"
    assert plot.read_text().startswith("<?xml")
    assert await names_left(stack) == []


def test_a_text_that_no_case_has_is_named(stack: RunningStack) -> None:
    done = casaflow_bench(stack, "--only", "no such case")
    assert done.returncode == 1
    assert "--list" in done.stderr
    assert "Traceback" not in done.stderr
