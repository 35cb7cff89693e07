"""Child processes: started with their output in a log, ended with their parent, and told apart from whoever reuses their pid."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from infra.stack.model import SupervisorState

_PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None, use_errno=True)
_LEFT_OVER_SECONDS: Final = 30.0
LOG_TAIL_LINES: Final = 15
_LOG_TAIL_BYTES: Final = 8_192
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_START_TICKS: Final = 19
"""Where the start stands among the fields of ``/proc/PID/stat`` that follow the command's name; see proc_pid_stat(5), field 22."""


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
    niceness: int = 0
    """How much it yields the processors to others that want them, 0 to 19; see setpriority(2)."""


def end_with_parent(stop_signal: signal.Signals, *, niceness: int = 0) -> Callable[[], None]:
    """What a child does before it runs its program: ask the kernel for `stop_signal` when the thread that started it ends, and yield."""
    parent = os.getpid()

    def before_exec() -> None:
        if niceness:
            os.nice(niceness)
        # After the change of user, which would take it back. Linux only; elsewhere the next `up` or `down` finds what is left.
        _LIBC.prctl(_PR_SET_PDEATHSIG, stop_signal)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)

    return before_exec


def run_to_its_end(
    arguments: Sequence[str], *, folder: Path, owner: Owner | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a short program that prepares a server, and return its exit code and output; it is killed when this process ends before it.

    Args:
        arguments: the program and what it is told.
        folder: where it works.
        owner: the user that it runs as; None: this process's own.
        environment: instead of this process's own.
    """
    return subprocess.run(  # noqa: S603  our own binaries
        arguments,
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        user=owner.uid if owner else None,
        group=owner.gid if owner else None,
        extra_groups=[] if owner else None,
        preexec_fn=end_with_parent(signal.SIGKILL),
    )


async def in_thread(work: Callable[[], None]) -> None:
    """Do blocking work without keeping the process: a stop does not wait for it, and it ends with the process wherever it is.

    Threads of an executor would be waited for, and fetching jars over a slow line takes minutes.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()

    def report(error: BaseException | None) -> None:
        if done.done():
            return
        if error is None:
            done.set_result(None)
        else:
            done.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except BaseException as raised:  # noqa: BLE001  handed to whoever waits
            error = raised
        # The loop is closed when nobody waits any more.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(report, error)

    threading.Thread(target=run, daemon=True).start()
    await done


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
            preexec_fn=end_with_parent(command.stop_signal, niceness=command.niceness),
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


def created(pid: int) -> str | None:
    """What tells this process apart from every other one that has had, or will have, its pid; None when there is no process.

    Its start in ticks since the machine's start, and which start of the machine that was. A time of day would not do: the clock is set
    while the process runs, and the process would seem to be another one.
    """
    try:
        if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return None
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        return f"{_BOOT_ID.read_text(encoding='ascii').strip()}/{fields[_START_TICKS]}"
    except (psutil.NoSuchProcess, FileNotFoundError, ProcessLookupError):
        return None


def began_at(pid: int) -> float | None:
    """When it began, by the clock of files, in seconds since 1970; None when there is no process."""
    try:
        return psutil.Process(pid).create_time()
    except psutil.NoSuchProcess:
        return None


def command_line(pid: int) -> str:
    """What it was started with, its arguments with a space between them; empty when there is no process."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return ""


def is_same(pid: int, created_then: str) -> bool:
    """Whether the process that had this pid then still has it."""
    return created(pid) == created_then


def send(pid: int, created_then: str, number: signal.Signals) -> None:
    """Send a signal to the process that had this pid then, and to no other.

    Raises:
        ProcessLookupError: it is gone.
        PermissionError: it is another user's.
    """
    handle = os.pidfd_open(pid)
    try:
        # From here on the handle means one process, whoever gets its pid: the one that is compared is the one that gets the signal.
        if not is_same(pid, created_then):
            message = f"process {pid} is gone, and its pid is another one's"
            raise ProcessLookupError(message)
        signal.pidfd_send_signal(handle, number)
    finally:
        os.close(handle)


def end_left_over(pid: int, created_then: str, *, seconds: float) -> None:
    """End a process of a supervisor that is gone: politely first, then by force. Does nothing when the pid is somebody else's."""
    if not is_same(pid, created_then):
        return
    process = psutil.Process(pid)
    try:
        process.terminate()
        deadline = time.monotonic() + seconds
        while is_same(pid, created_then) and time.monotonic() < deadline:
            time.sleep(0.05)
        if is_same(pid, created_then):
            process.kill()
            while is_same(pid, created_then):
                time.sleep(0.05)
    except psutil.NoSuchProcess:
        return


def end_all_left_over(state: SupervisorState) -> bool:
    """End all parts of a supervisor that is gone, those that use a server before the server; returns whether there were any."""
    found = False
    for part in reversed(state.parts):
        if part.pid is not None and part.created is not None and is_same(part.pid, part.created):
            found = True
            end_left_over(part.pid, part.created, seconds=_LEFT_OVER_SECONDS)
    return found


def log_tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last lines of a log; empty when there is none that can be read."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            content = file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
    return "\n".join(content.splitlines()[-lines:])
