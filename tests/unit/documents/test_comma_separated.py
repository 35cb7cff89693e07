"""A statement as CSV is read back by the standard library's reader, and starts no formula."""

from __future__ import annotations

import csv
import io
from decimal import Decimal

import pytest

from infra.documents import comma_separated
from ledger.documents import DocumentLine, StatementDocument
from tests.unit.documents.periods import arriving, conversion, detail, period, whole


async def _rows(document: StatementDocument, lines: list[DocumentLine]) -> list[dict[str, str]]:
    written = await whole(comma_separated.statement(document, arriving(lines)))
    reader = csv.DictReader(io.StringIO(written.decode(), newline=""), strict=True)
    rows = list(reader)
    assert tuple(reader.fieldnames or ()) == comma_separated.COLUMNS
    assert all(None not in row and None not in row.values() for row in rows)
    return rows


@pytest.mark.parametrize(("currency", "shown"), [("EUR", "12.34"), ("JPY", "1234"), ("BHD", "1.234")])
async def test_opening_balance_and_lines_lead_to_the_closing_balance(currency: str, shown: str) -> None:
    rows = await _rows(*period([1234, -250, 1], currency=currency, opening_balance=-500))
    opening, *lines, closing = rows
    assert [row["kind"] for row in rows] == ["opening", "line", "line", "line", "closing"]
    assert lines[0]["amount"] == shown
    balance = Decimal(opening["balance_after"])
    for row in lines:
        balance += Decimal(row["amount"])
        assert Decimal(row["balance_after"]) == balance
    assert Decimal(closing["balance_after"]) == balance
    assert (opening["booked_at"], closing["booked_at"]) == ("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00")


async def test_a_period_may_be_empty() -> None:
    rows = await _rows(*period([], opening_balance=700))
    assert [(row["kind"], row["balance_after"]) for row in rows] == [("opening", "7.00"), ("closing", "7.00")]


async def test_ten_thousand_lines_are_written_as_they_come() -> None:
    document, lines = period([3, -1] * 5_000, texts=("invoice 7",))
    pieces = [piece async for piece in comma_separated.statement(document, arriving(lines))]
    assert len(pieces) > 40
    assert len(await _rows(document, lines)) == 10_002


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"])
async def test_no_text_starts_a_formula(text: str) -> None:
    _, line, _ = await _rows(*period([1], texts=(text,), details=(detail(counterparty_name=text),)))
    assert [line[name] for name in ("reference", "remittance_information", "counterparty_name")] == [f"'{text}"] * 3


async def test_texts_come_back_as_they_were_written() -> None:
    text = 'one, "two"; three\nfour = é 𝄞'
    _, line, _ = await _rows(*period([1], texts=(text,)))
    assert line["remittance_information"] == text


async def test_a_conversion_and_a_reversal_are_told() -> None:
    converted = conversion("USD", "CZK")
    taken_back = "1b4e28ba-2fa1-41d2-883f-0016d3cca427"
    details = (detail(conversion=converted, reverses=taken_back),)
    _, line, _ = await _rows(*period([converted.target.minor_units], currency="CZK", details=details))
    assert (line["converted_amount"], line["converted_currency"], line["rate"]) == ("100.00", "USD", "23.3505582726")
    assert line["reverses"] == taken_back
