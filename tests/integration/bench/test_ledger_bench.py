"""The ledger's benchmark runs both sides, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.stack_fixtures import RunningStack


@pytest.mark.slow
def test_the_benchmark_prints_a_rate_for_each_case_and_drops_its_database(stack: RunningStack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.ledger", "--json", "--rounds", "1", "--seconds", "0.3"],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "CASAFLOW_POSTGRES_URL": stack.postgres_dsn},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert all(rate > 0 for rate in printed["legs_per_second"].values())
    assert printed["hot_debit_64_vs_one_by_one_16"] > 0
    with psycopg.connect(stack.postgres_dsn) as connection:
        found = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'casaflow_bench%'").fetchall()
    assert found == []
