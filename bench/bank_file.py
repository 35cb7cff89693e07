"""A bank's own entries, posted through the ledger alone: each account's in order, the accounts side by side, one in flight for each.

``casaflow bench bank-file FILE [--json]`` uses the PostgreSQL of ``CASAFLOW_POSTGRES_URL``, or of the running stack, in a database of its
own that is dropped at the end. Every account is opened with the overdraft that its history needs. The clock runs from the first entry to
the last answer; the file is read, and the accounts are opened, before that. At the end every balance is compared with the file's running
total, and so is every debit's balance on the way.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import psycopg
from rich.console import Console
from rich.progress import Progress

from bench.ledger.measuring import frozen_garbage
from bench.ledger.server import BenchError, database_url, own_database, server_settings, server_url
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.migrate import upgrade
from ledger.accounts import AccountKind, AccountRules
from ledger.errors import CasaflowError
from ledger.ids import entry_transaction_id
from ledger.money import Money
from ledger.postings import first_posting
from ledger.requests import AccountRef, TransactionRequest
from starter.entries import FileError, read_entries, summarise

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ledger.decisions import Decision
    from ledger.postings import Posting
    from starter.entries import AccountHistory, Entry

POOL_SIZE: Final = 16
"""Connections; a worker's default."""
_TENANT: Final = "main"


@dataclass(frozen=True)
class Line:
    """An entry, ready to be posted."""

    entry: Entry
    posting: Posting


@dataclass
class Run:
    """What posting a file came to."""

    entries: int
    accounts: int
    seconds: float = 0.0
    """From the first entry to the last answer."""
    posted: int = 0
    differences: list[str] = field(default_factory=list)
    """Each entry that was refused or left another balance than the file says, and each account that ended elsewhere."""

    @property
    def entries_per_second(self) -> float:
        """The rate."""
        return self.entries / self.seconds


class BankFile:
    """A file's entries by account, on a ledger."""

    def __init__(self, database: Database, path: Path, *, tenant: str = _TENANT) -> None:
        """Read the file.

        Args:
            database: where the ledger is.
            path: the file of entries.
            tenant: whose accounts they are.

        Raises:
            FileError: a line of the file breaks a rule.
        """
        self._database = database
        self._ledger = PostgresLedger(database)
        self._accounts = PostgresAccounts(database)
        self._tenant = tenant
        self._histories = summarise(path).accounts
        submitted_at = dt.datetime.now(dt.UTC)
        self._lines: defaultdict[str, list[Line]] = defaultdict(list)
        for entry in read_entries(path):
            self._lines[entry.account_id].append(Line(entry, _posting(entry, tenant, submitted_at)))

    @property
    def entries(self) -> int:
        """Lines of the file, its header aside."""
        return sum(map(len, self._lines.values()))

    @property
    def accounts(self) -> int:
        """Accounts of the file."""
        return len(self._lines)

    async def open_accounts(self) -> None:
        """Open the file's accounts, each with the overdraft that its history needs.

        Raises:
            AccountConflictError: one was opened before with other content.
            UnavailableError: the database did not answer.
        """
        await asyncio.gather(*(self._open(history) for history in self._histories.values()))

    async def post(self, answered: Callable[[], object] = lambda: None) -> Run:
        """Post everything; what was posted before gets the same answers again.

        Args:
            answered: called after each entry.

        Raises:
            CasaflowError: an entry could be neither posted nor refused.
        """
        run = Run(entries=self.entries, accounts=self.accounts)
        with frozen_garbage():
            began = time.perf_counter()
            await asyncio.gather(*(self._post_in_order(lines, run, answered) for lines in self._lines.values()))
            run.seconds = time.perf_counter() - began
        for account, lines in self._lines.items():
            balance = await self._accounts.balance(self._tenant, account)
            ledger = None if balance is None else balance.ledger
            if ledger != lines[-1].entry.running_total.minor_units:
                run.differences.append(f"account {account}: {_shown(ledger, lines[-1].entry)}")
        return run

    async def close(self) -> None:
        """Wait until nothing is in flight."""
        await self._ledger.drain()

    async def _open(self, history: AccountHistory) -> None:
        await self._accounts.open_account(
            tenant=self._tenant,
            account_id=history.account_id,
            currency=history.currency,
            kind=AccountKind.CURRENT,
            rules=AccountRules(overdraft_limit=history.overdraft_needed.minor_units),
        )

    async def _post_in_order(self, lines: Sequence[Line], run: Run, answered: Callable[[], object]) -> None:
        for line in lines:
            decision = await self._ledger.post(line.posting)
            run.posted += decision.posted
            run.differences.extend(_differences(line.entry, decision))
            answered()


def _posting(entry: Entry, tenant: str, submitted_at: dt.datetime) -> Posting:
    body = entry.transaction(tenant)
    account = AccountRef(account_id=entry.account_id, currency=entry.amount.currency)
    request = TransactionRequest(
        tenant=tenant,
        transaction_id=entry_transaction_id(tenant, entry.account_id, entry.entry_id),
        debtor=None if entry.is_credit else account,
        creditor=account if entry.is_credit else None,
        amount=entry.amount,
        settlement=body["settlement"],
        value_date=entry.booked_on,
        metadata=body["metadata"],
        submitted_by="bench",
        submitted_at=submitted_at,
    )
    return first_posting(request, conversion=None, booking_date=entry.booked_on)


def _differences(entry: Entry, decision: Decision) -> Iterable[str]:
    if decision.refusal is not None:
        yield f"line {entry.line}: refused, {decision.refusal.detail}"
    elif not entry.is_credit and decision.ledger_after != entry.running_total.minor_units:
        yield f"line {entry.line}: {_shown(decision.ledger_after, entry)}"


def _shown(ledger: int | None, entry: Entry) -> str:
    balance = "no balance" if ledger is None else str(Money(minor_units=ledger, currency=entry.amount.currency))
    return f"{balance}, and the file says {entry.running_total}"


def main() -> None:
    """Post a file, and print the rate as a sentence or as JSON."""
    parser = argparse.ArgumentParser(
        prog="casaflow bench bank-file", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="entries as `casaflow submit` takes them; .gz too")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args()
    try:
        run = asyncio.run(_measure(server_url(), options.file))
    except (BenchError, FileError, CasaflowError, OSError, psycopg.OperationalError) as error:
        sys.exit(f"bench.bank_file: {error}")
    if options.json:
        print(json.dumps({**asdict(run), "entries_per_second": round(run.entries_per_second, 1)}, indent=2))
    else:
        print(
            f"{run.entries:,} entries of {run.accounts:,} accounts in {run.seconds:.1f} s: {run.entries_per_second:,.0f} per second "
            f"({os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})"
        )
        print("\n".join(run.differences) or "every balance equals the file's running total to the cent")
    if run.differences:
        sys.exit(1)


async def _measure(url: str, path: Path) -> Run:
    server_settings(url)  # refuses a server that isn't durable
    with Progress(console=Console(stderr=True)) as progress, own_database(url) as name:
        task = progress.add_task("reading, and opening accounts", total=None)
        await asyncio.to_thread(upgrade, database_url(url, name))
        database = Database.open(database_url(url, name), pool_size=POOL_SIZE)
        try:
            file = BankFile(database, path)
            await file.open_accounts()
            progress.update(task, description="posting", total=file.entries)
            run = await file.post(lambda: progress.advance(task))
            await file.close()
            return run
        finally:
            await database.close()


if __name__ == "__main__":
    main()
