"""`casaflow bench`: what it hands on, and what it says where there are no benchmarks."""

from __future__ import annotations

import os
import sys

import pytest
from typer.testing import CliRunner

from starter.cli import bench as bench_commands
from starter.cli.main import app


@pytest.mark.parametrize("benchmark", ["ledger", "statements", "workflow", "rules", "upkeep", "bank-file"])
def test_the_options_go_to_the_benchmark_as_they_are(benchmark: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, arguments: started.append(arguments))
    CliRunner().invoke(app, ["bench", benchmark, "--json", "--only", "a debit", "--help"])
    assert started == [[sys.executable, "-P", "-m", f"bench.{benchmark.replace('-', '_')}", "--json", "--only", "a debit", "--help"]]


def test_an_installed_wheel_says_where_the_benchmarks_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_commands, "find_spec", lambda _: None)
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("nothing may be started"))
    answer = CliRunner().invoke(app, ["bench", "ledger"])
    assert answer.exit_code == 2
    assert "source checkout" in answer.output
