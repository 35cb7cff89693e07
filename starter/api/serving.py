"""Serving the HTTP API on ``CASAFLOW_API_HOST`` and ``CASAFLOW_API_PORT``."""

from __future__ import annotations

import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn

from infra.logs import configure_logging
from infra.temporal.telemetry import keep_sdk_metrics
from infra.tracing import start_tracing
from ledger.errors import InvalidInputError
from starter.api.application import create_app, end_streams

if TYPE_CHECKING:
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
    )
    server.run()
    if not server.started:
        sys.exit(_EXIT_NOT_STARTED)


class _Server(uvicorn.Server):
    """Ends the streams of events as soon as it is asked to stop."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        end_streams(self._app)
        await super().shutdown(sockets)
