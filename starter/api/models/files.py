"""What the API says of payment files."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Literal, Self

from ledger.money import Money
from ledger.payment_files import DecidedLine, FileMode, FileStatus, LineProblem, PaymentFile
from starter.api.models.fields import Answer, DecimalText


class FileReasonView(Answer):
    """Why a file, or a line of one, was rejected."""

    code: str
    detail: str


class FileProblemView(Answer):
    """Why a file can't be posted."""

    place: str
    """`line 7`, an XPath, or `file`."""
    field: str
    value: str
    """What was given; long values are cut."""
    rule: str


class FileView(Answer):
    """A payment file as it stands."""

    file_id: str
    status: FileStatus
    mode: FileMode
    paused: bool
    media_type: str
    size: int
    """Bytes."""
    content_hash: str
    """SHA-256, hexadecimal."""
    message_id: str | None
    header: dict[str, str]
    """What the file says of itself, once it is validated."""
    lines: int
    """In all, once it is validated."""
    completed: int
    rejected: int
    """Of a file that was rejected or cancelled: all lines that are not posted."""
    problem_count: int
    problems: list[FileProblemView]
    """The first thousand of them, where one file is looked up."""
    reason: FileReasonView | None
    """Why the file was rejected or cancelled."""
    submitted_by: str
    submitted_at: dt.datetime
    finished_at: dt.datetime | None

    @classmethod
    def of(cls, file: PaymentFile, problems: Sequence[LineProblem] = ()) -> Self:
        """The API's form of `file`."""
        fields = file.model_dump(
            include={
                *("file_id", "mode", "media_type", "size", "content_hash", "message_id", "header", "submitted_by", "submitted_at"),
                "finished_at",
            }
        )
        progress = file.progress
        return cls(
            **fields,
            status=progress.status,
            paused=progress.paused and not progress.final,
            lines=progress.lines,
            completed=progress.completed,
            rejected=progress.rejected,
            problem_count=file.problems,
            problems=[FileProblemView(place=each.place, field=each.field, value=each.value, rule=each.rule) for each in problems],
            reason=_reason(file.reason_code, file.reason_detail),
        )


class FilesView(Answer):
    """A page of files, the newest first."""

    files: list[FileView]
    next_cursor: str | None
    """Of the next page; null: there are no more."""


class FileLineView(Answer):
    """A line with what became of it."""

    number: int
    place: str
    transaction_id: str
    """Of the transaction that the line is; there is none where `reason` says why it never became one."""
    debtor: str | None
    creditor: str | None
    amount: DecimalText
    currency: str
    end_to_end_id: str | None
    reference: str | None
    status: Literal["pending", "completed", "rejected"]
    reason: FileReasonView | None

    @classmethod
    def of(cls, line: DecidedLine) -> Self:
        """The API's form of `line`."""
        names = {"number", "place", "transaction_id", "debtor", "creditor", "currency", "end_to_end_id", "reference", "status"}
        return cls(**line.model_dump(include=names), amount=_amount(line), reason=_reason(line.reason_code, line.reason_detail))


class FileLinesView(Answer):
    """A page of lines, in the order of the file."""

    lines: list[FileLineView]
    next_after: int | None
    """For the next page; null: there are no more."""


def _amount(line: DecidedLine) -> str:
    return Money(minor_units=line.minor_units, currency=line.currency).decimal_string


def _reason(code: str | None, detail: str | None) -> FileReasonView | None:
    return FileReasonView(code=code, detail=detail or "") if code is not None else None


OUTCOME_COLUMNS = (
    *("number", "place", "transaction_id", "debtor", "creditor", "amount", "currency", "end_to_end_id", "reference", "status"),
    *("reason_code", "reason_detail"),
)
"""Of the outcome as CSV."""


def outcome_row(line: DecidedLine) -> tuple[str | int | None, ...]:
    """A line of the outcome as CSV."""
    return (
        line.number, line.place, line.transaction_id, line.debtor, line.creditor, _amount(line), line.currency, line.end_to_end_id,
        line.reference, line.status, line.reason_code, line.reason_detail,
    )  # fmt: skip
