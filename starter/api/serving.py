"""Serving the HTTP API on ``CASAFLOW_API_HOST`` and ``CASAFLOW_API_PORT``."""

from __future__ import annotations

import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn

from infra.logs import configure_logging
from infra.temporal.telemetry import keep_sdk_metrics
from infra.tracing import start_tracing
from ledger.errors import InvalidInputError
from starter.api.application import create_app, end_streams
from starter.api.health import say_stopping

if TYPE_CHECKING:
    from types import FrameType

    from fastapi import FastAPI

    from infra.settings import Settings
    from starter.api.application import Beside

_log = structlog.get_logger("api")

_EXIT_CONFIGURATION: Final = 2
_EXIT_NOT_STARTED: Final = 3


def serve(settings: Settings, *, beside: Beside | None = None) -> None:
    """Serve until SIGTERM or SIGINT; requests that run are finished. Exit code 2: a setting breaks a rule.

    Args:
        settings: of the process.
        beside: what else the process does while it serves.
    """
    configure_logging(settings)
    start_tracing(settings, service="casaflow-api")
    keep_sdk_metrics()
    try:
        app = create_app(settings, beside=beside)
    except InvalidInputError as error:
        _log.error("api.misconfigured", error=str(error))
        sys.exit(_EXIT_CONFIGURATION)
    # The server stops by itself at the signal, then raises it again, and the default would end this process without its last spans.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    server = _Server(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            server_header=False,
            http="h11",  # what is always there; a faster parser that only some machines have would make them differ
            ws="none",
            timeout_keep_alive=30,
            timeout_graceful_shutdown=15,
        ),
        app,
        stop_after_seconds=settings.api_stop_after_seconds,
    )
    server.run()
    if not server.started:
        sys.exit(_EXIT_NOT_STARTED)


class _Server(uvicorn.Server):
    """Is not ready from when it is asked to stop, stops some time after that, and ends the streams of events as soon as it does."""

    def __init__(self, config: uvicorn.Config, app: FastAPI, *, stop_after_seconds: float) -> None:
        super().__init__(config)
        self._app = app
        self._stop_after_seconds = stop_after_seconds
        self._asked: tuple[float, int] | None = None
        """When it was asked to stop, and by which signal."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self._asked is not None or not self._stop_after_seconds:
            super().handle_exit(sig, frame)  # a second signal is impatience
            return
        self._asked = (time.monotonic(), sig)
        say_stopping(self._app)
        _log.info("api.stopping", stops_after_seconds=self._stop_after_seconds)

    async def on_tick(self, counter: int) -> bool:
        if self._asked is not None and not self.should_exit and time.monotonic() - self._asked[0] >= self._stop_after_seconds:
            super().handle_exit(self._asked[1], None)
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end_streams(self._app)
        await super().shutdown(sockets)
