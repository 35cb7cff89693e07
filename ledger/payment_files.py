"""Payment files: many payments that somebody hands over as one, each of which becomes a transaction of its own.

What stands here is the border between whoever reads a format (CSV, pain.001) and whoever posts and answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping

    from ledger.money import Money


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
