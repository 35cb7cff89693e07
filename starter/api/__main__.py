"""Serves the HTTP API on ``CASAFLOW_API_HOST`` and ``CASAFLOW_API_PORT``."""

from __future__ import annotations

import uvicorn

from infra.logs import configure_logging
from infra.settings import Settings
from starter.api.application import create_app


def main() -> None:
    """Serve until SIGTERM or SIGINT; requests that run are finished."""
    settings = Settings()
    configure_logging(settings)
    uvicorn.run(
        create_app(settings),
        host=settings.api_host,
        port=settings.api_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=15,
    )


if __name__ == "__main__":
    main()
