"""The ledger's benchmark runs all its sides, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from bench.ledger.ratios import GOALS
from tests.stack_fixtures import RunningStack

ROOT = Path(__file__).parents[3]


def casaflow_bench(stack: RunningStack, *arguments: str, dsn: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "starter.cli", "bench", "ledger", *arguments],
        cwd=ROOT,
        env={**os.environ, "CASAFLOW_POSTGRES_URL": dsn or stack.postgres_dsn},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def databases_left(stack: RunningStack) -> list[str]:
    with psycopg.connect(stack.postgres_dsn) as connection:
        return [name for (name,) in connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'casaflow_bench%'")]


@pytest.mark.slow
def test_a_quick_run_tells_every_ratio_and_the_rates_they_come_from_and_drops_its_databases(stack: RunningStack, tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    done = casaflow_bench(stack, "--quick", "--json", "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert all(isinstance(printed[name], float) and printed[name] > 0 for name in GOALS), printed
    assert printed["server"]["fsync"] == printed["server"]["synchronous_commit"] == "on"
    assert printed["fsync_ms"] is not None
    assert all(figure["median"] >= 0 for of_case in printed["figures"].values() for figure in of_case.values())
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert databases_left(stack) == []


@pytest.mark.slow
def test_the_sides_under_a_balance_row_write_the_rows_that_casaflow_writes(stack: RunningStack) -> None:
    done = casaflow_bench(stack, "--json", "--rounds", "1", "--seconds", "0.2", "--only", "one by one: half", "--only", "batched row: half")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    rows = printed["rows_of_a_lone_leg"]
    for leg in ("credit", "debit", "refused debit"):
        assert rows[f"one by one, {leg}"] == rows[f"batched row, {leg}"]
        inserted = {table: count for table, count in rows[f"one by one, {leg}"].items() if table != "balance"}
        assert inserted == {table: count for table, count in rows[f"casaflow, {leg}"].items() if table != "online_balance"}
    assert rows["locked row, debit"] == {"lock_balance": 1, "lock_entry": 1}
    assert len(printed["figures"]) == 3
    assert databases_left(stack) == []


def test_a_text_that_no_case_has_is_named(stack: RunningStack) -> None:
    done = casaflow_bench(stack, "--only", "no such case")
    assert done.returncode == 1
    assert "--list" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_forgets_is_refused(stack: RunningStack) -> None:
    done = casaflow_bench(stack, "--quick", dsn=stack.postgres_dsn + "?options=-csynchronous_commit%3Doff")
    assert done.returncode == 1
    assert "synchronous_commit = off" in done.stderr
    assert databases_left(stack) == []
