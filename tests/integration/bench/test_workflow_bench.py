"""The workflow's benchmark runs all its sides on a stack of its own, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.workflow.ratios import GOALS

ROOT = Path(__file__).parents[3]


def casaflow_bench(temporary: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "starter.cli", "bench", "workflow", *arguments],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(temporary)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.mark.slow
def test_a_quick_run_tells_every_ratio_and_the_rates_they_come_from_and_leaves_no_stack(tmp_path: Path) -> None:
    plot = tmp_path / "plot.svg"
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = casaflow_bench(temporary, "--quick", "--json", "--seconds", "0.3", "--plot", str(plot))
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert all(isinstance(printed[name], float) and printed[name] > 0 for name in GOALS), printed
    assert printed["server"]["fsync"] == printed["server"]["synchronous_commit"] == "on"
    assert all(of_case["transactions_per_second"]["median"] > 0 for of_case in printed["figures"].values())
    assert plot.read_text().startswith("<?xml")
    assert list(temporary.glob("casaflow-bench-*")) == []


def test_a_text_that_no_case_has_is_named_before_anything_is_started(tmp_path: Path) -> None:
    done = casaflow_bench(tmp_path, "--only", "no such case")
    assert done.returncode == 1
    assert "--list" in done.stderr
    assert list(tmp_path.iterdir()) == []
