"""The lock that a supervisor holds while it lives. Apart from the supervisor, so that asking costs no import of the servers' clients."""

from __future__ import annotations

import contextlib
import fcntl
import time
from typing import TYPE_CHECKING, Final, TextIO

from infra.stack.model import StackError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START_SECONDS: Final = 120.0
"""How long one part may take to become ready; fetching Kafka's jars is not counted."""
EXIT_ALREADY_RUNNING: Final = 3
_LOCK_SECONDS: Final = 2.0
"""Whoever asks whether a supervisor lives holds its lock for a moment; that must not keep one from starting."""


class AlreadyRunningError(StackError):
    """Another supervisor has this home."""


@contextlib.contextmanager
def locked(path: Path) -> Iterator[TextIO]:
    """Be the supervisor of the home that this lock file belongs to.

    Raises:
        AlreadyRunningError: another process is.
    """
    with path.open("a") as file:
        deadline = time.monotonic() + _LOCK_SECONDS
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    message = f"another supervisor has {path.parent}"
                    raise AlreadyRunningError(message) from None
                time.sleep(0.02)
        yield file


def is_locked(path: Path) -> bool:
    """Whether a supervisor lives in the home that this lock file belongs to."""
    try:
        # Only read, so that asking leaves nothing behind in a folder that is no home.
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False
