"""Child processes: started with their output in a log, ended with their parent, and told apart from whoever reuses their pid."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
LOG_TAIL_LINES: Final = 15
_LOG_TAIL_BYTES: Final = 8_192
_CREATED_TOLERANCE_SECONDS: Final = 1.0


@dataclass(frozen=True)
class Owner:
    """The user that a process runs as."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Command:
    """How a process is started and stopped."""

    arguments: list[str]
    folder: Path
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    """Added to the supervisor's own environment."""
    owner: Owner | None = None
    """None: the supervisor's own user."""
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20.0
    """How long it may take to end by itself; then it is killed."""


def _end_with_parent(stop_signal: signal.Signals) -> Callable[[], None]:
    parent = os.getpid()

    def before_exec() -> None:
        # After the change of user, which would take it back. Linux only; elsewhere the next `up` or `down` finds what is left.
        _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec


async def start(command: Command) -> asyncio.subprocess.Process:
    """Start a process in a session of its own, so that a Ctrl-C reaches the supervisor alone.

    Raises:
        OSError: it can't be started.
    """
    command.log.parent.mkdir(parents=True, exist_ok=True)
    with command.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command.arguments,
            cwd=command.folder,
            env={**os.environ, **command.environment},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=command.owner.uid if command.owner else None,
            group=command.owner.gid if command.owner else None,
            extra_groups=[] if command.owner else None,
            preexec_fn=_end_with_parent(command.stop_signal),
        )


async def stop(process: asyncio.subprocess.Process, command: Command) -> None:
    """Ask a process to end, and kill it if it doesn't in time."""
    if process.returncode is not None:
        return
    process.send_signal(command.stop_signal)
    try:
        async with asyncio.timeout(command.stop_seconds):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


def created(pid: int) -> float | None:
    """When the process with this pid was started, in seconds since the epoch; None when there is none."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def is_same(pid: int, created_at: float) -> bool:
    """Whether the process that had this pid then still has it."""
    now = created(pid)
    return now is not None and abs(now - created_at) < _CREATED_TOLERANCE_SECONDS


def end_left_over(pid: int, created_at: float, *, seconds: float) -> None:
    """End a process of a supervisor that is gone: politely first, then by force. Does nothing when the pid is somebody else's."""
    if not is_same(pid, created_at):
        return
    process = psutil.Process(pid)
    try:
        process.terminate()
        deadline = time.monotonic() + seconds
        while is_same(pid, created_at) and time.monotonic() < deadline:
            time.sleep(0.05)
        if is_same(pid, created_at):
            process.kill()
            while is_same(pid, created_at):
                time.sleep(0.05)
    except psutil.NoSuchProcess:
        return


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log; empty when there is none."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            content = file.read().decode("utf-8", errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(content.splitlines()[-lines:])
