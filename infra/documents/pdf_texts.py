"""What stands in a PDF's column of texts, and how it is broken into lines."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any, Final

from reportlab.pdfbase import pdfmetrics

from ledger.ibans import is_iban

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ledger.documents import DocumentLine

_GROUP: Final = 4


def lines_of(line: DocumentLine, currency: str) -> Iterator[str]:
    """What happened, then what the parties wrote about it."""
    entry, detail, conversion = line.entry, line.detail, line.conversion
    yield _happened(line)
    if detail is not None and detail.counterparty_name:
        yield detail.counterparty_name
    for text in (entry.reference, entry.remittance_information):
        if text:
            yield text
    if conversion is not None:
        other = conversion.source if conversion.target.currency == currency else conversion.target
        yield f"{other}, 1 {conversion.rate.base} = {conversion.rate.rate:f} {conversion.rate.quote}"
    if detail is not None and detail.reverses:
        yield f"takes back {detail.reverses}"


def _happened(line: DocumentLine) -> str:
    entry, detail = line.entry, line.detail
    if entry.leg == "fee":
        return "Fee"
    if line.is_reversal:
        return "Reversal"
    if line.counterparty:
        return f"{'From' if line.is_credit else 'To'} {shown_account(line.counterparty)}"
    if detail is None:
        return "Credit" if line.is_credit else "Debit"
    if detail.settlement == "cash":
        return "Cash deposit" if line.is_credit else "Cash withdrawal"
    return "Incoming payment" if line.is_credit else "Outgoing payment"


def shown_account(account_id: str) -> str:
    """An IBAN in groups of four, as ISO 13616 prints it; any other id as it is."""
    if not is_iban(account_id):
        return account_id
    return " ".join(account_id[start : start + _GROUP] for start in range(0, len(account_id), _GROUP))


def without_unknown(text: str, font: str) -> str:
    """The text, composed, with a question mark for each character that the font has no glyph for."""
    known: Any = pdfmetrics.getFont(font)  # a TTFont, which its types don't tell
    glyphs = known.face.charToGlyph
    return "".join(character if ord(character) in glyphs else "?" for character in unicodedata.normalize("NFC", text))


def wrapped(text: str, font: str, size: float, width: float) -> Iterator[str]:
    """The text in lines of `width` points at most, broken between words, or within a word that is longer than a line."""
    line = ""
    for word in text.split():
        joined = f"{line} {word}" if line else word
        if pdfmetrics.stringWidth(joined, font, size) <= width:
            line = joined
            continue
        if line:
            yield line
        line = word
        while pdfmetrics.stringWidth(line, font, size) > width:
            fitting = _fitting(line, font, size, width)
            yield line[:fitting]
            line = line[fitting:]
    yield line


def _fitting(word: str, font: str, size: float, width: float) -> int:
    """How many characters of a word fit into a line; one at least."""
    for count in range(len(word) - 1, 1, -1):
        if pdfmetrics.stringWidth(word[:count], font, size) <= width:
            return count
    return 1
