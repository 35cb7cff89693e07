"""A statement as PDF, on A4: who, when, both balances, a table of lines with the balance after each, and totals."""

from __future__ import annotations

import io
from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Final, NamedTuple

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from infra.documents.pdf_texts import lines_of, shown_account, without_unknown, wrapped

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence
    from zoneinfo import ZoneInfo

    from reportlab.lib.colors import Color

    from ledger.documents import DocumentLine, StatementDocument

PLAIN: Final = "OpenSans-Regular"
BOLD: Final = "OpenSans-SemiBold"

_WIDTH, _HEIGHT = A4
_LEFT: Final = 18 * mm
_RIGHT: Final = _WIDTH - 18 * mm
_TOP: Final = _HEIGHT - 18 * mm
_BOTTOM: Final = 20 * mm
_SIZE: Final = 8.5
_LEADING: Final = 11.5
_GAP: Final = 4.5
_BOOKED_X: Final = _LEFT
_VALUE_X: Final = _LEFT + 32 * mm
_TEXT_X: Final = _LEFT + 53 * mm
_BALANCE_RIGHT: Final = _RIGHT
_AMOUNT_RIGHT: Final = _RIGHT - 31 * mm
_TEXT_WIDTH: Final = _AMOUNT_RIGHT - 30 * mm - _TEXT_X
_HEAD_HEIGHT: Final = 85 * mm
"""Of what stands on the first page above the table."""
_LATER_HEAD_HEIGHT: Final = 16 * mm
_TOTALS_HEIGHT: Final = 26 * mm
_GREY: Final = HexColor(0x5F6B76)
_RULE: Final = HexColor(0xC9D1D8)
_BAND: Final = HexColor(0xF3F6F8)
_INK: Final = HexColor(0x16202A)


class _Row(NamedTuple):
    booked: str
    value_date: str
    text: tuple[str, ...]
    amount: str
    balance: str

    @property
    def height(self) -> float:
        return len(self.text) * _LEADING + _GAP


def statement(document: StatementDocument, lines: Sequence[DocumentLine], *, time_zone: ZoneInfo) -> bytes:
    """The whole PDF. It takes a processor's time, so callers with an event loop leave it to a thread.

    Args:
        document: its period, its balances.
        lines: all of them, proven; :data:`ledger.documents.MAX_PDF_LINES` at most.
        time_zone: the bank's, in which times are shown.
    """
    _register_fonts()
    pages = _pages([_row(line, document, time_zone) for line in lines])
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=A4, pageCompression=1, invariant=1)
    canvas.setTitle(f"Account statement {document.account_id}")
    canvas.setAuthor("casaflow")
    canvas.setSubject(f"{_day(document.since, time_zone)} to {_day(document.until, time_zone)}")
    for number, rows in enumerate(pages, start=1):
        y = _draw_head(canvas, document, time_zone) if number == 1 else _draw_later_head(canvas, document)
        y = _draw_table(canvas, rows, y)
        if number == len(pages):
            _draw_totals(canvas, document, y)
        _draw_foot(canvas, document, time_zone, number, len(pages))
        canvas.showPage()
    canvas.save()
    return out.getvalue()


@cache
def _register_fonts() -> None:
    for name in (PLAIN, BOLD):
        with as_file(files("ttf_opensans").joinpath("ttf", f"{name}.ttf")) as path:
            pdfmetrics.registerFont(TTFont(name, str(path)))


def _row(line: DocumentLine, document: StatementDocument, time_zone: ZoneInfo) -> _Row:
    entry = line.entry
    texts = [part for text in lines_of(line, document.currency) for part in wrapped(_drawn(text), PLAIN, _SIZE, _TEXT_WIDTH)]
    return _Row(
        booked=entry.posted_at.astimezone(time_zone).strftime("%Y-%m-%d %H:%M:%S"),
        value_date=entry.value_date.isoformat(),
        text=tuple(texts),
        amount=document.money(entry.signed_amount).decimal_string,
        balance=document.money(entry.balance_after).decimal_string,
    )


def _drawn(text: str) -> str:
    return without_unknown(text, PLAIN)


def _pages(rows: Sequence[_Row]) -> list[list[_Row]]:
    """The rows of each page. The totals stand below the last row, on a page of their own where there is no room."""
    pages: list[list[_Row]] = [[]]
    room = _TOP - _HEAD_HEIGHT - _BOTTOM
    for row in rows:
        if row.height > room:
            pages.append([])
            room = _TOP - _LATER_HEAD_HEIGHT - _BOTTOM
        pages[-1].append(row)
        room -= row.height
    if room < _TOTALS_HEIGHT:
        pages.append([])
    return pages


def _draw_head(canvas: Canvas, document: StatementDocument, time_zone: ZoneInfo) -> float:
    """What only the first page has, down to the table's head; returns where the table begins."""
    _text(canvas, _LEFT, _TOP - 6 * mm, "Account statement", BOLD, 20)
    if document.number is not None:
        _text_right(canvas, _RIGHT, _TOP - 6 * mm, f"No. {document.number}", BOLD, 14)
    facts = (
        ("Account", shown_account(document.account_id)),
        ("Currency", document.currency),
        ("From", _moment(document.since, time_zone)),
        ("To", f"{_moment(document.until, time_zone)} (not included)"),
        ("Lines", str(document.lines)),
        ("Created", _moment(document.created_at, time_zone)),
        ("Times in", time_zone.key),
    )
    y = _TOP - 18 * mm
    for name, value in facts:
        _text(canvas, _LEFT, y, name, PLAIN, 9, _GREY)
        _text(canvas, _LEFT + 24 * mm, y, value, PLAIN, 9)
        y -= 5 * mm
    y -= 1 * mm
    canvas.setFillColor(_BAND)
    canvas.roundRect(_LEFT, y - 15 * mm, _RIGHT - _LEFT, 16 * mm, 2 * mm, stroke=0, fill=1)
    sums = (
        ("Opening balance", document.opening_balance),
        ("Credits", document.credited),
        ("Debits", -document.debited),
        ("Closing balance", document.closing_balance),
    )
    width = (_RIGHT - _LEFT - 8 * mm) / len(sums)
    for position, (name, minor_units) in enumerate(sums):
        right = _LEFT + 4 * mm + (position + 1) * width
        _text_right(canvas, right, y - 4.5 * mm, name, PLAIN, 8, _GREY)
        _text_right(canvas, right, y - 11 * mm, document.money(minor_units).decimal_string, BOLD, 11)
    return _draw_column_heads(canvas, _TOP - _HEAD_HEIGHT + 4 * mm)


def _draw_later_head(canvas: Canvas, document: StatementDocument) -> float:
    number = "" if document.number is None else f", no. {document.number}"
    _text(canvas, _LEFT, _TOP - 3 * mm, f"Account statement{number}", BOLD, 9)
    _text_right(canvas, _RIGHT, _TOP - 3 * mm, f"{shown_account(document.account_id)}, {document.currency}", PLAIN, 9)
    return _draw_column_heads(canvas, _TOP - _LATER_HEAD_HEIGHT + 4 * mm)


def _draw_column_heads(canvas: Canvas, y: float) -> float:
    for x, name in ((_BOOKED_X, "Booked"), (_VALUE_X, "Value date"), (_TEXT_X, "Text")):
        _text(canvas, x, y, name, BOLD, _SIZE, _GREY)
    _text_right(canvas, _AMOUNT_RIGHT, y, "Amount", BOLD, _SIZE, _GREY)
    _text_right(canvas, _BALANCE_RIGHT, y, "Balance", BOLD, _SIZE, _GREY)
    _rule(canvas, y - 2 * mm)
    return y - 4 * mm


def _draw_table(canvas: Canvas, rows: Sequence[_Row], y: float) -> float:
    for row in rows:
        baseline = y - _SIZE
        _text(canvas, _BOOKED_X, baseline, row.booked, PLAIN, _SIZE)
        _text(canvas, _VALUE_X, baseline, row.value_date, PLAIN, _SIZE)
        for number, text in enumerate(row.text):
            _text(canvas, _TEXT_X, baseline - number * _LEADING, text, PLAIN, _SIZE)
        _text_right(canvas, _AMOUNT_RIGHT, baseline, row.amount, PLAIN, _SIZE)
        _text_right(canvas, _BALANCE_RIGHT, baseline, row.balance, PLAIN, _SIZE)
        y -= row.height
        _rule(canvas, y + 1)
    if not rows:
        y -= _LEADING
    return y


def _draw_totals(canvas: Canvas, document: StatementDocument, y: float) -> None:
    sums = (("Opening balance", document.opening_balance), ("Credits", document.credited), ("Debits", -document.debited))
    y -= 4 * mm
    for name, minor_units in sums:
        _text(canvas, _TEXT_X, y, name, PLAIN, _SIZE, _GREY)
        _text_right(canvas, _BALANCE_RIGHT, y, document.money(minor_units).decimal_string, PLAIN, _SIZE)
        y -= 4.5 * mm
    _text(canvas, _TEXT_X, y, f"Closing balance, {document.currency}", BOLD, _SIZE)
    _text_right(canvas, _BALANCE_RIGHT, y, document.money(document.closing_balance).decimal_string, BOLD, _SIZE)


def _draw_foot(canvas: Canvas, document: StatementDocument, time_zone: ZoneInfo, number: int, pages: int) -> None:
    y = _BOTTOM - 8 * mm
    told = f"All lines booked before {_moment(document.until, time_zone)} are here and final."
    _text(canvas, _LEFT, y, told, PLAIN, 7.5, _GREY)
    _text_right(canvas, _RIGHT, y, f"Page {number} of {pages}", PLAIN, 7.5, _GREY)


def _text(canvas: Canvas, x: float, y: float, text: str, font: str, size: float, colour: Color = _INK) -> None:
    canvas.setFont(font, size)
    canvas.setFillColor(colour)
    canvas.drawString(x, y, text)


def _text_right(canvas: Canvas, x: float, y: float, text: str, font: str, size: float, colour: Color = _INK) -> None:
    canvas.setFont(font, size)
    canvas.setFillColor(colour)
    canvas.drawRightString(x, y, text)


def _rule(canvas: Canvas, y: float) -> None:
    canvas.setStrokeColor(_RULE)
    canvas.setLineWidth(0.4)
    canvas.line(_LEFT, y, _RIGHT, y)


def _moment(at: dt.datetime, time_zone: ZoneInfo) -> str:
    return at.astimezone(time_zone).strftime("%Y-%m-%d %H:%M:%S")


def _day(at: dt.datetime, time_zone: ZoneInfo) -> str:
    return at.astimezone(time_zone).date().isoformat()
