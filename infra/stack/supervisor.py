"""The supervisor: starts all parts in order, keeps them running, says where they are, and stops them in reverse order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from infra.settings import Settings
from infra.stack import processes
from infra.stack.lock import EXIT_ALREADY_RUNNING, START_SECONDS, AlreadyRunningError, locked
from infra.stack.model import Health, PartState, Pids, StackError, StackHome, StackInfo, SupervisorState, kind_of
from infra.stack.part import Part, Stage
from infra.stack.parts import downstream_parts, prepare_servers, promote_workers, provision, worker_parts
from infra.stack.ports import PortReservations
from ledger.errors import CasaflowError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infra.stack.parts import Servers

_log = structlog.get_logger(__name__)

_STEADY_SECONDS: Final = 60.0
"""A part that ran this long before it died is restarted without delay."""
_LONGEST_BACKOFF_SECONDS: Final = 10.0


@dataclass
class _Running:
    part: Part
    state: PartState
    process: asyncio.subprocess.Process | None = None


class Supervisor:
    """One run of the stack in one home."""

    def __init__(self, settings: Settings, say: Callable[[str], None]) -> None:
        """Take the settings, and where to say in plain lines what happens."""
        self._settings = settings
        self._home = StackHome(settings.home)
        self._say = say
        self._stopping = asyncio.Event()
        self._running: list[_Running] = []
        self._watchers: list[asyncio.Task[None]] = []
        self._info: StackInfo | None = None
        self._ports = PortReservations()
        self._state = SupervisorState(pid=os.getpid(), created=processes.created(os.getpid()) or "")

    async def run(self) -> None:
        """Start everything, and return once everything is stopped again after SIGTERM or SIGINT.

        Raises:
            AlreadyRunningError: another supervisor has this home.
            StackError: a part could not be started; nothing is left running.
        """
        self._home.path.mkdir(parents=True, exist_ok=True)
        with locked(self._home.lock_file), self._ports:
            self._end_left_over()
            loop = asyncio.get_running_loop()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, self._stopping.set)
            starting = asyncio.create_task(self._start())
            stopping = asyncio.create_task(self._stopping.wait())
            try:
                await asyncio.wait({starting, stopping}, return_when=asyncio.FIRST_COMPLETED)
                if not starting.done():
                    starting.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await starting
                await stopping
            except StackError as error:
                self._state.failure = str(error)
                raise
            finally:
                stopping.cancel()
                await self._stop()

    def _end_left_over(self) -> None:
        """End what a supervisor that was killed has left, so that two servers never share a data folder."""
        state = self._home.read_state()
        if state is not None:
            processes.end_all_left_over(state)
        self._home.stack_file.unlink(missing_ok=True)
        self._write_state()

    async def _start(self) -> None:
        started = time.monotonic()
        self._home.private_folder("logs")
        servers = await prepare_servers(self._settings, self._home, self._ports, self._say)
        for outside in servers.outside:
            self._state.parts.append(PartState(name=outside.name, health=Health.OUTSIDE, address=outside.address))
        await self._start_all(servers.parts)
        try:
            key = await provision(self._home, servers, self._say)
        except (CasaflowError, SQLAlchemyError) as error:
            # What a server says may take several lines; the first names the reason.
            message = f"a server can't be prepared: {str(error).strip().splitlines()[0]}"
            raise StackError(message) from error
        self._info = StackInfo(
            api=servers.api_url,
            api_key=key,
            temporal_address=servers.temporal_address,
            temporal_ui=servers.temporal_ui,
            postgres_dsn=servers.postgres_dsn,
            kafka_bootstrap_servers=servers.kafka.bootstrap_servers,
            metrics={
                "api": f"{servers.api_url}/metrics",
                "worker": f"http://{servers.worker_metrics}/metrics",
                **({"consumers": f"http://{servers.consumer_metrics}/metrics"} if self._settings.consumer_groups else {}),
            },
            pids=Pids(),
        )
        if not self._settings.servers_only:
            await self._start_users(servers)
        self._state.ready = True
        self._write_state()
        self._say(f"ready after {time.monotonic() - started:.1f} s")

    async def _start_users(self, servers: Servers) -> None:
        """Start what uses the servers.

        Raises:
            StackError: it can't be started, or the workers' version can't be made the current one.
        """
        await self._start_all([*worker_parts(servers), servers.api_part(), *downstream_parts(servers)])
        try:
            await promote_workers(servers, self._say)
        except CasaflowError as error:
            message = f"the workers' version can't be made the current one: {error}"
            raise StackError(message) from error

    async def _start_all(self, parts: Sequence[Part]) -> None:
        for part in parts:
            running = _Running(part, PartState(name=part.name, address=part.address))
            self._running.append(running)
            self._state.parts.append(running.state)
        begun = self._running[-len(parts) :] if parts else []
        tasks = [asyncio.create_task(self._start_one(running)) for running in begun]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise
        for running in begun:
            watcher = asyncio.create_task(self._watch(running), name=running.part.name)
            watcher.add_done_callback(self._say_why_it_ended)
            self._watchers.append(watcher)

    def _say_why_it_ended(self, watcher: asyncio.Task[None]) -> None:
        """A defect in the supervisor itself must not go unnoticed: the part it watched isn't started again any more."""
        if watcher.cancelled() or (error := watcher.exception()) is None:
            return
        self._say(f"{watcher.get_name()} is not watched any more: {error!r}")
        for running in self._running:
            if running.part.name == watcher.get_name():
                running.state.health, running.state.detail = Health.FAILED, f"not watched any more: {error!r}"
        self._write_state()

    async def _start_one(self, running: _Running) -> None:
        """Start a part and wait until it is ready.

        Raises:
            StackError: it died, or was not ready in time.
        """
        part, state = running.part, running.state
        if self._stopping.is_set():
            raise asyncio.CancelledError
        started = time.monotonic()
        await self._before_start(part)
        try:
            running.process = process = await processes.start(part.command)
        except OSError as error:
            message = f"{part.name} can't be started: {error}"
            raise StackError(message) from error
        state.pid, state.created, state.health = process.pid, processes.created(process.pid), Health.STARTING
        self._write_state()
        ready, died = asyncio.create_task(part.wait_until_ready(process.pid)), asyncio.create_task(process.wait())
        try:
            await asyncio.wait({ready, died}, timeout=START_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                what = f"died with {_exit(process)}" if died.done() else f"was not ready within {START_SECONDS:.0f} s"
                raise StackError(_with_tail(f"{part.name} {what} while it started", part))
            if (problem := ready.exception()) is not None:
                raise StackError(_with_tail(f"{part.name} does not answer as it should: {problem!r}", part)) from problem
        finally:
            ready.cancel()
            died.cancel()
        state.health, state.detail = Health.HEALTHY, ""
        self._write_state()
        self._say(f"{part.name} is ready after {time.monotonic() - started:.1f} s{f' at {part.address}' if part.address else ''}")

    async def _before_start(self, part: Part) -> None:
        if part.before_start is None:
            return
        try:
            async with asyncio.timeout(START_SECONDS):
                await part.before_start()
        except TimeoutError:
            message = f"{part.name} could not be prepared within {START_SECONDS:.0f} s: what it needs does not answer"
            raise StackError(message) from None

    async def _watch(self, running: _Running) -> None:
        """Restart a part whenever it dies, until the stack is stopped."""
        backoff_seconds = 0.0
        while True:
            process, since = running.process, time.monotonic()
            if process is None:
                return
            await process.wait()
            if self._stopping.is_set():
                return
            backoff_seconds = (
                0.0 if time.monotonic() - since > _STEADY_SECONDS else min(backoff_seconds * 2 + 0.25, _LONGEST_BACKOFF_SECONDS)
            )
            self._report_death(running, process)
            while not self._stopping.is_set():
                await asyncio.sleep(backoff_seconds)
                try:
                    await self._start_one(running)
                    break
                except StackError as error:
                    self._say(str(error))
                    running.state.health, running.state.detail = Health.FAILED, str(error).splitlines()[0]
                    if running.process is not None:
                        await processes.stop(running.process, running.part.command)
                    running.state.pid, running.state.created = None, None
                    self._write_state()
                    backoff_seconds = min(backoff_seconds * 2 + 0.25, _LONGEST_BACKOFF_SECONDS)

    def _report_death(self, running: _Running, process: asyncio.subprocess.Process) -> None:
        what = f"{running.part.name} died with {_exit(process)}"
        running.state.health, running.state.detail = Health.RESTARTING, what
        running.state.pid, running.state.created = None, None
        running.state.restarts += 1
        self._write_state()
        self._say(_with_tail(f"{what}; it is started again", running.part))

    async def _stop(self) -> None:
        """Stop everything in reverse order: those that use a server before the server."""
        self._stopping.set()
        self._home.stack_file.unlink(missing_ok=True)
        for watcher in self._watchers:
            watcher.cancel()
        await asyncio.gather(*self._watchers, return_exceptions=True)
        for stage in sorted(Stage, reverse=True):
            await asyncio.gather(*(self._stop_one(running) for running in self._running if running.part.stage is stage))
        self._state.ready = False
        self._write_state()
        self._say("stopped")

    async def _stop_one(self, running: _Running) -> None:
        if running.process is not None:
            await processes.stop(running.process, running.part.command)
        running.state.health, running.state.pid, running.state.created = Health.STOPPED, None, None

    def _write_state(self) -> None:
        self._home.write_model(self._home.state_file, self._state)
        if self._info is not None and not self._stopping.is_set():
            self._info.pids = _pids(self._state, groups=self._settings.consumer_groups, api_carries=self._settings.api_workflow_tasks > 0)
            self._home.write_model(self._home.stack_file, self._info)


def _pids(state: SupervisorState, *, groups: Sequence[str], api_carries: bool) -> Pids:
    """The processes of the parts; the API is also one of the workers where it hosts one."""
    pids = Pids()
    for part in state.parts:
        if part.pid is None:
            continue
        kind = kind_of(part.name)
        if kind == "worker":
            pids.worker.append(part.pid)
        elif kind == "consumers":
            pids.consumers.update(dict.fromkeys(groups, part.pid))
        else:
            setattr(pids, kind.replace("-", "_"), part.pid)
    if api_carries and pids.api is not None:
        pids.worker.append(pids.api)
    return pids


def _exit(process: asyncio.subprocess.Process) -> str:
    code = process.returncode
    return f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"


def _with_tail(message: str, part: Part) -> str:
    tail = processes.log_tail(part.command.log)
    return f"{message}. The end of {part.command.log.name}:\n{tail}" if tail else message


def main() -> int:
    """Run the supervisor in the background, as ``casaflow up --detach`` starts it; what it says goes to its log."""

    def say(line: str) -> None:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        sys.stdout.flush()

    # What it says is told step by step; the adapters' own notes stand beside that only when something is wrong.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    try:
        asyncio.run(Supervisor(Settings(), say).run())
    except AlreadyRunningError as error:
        say(str(error))
        return EXIT_ALREADY_RUNNING
    except (StackError, OSError) as error:
        say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
