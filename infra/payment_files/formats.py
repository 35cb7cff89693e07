"""The formats of payment files. The one place where a further one plugs in."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from infra.payment_files import csv_lines
from ledger.errors import UnreadableFormatError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ledger.payment_files import FileHeader, LineProblem, PaymentLine

XML: Final = "application/xml"


class Reader(Protocol):
    """Reads a file as a stream."""

    def __call__(self, stream: BinaryIO, *, problem: Callable[[LineProblem], None]) -> tuple[FileHeader, Iterator[PaymentLine]]:
        """The file's header and its lines; what is wrong with a line is told to `problem`, and the reading goes on.

        Raises:
            InvalidInputError: it isn't such a file at all.
        """
        ...


def media_types() -> tuple[str, ...]:
    """Those that can be read here."""
    return csv_lines.MEDIA_TYPE, XML


def reader_of(media_type: str) -> Reader:
    """What reads files of a media type.

    Raises:
        UnreadableFormatError: nothing does.
    """
    if media_type not in media_types():
        raise UnreadableFormatError(media_type=media_type, known=" or ".join(media_types()))
    if media_type == XML:
        from infra.iso20022.pain001 import read  # noqa: PLC0415  loaded where it is needed: its schemas take time and memory

        return read
    return csv_lines.read
