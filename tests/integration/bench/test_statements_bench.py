"""The benchmark of statements runs, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest

from tests.stack_fixtures import RunningStack

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_a_small_run_tells_every_reading_and_the_cost_of_both_indexes_and_drops_its_database(stack: RunningStack) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.statements", "--entries", "3000", "--json"],
        cwd=ROOT,
        env={**os.environ, "CASAFLOW_POSTGRES_URL": stack.postgres_dsn},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["readings_ms"]["advance"]["checkpoints"] == 3
    readings = [figures for name, figures in printed["readings_ms"].items() if not name.startswith("advance")]
    assert len(readings) == 8
    assert all(figures["after advance, median"] > 0 and figures["without checkpoints, median"] > 0 for figures in readings)
    assert {name.partition(",")[0] for name in printed["index"]} == {"credit", "debit"}
    with psycopg.connect(stack.postgres_dsn) as connection:
        assert connection.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'casaflow_bench%'").fetchone() == (0,)
