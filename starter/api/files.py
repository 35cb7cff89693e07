"""Payment files: hand in, look up, list, pause, resume, cancel; their lines, and their outcome as CSV."""

from __future__ import annotations

import csv
import io
import tempfile
from collections.abc import AsyncIterator, Iterator
from http import HTTPStatus
from typing import Annotated, BinaryIO, Final, Literal, cast

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import Field

from ledger.cursors import cursor_behind, position_of
from ledger.ids import parse_transaction_id
from ledger.payment_files import MAX_SHOWN_PROBLEMS, FileAction, FileKey, FileMode, PaymentFile
from ledger.requests import MAX_REMITTANCE_LENGTH
from starter.api.answers import LOCATION, answer
from starter.api.models.fields import StrictBody, Text, Uuid
from starter.api.models.files import OUTCOME_COLUMNS, FileLinesView, FileLineView, FilesView, FileView, outcome_row
from starter.api.services import ReadsTransactions, UsesServices, WritesFiles
from starter.payment_files import LINES_AT_ONCE

router = APIRouter(prefix="/v1/files", tags=["files"])
_CURSOR_RULE: Final = "must be next_cursor of a page of files, as it was given"

MAX_PAGE_FILES: Final = 200
MAX_PAGE_LINES: Final = 1_000
_REPORT_IN_MEMORY_BYTES: Final = 1024 * 1024
_PART_BYTES: Final = 64 * 1024
_NOT_FOUND: Final = answer(404, "The tenant has no such file.")
_ENDED: Final = answer(409, "The file is over (`file-ended`).")
_CONTENT: Final = {
    "required": True,
    "content": {media_type: {"schema": {"type": "string", "format": "binary"}} for media_type in ("text/csv", "application/xml")},
}


class NewFileQuery(StrictBody):
    """How a file is posted."""

    mode: FileMode = Field(default=FileMode.BEST_EFFORT, description="Whether a refused line stops the others.")


class FilesQuery(StrictBody):
    """Which files."""

    limit: int = Field(default=50, ge=1, le=MAX_PAGE_FILES, description="Files of a page at most.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


class LinesQuery(StrictBody):
    """Which lines."""

    after: int = Field(default=0, ge=0, le=2**53, description="Lines with larger numbers: `next_after` of the page before.")
    limit: int = Field(default=100, ge=1, le=MAX_PAGE_LINES, description="Lines of a page at most.")
    status: Literal["pending", "completed", "rejected"] | None = Field(default=None, description="Only lines that stand so.")


class OutcomeQuery(StrictBody):
    """In which form."""

    format: Literal["csv", "pain.002"] = Field(default="csv", description="`pain.002` once the file is over.")


class FileChangeBody(StrictBody):
    """Why a file is paused, resumed or cancelled; recorded with who does it."""

    reason: Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)] | None = None


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    openapi_extra={"requestBody": _CONTENT},
    responses={
        202: {"description": "It is stored, and is validated and posted from now on.", "headers": LOCATION},
        409: {"description": "A file with the same content came before, and wasn't rejected (`duplicate-file`); `errors` names it."},
        413: {"description": "The file is larger than the setting allows."},
        415: {"description": "Files of this media type can't be read here."},
    },
)
async def hand_in(
    query: Annotated[NewFileQuery, Query()], request: Request, response: Response, services: UsesServices, principal: WritesFiles
) -> FileView:
    """Hand in a payment file as the body. It is validated as a whole first: nothing is posted if a line is malformed."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    length = request.headers.get("Content-Length", "")
    file = await services.files.take_in(
        principal.tenant,
        request.stream(),
        media_type=media_type,
        mode=query.mode,
        by=principal.name,
        announced_bytes=int(length) if length.isascii() and length.isdigit() else None,
    )
    response.headers["Location"] = f"/v1/files/{file.file_id}"
    return FileView.of(file)


@router.get("")
async def list_files(query: Annotated[FilesQuery, Query()], services: UsesServices, principal: ReadsTransactions) -> FilesView:
    """The tenant's files, the newest first."""
    page = await services.files.files.page(
        principal.tenant, after=position_of(query.cursor, _CURSOR_RULE) if query.cursor is not None else None, at_most=query.limit + 1
    )
    shown = page[: query.limit]
    last = shown[-1] if len(page) > len(shown) else None
    cursor = cursor_behind(last.submitted_at, last.file_id) if last is not None else None
    return FilesView(files=[FileView.of(file) for file in shown], next_cursor=cursor)


@router.get("/{file_id}", responses=_NOT_FOUND)
async def read_file(file_id: Uuid, services: UsesServices, principal: ReadsTransactions) -> FileView:
    """A file as it stands, with what is wrong with it."""
    key = _key(principal.tenant, file_id)
    file = await services.files.files.get(key)
    problems = await services.files.files.problems(key, at_most=MAX_SHOWN_PROBLEMS) if file.problems else []
    return FileView.of(file, problems)


@router.get("/{file_id}/lines", responses=_NOT_FOUND)
async def read_lines(
    file_id: Uuid, query: Annotated[LinesQuery, Query()], services: UsesServices, principal: ReadsTransactions
) -> FileLinesView:
    """A page of a file's lines, each with what became of it."""
    key = _key(principal.tenant, file_id)
    await services.files.files.get(key)
    page = await services.files.files.lines(key, after=query.after, at_most=query.limit + 1, status=query.status)
    shown = page[: query.limit]
    return FileLinesView(lines=[FileLineView.of(line) for line in shown], next_after=shown[-1].number if len(page) > len(shown) else None)


@router.get(
    "/{file_id}/outcome",
    response_class=StreamingResponse,
    responses={
        200: {
            "description": "What became of each line.",
            "content": {media_type: {"schema": {"type": "string"}} for media_type in ("text/csv", "application/xml")},
        },
        415: {"description": "This form can't be written here."},
        **_NOT_FOUND,
    },
)
async def read_outcome(
    file_id: Uuid, query: Annotated[OutcomeQuery, Query()], services: UsesServices, principal: ReadsTransactions
) -> StreamingResponse:
    """What became of each line, as CSV or pain.002, streamed."""
    key = _key(principal.tenant, file_id)
    file = await services.files.files.get(key)
    if query.format == "pain.002":
        return await _report(file, services)

    async def rows() -> AsyncIterator[str]:
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(OUTCOME_COLUMNS)
        async for page in services.files.files.all_lines(key, at_once=LINES_AT_ONCE):
            writer.writerows(map(outcome_row, page))
            yield text.getvalue()
            text.seek(0)
            text.truncate()
        yield text.getvalue()

    headers = {"Content-Disposition": f'attachment; filename="{key.file_id}.csv"'}
    return StreamingResponse(rows(), media_type="text/csv", headers=headers)


async def _report(file: PaymentFile, services: UsesServices) -> StreamingResponse:
    # Written before the answer begins, so that what goes wrong is told; on the disk, if it is long.
    report = tempfile.SpooledTemporaryFile(max_size=_REPORT_IN_MEMORY_BYTES)  # noqa: SIM115  closed once it is sent
    try:
        await services.files.report(file, cast("BinaryIO", report))
    except BaseException:
        report.close()
        raise
    report.seek(0)

    def parts() -> Iterator[bytes]:
        with report:
            while part := report.read(_PART_BYTES):
                yield part

    headers = {"Content-Disposition": f'attachment; filename="{file.file_id}.xml"'}
    return StreamingResponse(parts(), media_type="application/xml", headers=headers)


@router.post("/{file_id}/pause", responses=_NOT_FOUND | _ENDED)
async def pause(file_id: Uuid, services: UsesServices, principal: WritesFiles, body: FileChangeBody | None = None) -> FileView:
    """Post no further lines until the file is resumed. Lines that are decided stand."""
    return await _change(file_id, FileAction.PAUSE, services, principal, body)


@router.post("/{file_id}/resume", responses=_NOT_FOUND | _ENDED)
async def resume(file_id: Uuid, services: UsesServices, principal: WritesFiles, body: FileChangeBody | None = None) -> FileView:
    """Go on where the file was paused."""
    return await _change(file_id, FileAction.RESUME, services, principal, body)


@router.post("/{file_id}/cancel", responses=_NOT_FOUND | _ENDED)
async def cancel(file_id: Uuid, services: UsesServices, principal: WritesFiles, body: FileChangeBody | None = None) -> FileView:
    """Post no further lines for good. Lines that are decided stand; each is reversed as any transaction is."""
    return await _change(file_id, FileAction.CANCEL, services, principal, body)


async def _change(
    file_id: Uuid, action: FileAction, services: UsesServices, principal: WritesFiles, body: FileChangeBody | None
) -> FileView:
    reason = body.reason if body is not None else None
    changed = await services.files.change(_key(principal.tenant, file_id), action, by=principal.name, reason=reason)
    return FileView.of(changed)


def _key(tenant: str, file_id: str) -> FileKey:
    return FileKey(tenant=tenant, file_id=parse_transaction_id(file_id, field="file_id"))
