"""What `casaflow status` makes of a state that was written down and is not true any more."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from infra.stack import control, processes
from infra.stack.model import Health, PartState, StackHome, SupervisorState
from tests.integration.stack.conftest import Home


def _dead_process() -> tuple[int, str]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    created = processes.created(process.pid)
    process.communicate(b"\n")
    assert created is not None
    return process.pid, created


def _write(home: Path, parts: list[PartState]) -> None:
    pid, created = _dead_process()
    home.mkdir()
    StackHome(home).write_model(StackHome(home).state_file, SupervisorState(pid=pid, created=created, ready=True, parts=parts))


def test_parts_of_a_supervisor_that_is_gone_are_stopped(tmp_path: Path) -> None:
    pid, created = _dead_process()
    home = Home(tmp_path / "home")
    healths = [Health.WAITING, Health.STARTING, Health.HEALTHY, Health.RESTARTING, Health.FAILED]
    started = [PartState(name=f"worker {health}", health=health, pid=pid, created=created) for health in healths]
    _write(home.path, [*started, *(PartState(name=f"consumer {health}", health=health) for health in healths)])
    assert [(part.health, part.pid) for part in control.part_states(home.path)] == [(Health.STOPPED, None)] * 10
    shown = home.casaflow("status")
    assert shown.returncode == 1
    assert "nothing runs in" in shown.stderr
    assert shown.stdout == ""


def test_a_pid_that_somebody_else_has_now_is_not_taken_for_the_part(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    # This very process, said to have been started at another time: a reused pid.
    _write(home.path, [PartState(name="kafka", health=Health.HEALTHY, pid=os.getpid(), created="another-start-of-the-machine/17")])
    assert [part.health for part in control.part_states(home.path)] == [Health.STOPPED]
    assert control.down(home.path) is False


def test_a_process_is_the_same_whatever_the_clock_says(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = processes.created(os.getpid())
    assert mine is not None
    monkeypatch.setattr("psutil.boot_time", lambda: 0.0)
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: 0.0)
    assert processes.is_same(os.getpid(), mine)
    assert processes.created(1) != mine


def test_brackets_in_an_address_or_error_are_shown_as_they_are(tmp_path: Path) -> None:
    pid, created = os.getpid(), processes.created(os.getpid())
    home = Home(tmp_path / "home")
    _write(home.path, [PartState(name="api", health=Health.HEALTHY, pid=pid, created=created, address="[/] [bold]x[/bold]")])
    shown = home.casaflow("status")
    assert "[/] [bold]x[/bold]" in shown.stdout
    assert "left over by a supervisor that was killed" in shown.stdout
    assert shown.returncode == 1


def test_a_stack_of_another_version_is_left_alone_while_it_runs(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    home.path.mkdir()
    home.places.state_file.write_text('{"pid": 1, "created": 17.5, "parts": [{"name": "kafka", "colour": "blue"}]}')
    with home.places.lock_file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for arguments in (["status"], ["down"], ["up", "--detach"]):
            refused = home.casaflow(*arguments)
            assert refused.returncode == 1
            assert "another version of casaflow has started the stack" in refused.stderr
            assert "Traceback" not in refused.stderr
    assert control.part_states(home.path) == []
    assert control.down(home.path) is False


def test_a_home_that_was_never_used_has_nothing_running(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    assert home.casaflow("status").returncode == 1
    stopped = home.casaflow("down")
    assert stopped.returncode == 0
    assert "nothing runs in" in stopped.stderr
    assert not home.path.exists()


def test_asking_leaves_nothing_behind_in_a_folder_that_is_no_home(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert home.casaflow("status").returncode == 1
    assert home.casaflow("down").returncode == 0
    assert list(tmp_path.iterdir()) == []
