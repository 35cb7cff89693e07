"""Several worker processes as one: started together, started again when one dies, ended together, none of them left behind."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import structlog

from infra.logs import configure_logging
from infra.settings import Settings
from infra.stack.processes import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Sequence

_log = structlog.get_logger(__name__)

EXIT_CONFIGURATION: Final = 2
"""A worker that ends with it has a setting that breaks a rule: starting it again would change nothing."""
STOP_SECONDS: Final = 30.0
"""How long a worker may take to finish what runs; then it is killed. Longer than the worker itself allows."""
_STEADY_SECONDS: Final = 60.0
"""A process that ran this long before it died is started again without delay."""
_LONGEST_PAUSE_SECONDS: Final = 10.0


async def keep_running(command: Sequence[str], count: int) -> int:
    """Run `count` processes of a command until SIGTERM or SIGINT, which goes on to each of them.

    Only the first serves ``/metrics`` at the address of the settings; the others do at a free port, which their logs name.

    Returns:
        The exit code: 0, or that of a process that is misconfigured, which ends them all.
    """
    settings = Settings()
    configure_logging(settings)
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    free_port = {} if settings.metrics_address is None else {"CASAFLOW_METRICS_ADDRESS": f"{settings.metrics_address.host}:0"}
    environments = [dict(os.environ) if place == 0 else {**os.environ, **free_port} for place in range(count)]
    codes = await asyncio.gather(*(_keep(command, place, environment, stop) for place, environment in enumerate(environments)))
    return max(codes)


async def _keep(command: Sequence[str], place: int, environment: dict[str, str], stop: asyncio.Event) -> int:
    """One of the processes; its exit code where that can't be mended by another start."""
    pause_seconds = 0.0
    while not stop.is_set():
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            # A session of its own: a Ctrl-C at the terminal then comes once, from here.
            *command, env=environment, start_new_session=True, preexec_fn=end_with_parent(signal.SIGTERM),
        )  # fmt: skip
        _log.info("workers.started", place=place, pid=process.pid)
        if await _ends_before(process, stop):
            if process.returncode == EXIT_CONFIGURATION:
                stop.set()
                return EXIT_CONFIGURATION
            steady = time.monotonic() - started > _STEADY_SECONDS
            pause_seconds = 0.0 if steady else min(pause_seconds * 2 + 0.25, _LONGEST_PAUSE_SECONDS)
            _log.error("workers.died", place=place, pid=process.pid, exit_code=process.returncode, starts_again_in_seconds=pause_seconds)
            await _wait(stop, pause_seconds)
    return 0


async def _ends_before(process: asyncio.subprocess.Process, stop: asyncio.Event) -> bool:
    """Wait for a process, or for the order to stop, which ends it; whether it ended by itself."""
    ended, stopping = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
    await asyncio.wait([ended, stopping], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if ended.done():
        return True
    process.terminate()
    await asyncio.wait([ended], timeout=STOP_SECONDS)
    if not ended.done():
        _log.error("workers.killed", pid=process.pid, after_seconds=STOP_SECONDS)
        process.kill()
        await ended
    return False


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), timeout=seconds)
    except TimeoutError:
        return
