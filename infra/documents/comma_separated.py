"""A statement as CSV (RFC 4180, UTF-8): the opening balance, a row for each line, the closing balance."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator

    from ledger.documents import DocumentLine, StatementDocument

COLUMNS: Final = (
    "kind",
    "booked_at",
    "value_date",
    "amount",
    "currency",
    "balance_after",
    "transaction_id",
    "leg",
    "counterparty",
    "counterparty_name",
    "reference",
    "remittance_information",
    "converted_amount",
    "converted_currency",
    "rate",
    "reverses",
)
"""Debits have a negative amount. `kind` is ``opening``, ``line`` or ``closing``; the first and the last row have a balance only."""

_BEGINS_A_FORMULA: Final = tuple("=+-@\t\r")
_ROWS_AT_ONCE: Final = 200


async def statement(document: StatementDocument, lines: AsyncIterator[DocumentLine]) -> AsyncIterator[bytes]:
    """A statement of a period, piece by piece.

    Args:
        document: its period, its balances.
        lines: all of them, proven.
    """
    out = io.StringIO()
    rows = csv.DictWriter(out, COLUMNS, restval="")
    rows.writeheader()
    rows.writerow(_balance("opening", document, document.opening_balance, document.since))
    count = 0
    async for line in lines:
        rows.writerow(_row(line, document))
        count += 1
        if count % _ROWS_AT_ONCE == 0:
            yield _taken(out)
    rows.writerow(_balance("closing", document, document.closing_balance, document.until))
    yield _taken(out)


def _balance(kind: str, document: StatementDocument, balance: int, at: dt.datetime) -> dict[str, str]:
    balance_after = document.money(balance).decimal_string
    return {"kind": kind, "booked_at": at.isoformat(), "currency": document.currency, "balance_after": balance_after}


def _row(line: DocumentLine, document: StatementDocument) -> dict[str, str]:
    entry, detail, conversion = line.entry, line.detail, line.conversion
    row = {
        "kind": "line",
        "booked_at": entry.posted_at.isoformat(),
        "value_date": entry.value_date.isoformat(),
        "amount": document.money(entry.signed_amount).decimal_string,
        "currency": document.currency,
        "balance_after": document.money(entry.balance_after).decimal_string,
        "transaction_id": entry.transaction_id,
        "leg": entry.leg,
        "counterparty": _inert(line.counterparty),
        "reference": _inert(entry.reference),
        "remittance_information": _inert(entry.remittance_information),
    }
    if detail is not None:
        row |= {"counterparty_name": _inert(detail.counterparty_name), "reverses": detail.reverses or ""}
    if conversion is not None:
        other = conversion.source if conversion.target.currency == document.currency else conversion.target
        row |= {"converted_amount": other.decimal_string, "converted_currency": other.currency, "rate": f"{conversion.rate.rate:f}"}
    return row


def _inert(text: str | None) -> str:
    """What customers wrote, so that no spreadsheet takes it for a formula: with an apostrophe before it, where it begins like one."""
    return f"'{text}" if text and text.startswith(_BEGINS_A_FORMULA) else text or ""


def _taken(out: io.StringIO) -> bytes:
    written = out.getvalue()
    out.seek(0)
    out.truncate()
    return written.encode()
