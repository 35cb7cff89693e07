"""`casaflow codec`: the server that lets the Web UI and the `temporal` command show encrypted payloads."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from infra.settings import Settings
from infra.stack.control import read_stack_info


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(codec)


def codec(port: Annotated[int | None, typer.Option(min=0, max=65535, help="Instead of CASAFLOW_CODEC_PORT.")] = None) -> None:
    """Serve /encode and /decode for holders of an API key with the scope `payloads`, with the settings of the environment.

    Where these name no database, that of the stack in $CASAFLOW_HOME is used, and pages of its Web UI may ask.
    """
    settings = Settings()
    environment = dict(os.environ)
    info = read_stack_info(settings.home)
    if settings.postgres_url is None and info is not None:
        environment["CASAFLOW_POSTGRES_URL"] = info.postgres_dsn
        if not settings.codec_origins and info.temporal_ui is not None:
            # The Web UI's origin is whichever of the two names somebody typed.
            environment["CASAFLOW_CODEC_ORIGINS"] = f"{info.temporal_ui},{info.temporal_ui.replace('127.0.0.1', 'localhost')}"
    if port is not None:
        environment["CASAFLOW_CODEC_PORT"] = str(port)
    os.execve(sys.executable, [sys.executable, "-m", "starter.codec"], environment)  # noqa: S606  this interpreter
