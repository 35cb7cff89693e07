"""What rules of an account cost: a maximum balance, and the shared rules lock that every leg holds, on one busy account; and holds.

``casaflow bench rules [--rounds N] [--seconds S] [--in-flight N] [--json]`` uses the PostgreSQL of ``CASAFLOW_POSTGRES_URL``, or of the
running stack, in a database of its own that is dropped at the end. All cases run in each round, each round begins with another one, every
second one goes backwards, and each ratio is of two cases of the same round. "Without the rules lock" is the same database with that one
lock taken out of the function that opens accounts meanwhile, which no installation may do: a close would not wait for credits in flight.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import statistics
import sys
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.ledger.server import BenchError, database_url, own_database, server_settings, server_url
from bench.legs import leg
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger
from infra.postgres.migrate import upgrade
from ledger.accounts import AccountKind, AccountRules
from ledger.holds import HoldRequest, HoldStatus
from ledger.money import MAX_MINOR_UNITS, Money

if TYPE_CHECKING:
    from collections.abc import Callable

    from ledger.postings import Posting

TENANT: Final = "bench"
CURRENCY: Final = "EUR"
FUNDS: Final = 10**12
POOL_SIZE: Final = 8
_LOCK: Final = "PERFORM pg_advisory_xact_lock_shared(k.key)"
_NO_LOCK: Final = "PERFORM k.key"


@dataclass(frozen=True)
class Case:
    """One thing that is done as often as it goes."""

    name: str
    than: str | None
    """The case that it is compared with."""
    locked: bool
    """Whether the rules lock is taken."""
    what: str
    """credit, debit or hold."""
    rules: AccountRules = field(default_factory=AccountRules)


CASES: Final = (
    Case("credits of one account", None, locked=True, what="credit"),
    Case("credits of one account with a maximum balance", "credits of one account", locked=True, what="credit",
         rules=AccountRules(maximum_balance=MAX_MINOR_UNITS)),
    Case("credits of one account without the rules lock", "credits of one account", locked=False, what="credit"),
    Case("debits of one account", None, locked=True, what="debit"),
    Case("debits of one account with limits", "debits of one account", locked=True, what="debit",
         rules=AccountRules(transaction_limit=MAX_MINOR_UNITS, daily_limit=MAX_MINOR_UNITS, monthly_limit=MAX_MINOR_UNITS)),
    Case("debits of one account without the rules lock", "debits of one account", locked=False, what="debit"),
    Case("holds of one account", "debits of one account", locked=True, what="hold"),
)  # fmt: skip


class Ledger:
    """What posts and holds."""

    def __init__(self, url: str) -> None:
        """Open a pool; the first use connects."""
        self._database = Database.open(url, pool_size=POOL_SIZE)
        self.ledger = PostgresLedger(self._database)
        self.holds = PostgresHolds(self._database)
        self._accounts = PostgresAccounts(self._database)

    async def open_account(self, rules: AccountRules) -> str:
        """A new account with plenty on it."""
        account = f"A{uuid.uuid4().hex[:16]}"
        await self._accounts.open_account(tenant=TENANT, account_id=account, currency=CURRENCY, kind=AccountKind.CURRENT, rules=rules)
        if not (await self.ledger.post(posting(account, FUNDS, debit=False))).posted:
            message = "the benchmark's own deposit was refused"
            raise BenchError(message)
        return account

    async def close(self) -> None:
        """Wait until nothing is in flight, and close the pool."""
        await self.ledger.drain()
        await self._database.close()


def posting(account: str, minor_units: int, *, debit: bool) -> Posting:
    """One leg."""
    return leg(TENANT, account, Money(minor_units=minor_units, currency=CURRENCY), debit=debit, at=dt.datetime.now(dt.UTC))


async def per_second(side: Ledger, case: Case, *, seconds: float, in_flight: int) -> float:
    """How many of a case are answered in a second, each accepted.

    Raises:
        BenchError: one was refused, so that the figure would mean nothing.
    """
    account = await side.open_account(case.rules)
    until = time.perf_counter() + seconds
    done = 0

    async def call() -> None:
        nonlocal done
        while time.perf_counter() < until:
            if case.what == "hold":
                hold, _ = await side.holds.authorise(_hold(account))
                accepted = hold.status is HoldStatus.OPEN
            else:
                accepted = (await side.ledger.post(posting(account, 1, debit=case.what == "debit"))).posted
            if not accepted:
                message = f"{case.name}: one was refused"
                raise BenchError(message)
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(call() for _ in range(in_flight)))
    return done / (time.perf_counter() - began)


def _hold(account: str) -> HoldRequest:
    return HoldRequest(
        tenant=TENANT,
        hold_id=str(uuid.uuid4()),
        account_id=account,
        amount=Money(minor_units=1, currency=CURRENCY),
        expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(days=7),
        authorised_by="bench",
    )


class RulesLock:
    """The lock in the function that opens accounts, to be taken out and put back."""

    def __init__(self, url: str) -> None:
        """Read the function.

        Raises:
            BenchError: it is written otherwise by now.
        """
        self._url = url
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute("SELECT pg_get_functiondef(CAST('open_accounts' AS regproc))").fetchone()
        self._definition = str(row[0]) if row else ""
        if self._definition.count(_LOCK) != 1:
            message = "open_accounts takes its rules lock in another way than this benchmark knows"
            raise BenchError(message)

    def put(self, *, locked: bool) -> None:
        """Let the function take the lock, or not."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute((self._definition if locked else self._definition.replace(_LOCK, _NO_LOCK)).encode())


async def measure(
    url: str, lock: RulesLock, *, rounds: int, seconds: float, in_flight: int, step: Callable[[str], None]
) -> dict[str, list[float]]:
    """Answers per second of each case, one figure for each round. A first round, which warms up, is left out."""
    ledger = Ledger(url)
    found: dict[str, list[float]] = {case.name: [] for case in CASES}
    try:
        for number in range(rounds + 1):
            first = number % len(CASES)
            cases = (*CASES[first:], *CASES[:first])
            for case in reversed(cases) if number % 2 else cases:
                lock.put(locked=case.locked)
                rate = await per_second(ledger, case, seconds=seconds, in_flight=in_flight)
                if number:
                    found[case.name].append(rate)
                step(case.name)
    finally:
        await ledger.close()
    return found


def main(arguments: list[str]) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="casaflow bench rules", description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="each with all cases; two at least")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each case in each round")
    parser.add_argument("--in-flight", type=int, default=64, help="calls at one time")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    try:
        server = server_url()
        settings = server_settings(server)
    except BenchError as error:
        sys.exit(str(error))
    with Progress(console=Console(stderr=True)) as shown, own_database(server) as name:
        url = database_url(server, name)
        upgrade(url)
        task = shown.add_task("measuring", total=(options.rounds + 1) * len(CASES))
        found = asyncio.run(
            measure(
                url,
                RulesLock(url),
                rounds=options.rounds,
                seconds=options.seconds,
                in_flight=options.in_flight,
                step=lambda what: shown.update(task, advance=1, description=what),
            )
        )
    if options.json:
        print(json.dumps({"server": settings, "in_flight": options.in_flight, "per_second": found}, indent=1))
        return
    screen = Console(width=None if sys.stdout.isatty() else 160)
    screen.print(f"{options.in_flight} in flight, {options.rounds} rounds of {options.seconds} s; {settings}")
    screen.print(_table(found))


def _table(found: dict[str, list[float]]) -> Table:
    table = Table("case", "a second (median)", "compared with", "ratio in one round: median (quartiles)")
    for case in CASES:
        rates, ratio = found[case.name], ""
        if case.than is not None:
            ratios = [mine / theirs for mine, theirs in zip(rates, found[case.than], strict=True)]
            lower, median, upper = statistics.quantiles(ratios, n=4)
            ratio = f"{median:.2f} ({lower:.2f} to {upper:.2f})"
        table.add_row(case.name, f"{statistics.median(rates):,.0f}", case.than or "", ratio)
    return table


if __name__ == "__main__":
    main(sys.argv[1:])
