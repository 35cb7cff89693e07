"""The stack of a user who is not root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.integration.stack.conftest import PARTS, Home, balance, deposit

_NOBODY = 65534


class HomeOfAnotherUser(Home):
    """A home whose commands run as an ordinary user, with nothing of root's but the right to read the interpreter."""

    def casaflow(self, *arguments: str, seconds: float = 400) -> subprocess.CompletedProcess[str]:
        command = [*_as_nobody(), str(Path(sys.executable).with_name("casaflow")), *arguments]
        environment = {**self.environment, "HOME": str(self.path.parent), "XDG_CACHE_HOME": str(self.path.parent / "cache")}
        return subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds, check=False, cwd="/"
        )


def _as_nobody() -> list[str]:
    user = ["setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    reachable = subprocess.run([*user, "sh", "-c", f"exec '{sys.executable}' -c 'import infra'"], capture_output=True, check=False)
    # An interpreter under root's own folder is out of reach; then the user gets the right to read, and no other, for the test's sake.
    return user if reachable.returncode == 0 else [*user, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    if os.geteuid() != 0:
        pytest.skip("the other tests run as an ordinary user already")
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed")
    if subprocess.run([*_as_nobody(), sys.executable, "-c", "import infra"], capture_output=True, check=False).returncode != 0:
        pytest.skip("the interpreter is out of an ordinary user's reach")
    folder = Path("/var/tmp") / f"casaflow-test-{os.getpid()}-{time.monotonic_ns()}"  # noqa: S108
    folder.mkdir(mode=0o700)
    os.chown(folder, _NOBODY, _NOBODY)
    jars = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "casaflow"
    if jars.exists():
        # Else they are fetched again.
        shutil.copytree(jars, folder / "cache" / "casaflow", ignore=shutil.ignore_patterns("jgo", "ports"))
        for path in (folder / "cache", *(folder / "cache").rglob("*")):
            os.chown(path, _NOBODY, _NOBODY)
    home = HomeOfAnotherUser(folder / ".casaflow")
    yield home
    home.remove()
    shutil.rmtree(folder)


@pytest.mark.slow
def test_an_ordinary_users_stack_runs_as_that_user_alone_and_inside_the_home(home: Home) -> None:
    home.up()
    known = home.processes()
    assert {process.uids().effective for process in known} == {_NOBODY}
    assert {psutil.Process(pid).username() for pid in home.pids().values()} == {"nobody"}
    assert set(home.pids()) == set(PARTS)
    assert (home.path / "postgres" / "data" / "PG_VERSION").exists()
    assert {path.stat().st_uid for path in home.path.rglob("*")} == {_NOBODY}
    deposit(home.stack(), "frank", "4.00")
    home.down()
    assert home.left(known) == []
    home.up()
    assert balance(home.stack(), "frank") == "4.00"
