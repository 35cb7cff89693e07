"""The formats of payment files. The one place where a further one plugs in."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, BinaryIO, Final, Protocol

from infra.payment_files import csv_lines
from ledger.errors import UnreadableFormatError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable, Iterator

    from ledger.payment_files import FileHeader, LineOutcome, LineProblem, PaymentLine

XML: Final = "application/xml"


class Reader(Protocol):
    """Reads a file as a stream."""

    def __call__(self, stream: BinaryIO, *, problem: Callable[[LineProblem], None]) -> tuple[FileHeader, Iterator[PaymentLine]]:
        """The file's header and its lines; what is wrong with a line is told to `problem`, and the reading goes on.

        Raises:
            InvalidInputError: it isn't such a file at all.
        """
        ...


class ReportWriter(Protocol):
    """Writes what became of a file as pain.002."""

    def __call__(
        self, out: BinaryIO, header: FileHeader, status: str, lines: Iterable[LineOutcome], *, message_id: str, created_at: dt.datetime
    ) -> None:
        """Write a report; `status` is of ExternalPaymentGroupStatus1Code."""
        ...


def report_writer() -> ReportWriter:
    """What writes pain.002."""
    from infra.iso20022.pain002 import write  # noqa: PLC0415  loaded where it is needed: its schemas take time and memory

    return write


def media_types() -> tuple[str, ...]:
    """Those that can be read here."""
    return csv_lines.MEDIA_TYPE, XML


def reader_of(media_type: str, *, bic: str | None = None) -> Reader:
    """What reads files of a media type; `bic` is ours, by which a payment to one of our accounts is told from one that leaves the bank.

    Raises:
        UnreadableFormatError: nothing does.
    """
    if media_type not in media_types():
        raise UnreadableFormatError(media_type=media_type, known=" or ".join(media_types()))
    if media_type == XML:
        from infra.iso20022.pain001 import read  # noqa: PLC0415  loaded where it is needed: its schemas take time and memory

        return partial(read, bic=bic)
    return csv_lines.read
