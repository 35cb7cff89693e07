"""Payment files: many payments that somebody hands over as one, each of which becomes a transaction of its own.

What stands here is the border between whoever reads a format (CSV, pain.001) and whoever posts and answers.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ledger.money import Money

MAX_SHOWN_PROBLEMS: Final = 1_000
"""Problems of a file that are kept and shown; all are counted."""
MAX_ATOMIC_LINES: Final = 2_000
"""Lines of a file that is posted as a whole: all of them are one database transaction, in which each account holds an entry of PostgreSQL's
lock table, and the debtors' rows stay locked."""


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """One payment of a file, well formed; whether its accounts exist and may pay is decided when it is posted."""

    number: int
    """1, 2, ... in the file."""
    place: str
    """Where it stands, for people: ``line 7``, or an XPath such as ``/Document/CstmrCdtTrfInitn/PmtInf[1]/CdtTrfTxInf[3]``."""
    debtor: str | None
    """An account of ours; None: the money comes from outside."""
    creditor: str | None
    """An account of ours; None: the money goes outside."""
    amount: Money
    transaction_id: str | None
    """A UUID, when the file gives one."""
    end_to_end_id: str | None
    reference: str | None
    remittance_information: str | None
    value_date: dt.date | None
    counterparty: Mapping[str, str]
    """Name, account and bank of the side that isn't ours; goes into the transaction's metadata."""
    instruction: Mapping[str, str]
    """What pain.002 must give back: ``pmt_inf_id``, ``instr_id``, ``end_to_end_id``."""
    settlement: Literal["cash", "clearing"] = "clearing"
    """The internal account on the other side where debtor or creditor is missing."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What else goes into the transaction's metadata."""

    @property
    def whole_metadata(self) -> dict[str, str]:
        """The transaction's metadata: those of the line, then ``counterparty_name`` and so on, and ``end_to_end_id``."""
        whole = dict(self.metadata)
        for name, value in self.counterparty.items():
            whole[f"counterparty_{name}"] = value
        if self.end_to_end_id is not None and self.end_to_end_id != self.reference:
            whole["end_to_end_id"] = self.end_to_end_id
        return whole


@dataclass(frozen=True, slots=True)
class LineProblem:
    """Why a line can't be read."""

    place: str
    """As :attr:`PaymentLine.place`."""
    field: str
    value: str
    """What was given, shortened."""
    rule: str
    """What would have been right."""


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says of itself; a format that has no such thing leaves it out."""

    message_id: str | None
    """Unique among the tenant's files."""
    created_at: dt.datetime | None
    initiating_party: str | None
    control_sum: str | None
    """Sum of all amounts, as it was written."""
    declared_lines: int | None
    message_name: str | None
    """Such as ``pain.001.001.09``."""

    @property
    def texts(self) -> dict[str, str]:
        """What it says, by name, as it is stored."""
        said = {
            "message_id": self.message_id,
            "created_at": self.created_at.isoformat() if self.created_at is not None else None,
            "initiating_party": self.initiating_party,
            "control_sum": self.control_sum,
            "declared_lines": str(self.declared_lines) if self.declared_lines is not None else None,
            "message_name": self.message_name,
        }
        return {name: text for name, text in said.items() if text is not None}

    @classmethod
    def of(cls, texts: Mapping[str, str]) -> FileHeader:
        """The inverse of :attr:`texts`."""
        created_at, lines = texts.get("created_at"), texts.get("declared_lines")
        return cls(
            message_id=texts.get("message_id"),
            created_at=dt.datetime.fromisoformat(created_at) if created_at is not None else None,
            initiating_party=texts.get("initiating_party"),
            control_sum=texts.get("control_sum"),
            declared_lines=int(lines) if lines is not None else None,
            message_name=texts.get("message_name"),
        )


@dataclass(frozen=True, slots=True)
class LineOutcome:
    """What became of a line, for whoever writes the answer."""

    number: int
    instruction: Mapping[str, str]
    """As :attr:`PaymentLine.instruction`."""
    status: Literal["completed", "rejected"]
    reason_code: str | None
    """Why it was rejected: a :class:`ledger.refusals.RefusalCode`."""
    reason_detail: str | None


class FileMode(StrEnum):
    """What a refused line does to the others."""

    BEST_EFFORT = "best-effort"
    """Nothing."""
    ATOMIC = "atomic"
    """None of them is posted."""


class FileStatus(StrEnum):
    """Exactly one of these; the first two are not final."""

    VALIDATING = "validating"
    POSTING = "posting"
    COMPLETED = "completed"
    """Each line has its outcome."""
    REJECTED = "rejected"
    """Nothing of it was posted."""
    CANCELLED = "cancelled"
    """Somebody has cancelled it; lines that were decided before stand."""


FINAL_FILE_STATUSES: Final = frozenset({FileStatus.COMPLETED, FileStatus.REJECTED, FileStatus.CANCELLED})


class FileAction(StrEnum):
    """What somebody can do with a file that is not over."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"


class FileReason(StrEnum):
    """Why a file was rejected, or a line became no transaction. Stable codes, beside :class:`ledger.refusals.RefusalCode`."""

    MALFORMED = "malformed"
    """Of a file: lines break rules, which its problems name."""
    LINE_REFUSED = "line-refused"
    """Of an atomic file: a line was refused, so none is posted. Of a line: another one of its file was."""
    CANCELLED = "cancelled"
    """The file was cancelled before the line's turn came."""
    UNKNOWN_ACCOUNT = "unknown-account"
    CURRENCY_MISMATCH = "currency-mismatch"
    """The line is in another currency than one of its accounts."""
    TRANSACTION_CONFLICT = "transaction-conflict"
    """The line's transaction id was used before with other content."""
    IN_PROGRESS = "in-progress"
    """A transaction with the line's id is under way, and not by this file."""
    LEDGER_INTEGRITY = "ledger-integrity"
    """The database refused what the rules had allowed: a defect."""


def files_queue(task_queue: str) -> str:
    """The Temporal task queue of the activities that read and post files, beside `task_queue`.

    Only the worker processes take them: the API, which hosts a worker for transactions, goes on answering while a large file is posted.
    """
    return f"{task_queue}-files"


class FileKey(BaseModel):
    """Which file."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    file_id: str


class FileProgress(BaseModel):
    """How far a file is."""

    model_config = ConfigDict(frozen=True)

    status: FileStatus
    paused: bool = False
    lines: int = 0
    """Lines in all, once it is validated."""
    completed: int = 0
    rejected: int = 0

    @property
    def final(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in FINAL_FILE_STATUSES


class NewFile(BaseModel):
    """A file as it came in."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    file_id: str
    mode: FileMode
    media_type: str
    size: int
    """Bytes."""
    content_hash: str
    """SHA-256, hexadecimal."""
    submitted_by: str
    submitted_at: dt.datetime


class PaymentFile(NewFile):
    """A file as it stands."""

    @property
    def key(self) -> FileKey:
        """Which file it is."""
        return FileKey(tenant=self.tenant, file_id=self.file_id)

    progress: FileProgress
    message_id: str | None
    problems: int
    """How many; the first :data:`MAX_SHOWN_PROBLEMS` are kept."""
    reason_code: str | None
    """Why it was rejected or cancelled."""
    reason_detail: str | None
    finished_at: dt.datetime | None
    header: dict[str, str]
    """What the file says of itself; see :class:`FileHeader`."""


class DecidedLine(BaseModel):
    """A line with what became of it."""

    model_config = ConfigDict(frozen=True)

    number: int
    place: str
    transaction_id: str
    debtor: str | None
    creditor: str | None
    minor_units: int
    currency: str
    end_to_end_id: str | None
    reference: str | None
    instruction: dict[str, str]
    status: Literal["pending", "completed", "rejected"]
    reason_code: str | None = None
    reason_detail: str | None = None

    @property
    def outcome(self) -> LineOutcome | None:
        """For whoever writes the answer; None: it has none yet."""
        if self.status == "pending":
            return None
        return LineOutcome(self.number, self.instruction, self.status, self.reason_code, self.reason_detail)
