"""What a statement in PDF shows, read back from it, is what the ledger says."""

from __future__ import annotations

import io
import re
from zoneinfo import ZoneInfo

import pytest
from pypdf import PdfReader

from infra.documents import pdf
from ledger.documents import DocumentLine, StatementDocument
from tests.unit.documents.periods import IBAN, conversion, detail, period

PRAGUE = ZoneInfo("Europe/Prague")
CZECH = "Příliš žluťoučký kůň úpěl ďábelské ódy"


def _pages(document: StatementDocument, lines: list[DocumentLine]) -> list[str]:
    reader = PdfReader(io.BytesIO(pdf.statement(document, lines, time_zone=PRAGUE)))
    return [page.extract_text() for page in reader.pages]


def _heights(document: StatementDocument, lines: list[DocumentLine]) -> list[float]:
    """How high above its page's lower edge each text stands, in points."""
    heights: list[float] = []

    def found(text: str, _cm: object, matrix: list[float], _font: object, _size: object) -> None:
        if text.strip():
            heights.append(matrix[5])

    for page in PdfReader(io.BytesIO(pdf.statement(document, lines, time_zone=PRAGUE))).pages:
        page.extract_text(visitor_text=found)
    return heights


@pytest.mark.parametrize(("currency", "decimals"), [("EUR", 2), ("JPY", 0), ("BHD", 3)])
def test_amounts_and_balances_are_the_ledgers(currency: str, decimals: int) -> None:
    amounts = [123_456, -7_890, 1, -100_000]
    document, lines = period(amounts, currency=currency, opening_balance=50_000)
    (text,) = _pages(document, lines)
    amount = rf"-?\d+(?:\.\d{{{decimals}}})?" if decimals else r"-?\d+"
    found = re.findall(rf"^({amount})\n({amount})$", text.partition("Balance\n")[2], re.MULTILINE)
    shown = [(document.money(line.entry.signed_amount), document.money(line.entry.balance_after)) for line in lines]
    assert found[: len(lines)] == [(one.decimal_string, balance.decimal_string) for one, balance in shown]
    for minor_units in (document.opening_balance, document.credited, -document.debited, document.closing_balance):
        assert text.split("\n").count(document.money(minor_units).decimal_string) >= 2


def test_the_first_page_says_whose_statement_it_is_and_of_when() -> None:
    document, lines = period([5], account_id=IBAN, number=12)
    (text,) = _pages(document, lines)
    for told in ("Account statement", "No. 12", "CZ65 0800 0000 1920 0014 5399", "2026-01-01 01:00:00", "Europe/Prague", "Page 1 of 1"):
        assert told in text


def test_a_period_may_be_empty() -> None:
    (text,) = _pages(*period([], opening_balance=700))
    assert text.split("\n").count("7.00") == 4


def test_texts_are_shown_in_czech_and_greek_and_what_the_font_lacks_as_a_question_mark() -> None:
    (text,) = _pages(*period([5], texts=(f"{CZECH} Ωμέγα 漢 <b>&amp;",)))
    assert "漢" not in text
    shown = " ".join(text.split())
    assert f"{CZECH} Ωμέγα ? <b>&amp;" in shown


def test_a_long_text_is_broken_and_covers_no_amount() -> None:
    (text,) = _pages(*period([5], texts=("W" * 140,)))
    parts = re.findall(r"^W+$", text, re.MULTILINE)
    assert "".join(parts) == "W" * 280
    assert max(map(len, parts)) <= 22  # as many as the column's 60 millimetres have room for


def test_a_conversion_a_fee_and_a_reversal_are_told() -> None:
    converted = conversion("USD", "CZK")
    (text,) = _pages(*period([converted.target.minor_units], currency="CZK", details=(detail(conversion=converted),)))
    assert "100.00 USD, 1 USD = 23.3505582726 CZK" in " ".join(text.split())
    assert "Fee" in _pages(*period([-5], leg="fee"))[0]
    (text,) = _pages(*period([-5], details=(detail(reverses="1b4e28ba-2fa1-41d2-883f-0016d3cca427"),)))
    assert "takes back 1b4e28ba-2fa1-41d2-883f-0016d3cca427" in " ".join(text.split())


@pytest.mark.parametrize("count", range(12, 30))
def test_whatever_the_number_of_lines_all_of_them_and_the_totals_find_room(count: int) -> None:
    document, lines = period([100] * count, texts=("one", "two"))
    pages = _pages(document, lines)
    assert sum(page.count("From 3818") for page in pages) == count
    assert [f"Page {number} of {len(pages)}" in page for number, page in enumerate(pages, start=1)] == [True] * len(pages)
    assert "Closing balance, EUR" in pages[-1]
    assert min(_heights(document, lines)) > 30  # the foot of the page stands at 34 points


@pytest.mark.slow
def test_ten_thousand_lines_are_all_there() -> None:
    document, lines = period([3, -1] * 5_000)
    pages = _pages(document, lines)
    assert sum(page.count("From 3818") + page.count("To 3818") for page in pages) == 10_000
    assert document.money(document.closing_balance).decimal_string in pages[-1]
