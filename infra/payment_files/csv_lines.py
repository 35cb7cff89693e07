"""Payment files as CSV: one payment a line, read as a stream, with every problem named."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import re
from typing import TYPE_CHECKING, BinaryIO, Final, Literal

from ledger.errors import InvalidInputError
from ledger.ids import parse_account_id, parse_transaction_id
from ledger.money import Money
from ledger.payment_files import FileHeader, LineProblem, PaymentLine
from ledger.requests import (
    MAX_METADATA_KEY_LENGTH,
    MAX_METADATA_KEYS,
    MAX_METADATA_VALUE_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_REMITTANCE_LENGTH,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MEDIA_TYPE: Final = "text/csv"
REQUIRED: Final = ("debtor", "creditor", "amount", "currency")
OPTIONAL: Final = (
    "transaction_id",
    "reference",
    "remittance_information",
    "value_date",
    "settlement",
    "counterparty_name",
    "counterparty_account",
    "counterparty_bank",
    "metadata",
)
COLUMNS: Final = (*REQUIRED, *OPTIONAL)
MAX_LINE_CHARACTERS: Final = 32 * 1024
"""Of one line; the longest valid one has some 28,000, nearly all of it metadata."""
_SHOWN: Final = 80
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_HEADER: Final = FileHeader(None, None, None, None, None, None)


def read(stream: BinaryIO, *, problem: Callable[[LineProblem], None]) -> tuple[FileHeader, Iterator[PaymentLine]]:
    """Read a file; what is wrong with a line is told to `problem`, and the reading goes on.

    Raises:
        InvalidInputError: it isn't such a file at all: its first line doesn't name the columns.
    """
    rows = _Rows(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
    try:
        header = next(rows, None)
    except (csv.Error, _LineTooLongError) as error:
        raise InvalidInputError(field="line 1", value="", rule=f"must name the columns: {error}") from error
    _check_header(header)
    return _HEADER, _payments(rows, header or [], problem)


def _check_header(header: list[str] | None) -> None:
    names = ", ".join(REQUIRED)
    if header is None:
        raise InvalidInputError(field="line 1", value="", rule=f"must name the columns, {names} among them; the file is empty")
    shown = ",".join(header)[:_SHOWN]
    missing = [name for name in REQUIRED if name not in header]
    if missing:
        raise InvalidInputError(field="line 1", value=shown, rule=f"must name the columns {names}; {', '.join(missing)} is missing")
    unknown = [name for name in header if name not in COLUMNS]
    if unknown:
        rule = f"must name no other columns than {', '.join(COLUMNS)}; {unknown[0][:_SHOWN]!r} is none"
        raise InvalidInputError(field="line 1", value=shown, rule=rule)
    if len(set(header)) < len(header):
        raise InvalidInputError(field="line 1", value=shown, rule="must name each column once")


class _LineTooLongError(ValueError):
    def __init__(self) -> None:
        super().__init__(f"a line has {MAX_LINE_CHARACTERS} characters at most")


class _Rows:
    """The rows of a CSV text, none of whose lines is longer than it may be, however long the next line break takes to come."""

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._rows = csv.reader(self._lines(), strict=True)

    def __iter__(self) -> _Rows:
        return self

    def __next__(self) -> list[str]:
        return next(self._rows)

    @property
    def next_line(self) -> int:
        """The number of the line that comes next; a row may have several, where a column has line breaks."""
        return self._rows.line_num + 1

    def _lines(self) -> Iterator[str]:
        while line := self._text.readline(MAX_LINE_CHARACTERS + 1):
            if len(line) > MAX_LINE_CHARACTERS:
                raise _LineTooLongError
            yield line


def _payments(rows: _Rows, header: list[str], problem: Callable[[LineProblem], None]) -> Iterator[PaymentLine]:
    number = 0
    while True:
        place = f"line {rows.next_line}"
        try:
            row = next(rows, None)
        except _LineTooLongError as error:
            problem(LineProblem(place, "line", "", f"must be CSV: {error}; what follows was not read"))
            return
        except csv.Error as error:
            number += 1
            problem(LineProblem(place, "line", "", f"must be CSV: {error}"))
            continue
        if row is None:
            return
        if not row:
            continue
        number += 1
        try:
            yield _payment(number, place, header, row)
        except InvalidInputError as error:
            problem(LineProblem(place, error.field, _shown(error.value), error.rule))


def _shown(value: object) -> str:
    """What was given, short, and without the halves of characters that no UTF-8 has."""
    return str(value)[:_SHOWN].encode("utf-8", "replace").decode().replace("\x00", "?")


def _payment(number: int, place: str, header: list[str], row: list[str]) -> PaymentLine:
    if len(row) != len(header):
        raise InvalidInputError(field="line", value=",".join(row), rule=f"must have {len(header)} columns, and has {len(row)}")
    values = dict(zip(header, row, strict=True))
    debtor = parse_account_id(values["debtor"], field="debtor") if values["debtor"] else None
    creditor = parse_account_id(values["creditor"], field="creditor") if values["creditor"] else None
    if debtor is None and creditor is None:
        raise InvalidInputError(field="debtor", value="", rule="must be given, or creditor, or both")
    if debtor == creditor:
        raise InvalidInputError(field="creditor", value=creditor, rule="must be another account than debtor")
    given = {name: values.get(name) or None for name in OPTIONAL}
    identifier, value_date = given["transaction_id"], given["value_date"]
    counterparty = {name: _text(value, f"counterparty_{name}", MAX_METADATA_VALUE_LENGTH)
                    for name in ("name", "account", "bank") if (value := given[f"counterparty_{name}"])}  # fmt: skip
    return PaymentLine(
        number=number,
        place=place,
        debtor=debtor,
        creditor=creditor,
        amount=Money.parse(values["amount"], values["currency"]),
        transaction_id=parse_transaction_id(identifier) if identifier is not None else None,
        end_to_end_id=None,
        reference=_optional(given["reference"], "reference", MAX_REFERENCE_LENGTH),
        remittance_information=_optional(given["remittance_information"], "remittance_information", MAX_REMITTANCE_LENGTH),
        value_date=_date(value_date) if value_date is not None else None,
        counterparty=counterparty,
        instruction={},
        settlement=_settlement(given["settlement"]),
        metadata=_metadata(given["metadata"]),
    )


def _optional(value: str | None, field: str, most: int) -> str | None:
    return None if value is None else _text(value, field, most)


def _text(value: str, field: str, most: int) -> str:
    if len(value) > most or not value.isprintable():
        raise InvalidInputError(field=field, value=value, rule=f"must be up to {most} printable characters in UTF-8")
    return value


def _date(value: str) -> dt.date:
    # fromisoformat takes other forms too, such as 1993-W05-7
    try:
        if _DATE.fullmatch(value):
            return dt.date.fromisoformat(value)
    except ValueError:
        pass
    raise InvalidInputError(field="value_date", value=value, rule="must be a date such as 1993-01-31")


def _settlement(value: str | None) -> Literal["cash", "clearing"]:
    if value in {None, "clearing"}:
        return "clearing"
    if value == "cash":
        return "cash"
    raise InvalidInputError(field="settlement", value=value, rule="must be cash or clearing")


def _metadata(value: str | None) -> dict[str, str]:
    if value is None:
        return {}
    rule = "must be a JSON object of texts"
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        raise InvalidInputError(field="metadata", value=value, rule=rule) from None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise InvalidInputError(field="metadata", value=value, rule=rule)
    if len(found) > MAX_METADATA_KEYS:
        raise InvalidInputError(field="metadata", value=value, rule=f"must have {MAX_METADATA_KEYS} names at most")
    return {_text(name, "metadata", MAX_METADATA_KEY_LENGTH): _text(each, "metadata", MAX_METADATA_VALUE_LENGTH)
            for name, each in found.items()}  # fmt: skip
