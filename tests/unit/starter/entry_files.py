"""Files of entries for tests."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from starter.entries import COLUMNS


def entry(entry_id: object, account_id: str, amount: str, running_total: str, **changes: str) -> dict[str, str]:
    """A line; a negative amount is a debit."""
    return {
        "entry_id": str(entry_id),
        "account_id": account_id,
        "booked_on": "1993-01-31",
        "direction": "debit" if amount.startswith("-") else "credit",
        "operation": "credit in cash",
        "purpose": "",
        "amount": amount.removeprefix("-"),
        "currency": "CZK",
        "counterparty_bank": "",
        "counterparty_account": "",
        "running_total": running_total,
        "recorded_balance": running_total,
        **changes,
    }


def text_of(entries: Iterable[dict[str, str]], columns: Iterable[str] = COLUMNS) -> str:
    """The file's text."""
    file = io.StringIO()
    writer = csv.DictWriter(file, list(columns), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    return file.getvalue()


def write(path: Path, entries: Iterable[dict[str, str]], columns: Iterable[str] = COLUMNS) -> Path:
    """Write a file, and return its path."""
    path.write_text(text_of(entries, columns), encoding="utf-8")
    return path
