from __future__ import annotations

import datetime as dt
import gzip
from pathlib import Path

import pytest

from ledger.ids import entry_transaction_id
from starter.entries import COLUMNS, FileError, read_entries, summarise
from tests.unit.starter.entry_files import entry, text_of, write

GOOD = [entry(1, "A1", "100.00", "100.00"), entry(2, "A1", "-30.50", "69.50", counterparty_bank="QR", counterparty_account="7")]


def test_line_is_read_with_its_number(tmp_path: Path) -> None:
    first, second = read_entries(write(tmp_path / "entries.csv", GOOD))
    assert (first.line, first.entry_id, first.account_id, first.booked_on) == (2, "1", "A1", dt.date(1993, 1, 31))
    assert (first.signed_minor_units, second.signed_minor_units) == (10_000, -3_050)
    assert second.running_total.decimal_string == "69.50"


def test_entry_becomes_the_same_transaction_every_time(tmp_path: Path) -> None:
    _, second = read_entries(write(tmp_path / "entries.csv", GOOD))
    assert second.transaction("main") == {
        "transaction_id": entry_transaction_id("main", "A1", "2"),
        "debtor": "A1",
        "amount": "30.50",
        "currency": "CZK",
        "settlement": "clearing",
        "value_date": "1993-01-31",
        "metadata": {"entry_id": "2", "operation": "credit in cash", "counterparty_bank": "QR", "counterparty_account": "7"},
    }
    assert second.transaction("other")["transaction_id"] != second.transaction("main")["transaction_id"]


@pytest.mark.parametrize("name", ["entries.csv.gz", "entries.csv"])
def test_compressed_file_is_read_whatever_its_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(text_of(GOOD).encode()))
    assert [found.entry_id for found in read_entries(path)] == ["1", "2"]


def test_byte_order_mark_windows_line_ends_blank_lines_and_more_columns_are_fine(tmp_path: Path) -> None:
    path = tmp_path / "entries.csv"
    columns = [*COLUMNS, "note"]
    text = text_of([{**line, "note": "two\nlines"} for line in GOOD], columns).replace("\n", "\r\n") + "\r\n\r\n"
    path.write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert [(found.entry_id, found.line) for found in read_entries(path)] == [("1", 2), ("2", 4)]


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "the file is empty"),
        (text_of([]).encode(), "only a header"),
        (text_of([]).encode() + b"\n\n", "only a header"),
        (text_of(GOOD, [column for column in COLUMNS if column != "amount"]).encode(), "line 1: missing column amount"),
        (b"\n" + text_of(GOOD).encode(), "missing column"),
        (text_of(GOOD).encode().replace(b"recorded_balance", b"amount", 1), "missing column recorded_balance"),
        (text_of(GOOD).replace("recorded_balance", "recorded_balance,amount").encode(), "column amount is there more than once"),
        (text_of(GOOD).replace(",", ";").encode(), "missing column"),
        (text_of(GOOD).encode("utf-16"), "must be UTF-8"),
        (gzip.compress(text_of(GOOD).encode(), mtime=0)[:15], "the compressed data is damaged"),
        (b"\x1f\x8b" + b"x" * 50, "the compressed data is damaged"),
    ],
)
def test_file_that_cannot_be_used_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "entries.csv"
    path.write_bytes(content)
    with pytest.raises(FileError, match=complaint) as refused:
        list(read_entries(path))
    assert str(path) in str(refused.value)
    with pytest.raises(FileError, match=complaint):
        summarise(path)


def test_file_that_is_not_there_or_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="No such file"):
        list(read_entries(tmp_path / "none.csv"))
    with pytest.raises(FileError, match="directory"):
        list(read_entries(tmp_path))


def test_name_that_promises_compression_must_keep_it(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"the name ends in \.gz, but the file is not gzip-compressed"):
        list(read_entries(write(tmp_path / "entries.csv.gz", GOOD)))


def test_damage_at_the_end_of_a_compressed_file_comes_after_the_entries_before_it(tmp_path: Path) -> None:
    lines = [entry(number, f"A{number % 50}", "1.00", "1.00", purpose=f"{number * 7919:x}") for number in range(5_000)]
    path = tmp_path / "entries.csv.gz"
    path.write_bytes(gzip.compress(text_of(lines).encode())[:-2_000])
    with pytest.raises(FileError, match=r"after line \d+: the compressed data is damaged"):
        list(read_entries(path))
    reading = read_entries(path)
    given = [next(reading).entry_id for _ in range(1_000)]
    assert given == [line["entry_id"] for line in lines[:1_000]]
    assert summarise(path).entries > 1_000


def test_byte_that_is_not_utf_8_is_found(tmp_path: Path) -> None:
    path = tmp_path / "entries.csv"
    path.write_bytes(text_of([*GOOD, entry(3, "A1", "1.00", "70.50", purpose="p\u0159evod")]).encode("iso-8859-2"))
    with pytest.raises(FileError, match=r"must be UTF-8, and byte b'\\xf8' isn't"):
        list(read_entries(path))


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"amount": "0.00"}, "amount must be greater than zero; it is '0.00'"),
        ({"amount": "-1.00"}, "amount must be greater than zero; it is '-1.00'"),
        ({"amount": "1.001"}, "amount must have at most 2 decimals in CZK; it is '1.001'"),
        ({"amount": "1,50"}, "amount must be a decimal string"),
        ({"amount": ""}, "amount must be a decimal string"),
        ({"amount": "NaN"}, "amount must be a decimal string"),
        ({"currency": "XXX"}, "currency must be an ISO 4217"),
        ({"currency": ""}, "currency must be an ISO 4217"),
        ({"currency": "EUR"}, "currency must be CZK, as in the account's lines above; it is 'EUR'"),
        ({"direction": "Credit"}, "direction must be credit or debit; it is 'Credit'"),
        ({"booked_on": "1993-02-29"}, "booked_on must be a date such as 1993-01-31; it is '1993-02-29'"),
        ({"booked_on": "19930131"}, "booked_on must be a date"),
        ({"booked_on": "1993-W05-7"}, "booked_on must be a date"),
        ({"booked_on": ""}, "booked_on must be a date"),
        ({"account_id": ""}, "account_id must be 1 to 34"),
        ({"account_id": "a/b"}, "account_id must be 1 to 34"),
        ({"entry_id": ""}, "entry_id must be 1 to 64 printable characters"),
        ({"entry_id": "x" * 65}, "entry_id must be 1 to 64 printable characters"),
        ({"entry_id": "a\nb"}, "entry_id must be 1 to 64 printable characters"),
        ({"running_total": "x"}, "running_total must be a decimal string"),
        ({"running_total": "--1.00"}, "running_total must have one sign at most"),
        ({"running_total": "."}, "running_total must be a decimal string"),
        ({"running_total": ""}, "running_total must be a decimal string"),
    ],
)
def test_broken_line_is_named_and_the_lines_before_it_are_given(tmp_path: Path, change: dict[str, str], complaint: str) -> None:
    path = write(tmp_path / "entries.csv", [*GOOD, entry(3, "A1", "1.00", "70.50") | change, entry(4, "A1", "1.00", "71.50")])
    reading = read_entries(path)
    assert [next(reading).entry_id, next(reading).entry_id] == ["1", "2"]
    with pytest.raises(FileError, match=r"line 4: ") as refused:
        next(reading)
    assert complaint in str(refused.value)
    summary = summarise(path)
    assert (summary.entries, str(summary.broken)) == (2, str(refused.value))


@pytest.mark.parametrize("row", ["3,A1", '3,A1,"open', "3" + ",x" * 30])
def test_line_with_other_columns_than_the_header_is_named(tmp_path: Path, row: str) -> None:
    path = tmp_path / "entries.csv"
    path.write_text(text_of(GOOD) + row + "\n")
    with pytest.raises(FileError, match="line 4: "):
        list(read_entries(path))


def test_running_total_may_be_zero_and_negative(tmp_path: Path) -> None:
    lines = [entry(1, "A1", "-5.00", "-5.00"), entry(2, "A1", "5.00", "0.00"), entry(3, "A1", "5.00", "-0")]
    assert [found.running_total.minor_units for found in read_entries(write(tmp_path / "e.csv", lines))] == [-500, 0, 0]


def test_summary_tells_the_overdraft_that_an_account_needs(tmp_path: Path) -> None:
    lines = [
        entry(1, "A1", "10.00", "10.00"),
        entry(2, "A2", "3.00", "3.00"),
        entry(3, "A1", "-30.00", "-20.00"),
        entry(4, "A1", "40.00", "20.00"),
    ]
    summary = summarise(write(tmp_path / "e.csv", lines))
    assert (summary.entries, summary.broken) == (4, None)
    assert {
        name: (found.entries, found.overdraft_needed.decimal_string, found.running_total) for name, found in summary.accounts.items()
    } == {
        "A1": (3, "20.00", 2000),
        "A2": (1, "0.00", 300),
    }


def test_overdraft_is_enough_for_the_mended_file(tmp_path: Path) -> None:
    """The account is opened on the first run, with what is posted before the broken line; its limit must do for the second."""
    lines = [
        entry(1, "A1", "10.00", "10.00"),
        entry(2, "A1", "oops", "5.00"),
        entry(3, "A1", "-30.00", "-25.00"),
        entry(4, "A2", "-30.00", "-30.00"),
    ]
    summary = summarise(write(tmp_path / "e.csv", lines))
    assert summary.broken is not None
    assert list(summary.accounts) == ["A1"]
    history = summary.accounts["A1"]
    assert (history.entries, history.running_total, history.overdraft_needed.decimal_string) == (1, 1000, "25.00")
