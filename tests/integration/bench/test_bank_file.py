"""The command that posts a bank's file: it tells its rate, and a balance that isn't the file's."""

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
SAMPLE = ROOT / "starter" / "data" / "bank-1993-1994-sample.csv"


def bank_file(stack: RunningStack, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "bench.bank_file", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "CASAFLOW_POSTGRES_URL": stack.postgres_dsn},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    with psycopg.connect(stack.postgres_dsn) as connection:
        left = connection.execute("SELECT datname FROM pg_database WHERE datname LIKE 'casaflow_bench%'").fetchall()
    assert left == []
    return done


def test_a_file_is_posted_and_every_balance_compared(stack: RunningStack) -> None:
    done = bank_file(stack, SAMPLE, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["posted"] == told["entries"] == len(SAMPLE.read_text().splitlines()) - 1
    assert told["differences"] == []
    assert told["entries_per_second"] > 0


def test_a_running_total_that_the_entries_do_not_come_to_is_named_by_its_line(stack: RunningStack, tmp_path: Path) -> None:
    header, *lines = SAMPLE.read_text().splitlines()
    total = header.split(",").index("running_total")
    number, wrong = next((number, line.split(",")) for number, line in enumerate(lines) if ",debit," in line)
    wrong[total] = "123456.78"
    lines[number] = ",".join(wrong)
    file = tmp_path / "entries.csv"
    file.write_text("\n".join([header, *lines]) + "\n")
    done = bank_file(stack, file)
    assert done.returncode == 1
    assert f"line {number + 2}: " in done.stdout
    assert "the file says 123456.78 CZK" in done.stdout


@pytest.mark.parametrize("content", [None, "entry_id,account_id\n"])
def test_a_file_that_can_not_be_read_is_named(stack: RunningStack, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "entries.csv"
    if content is not None:
        file.write_text(content)
    done = bank_file(stack, file)
    assert done.returncode == 1
    assert str(file) in done.stderr
    assert "Traceback" not in done.stderr
