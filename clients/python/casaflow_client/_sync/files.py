"""Payment files: hand in, look at, pause, resume, cancel, and get the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO
from uuid import UUID

from casaflow_client import models
from casaflow_client._sync.documents import Documents
from casaflow_client.requests import query, uuid_segment


class Files(Documents):
    """What concerns payment files."""

    def send_file(self, content: Callable[[], Iterable[bytes]], media_type: str, *, mode: str = "best-effort") -> models.File:
        """Hand in a payment file. It is stored when this returns, and validated and posted from then on.

        Args:
            content: gives its bytes, from the beginning each time it is called: a file that is sent again is read again.
            media_type: ``text/csv`` or ``application/xml``.
            mode: ``best-effort``, or ``atomic``: all of its lines are posted or none.

        Raises:
            ConflictError: it came before, also by a first attempt whose answer was lost; ``errors`` names that file.
            InvalidRequestError: it is too large, or of a form that can't be read.
        """
        return self._ask(
            "POST",
            "/v1/files",
            models.File,
            parameters=query(mode=mode),
            parts=lambda: _parts(content),
            headers={"Content-Type": media_type},
        )

    def file(self, file_id: str | UUID) -> models.File:
        """A payment file as it stands, with what is wrong with it.

        Raises:
            NotFoundError: there is none with this id.
        """
        return self._ask("GET", _path(file_id), models.File)

    def files(self, *, limit: int | None = None, cursor: str | None = None) -> models.Files:
        """One page of payment files, the newest first."""
        return self._ask("GET", "/v1/files", models.Files, parameters=query(limit=limit, cursor=cursor))

    def file_lines(
        self, file_id: str | UUID, *, status: str | None = None, limit: int | None = None, after: int | None = None
    ) -> models.FileLines:
        """One page of a file's lines, with what became of each; `after` is ``next_after`` of the page before."""
        parameters = query(status=status, limit=limit, after=after)
        return self._ask("GET", f"{_path(file_id)}/lines", models.FileLines, parameters=parameters)

    def pause_file(self, file_id: str | UUID, reason: str | None = None) -> models.File:
        """Post no further lines until it is resumed."""
        return self._change_file(file_id, "pause", reason)

    def resume_file(self, file_id: str | UUID, reason: str | None = None) -> models.File:
        """Go on with a file that was paused."""
        return self._change_file(file_id, "resume", reason)

    def cancel_file(self, file_id: str | UUID, reason: str | None = None) -> models.File:
        """Post no further lines for good; those that are decided stand."""
        return self._change_file(file_id, "cancel", reason)

    def file_outcome(self, file_id: str | UUID, out: BinaryIO, *, form: str = "csv") -> None:
        """Write what became of each line, as it arrives: as ``csv``, or as ``pain.002`` (ISO 20022).

        Raises:
            UnavailableError: it broke off; `out` has the part before.
        """
        self._write(f"{_path(file_id)}/outcome", query(format=form), out)

    def _change_file(self, file_id: str | UUID, action: str, reason: str | None) -> models.File:
        body = {} if reason is None else {"reason": reason}
        return self._ask("POST", f"{_path(file_id)}/{action}", models.File, body=body)


def _parts(content: Callable[[], Iterable[bytes]]) -> Iterator[bytes]:
    for part in content():
        yield part


def _path(file_id: str | UUID) -> str:
    return f"/v1/files/{uuid_segment(file_id, field='file_id')}"
