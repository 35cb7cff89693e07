"""Statements as documents: `--format` and `--output` of `casaflow statement` and `casaflow statements`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from ledger.documents import DocumentFormat
from ledger.errors import InvalidInputError
from starter.cli.access import ask

Form = Annotated[DocumentFormat | None, typer.Option("--format", help="Write the whole as this: csv, pdf or camt.053 (ISO 20022).")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="The document's file; unless given, standard output.")]


def is_document(form: DocumentFormat | None, output: Path | None, **of_pages: object) -> bool:
    """Whether a document is asked for, and not a page.

    Raises:
        InvalidInputError: options of both are mixed.
    """
    if form is None or form is DocumentFormat.JSON:
        if output is not None:
            raise InvalidInputError(field="--output", value=str(output), rule="needs --format csv, pdf or camt.053")
        return False
    mixed = [name for name, value in of_pages.items() if value]
    if mixed:
        raise InvalidInputError(field=f"--{mixed[0]}", value=of_pages[mixed[0]], rule="is of pages, and --format writes the whole")
    return True


def write(url: str | None, key: str | None, account_id: str, number: int | None, query: dict[str, str], output: Path | None) -> None:
    """Write a document to a file, which is there only once all of it is; or to standard output.

    Raises:
        InvalidInputError: a PDF would go to a terminal.
    """
    if output is None:
        if query["format"] == DocumentFormat.PDF and sys.stdout.isatty():
            raise InvalidInputError(field="--output", value=None, rule="must be given for a PDF, which a terminal can't show")
        ask(url, key, lambda client: client.document(account_id, number, query, sys.stdout.buffer))
        return
    unfinished = output.with_name(f".{output.name}.part")
    try:
        with unfinished.open("wb") as out:
            ask(url, key, lambda client: client.document(account_id, number, query, out))
        unfinished.replace(output)
    except OSError as error:
        raise InvalidInputError(
            field="--output", value=str(output), rule=f"must be a file that can be written ({error.strerror})"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
