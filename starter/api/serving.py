"""Serving the HTTP API on ``CASAFLOW_API_HOST`` and ``CASAFLOW_API_PORT``."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Final

import structlog
import uvicorn

from infra.logs import configure_logging
from infra.temporal.telemetry import keep_sdk_metrics
from infra.tracing import start_tracing
from ledger.errors import InvalidInputError
from starter.api.application import create_app

if TYPE_CHECKING:
    from infra.settings import Settings
    from starter.api.application import Beside

_log = structlog.get_logger("api")

_EXIT_CONFIGURATION: Final = 2


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
    uvicorn.run(
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
    )
