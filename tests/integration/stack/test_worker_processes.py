"""`casaflow worker --processes`: several real workers, kept running and ended together. Their servers are away, so they wait."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.integration.stack.conftest import wait_until

NOWHERE = {
    "CASAFLOW_POSTGRES_URL": "postgresql://somebody@127.0.0.1:1/casaflow",
    "CASAFLOW_TEMPORAL_ADDRESS": "127.0.0.1:1",
    "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
}


@contextmanager
def workers(folder: Path, count: int, **settings: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CASAFLOW_")} | settings
    command = [str(Path(sys.executable).with_name("casaflow")), "worker", "--processes", str(count)]
    with (
        (folder / "workers.log").open("wb") as log,
        subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log) as parent,
    ):
        try:
            yield parent
        finally:
            parent.kill()


def pids_of(parent: subprocess.Popen[bytes], log: Path) -> set[int]:
    """The workers that wait for their servers: they have got past their imports, and stop when they are asked to."""
    waiting = log.read_text().count("worker.waiting")
    children = {child.pid for child in psutil.Process(parent.pid).children() if "worker" in child.cmdline()}
    return children if waiting >= len(children) else set()


@pytest.mark.parametrize("ends_with", [signal.SIGTERM, signal.SIGINT])
def test_as_many_run_as_were_asked_for_and_none_is_left_behind(tmp_path: Path, ends_with: signal.Signals) -> None:
    with workers(tmp_path, 2, **NOWHERE) as parent:
        wait_until(lambda: len(pids_of(parent, tmp_path / "workers.log")) == 2, "two workers wait")
        pids = pids_of(parent, tmp_path / "workers.log")
        parent.send_signal(ends_with)
        assert parent.wait(timeout=60) == 0
    assert not [pid for pid in pids if psutil.pid_exists(pid)]
    assert "workers.killed" not in (tmp_path / "workers.log").read_text()


def test_one_that_dies_is_started_again(tmp_path: Path) -> None:
    with workers(tmp_path, 2, **NOWHERE) as parent:
        wait_until(lambda: len(pids_of(parent, tmp_path / "workers.log")) == 2, "two workers wait")
        before = pids_of(parent, tmp_path / "workers.log")
        os.kill(victim := min(before), signal.SIGKILL)
        wait_until(lambda: len(pids_of(parent, tmp_path / "workers.log") - {victim}) == 2, "another takes its place")
        assert len(pids_of(parent, tmp_path / "workers.log") - before) == 1
        parent.terminate()
        assert parent.wait(timeout=60) == 0


def test_workers_that_lost_their_parent_end_too(tmp_path: Path) -> None:
    with workers(tmp_path, 2, **NOWHERE) as parent:
        wait_until(lambda: len(pids_of(parent, tmp_path / "workers.log")) == 2, "two workers wait")
        pids = pids_of(parent, tmp_path / "workers.log")
        parent.kill()
        wait_until(lambda: not [pid for pid in pids if psutil.pid_exists(pid)], "the workers end")


def test_a_misconfigured_worker_ends_them_all_and_says_so(tmp_path: Path) -> None:
    with workers(tmp_path, 2) as parent:
        assert parent.wait(timeout=90) == 2
    assert "worker.misconfigured" in (tmp_path / "workers.log").read_text()
