"""Statements, as the API gives them."""

from __future__ import annotations

import datetime as dt

from pydantic import Field

from ledger.documents import DocumentFormat
from ledger.money import Money
from ledger.statements import (
    DEFAULT_PAGE_LINES,
    MAX_PAGE_LINES,
    EntryDirection,
    StatementLine,
    StatementOrder,
    StatementPage,
)
from starter.api.models.fields import Answer, DecimalText, StrictBody


class StatementQuery(StrictBody):
    """Which lines of a statement."""

    since: str | None = Field(default=None, alias="from", description="Lines booked at this instant (RFC 3339) or later.")
    until: str | None = Field(default=None, alias="to", description="Lines booked before this instant (RFC 3339).")
    limit: int = Field(default=DEFAULT_PAGE_LINES, ge=1, le=MAX_PAGE_LINES, description="Lines of a page at most.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before; it brings range and order along.")
    order: StatementOrder | None = Field(default=None, description="Oldest first unless given.")
    format: DocumentFormat | None = Field(default=None, description="Instead of an Accept header. Other formats than JSON hold all lines.")


class StatementLineView(Answer):
    """One line of a statement; amounts in major units of the account's currency."""

    booked_at: dt.datetime
    value_date: dt.date
    direction: EntryDirection
    amount: DecimalText
    currency: str
    ledger_balance_after: DecimalText
    settled: bool
    """Whether this line, its balance and everything before it are final."""
    transaction_id: str
    leg: str
    version: int | None
    """A debit's gapless number on its account; null for a credit."""
    counterparty: str | None
    """The transaction's other account."""
    reference: str | None
    remittance_information: str | None

    @classmethod
    def of(cls, line: StatementLine, currency: str) -> StatementLineView:
        """The API's form of `line`."""
        names = {"value_date", "direction", "settled", "transaction_id", "leg", "version", "counterparty", "reference"}
        return cls(
            **line.model_dump(include=names | {"remittance_information"}),
            booked_at=line.posted_at,
            amount=Money(minor_units=line.amount, currency=currency).decimal_string,
            currency=currency,
            ledger_balance_after=Money(minor_units=line.balance_after, currency=currency).decimal_string,
        )


class StatementView(Answer):
    """A page of lines without a gap between them: opening balance + credits - debits = closing balance."""

    account_id: str
    currency: str
    order: StatementOrder
    opening_balance: DecimalText
    """Ledger balance before the earliest line."""
    closing_balance: DecimalText
    """Ledger balance after the latest line."""
    settled_until: dt.datetime | None
    """Lines booked before this instant are settled. Null while that can't be told."""
    lines: list[StatementLineView]
    next_cursor: str | None
    """Of the next page; null when there are no more lines now."""

    @classmethod
    def of(cls, page: StatementPage) -> StatementView:
        """The API's form of `page`."""
        return cls(
            **page.model_dump(include={"account_id", "currency", "order", "settled_until", "next_cursor"}),
            opening_balance=Money(minor_units=page.opening_balance, currency=page.currency).decimal_string,
            closing_balance=Money(minor_units=page.closing_balance, currency=page.currency).decimal_string,
            lines=[StatementLineView.of(line, page.currency) for line in page.lines],
        )
