"""Commits faults on processes, and takes back what can be taken back: whatever happens to this run, nothing stays frozen or stopped."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from infra.stack import processes
from ledger.errors import UnavailableError
from starter.chaos.faults import Action
from starter.chaos.system import Kind, run_command

if TYPE_CHECKING:
    from collections.abc import Callable

    from starter.chaos.answers import Answers
    from starter.chaos.system import Part, Process

_END_SECONDS: Final = 60.0
"""How long a part that is asked to end may take, and one that was killed to be gone."""
_LOOK_SECONDS: Final = 0.1
_ASK: Final = {Kind.POSTGRES: signal.SIGINT, Kind.STANDBY: signal.SIGINT}
"""What a server is asked to end by, where that isn't SIGTERM: on that, PostgreSQL waits until its last client has gone."""


@dataclass
class Striker:
    """Who commits the faults, and remembers what is to be taken back."""

    answers: Answers
    say: Callable[[str], None]
    freeze_seconds: float
    _frozen: list[Process] = field(default_factory=list)
    _down: list[Part] = field(default_factory=list)
    """Parts that were ended, and whose command to start them has not run yet."""

    async def strike(self, part: Part, action: Action) -> Process:
        """Commit a fault on the process that is this part now; returns that process.

        One that was killed or asked to end is being started again when this returns; one that was frozen goes on again.

        Raises:
            UnavailableError: there is no process that could be hurt, it didn't end, or it can't be started again.
        """
        process = part.find()
        if process is None:
            raise UnavailableError(part=part.name, detail="no process runs that could be hurt")
        try:
            if action is Action.FREEZE:
                await self._freeze(part, process)
            else:
                await self._end(part, process, _ASK.get(part.kind, signal.SIGTERM) if action is Action.RESTART else signal.SIGKILL)
        except PermissionError as error:
            raise UnavailableError(part=part.name, detail=f"process {process.pid} is another user's") from error
        except ProcessLookupError as error:
            raise UnavailableError(part=part.name, detail=str(error)) from error
        return process

    async def _end(self, part: Part, process: Process, number: signal.Signals) -> None:
        processes.send(process.pid, process.created, number)
        self.say(f"{part.name}: {number.name} to process {process.pid}")
        self._down.append(part)
        await _until(lambda: not process.lives, seconds=_END_SECONDS, part=part, what=f"process {process.pid} has not ended")
        if part.start is None:
            self._down.remove(part)

    async def start(self, part: Part) -> None:
        """Start a part that was ended, where nothing else does.

        Raises:
            UnavailableError: that failed.
        """
        if part.start is not None:
            await run_command(part.start, what=part.name)
            self._down = [each for each in self._down if each.name != part.name]

    async def _freeze(self, part: Part, process: Process) -> None:
        # The one that would start others first, so that none is missed.
        self._stop(process)
        for child in process.below():
            with contextlib.suppress(ProcessLookupError):
                self._stop(child)
        self.say(f"{part.name}: SIGSTOP to process {process.pid} and {len(self._frozen) - 1} below it")
        try:
            await asyncio.sleep(self.freeze_seconds)
        finally:
            self.thaw()

    def _stop(self, process: Process) -> None:
        self._frozen.append(process)
        processes.send(process.pid, process.created, signal.SIGSTOP)

    def thaw(self) -> int:
        """Let what stands frozen go on; how many processes that were."""
        frozen, self._frozen = self._frozen, []
        for process in reversed(frozen):
            with contextlib.suppress(ProcessLookupError):
                processes.send(process.pid, process.created, signal.SIGCONT)
        return len(frozen)

    async def back(self, part: Part, *, instead_of: Process | None, seconds: float) -> Process:
        """The process that does the part's work, once there is one.

        Args:
            part: which is waited for.
            instead_of: the one that was ended; None: it was frozen, or is only looked at.
            seconds: how long to wait.

        Raises:
            UnavailableError: there was none in that time.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    process = part.find()
                    if process is not None and process != instead_of and await self.answers.answers(part, process):
                        return process
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise UnavailableError(part=part.name, detail=f"was not back within {seconds:.0f} s") from None

    def release(self) -> list[str]:
        """Let everything go on, and start what was ended and nothing else starts; what was done, in words.

        Not asynchronous: it is also what an interrupted run ends with.
        """
        told = [f"{count} processes that stood frozen go on"] if (count := self.thaw()) else []
        for part in self._down:
            if part.start is None:
                told.append(f"{part.name} is being started again")
                continue
            try:
                # A pipe would stay open for as long as what it starts lives.
                nothing = subprocess.DEVNULL
                code = subprocess.run(part.start, stdin=nothing, stdout=nothing, stderr=nothing, check=False).returncode  # noqa: S603
                told.append(f"{part.name} was started again" if code == 0 else f"{part.name}: {part.start[0]} ended with exit code {code}")
            except OSError as error:
                told.append(f"{part.name} could not be started: {error}")
        self._down = []
        return told


async def _until(condition: Callable[[], bool], *, seconds: float, part: Part, what: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110  a process that ends tells its parent alone
                await asyncio.sleep(_LOOK_SECONDS)
    except TimeoutError:
        raise UnavailableError(part=part.name, detail=f"{what} within {seconds:.0f} s") from None
