"""A real bank's entries through the ledger alone, without Temporal and Kafka: every balance is the file's, to the cent."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

import pytest

from bench.bank_file import BankFile, Run
from infra.postgres.database import Database
from tests.integration.postgres.bank import Bank
from tests.integration.postgres.linked import assert_nothing_is_wrong

SAMPLE = Path(str(files("starter"))) / "data" / "bank-1993-1994-sample.csv"
WHOLE_FILE = "CASAFLOW_BANK_FILE"
"""Environment variable with the path of the whole file, which is too large for the repository."""


async def _post(bank: Bank, database: Database, path: Path) -> tuple[BankFile, Run]:
    file = BankFile(database, path, tenant=bank.tenant)
    await file.open_accounts()
    run = await file.post()
    assert run.differences == []
    assert run.posted == run.entries
    return file, run


async def test_a_sample_of_a_banks_entries_ends_with_the_banks_own_balances_and_again_changes_nothing(
    bank: Bank, database: Database
) -> None:
    file, run = await _post(bank, database, SAMPLE)
    assert (run.entries, run.accounts) == (len(SAMPLE.read_text().splitlines()) - 1, file.accounts)
    rows = "SELECT (SELECT count(*) FROM decision WHERE tenant = %(tenant)s)"
    before = await bank.value(rows)
    again = await file.post()
    assert (again.differences, again.posted) == ([], run.entries)
    assert await bank.value(rows) == before == run.entries
    await assert_nothing_is_wrong(bank)


async def test_a_balance_that_is_a_cent_off_is_told_of(bank: Bank, database: Database) -> None:
    file = BankFile(database, SAMPLE, tenant=bank.tenant)
    await file.open_accounts()
    account = SAMPLE.read_text().splitlines()[1].split(",")[1]
    bank.currencies[account] = "CZK"
    assert (await bank.post(bank.deposit(account, 1))).posted
    run = await file.post()
    assert run.posted == run.entries
    assert any(difference.startswith(f"account {account}: ") for difference in run.differences)


@pytest.mark.slow
async def test_all_entries_of_the_bank_end_with_the_banks_own_balances(bank: Bank, database: Database) -> None:
    path = os.environ.get(WHOLE_FILE)
    if path is None:
        pytest.skip(f"{WHOLE_FILE} doesn't name the whole file; the sample in the repository is posted by another test")
    _, run = await _post(bank, database, Path(path))
    assert (run.entries, run.accounts) == (23_226, 599)
    print(f"{run.entries_per_second:,.0f} entries a second")  # noqa: T201
    await assert_nothing_is_wrong(bank)
