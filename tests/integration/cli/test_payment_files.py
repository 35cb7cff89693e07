"""`casaflow submit --as-file` and `casaflow file`."""

from __future__ import annotations

import csv
import io
import uuid
from pathlib import Path

import pytest

from ledger.ids import entry_transaction_id
from tests.integration.api.bank import Bank, Records
from tests.integration.cli.conftest import CommandLine
from tests.unit.starter.entry_files import entry, write


@pytest.fixture
def account() -> str:
    return f"F{uuid.uuid4().hex[:12]}"


def _payments(path: Path, *lines: str) -> str:
    path.write_text("\n".join(("debtor,creditor,amount,currency", *lines, "")))
    return str(path)


async def test_file_is_handed_in_waited_for_looked_at_and_its_outcome_written(cli: CommandLine, bank: Bank, tmp_path: Path) -> None:
    payer, payee = await bank.open(funds="10.00"), await bank.open()
    file = _payments(tmp_path / "pay.csv", f"{payer},{payee},6.00,EUR", f"{payer},{payee},5.00,EUR")
    sent = await cli.run("submit", file, "--as-file", "--wait", "--json")
    assert sent.code == 0, sent.err
    assert (sent.json["status"], sent.json["completed"], sent.json["rejected"]) == ("completed", 1, 1)
    file_id = sent.json["file_id"]
    shown = await cli.run("file", "show", file_id)
    assert {"completed     1", "rejected      1"} <= set(shown.out.splitlines())
    assert file_id in (await cli.run("file", "list")).out
    written = tmp_path / "outcome.csv"
    assert (await cli.run("file", "outcome", file_id, "--output", str(written))).code == 0
    rows = list(csv.DictReader(io.StringIO(written.read_text())))
    assert [(row["status"], row["reason_code"]) for row in rows] == [("completed", ""), ("rejected", "insufficient-funds")]
    again = await cli.run("submit", file, "--as-file")
    assert again.code == 2
    assert f"file {file_id} has the same content" in again.err


async def test_problems_are_shown_with_their_lines_and_the_exit_code_says_so(cli: CommandLine, bank: Bank, tmp_path: Path) -> None:
    payer, payee = await bank.open(), await bank.open()
    file = _payments(tmp_path / "pay.csv", f"{payer},{payee},1O.00,EUR", f"{payer},{payee},1.00,EUR")
    sent = await cli.run("submit", file, "--as-file", "--wait", "--mode", "atomic")
    assert sent.code == 1
    assert "line 2: amount must be a decimal string" in sent.err
    late = await cli.run("file", "pause", next(line.split()[1] for line in sent.out.splitlines() if line.startswith("file_id")))
    assert late.code == 2
    assert "too late to pause it" in late.err


async def test_entries_become_the_transactions_that_submit_makes_of_them(
    cli: CommandLine, bank: Bank, records: Records, account: str, tmp_path: Path
) -> None:
    lines = [entry(1, account, "-20.00", "-20.00", counterparty_bank="QR", counterparty_account="7"), entry(2, account, "50.00", "30.00")]
    file = write(tmp_path / "entries.csv", lines)
    sent = await cli.run("submit", str(file), "--as-file", "--wait", "--json", "--tenant", bank.tenant)
    assert sent.code == 0, sent.err
    assert (sent.json["completed"], await bank.ledger(account)) == (2, "30.00")
    found = (await bank.http.get(f"/v1/transactions/{entry_transaction_id(bank.tenant, account, '1')}")).json()
    assert (found["status"], found["settlement"], found["metadata"]["counterparty_account"]) == ("completed", "clearing", "7")
    counted = records.counts(bank.tenant)
    singly = await cli.run("submit", str(file), "--json", "--tenant", bank.tenant)
    assert (singly.code, singly.json["already_posted"]) == (0, 2), singly.err
    assert records.counts(bank.tenant) == counted
