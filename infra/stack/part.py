"""What a part of the stack is: a process, and how one knows that it is ready."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from infra.stack.processes import Command


class Stage(IntEnum):
    """When a part is stopped: those that use others before the others."""

    SERVER = 0
    ON_A_SERVER = 1
    """A server that keeps its state on another one."""
    USER = 2


@dataclass(frozen=True)
class Part:
    """One process of the stack."""

    name: str
    command: Command
    wait_until_ready: Callable[[int], Coroutine[None, None, None]]
    """Returns once the process with this pid does its work."""
    address: str = ""
    stage: Stage = Stage.USER
    before_start: Callable[[], Coroutine[None, None, None]] | None = None
    """What is to be done before each start of the process; it waits for what it needs."""
