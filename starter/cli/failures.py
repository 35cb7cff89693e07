"""How a command ends that can't do what was asked."""

from __future__ import annotations

import sys
from typing import NoReturn

import typer


def fail(message: str, code: int) -> NoReturn:
    """Say why on standard error, and end with this exit code, by `SystemExit`."""
    typer.echo(f"casaflow: {message}", err=True)
    sys.exit(code)
