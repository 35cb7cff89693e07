"""Faults on real processes that do nothing: what is killed, frozen and started again, and that nothing stays frozen or ended."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import psutil
import pytest

from infra.stack import processes
from ledger.errors import UnavailableError
from starter.chaos.answers import Answers
from starter.chaos.faults import Action
from starter.chaos.striking import Striker
from starter.chaos.system import Kind, Part, Process

_SERVER = """
import os, pathlib, sys, time
child = os.fork()
if child:
    file = pathlib.Path(sys.argv[1])
    file.with_suffix(".new").write_text(f"{os.getpid()} {child}")
    file.with_suffix(".new").replace(file)
time.sleep(600)
"""
"""A process with one below it, as PostgreSQL's postmaster; it writes both pids into its file."""


class AlwaysAnswers:
    async def answers(self, _part: Part, process: Process) -> bool:
        return process.lives


class Server:
    """A part that is started by a command, and what it says of its processes."""

    def __init__(self, folder: Path, *, starts: bool) -> None:
        self.file = folder / "pids"
        self.said: list[str] = []
        script = folder / "server.py"
        script.write_text(_SERVER)
        starter = folder / "start.py"
        starter.write_text(
            "import pathlib, subprocess, sys, time\n"
            f"file = pathlib.Path({str(self.file)!r})\n"
            "file.unlink(missing_ok=True)\n"
            f"subprocess.Popen([sys.executable, {str(script)!r}, str(file)], start_new_session=True)\n"
            "while not file.exists(): time.sleep(0.01)\n"
        )
        self.command = (sys.executable, str(starter))
        subprocess.run(self.command, check=True)
        self.part = Part(name="server", kind=Kind.POSTGRES, find=self.find, start=self.command if starts else None)
        self.striker = Striker(cast("Answers", AlwaysAnswers()), self.said.append, freeze_seconds=0.2)

    def pids(self) -> list[int]:
        return [int(pid) for pid in self.file.read_text().split()]

    def find(self) -> Process | None:
        pid = self.pids()[0]
        created = processes.created(pid)
        return Process(pid, created) if created is not None else None

    def statuses(self) -> set[str]:
        return {psutil.Process(pid).status() for pid in self.pids()}

    def end(self) -> None:
        for pid in self.pids():
            if psutil.pid_exists(pid):
                os.kill(pid, 9)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path, starts=True)
    yield server
    server.end()


async def until_frozen(server: Server) -> None:
    deadline = time.monotonic() + 10
    while server.statuses() != {psutil.STATUS_STOPPED}:
        assert time.monotonic() < deadline, server.statuses()
        await asyncio.sleep(0.01)


@pytest.mark.parametrize("action", [Action.KILL, Action.RESTART])
async def test_what_was_ended_is_started_again_by_its_command(server: Server, action: Action) -> None:
    orphan = server.pids()[1]
    struck = await server.striker.strike(server.part, action)
    assert not struck.lives
    await server.striker.start(server.part)
    back = await server.striker.back(server.part, instead_of=struck, seconds=10)
    assert back.pid != struck.pid
    assert server.striker.release() == []
    os.kill(orphan, 9)


async def test_a_part_that_stays_away_is_told_of_after_its_time(server: Server) -> None:
    process = server.find()
    with pytest.raises(UnavailableError, match=r"server .*was not back within 0 s"):
        await server.striker.back(server.part, instead_of=process, seconds=0.3)


async def test_all_processes_of_a_part_stand_frozen_and_go_on(server: Server) -> None:
    freezing = asyncio.create_task(server.striker.strike(server.part, Action.FREEZE))
    await until_frozen(server)
    struck = await freezing
    assert psutil.STATUS_STOPPED not in server.statuses()
    assert struck.pid == server.pids()[0]
    assert server.said == [f"server: SIGSTOP to process {struck.pid} and 1 below it"]


async def test_an_interrupted_run_leaves_nothing_frozen(server: Server) -> None:
    server.striker.freeze_seconds = 600
    freezing = asyncio.create_task(server.striker.strike(server.part, Action.FREEZE))
    await until_frozen(server)
    freezing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await freezing
    assert psutil.STATUS_STOPPED not in server.statuses()


async def test_an_interrupted_run_starts_what_it_has_ended(server: Server) -> None:
    orphan = server.pids()[1]
    struck = await server.striker.strike(server.part, Action.KILL)
    assert server.striker.release() == ["server was started again"]
    found = server.find()
    assert found is not None
    assert found.pid != struck.pid
    os.kill(orphan, 9)


async def test_what_runs_no_more_is_not_hurt(tmp_path: Path) -> None:
    server = Server(tmp_path, starts=False)
    process = server.find()
    assert process is not None
    server.end()
    while process.lives:  # noqa: ASYNC110  a process that ends tells its parent alone
        await asyncio.sleep(0.01)
    with pytest.raises(UnavailableError, match="no process runs that could be hurt"):
        await server.striker.strike(server.part, Action.KILL)
    # Found a moment ago, and gone since: the pid may be another one's by now.
    gone = Part(name="server", kind=Kind.POSTGRES, find=lambda: process)
    with pytest.raises(UnavailableError, match=r"server"):
        await server.striker.strike(gone, Action.KILL)
    other = Part(name="server", kind=Kind.POSTGRES, find=lambda: Process(os.getpid(), process.created))
    with pytest.raises(UnavailableError, match=f"process {os.getpid()} is gone, and its pid is another one's"):
        await server.striker.strike(other, Action.KILL)
