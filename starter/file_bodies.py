"""What `casaflow submit --as-file` sends: a payment file as it is, or a file of account entries as payments."""

from __future__ import annotations

import csv
import gzip
import io
import json
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Final, cast

from starter.entries import COLUMNS, FileError, read_entries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

CSV: Final = "text/csv"
XML: Final = "application/xml"
_PART_BYTES: Final = 256 * 1024
_GZIP_MAGIC: Final = b"\x1f\x8b"
_ENTRY_COLUMNS: Final = ("debtor", "creditor", "amount", "currency", "transaction_id", "value_date", "settlement", "metadata")


@dataclass(frozen=True)
class FileBody:
    """A file to send."""

    media_type: str
    parts: Callable[[], Iterable[bytes]]
    """Its bytes, from the beginning each time."""
    has_entries: bool
    """Whether it is a file of account entries, of which each becomes a payment with the id that `casaflow submit` gives it."""


def body_of(path: Path, tenant: str) -> FileBody:
    """What to send of a file.

    Args:
        path: of a payment file (CSV or XML) or a file of account entries; either may be compressed by gzip.
        tenant: of the key; the ids of entries are derived from it.

    Raises:
        FileError: it can't be read.
    """
    with _reading(path), _opened(path) as file:
        first = file.readline(16 * 1024).decode("utf-8-sig", "replace")
    if first.lstrip().startswith("<"):
        return FileBody(XML, lambda: _parts(path), has_entries=False)
    names = next(csv.reader([first]), [])
    if set(COLUMNS) <= set(names):
        return FileBody(CSV, lambda: _entries(path, tenant), has_entries=True)
    return FileBody(CSV, lambda: _parts(path), has_entries=False)


def _parts(path: Path) -> Iterator[bytes]:
    with _reading(path), _opened(path) as file:
        while part := file.read(_PART_BYTES):
            yield part


def _entries(path: Path, tenant: str) -> Iterator[bytes]:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_ENTRY_COLUMNS)
    for entry in read_entries(path):
        body = entry.transaction(tenant)
        metadata = json.dumps(body["metadata"], ensure_ascii=False) if body["metadata"] else ""
        writer.writerow([*(body.get(name, "") for name in _ENTRY_COLUMNS[:-1]), metadata])
        if text.tell() >= _PART_BYTES:
            yield text.getvalue().encode()
            text.seek(0)
            text.truncate()
    yield text.getvalue().encode()


def _opened(path: Path) -> IO[bytes]:
    with path.open("rb") as probe:
        compressed = probe.read(2) == _GZIP_MAGIC
    return cast("IO[bytes]", gzip.open(path, "rb")) if compressed else path.open("rb")


class _reading:  # noqa: N801  used as a with statement only
    """What the system says of a file, as an error of ours."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError | EOFError):
            message = f"{self._path}: {error}"
            raise FileError(message) from error
