"""Serves the codec on ``CASAFLOW_CODEC_HOST`` and ``CASAFLOW_CODEC_PORT``."""

from __future__ import annotations

import sys
from typing import Final

import structlog
import uvicorn

from infra.logs import configure_logging
from infra.settings import Settings
from ledger.errors import InvalidInputError, UnavailableError
from starter.codec.application import create_codec_app

_log = structlog.get_logger("codec")

_EXIT_CONFIGURATION: Final = 2


def main() -> None:
    """Serve until SIGTERM or SIGINT. Exit code 2: a setting is missing, or breaks a rule."""
    settings = Settings()
    configure_logging(settings)
    try:
        app = create_codec_app(settings)
    except (InvalidInputError, UnavailableError) as error:
        _log.error("codec.misconfigured", error=str(error))
        sys.exit(_EXIT_CONFIGURATION)
    uvicorn.run(app, host=settings.codec_host, port=settings.codec_port, log_config=None, access_log=False, server_header=False)


if __name__ == "__main__":
    main()
