"""`casaflow file` and `casaflow submit --as-file`: payment files."""

from __future__ import annotations

import asyncio
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from casaflow_client import AsyncClient

from starter.cli.access import EXIT_NOT_PROVEN, ApiKey, ApiUrl, Json, api_client, ask, present, show
from starter.cli.documents import write_whole

_EVERY_SECONDS: Final = 0.2
_SAID_EVERY_SECONDS: Final = 5.0
_SHOWN_PROBLEMS: Final = 20
_LAID_OUT: Final = ("file_id", "status", "mode", "lines", "completed", "rejected")

Reason = Annotated[str | None, typer.Option(help="Why; recorded with who does it.")]


class OutcomeForm(StrEnum):
    """In which form an outcome is written."""

    CSV = "csv"
    PAIN_002 = "pain.002"


_file_app = typer.Typer(help="Look at payment files, pause, resume and cancel them, and get their outcome.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    for name, command in (("show", show_file), ("list", list_files), ("pause", pause), ("resume", resume), ("cancel", cancel)):
        _file_app.command(name)(command)
    _file_app.command("outcome")(outcome)
    app.add_typer(_file_app, name="file")


def show_file(file_id: str, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a payment file: how it stands, how far it is, and what is wrong with it."""
    tell(ask(api_url, api_key, lambda client: client.file(file_id)), as_json=as_json)


def list_files(
    limit: Annotated[int | None, typer.Option(help="Files at most.")] = None,
    cursor: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List payment files, the newest first."""
    page = ask(api_url, api_key, lambda client: client.files(limit=limit, cursor=cursor))
    if as_json:
        show(page, as_json=True)
        return
    for file in page["files"]:
        typer.echo(
            f"{file['file_id']}  {file['submitted_at'][:19]}  {_state(file):10}  {file['completed']:>9,} completed  "
            f"{file['rejected']:>7,} rejected  of {file['lines']:,}"
        )
    if page["next_cursor"] is not None:
        typer.echo(f"more: --cursor {page['next_cursor']}", err=True)


def pause(file_id: str, reason: Reason = None, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Post no further lines of a file until it is resumed."""
    _change(file_id, "pause", reason, api_url, api_key, as_json)


def resume(file_id: str, reason: Reason = None, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Go on with a file that was paused."""
    _change(file_id, "resume", reason, api_url, api_key, as_json)


def cancel(file_id: str, reason: Reason = None, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Post no further lines of a file for good; lines that are decided stand."""
    _change(file_id, "cancel", reason, api_url, api_key, as_json)


def _change(file_id: str, action: str, reason: str | None, api_url: str | None, api_key: str | None, as_json: bool) -> None:
    tell(ask(api_url, api_key, lambda client: getattr(client, f"{action}_file")(file_id, reason)), as_json=as_json)


def outcome(
    file_id: str,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Where to write it; standard output unless given.")] = None,
    form: Annotated[OutcomeForm, typer.Option("--format", help="pain.002 once the file is over.")] = OutcomeForm.CSV,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Write what became of each line, as CSV or pain.002."""
    write_whole(api_client(api_url, api_key), output, lambda client, out: client.file_outcome(file_id, out, form=form))


def submit_as_file(
    path: Path, *, mode: str, wait: bool, tenant: str, open_accounts: bool, api_url: str | None, api_key: str | None, as_json: bool
) -> None:
    """Send a file as one, and wait for its outcome if that is asked for."""
    from starter.file_bodies import body_of  # noqa: PLC0415  loaded only where files are sent
    from starter.files import prepare_accounts  # noqa: PLC0415

    body = body_of(path, tenant)

    async def send() -> dict[str, Any]:
        async with api_client(
            api_url, api_key, connections=16, on_wait=lambda reason: typer.echo(f"waiting: {reason}", err=True)
        ) as client:
            if body.has_entries:
                from starter.entries import summarise  # noqa: PLC0415

                summary = await asyncio.to_thread(summarise, path)
                if summary.broken is not None:
                    raise summary.broken  # nothing of a file is posted where a line is malformed
                await prepare_accounts(client, summary.accounts.values(), open_accounts=open_accounts)
            file = await client.send_file(body.parts, body.media_type, mode=mode)
            return await followed(client, file.content) if wait else file.content

    file = asyncio.run(send())
    tell(file, as_json=as_json)
    if file["status"] in {"rejected", "cancelled"}:
        raise typer.Exit(EXIT_NOT_PROVEN)


def _say_why(reason: str) -> None:
    typer.echo(f"waiting: {reason}", err=True)


async def followed(client: AsyncClient, file: dict[str, Any]) -> dict[str, Any]:
    """The file once it is over; how far it is is said meanwhile."""
    started = time.monotonic()
    said = 0.0 if sys.stderr.isatty() else started
    while file["finished_at"] is None:
        await asyncio.sleep(_EVERY_SECONDS)
        file = (await client.file(file["file_id"])).content
        if sys.stderr.isatty():
            typer.echo(f"\r{_progress(file, started)}\033[K", err=True, nl=False)
        elif time.monotonic() - said >= _SAID_EVERY_SECONDS:
            said = time.monotonic()
            typer.echo(_progress(file, started), err=True)
    if sys.stderr.isatty():
        typer.echo("", err=True)
    return file


def _progress(file: dict[str, Any], started: float) -> str:
    done = file["completed"] + file["rejected"]
    seconds = time.monotonic() - started
    return f"{_state(file)}: {done:,} of {file['lines']:,} lines, {done / seconds if seconds else 0:,.0f}/s"


def _state(file: dict[str, Any]) -> str:
    return "paused" if file["paused"] else str(file["status"])


def tell(file: dict[str, Any], *, as_json: bool) -> None:
    """Print a file: as JSON, or its fields, and its problems below."""
    if as_json:
        show(file, as_json=True)
        return
    problems = file["problems"]
    first = {name: file[name] for name in _LAID_OUT}
    rest = {name: value for name, value in present(file).items() if name not in {*first, "problems"}}
    show({**first, **rest}, as_json=False)
    for problem in problems[:_SHOWN_PROBLEMS]:
        typer.echo(f"{problem['place']}: {problem['field']} {problem['rule']}; it is {problem['value']!r}", err=True)
    if file["problem_count"] > len(problems[:_SHOWN_PROBLEMS]) and problems:
        typer.echo(f"and {file['problem_count'] - _SHOWN_PROBLEMS:,} more; --json shows up to {len(problems):,}", err=True)
