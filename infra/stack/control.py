"""Starting, finding and stopping the stack from another process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from infra.settings import absolute_files
from infra.stack import processes
from infra.stack.lock import EXIT_ALREADY_RUNNING, START_SECONDS, is_locked
from infra.stack.model import WORKER, Health, StackError, StackHome, StackInfo, kind_of, write_private
from infra.temporal.encryption import new_entry

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from infra.settings import Settings
    from infra.stack.model import PartState, SupervisorState, TemporalStore

_FETCH_SECONDS: Final = 600.0
"""Kafka's jars over a slow line."""
_STOP_SECONDS: Final = 120.0
_POLL_SECONDS: Final = 0.1


def _ignore(_line: str) -> None:
    """Say nothing."""


def is_running(home: Path) -> bool:
    """Whether a supervisor lives in this home."""
    return is_locked(StackHome(home).lock_file)


def read_stack_info(home: Path) -> StackInfo | None:
    """Where the parts of the running stack are; None when it isn't running."""
    return StackHome(home).read_stack() if is_running(home) else None


def make_payload_keys(home: Path) -> None:
    """Make the key that payloads are encrypted with; one that was made before stays.

    Raises:
        StackError: the stack runs without a key, and would have to be started again.
    """
    places = StackHome(home)
    if places.payload_keys_file.exists():
        return
    if is_locked(places.lock_file):
        message = f"the stack of {places.path} runs, and doesn't encrypt: stop it with `casaflow down` first"
        raise StackError(message)
    places.path.mkdir(parents=True, exist_ok=True)
    write_private(places.payload_keys_file, new_entry("up-1") + "\n")


def choose_temporal_store(settings: Settings, store: TemporalStore) -> None:
    """Choose where the home's Temporal keeps its state, from its first start on.

    Raises:
        StackError: the home has a Temporal with state elsewhere, or the Temporal is not the stack's.
    """
    places = StackHome(settings.home)
    if settings.temporal_address is not None:
        message = f"--temporal {store} says where the stack's own Temporal keeps its state, but CASAFLOW_TEMPORAL_ADDRESS names another"
        raise StackError(message)
    if places.temporal_store is store and (places.temporal_store_file.exists() or places.has_temporal_state):
        return
    if places.has_temporal_state:
        message = (
            f"the Temporal of {places.path} keeps its state in {places.temporal_store}, and nothing moves it: "
            f"for one in {store}, set CASAFLOW_HOME to a new folder"
        )
        raise StackError(message)
    if is_locked(places.lock_file):
        message = f"the stack of {places.path} is starting: stop it with `casaflow down` first"
        raise StackError(message)
    places.path.mkdir(parents=True, exist_ok=True)
    write_private(places.temporal_store_file, store + "\n")


def ensure_up(home: Path, say: Callable[[str], None] = _ignore) -> StackInfo:
    """Find the running stack, or start one in the background, and wait until it is ready.

    Args:
        home: ``$CASAFLOW_HOME``.
        say: gets a line for each step.

    Raises:
        StackError: it can't be started; nothing is left running.
    """
    places = StackHome(home)
    places.path.mkdir(parents=True, exist_ok=True)
    _refuse_another_version(places)
    places.private_folder("logs")
    log = places.log_file("supervisor")
    child: subprocess.Popen[bytes] | None = None
    read_from = log.stat().st_size if log.exists() else 0
    if not is_locked(places.lock_file):
        with log.open("ab") as output:
            child = subprocess.Popen(
                [sys.executable, "-m", "infra.stack.supervisor"],
                cwd=places.path,
                env={**os.environ, **absolute_files(), "CASAFLOW_HOME": str(places.path), "PYTHONSAFEPATH": "1"},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    try:
        return _wait_until_ready(places, child, log, read_from, say)
    except BaseException:
        # Whoever started it and was interrupted, or waited in vain, leaves nothing behind.
        if child is not None and child.poll() is None:
            child.terminate()
            child.wait()
        raise


def _wait_until_ready(
    places: StackHome, child: subprocess.Popen[bytes] | None, log: Path, read_from: int, say: Callable[[str], None]
) -> StackInfo:
    deadline = time.monotonic() + START_SECONDS + _FETCH_SECONDS
    with log.open("rb") as lines:
        lines.seek(read_from)
        while time.monotonic() < deadline:
            for line in lines:
                # Whoever says something is at work: fetching and building take minutes, on a machine that others use many.
                deadline = time.monotonic() + START_SECONDS + _FETCH_SECONDS
                say(line.decode("utf-8", errors="replace").rstrip())
            state = places.read_state()
            # A state file of an earlier run says nothing about this one.
            ours = state is not None and processes.is_same(state.pid, state.created)
            info = places.read_stack()
            if state is not None and ours and state.ready and info is not None:
                return info
            if child is not None and child.poll() == EXIT_ALREADY_RUNNING:
                # Somebody else was faster in the moment since we looked; that one's stack is as good.
                child = None
            if (child is not None and child.poll() is not None) or (child is None and not is_locked(places.lock_file)):
                tail = processes.log_tail(log, lines=40)
                message = f"the stack did not start. The end of {log}:\n{tail}"
                raise StackError(message)
            time.sleep(_POLL_SECONDS)
    message = f"the stack was not ready, and has said nothing for {START_SECONDS + _FETCH_SECONDS:.0f} s; see {log}"
    raise StackError(message)


def down(home: Path) -> bool:
    """Stop the stack and wait until nothing of it is left, also of one whose supervisor was killed; data stays.

    Returns:
        Whether anything was running.

    Raises:
        StackError: the supervisor did not end in time.
    """
    places = StackHome(home)
    _refuse_another_version(places)
    running = is_locked(places.lock_file)
    deadline = time.monotonic() + _STOP_SECONDS
    asked: SupervisorState | None = None
    while is_locked(places.lock_file) or (asked is not None and processes.is_same(asked.pid, asked.created)):
        state = places.read_state()
        # One that has just begun has not written its pid yet; the next look finds it.
        if asked is None and state is not None and processes.is_same(state.pid, state.created):
            os.kill(state.pid, signal.SIGTERM)
            asked = state
        if time.monotonic() > deadline:
            message = f"the supervisor did not end within {_STOP_SECONDS:.0f} s; see {places.log_file('supervisor')}"
            raise StackError(message)
        time.sleep(_POLL_SECONDS)
    state = places.read_state()
    if state is not None and processes.end_all_left_over(state):
        running = True
    places.stack_file.unlink(missing_ok=True)
    return running


def part_states(home: Path) -> list[PartState]:
    """All parts with their health; those of a supervisor that is gone are stopped.

    Raises:
        StackError: it was started by another version of casaflow.
    """
    places = StackHome(home)
    _refuse_another_version(places)
    state = places.read_state()
    if state is None:
        return []
    alive = is_locked(places.lock_file)
    return [_checked(part, alive=alive) for part in state.parts]


def kill_worker(home: Path) -> PartState:
    """Kill one worker process, as a machine that fails would; the supervisor starts it again.

    The API's process, which hosts a worker beside the API, is none of those that are killed.

    Returns:
        The part as it was.

    Raises:
        StackError: no worker process runs now.
    """
    for part in part_states(home):
        if kind_of(part.name) == WORKER and part.health is Health.HEALTHY and part.pid is not None and part.created is not None:
            with contextlib.suppress(ProcessLookupError):
                processes.send(part.pid, part.created, signal.SIGKILL)
                return part
    message = f"no worker process of the stack in {StackHome(home).path} runs now"
    raise StackError(message)


def _refuse_another_version(places: StackHome) -> None:
    # Of a stack that was stopped, what another version wrote says nothing and is in nobody's way.
    if places.state_file.exists() and places.read_state() is None and is_locked(places.lock_file):
        message = f"another version of casaflow has started the stack in {places.path}, and has to stop it"
        raise StackError(message)


def _checked(part: PartState, *, alive: bool) -> PartState:
    if part.health is Health.OUTSIDE:
        return part
    lives = part.pid is not None and part.created is not None and processes.is_same(part.pid, part.created)
    if lives and not alive:
        return part.model_copy(update={"health": Health.FAILED, "detail": "left over by a supervisor that was killed; run `casaflow down`"})
    # Whatever a supervisor that was killed has written last: nobody starts or restarts the part any more.
    if not lives and (part.health is Health.HEALTHY or not alive):
        return part.model_copy(update={"health": Health.STOPPED, "pid": None})
    return part
