"""Payment files as CSV: what a line says, and each problem with its line, field, value and rule."""

from __future__ import annotations

import datetime as dt
import io
import uuid

import pytest

from infra.payment_files.csv_lines import MAX_LINE_CHARACTERS, read
from ledger.errors import InvalidInputError
from ledger.money import Money
from ledger.payment_files import LineProblem, PaymentLine

HEADER = "debtor,creditor,amount,currency"
ALL = f"{HEADER},transaction_id,reference,remittance_information,value_date,settlement,counterparty_name,metadata"


def _read(content: str | bytes) -> tuple[list[PaymentLine], list[LineProblem]]:
    problems: list[LineProblem] = []
    data = content if isinstance(content, bytes) else content.encode()
    _, lines = read(io.BytesIO(data), problem=problems.append)
    return list(lines), problems


def test_line_says_who_pays_whom_and_how_much() -> None:
    identifier = str(uuid.uuid4())
    row = f'A,B,12.50,EUR,{identifier.upper()},ref,"two, words",2026-03-02,cash,Anna,"{{""entry"":""7""}}"'
    (line,), problems = _read(f"\ufeff{ALL}\r\n{row}\r\n")
    assert problems == []
    assert (line.number, line.place, line.debtor, line.creditor) == (1, "line 2", "A", "B")
    assert (line.amount, line.transaction_id) == (Money(minor_units=1250, currency="EUR"), identifier)
    assert (line.reference, line.remittance_information, line.value_date) == ("ref", "two, words", dt.date(2026, 3, 2))
    assert (line.settlement, line.whole_metadata) == ("cash", {"entry": "7", "counterparty_name": "Anna"})


def test_one_side_may_be_empty_and_lines_are_counted_where_rows_have_line_breaks_and_gaps() -> None:
    lines, problems = _read(f'{HEADER},reference\nA,,1,EUR,\n\n,B,2,EUR,"x"\nA,B,3,EUR,"a\nb"\nA,B,4,EUR,\n')
    assert [(line.number, line.place, line.debtor, line.creditor) for line in lines] == [
        (1, "line 2", "A", None), (2, "line 4", None, "B"), (4, "line 7", "A", "B"),
    ]  # fmt: skip
    assert [(problem.place, problem.field) for problem in problems] == [("line 5", "reference")]


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        ("A,B,1.005,EUR,,,,,,,", "amount", "decimal"),
        ("A,B,0,EUR,,,,,,,", "amount", "greater than zero"),
        ("A,B,-1,EUR,,,,,,,", "amount", "greater than zero"),
        ("A,B,1,EURO,,,,,,,", "currency", "ISO 4217"),
        (",,1,EUR,,,,,,,", "debtor", "must be given"),
        ("A,A,1,EUR,,,,,,,", "creditor", "another account"),
        ("A b,B,1,EUR,,,,,,,", "debtor", "letters"),
        ("A,B,1,EUR,7,,,,,,", "transaction_id", "UUID"),
        (f"A,B,1,EUR,,{'r' * 36},,,,,", "reference", "35"),
        (f"A,B,1,EUR,,,{'r' * 141},,,,", "remittance_information", "140"),
        ("A,B,1,EUR,,,,2026-02-30,,,", "value_date", "date"),
        ("A,B,1,EUR,,,,1993-W05-7,,,", "value_date", "date"),
        ("A,B,1,EUR,,,,,gold,,", "settlement", "cash or clearing"),
        ('A,B,1,EUR,,,,,,,"[1]"', "metadata", "JSON object"),
        ('A,B,1,EUR,,,,,,,"{""a"":1}"', "metadata", "JSON object"),
        ("A,B,1,EUR", "line", "11 columns"),
    ],
)
def test_problem_names_line_field_value_and_rule_and_the_reading_goes_on(row: str, field: str, rule: str) -> None:
    lines, (problem,) = _read(f"{ALL}\n{row}\nA,B,1,EUR,,,,,,,\n")
    assert (problem.place, problem.field) == ("line 2", field)
    assert rule in problem.rule
    assert [(line.number, line.place) for line in lines] == [(2, "line 3")]


def test_bytes_that_are_no_utf_8_are_a_problem_of_their_line_only() -> None:
    lines, (problem,) = _read(f"{HEADER},reference\nA,B,1,EUR,".encode() + b"M\xfcller\nA,B,2,EUR,ok\n")
    assert (problem.place, problem.field, len(lines)) == ("line 2", "reference", 1)
    problem.value.encode()


def test_line_without_end_is_a_problem_and_is_never_in_memory_as_a_whole() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
            content = f"{HEADER}\n".encode() if self.given == 0 else b"x" * len(buffer)
            assert self.given < 100 * MAX_LINE_CHARACTERS
            buffer[: len(content)] = content
            self.given += len(content)
            return len(content)

    problems: list[LineProblem] = []
    _, lines = read(io.BufferedReader(Endless()), problem=problems.append)
    assert list(lines) == []
    assert [(problem.place, problem.field) for problem in problems] == [("line 2", "line")]


@pytest.mark.parametrize(
    ("header", "rule"),
    [("", "empty"), ("debtor,creditor,amount", "currency is missing"), (f"{HEADER},colour", "colour"), (f"{HEADER},debtor", "once")],
)
def test_file_without_the_columns_is_no_payment_file(header: str, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=rule):
        _read(f"{header}\n" if header else "")
