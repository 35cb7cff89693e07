"""The command line: ``casaflow``.

Exit codes: 0 done and proven; 1 done, but something is not as it should be; 2 bad input; 3 a server is not available; 130 interrupted.
"""

from __future__ import annotations

import logging
import os
import sys

import casaflow_client
import structlog
import typer
from pydantic import ValidationError

from infra.stack.model import StackError
from ledger.errors import CasaflowError, ConflictError, InvalidInputError, NotFoundError, UnavailableError
from starter.cli import (
    accounts,
    approvals,
    audit,
    bench,
    chaos,
    codec,
    console,
    drain,
    events,
    explain,
    files,
    holds,
    jobs,
    keys,
    maintenance,
    mis,
    notifications,
    operations,
    processes,
    promote,
    restored,
    stack,
    standing_orders,
    statements,
    transactions,
)
from starter.cli.access import EXIT_BAD_INPUT, EXIT_NOT_PROVEN, EXIT_UNAVAILABLE
from starter.cli.failures import fail
from starter.entries import FileError

app = typer.Typer(
    name="casaflow",
    help=(
        "A transaction engine for current and savings accounts.\n\nExit codes: 0 done and proven; 1 something is not as it should be; "
        "2 bad input; 3 a server is not available."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
_transaction_app = typer.Typer(help="Submit, list, show, reverse, approve, decline and mend transactions.", no_args_is_help=True)
stack.register(app)
jobs.register(app)
accounts.register(app)
holds.register(app)
statements.register(app)
transactions.register(_transaction_app)
approvals.register(_transaction_app)
operations.register(app, _transaction_app)
app.add_typer(_transaction_app, name="transaction")
for group in (
    standing_orders,
    files,
    notifications,
    mis,
    explain,
    events,
    audit,
    keys,
    processes,
    maintenance,
    promote,
    drain,
    restored,
    codec,
    console,
    chaos,
    bench,
):
    group.register(app)


_TEMPORALS_THREADS = "temporalio.bridge.temporal_sdk_bridge"
"""The module that has them, once a command has talked to Temporal."""


def main() -> None:
    """Run the command, and end the process."""
    try:
        run_command()
    except SystemExit as ended:
        if _TEMPORALS_THREADS not in sys.modules or not isinstance(ended.code, int | None):
            raise
        # Temporal's client has threads that may still be about to give back Python's lock for the last answer. Whoever does so while the
        # interpreter is taken down aborts the process, with a finished command's exit code lost. So it isn't taken down.
        logging.shutdown()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(ended.code or 0)


def run_command() -> None:
    """Run the command, and turn errors into one line and an exit code, by `SystemExit`."""
    # Standard output is for what a program may read; structlog would write there. Looked up for each line, as typer does.
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    try:
        app()
    except (FileError, InvalidInputError, ConflictError, NotFoundError, casaflow_client.InvalidArgumentError) as error:
        fail(str(error), EXIT_BAD_INPUT)
    except casaflow_client.ApiError as error:
        fail(str(error), EXIT_BAD_INPUT if error.is_bad_input else EXIT_NOT_PROVEN)
    except (casaflow_client.UnavailableError, UnavailableError) as error:
        fail(str(error), EXIT_UNAVAILABLE)
    except ValidationError as error:
        wrong = "; ".join(f"CASAFLOW_{'_'.join(map(str, found['loc'])).upper()}: {found['msg']}" for found in error.errors())
        fail(wrong, EXIT_BAD_INPUT)
    except (StackError, CasaflowError) as error:
        fail(str(error), EXIT_NOT_PROVEN)
