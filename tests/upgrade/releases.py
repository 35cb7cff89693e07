"""Two releases side by side: the code of an earlier one with packages of its own, and processes of either."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import httpx
import pytest

from tests.integration.stack.conftest import wait_until

ROOT = Path(__file__).resolve().parents[2]
_INSTALL_SECONDS = 900
_COMMAND_SECONDS = 180
_STOP_SECONDS = 90
GROUPS = ("audit", "statement", "mis", "notification", "balance")


@dataclass(frozen=True)
class Release:
    """The code of one release, installed."""

    name: str
    bin: Path
    """The folder with the command ``casaflow``."""
    installed_in_seconds: float = 0.0


def this_release() -> Release:
    import sys  # noqa: PLC0415

    return Release("this", Path(sys.executable).parent)


def previous_release(folder: Path) -> Release:
    """The release that ``previous.toml`` names, from this clone's history, with the packages of its own lock file.

    Skips the test where the clone has no history that goes back so far.
    """
    revision = tomllib.loads(Path(__file__).with_name("previous.toml").read_text())["revision"]
    known = subprocess.run(["git", "cat-file", "-e", f"{revision}^{{commit}}"], cwd=ROOT, capture_output=True, check=False)  # noqa: S607
    if known.returncode != 0:
        pytest.skip(f"this clone does not have {revision}, the release before: fetch the whole history")
    began = time.monotonic()
    tree = folder / "previous"
    tree.mkdir()
    archive = subprocess.run(["git", "archive", revision], cwd=ROOT, capture_output=True, check=True)  # noqa: S607
    subprocess.run(["tar", "-x", "-C", str(tree)], input=archive.stdout, check=True)  # noqa: S607
    # Its own script, which makes its own environment from its own lock file.
    subprocess.run([str(tree / "run"), "casaflow", "--help"], cwd=tree, capture_output=True, check=True, timeout=_INSTALL_SECONDS)
    return Release("previous", tree / ".venv" / "bin", time.monotonic() - began)


@dataclass
class Process:
    """A process of a release that runs until it is stopped."""

    release: Release
    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""

    def stop(self) -> float:
        """End it in order; how long that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(_STOP_SECONDS)
        assert code == 0, f"{' '.join(self.arguments)} of the {self.release.name} release ended with {code}:\n{self.tail()}"
        return time.monotonic() - began

    def tail(self) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-30:])


@dataclass
class Installation:
    """One database on servers that run, and the processes on it."""

    environment: dict[str, str]
    folder: Path
    processes: list[Process] = field(default_factory=list)

    def run(self, release: Release, *arguments: str, code: int = 0) -> str:
        """Run a command of a release to its end."""
        done = subprocess.run(
            [str(release.bin / "casaflow"), *arguments], env={**os.environ, **self.environment}, cwd=self.folder,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=_COMMAND_SECONDS,
        )  # fmt: skip
        assert done.returncode == code, (
            f"{' '.join(arguments)} of the {release.name} release: {done.returncode}\n{done.stdout}{done.stderr}"
        )
        return done.stdout

    def start(self, release: Release, *arguments: str, **environment: str) -> Process:
        log = self.folder / f"{release.name}-{'-'.join(arguments)}-{len(self.processes)}.log"
        out: IO[bytes]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [str(release.bin / "casaflow"), *arguments], env={**os.environ, **self.environment, **environment}, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
            )  # fmt: skip
        started = Process(release, arguments, process, log)
        self.processes.append(started)
        return started

    def start_api(self, release: Release, port: int) -> Process:
        """Start an API, and wait until it is ready."""
        started = self.start(release, "api", CASAFLOW_API_PORT=str(port))
        started.url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _is_ready(started), f"the API of the {release.name} release is ready")
        return started

    def end(self) -> None:
        """Kill what still runs."""
        for started in self.processes:
            if started.process.poll() is None:
                started.process.kill()
                started.process.wait()


def _is_ready(started: Process) -> bool:
    assert started.process.poll() is None, started.tail()
    try:
        return httpx.get(f"{started.url}/readyz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
