"""Statements as documents: a whole period that will never change, and what stands on each of its lines. Pure; amounts are minor units.

See ``docs/decisions/0033-statement-documents-and-iso-20022.md``.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field

from ledger.money import Money
from ledger.rates import Conversion
from ledger.statements import EntryDirection, StatementEntry, StatementLine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

MAX_PDF_LINES: Final = 10_000
"""Of one PDF, which is made as a whole: some 250 pages."""


class DocumentFormat(StrEnum):
    """What a statement may be written as, beside the pages in JSON."""

    JSON = "json"
    CSV = "csv"
    PDF = "pdf"
    CAMT_053 = "camt.053"


class StatementDocument(BaseModel):
    """A period of an account, of settled lines only: ``opening_balance + credited - debited = closing_balance``."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    """The same whenever the same period is written again; 32 characters."""
    account_id: str
    currency: str
    number: int | None
    """Of a closed statement."""
    since: dt.datetime
    """Lines booked then or later."""
    until: dt.datetime
    """Lines booked before this instant; none is missing."""
    opening_balance: int
    credited: int
    debited: int
    closing_balance: int
    lines: int = Field(ge=0)
    available: int | None
    """Ledger balance, less holds, plus overdraft limit, at `created_at`; None for a period that ended before."""
    created_at: dt.datetime

    def money(self, minor_units: int) -> Money:
        """An amount of the account's currency."""
        return Money(minor_units=minor_units, currency=self.currency)


class EntryDetail(BaseModel):
    """What the transaction of an entry says, beyond what a page of a statement shows."""

    model_config = ConfigDict(frozen=True)

    instructed: Money
    """What the request asked for."""
    conversion: Conversion | None
    """What brought the entry into the account's currency; None: nothing had to."""
    settlement: str
    """``cash`` or ``clearing``: where the money came from or went to, if not from or to an account."""
    reverses: str | None
    """The transaction that this one takes back, or a part of it."""
    counterparty_name: str | None
    """Of whoever is on the other side, if the request's metadata says so, as that of a payment file does."""
    counterparty_account: str | None
    """At another bank; as the name."""
    counterparty_bank: str | None
    """As the name; often a BIC."""


class DocumentEntry(BaseModel):
    """An entry as a document tells it."""

    model_config = ConfigDict(frozen=True)

    entry: StatementEntry
    detail: EntryDetail | None
    """None where the ledger that the document is made from doesn't have the transaction."""

    @property
    def is_reversal(self) -> bool:
        """Whether it takes another entry back."""
        return self.entry.leg == "compensation" or (self.detail is not None and self.detail.reverses is not None)

    @property
    def is_credit(self) -> bool:
        """Whether the account got the money."""
        return self.entry.direction is EntryDirection.CREDIT

    @property
    def counterparty(self) -> str | None:
        """The other account, of ours or at another bank."""
        return self.entry.counterparty or (self.detail.counterparty_account if self.detail is not None else None)

    @property
    def conversion(self) -> Conversion | None:
        """Of the entry."""
        return self.detail.conversion if self.detail is not None else None


class DocumentLine(DocumentEntry):
    """An entry with the balance after it."""

    entry: StatementLine


class BrokenDocumentError(Exception):
    """What was read is not what it should add up to. It can't happen; where it does, the document must not get out."""


def proven_sums(document: StatementDocument) -> StatementDocument:
    """Hand the document on, if its sums lead from one balance to the other.

    Raises:
        BrokenDocumentError: they don't.
    """
    if document.opening_balance + document.credited - document.debited != document.closing_balance:
        message = f"the sums of {document.account_id} from {document.since} to {document.until} don't fit its balances"
        raise BrokenDocumentError(message)
    return document


async def proven(document: StatementDocument, lines: AsyncIterator[DocumentLine]) -> AsyncIterator[DocumentLine]:
    """Hand the lines on, each only if its balance follows from the one before; and end only where the closing balance is.

    Raises:
        BrokenDocumentError: a balance doesn't follow, or a line is missing.
    """
    balance, count = document.opening_balance, 0
    async for line in lines:
        balance += line.entry.signed_amount
        count += 1
        if balance != line.entry.balance_after or not line.entry.settled:
            message = f"line {count} of {document.account_id} doesn't follow from the one before"
            raise BrokenDocumentError(message)
        yield line
    if balance != document.closing_balance or count != document.lines:
        message = f"{count} lines of {document.account_id} end with {balance}, not {document.lines} with {document.closing_balance}"
        raise BrokenDocumentError(message)
