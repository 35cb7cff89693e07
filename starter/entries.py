"""Files of account entries: read line by line, each line checked, with the number of the line in every complaint."""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import re
import zlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final

from ledger.errors import CasaflowError, InvalidInputError
from ledger.ids import entry_transaction_id, parse_account_id
from ledger.money import Money

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import ClassVar

COLUMNS: Final = (
    "entry_id",
    "account_id",
    "booked_on",
    "direction",
    "operation",
    "purpose",
    "amount",
    "currency",
    "counterparty_bank",
    "counterparty_account",
    "running_total",
    "recorded_balance",
)
_LONGEST_ENTRY_ID: Final = 64
_GZIP_MAGIC: Final = b"\x1f\x8b"
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
_ZERO: Final = re.compile(r"0+(?:\.0+)?", re.ASCII)


class FileError(CasaflowError):
    """A file of entries can't be read, or a line of it breaks a rule; the message names file and line."""

    code: ClassVar[str] = "invalid-file"


@dataclass(frozen=True)
class Entry:
    """One line."""

    line: int
    """Number in the file; the header is line 1."""
    entry_id: str
    account_id: str
    booked_on: dt.date
    is_credit: bool
    operation: str
    purpose: str
    amount: Money
    counterparty_bank: str
    counterparty_account: str
    running_total: Money
    """The account's balance after this entry, as the file says."""

    @property
    def signed_minor_units(self) -> int:
        """A credit is positive, a debit negative."""
        return self.amount.minor_units if self.is_credit else -self.amount.minor_units

    def transaction(self, tenant: str) -> dict[str, Any]:
        """The body of the transaction that this entry is; the same line always has the same id."""
        metadata = {
            "entry_id": self.entry_id,
            "operation": self.operation,
            "purpose": self.purpose,
            "counterparty_bank": self.counterparty_bank,
            "counterparty_account": self.counterparty_account,
        }
        return {
            "transaction_id": entry_transaction_id(tenant, self.account_id, self.entry_id),
            "creditor" if self.is_credit else "debtor": self.account_id,
            "amount": self.amount.decimal_string,
            "currency": self.amount.currency,
            "settlement": "clearing" if self.counterparty_bank else "cash",
            "value_date": self.booked_on.isoformat(),
            "metadata": {name: value for name, value in metadata.items() if value},
        }


@contextmanager
def _opened(path: Path) -> Iterator[IO[str]]:
    try:
        with path.open("rb") as probe:
            compressed = probe.read(2) == _GZIP_MAGIC
        if path.suffix == ".gz" and not compressed:
            message = f"{path}: the name ends in .gz, but the file is not gzip-compressed"
            raise FileError(message)
        # newline="" leaves line ends to csv, which knows them inside quotes.
    except OSError as error:
        message = f"{path}: {error.strerror or error}"
        raise FileError(message) from error
    # utf-8-sig: spreadsheets put a byte order mark in front, which is no part of the first column's name.
    with gzip.open(path, "rt", encoding="utf-8-sig", newline="") if compressed else path.open(encoding="utf-8-sig", newline="") as file:
        yield file


def read_entries(path: Path) -> Iterator[Entry]:
    """The entries of a file, one after the other, in the order of its lines; the file is never in memory as a whole.

    Raises:
        FileError: before the first entry when the file can't be opened, is empty, or lacks a column; at the line in question when a line
            breaks a rule, or is not UTF-8. All entries before it have been given by then.
    """
    for found in _lines(path):
        if isinstance(found, FileError):
            raise found
        yield found


def _lines(path: Path) -> Iterator[Entry | FileError]:
    """Every line as an entry, or as what is wrong with it.

    Raises:
        FileError: what follows can't be read at all.
    """
    with _opened(path) as file:
        lines = csv.reader(file, strict=True)
        try:
            header = next(lines, None)
            if header is None:
                message = f"{path}: the file is empty; its first line must name the columns {', '.join(COLUMNS)}"
                raise FileError(message)
            _check_header(path, header)
            currencies: dict[str, str] = {}
            empty = True
            begins_at = lines.line_num + 1  # a row may have several lines, where a column has line breaks
            for row in lines:
                if row:
                    yield _entry(path, begins_at, header, row, currencies)
                    empty = False
                begins_at = lines.line_num + 1
            if empty:
                message = f"{path}: the file has no entries, only a header"
                raise FileError(message)
        except UnicodeDecodeError as error:
            # Text is decoded in blocks, so the line in question is one after the last that was read.
            wrong = error.object[error.start : error.start + 1]
            message = f"{path}: after line {lines.line_num}: the file must be UTF-8, and byte {wrong!r} isn't"
            raise FileError(message) from error
        except csv.Error as error:
            message = f"{path}: line {lines.line_num}: {error}"
            raise FileError(message) from error
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            message = f"{path}: after line {lines.line_num}: the compressed data is damaged: {error}"
            raise FileError(message) from error


def _check_header(path: Path, header: list[str]) -> None:
    missing = [column for column in COLUMNS if column not in header]
    if missing:
        message = f"{path}: line 1: missing column {', '.join(missing)}; the columns are {', '.join(COLUMNS)}"
        raise FileError(message)
    twice = [column for column in COLUMNS if header.count(column) > 1]
    if twice:
        message = f"{path}: line 1: column {', '.join(twice)} is there more than once"
        raise FileError(message)


def _entry(path: Path, line: int, header: list[str], row: list[str], currencies: dict[str, str]) -> Entry | FileError:
    """One line; `currencies` are those of the accounts so far."""
    try:
        values = _columns(header, row)
        entry = Entry(
            line=line,
            entry_id=_entry_id(values["entry_id"]),
            account_id=parse_account_id(values["account_id"], field="account_id"),
            booked_on=_date(values["booked_on"]),
            is_credit=_is_credit(values["direction"]),
            operation=values["operation"],
            purpose=values["purpose"],
            amount=Money.parse(values["amount"], values["currency"]),
            counterparty_bank=values["counterparty_bank"],
            counterparty_account=values["counterparty_account"],
            running_total=_total(values["running_total"], values["currency"]),
        )
        currency = currencies.setdefault(entry.account_id, entry.amount.currency)
        if entry.amount.currency != currency:
            rule = f"must be {currency}, as in the account's lines above"
            raise InvalidInputError(field="currency", value=entry.amount.currency, rule=rule)  # noqa: TRY301  reported like the others
    except InvalidInputError as error:
        return FileError(f"{path}: line {line}: {error}")
    return entry


def _columns(header: list[str], row: list[str]) -> dict[str, str]:
    if len(row) != len(header):
        raise InvalidInputError(field="line", value=",".join(row), rule=f"must have {len(header)} columns, and has {len(row)}")
    return dict(zip(header, row, strict=True))


def _entry_id(value: str) -> str:
    if not value or len(value) > _LONGEST_ENTRY_ID or not value.isprintable():
        raise InvalidInputError(field="entry_id", value=value, rule=f"must be 1 to {_LONGEST_ENTRY_ID} printable characters")
    return value


def _date(value: str) -> dt.date:
    rule = "must be a date such as 1993-01-31"
    if not _DATE.fullmatch(value):  # fromisoformat takes other forms too, such as 1993-W05-7
        raise InvalidInputError(field="booked_on", value=value, rule=rule)
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise InvalidInputError(field="booked_on", value=value, rule=rule) from None


def _is_credit(value: str) -> bool:
    if value not in {"credit", "debit"}:
        raise InvalidInputError(field="direction", value=value, rule="must be credit or debit")
    return value == "credit"


def _total(value: str, currency: str) -> Money:
    """A balance: zero and negative ones are fine here."""
    digits = value.removeprefix("-")
    if digits.startswith("-"):
        raise InvalidInputError(field="running_total", value=value, rule="must have one sign at most")
    if _ZERO.fullmatch(digits):
        return Money(minor_units=0, currency=currency)
    positive = Money.parse(digits, currency, field="running_total")
    return Money(minor_units=-positive.minor_units, currency=currency) if value.startswith("-") else positive


@dataclass
class AccountHistory:
    """What a file says of one account."""

    account_id: str
    currency: str
    entries: int = 0
    total: int = 0
    """Sum of the file's entries so far, in minor units."""
    lowest: int = 0
    """The lowest that the sum or the file's own running total gets; zero when it never is negative."""
    running_total: int = 0
    """The file's last running total."""

    def add(self, entry: Entry) -> None:
        """Count one more entry."""
        self.entries += 1
        self.total += entry.signed_minor_units
        self.running_total = entry.running_total.minor_units
        self.lowest = min(self.lowest, self.total, self.running_total)

    def foresee(self, entry: Entry) -> None:
        """Note how low the account will get by an entry that isn't posted yet, since a line before it has to be mended first.

        The overdraft limit is set when the account is opened, and must be enough for the mended file. The file's own running total
        includes the line that can't be read.
        """
        self.lowest = min(self.lowest, entry.running_total.minor_units)

    @property
    def overdraft_needed(self) -> Money:
        """The overdraft limit without which the account's history would have been refused."""
        return Money(minor_units=-self.lowest, currency=self.currency)


@dataclass
class FileSummary:
    """A first look at a whole file."""

    entries: int
    accounts: dict[str, AccountHistory]
    broken: FileError | None
    """The first line that can't be used; what stands before it can."""


def summarise(path: Path) -> FileSummary:
    """Read a file once, for its accounts and their overdrafts. Memory grows with the accounts, not with the lines.

    Raises:
        FileError: nothing of the file can be used.
    """
    accounts: dict[str, AccountHistory] = {}
    entries = 0
    broken: FileError | None = None
    try:
        for found in _lines(path):
            if isinstance(found, FileError):
                broken = broken or found
            elif broken is None:
                accounts.setdefault(found.account_id, AccountHistory(found.account_id, found.amount.currency)).add(found)
                entries += 1
            elif found.account_id in accounts:
                accounts[found.account_id].foresee(found)
    except FileError as error:
        broken = broken or error
    if broken is not None and not entries:
        raise broken
    return FileSummary(entries=entries, accounts=accounts, broken=broken)
