"""Statements as documents: `--format` and `--output` of `casaflow statement` and `casaflow statements`."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from casaflow_client import AsyncClient

from ledger.documents import DocumentFormat
from ledger.errors import InvalidInputError

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


def write_period(
    client: AsyncClient, account_id: str, form: DocumentFormat | None, output: Path | None, *, since: str | None, until: str | None
) -> None:
    """Write the statement of a period."""
    _refuse_terminal(form, output)
    write_whole(client, output, lambda asked, out: asked.statement_document(account_id, str(form), out, since=since, until=until))


def write_closed(client: AsyncClient, account_id: str, number: int, form: DocumentFormat | None, output: Path | None) -> None:
    """Write a closed, numbered statement."""
    _refuse_terminal(form, output)
    write_whole(client, output, lambda asked, out: asked.closed_statement_document(account_id, number, str(form), out))


def _refuse_terminal(form: DocumentFormat | None, output: Path | None) -> None:
    if output is None and form is DocumentFormat.PDF and sys.stdout.isatty():
        raise InvalidInputError(field="--output", value=None, rule="must be given for a PDF, which a terminal can't show")


def write_whole(client: AsyncClient, output: Path | None, write: Callable[[AsyncClient, BinaryIO], Awaitable[None]]) -> None:
    """Write what the API gives to a file, which is there only once all of it is; or to standard output.

    Raises:
        InvalidInputError: the file can't be written.
    """

    async def whole(out: BinaryIO) -> None:
        async with client:
            await write(client, out)

    if output is None:
        asyncio.run(whole(sys.stdout.buffer))
        return
    unfinished = output.with_name(f".{output.name}.part")
    try:
        with unfinished.open("wb") as out:
            asyncio.run(whole(out))
        unfinished.replace(output)
    except OSError as error:
        raise InvalidInputError(
            field="--output", value=str(output), rule=f"must be a file that can be written ({error.strerror})"
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)
