"""What the application's role costs, what a long tail costs before and after maintenance, and how long maintenance and a refold take.

``casaflow bench upkeep [--credits N] [--accounts N] [--json]`` uses the PostgreSQL of ``CASAFLOW_POSTGRES_URL``, or of the running stack,
in databases of its own that are dropped at the end. The figures are those of a caller in Python, the round trips included.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg

from bench.ledger.server import BenchError, database_url, own_database, server_url
from bench.legs import leg
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.maintenance import PostgresMaintenance
from infra.postgres.migrate import upgrade
from infra.postgres.privileges import APPLICATION_ROLE
from infra.postgres.refold import PostgresRefold
from ledger.accounts import AccountKind
from ledger.money import Money

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ledger.postings import Posting

_TENANT: Final = "bench"
_ACCOUNT: Final = "busy"
_NOW: Final = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
_CREDITS_PER_TRANSACTION: Final = 250
_CALLS: Final = 200_000
_OPERATION_SECONDS: Final = 3_600.0


def call_cost_us(url: str) -> dict[str, float]:
    """Of a plpgsql function by itself: microseconds for each call, with its caller's rights and with its owner's; medians of five turns."""
    turns: dict[str, list[float]] = {"invoker": [], "definer": []}
    with psycopg.connect(url, autocommit=True) as connection:
        for kind, how in (("invoker", ""), ("definer", "SECURITY DEFINER SET search_path = public, pg_temp")):
            body = "BEGIN RETURN (SELECT count(*) FROM unnest(a)); END"
            connection.execute(f"CREATE FUNCTION cost_{kind}(a text[]) RETURNS int LANGUAGE plpgsql {how} AS '{body}'")
        for _ in range(5):
            for kind, taken in turns.items():
                started = time.perf_counter()
                connection.execute(f"SELECT count(cost_{kind}(ARRAY['x'])) FROM generate_series(1, {_CALLS})")  # noqa: S608
                taken.append((time.perf_counter() - started) / _CALLS * 1_000_000)
    return {kind: round(statistics.median(taken), 2) for kind, taken in turns.items()}


async def role_ratios(owners: str, applications: str, *, repeats: int = 100) -> dict[str, dict[str, float]]:
    """Time of a batch by the application with its owner's functions, over that by the owner without them; quartiles of pairs.

    Args:
        owners: URL of a ledger, whose functions are given their caller's rights here.
        applications: URL of one as it is migrated.
        repeats: pairs for each size of a batch.
    """
    with psycopg.connect(owners, autocommit=True) as connection:
        for name in ("open_accounts", "record_legs"):
            connection.execute(f"ALTER FUNCTION {name} SECURITY INVOKER RESET ALL")
    pools = {
        "owner": Database.open(owners, pool_size=4),
        "application": Database.open(applications, pool_size=4, role=APPLICATION_ROLE),
    }
    found = {}
    try:
        for pool in pools.values():
            await _open(pool)
        for legs in (1, 64, 256):
            pairs = []
            for number in range(repeats):
                taken = {}
                for kind in sorted(pools, reverse=bool(number % 2)):
                    taken[kind] = await _post_seconds(pools[kind], legs)
                pairs.append(taken["application"] / taken["owner"])
            low, middle, high = statistics.quantiles(pairs, n=4)
            found[f"{legs} debits at once"] = {"quartile": round(low, 3), "median": round(middle, 3), "upper quartile": round(high, 3)}
    finally:
        for pool in pools.values():
            await pool.close()
    return found


async def _open(database: Database) -> None:
    await PostgresAccounts(database).open_account(tenant=_TENANT, account_id=_ACCOUNT, currency="EUR", kind=AccountKind.CURRENT)
    await PostgresLedger(database).post(_posting(10**12, debit=False))


def _posting(minor_units: int, *, debit: bool) -> Posting:
    return leg(_TENANT, _ACCOUNT, Money(minor_units=minor_units, currency="EUR"), debit=debit, at=_NOW)


async def _post_seconds(database: Database, legs: int) -> float:
    ledger = PostgresLedger(database)
    postings = [_posting(1, debit=True) for _ in range(legs)]
    started = time.perf_counter()
    await asyncio.gather(*(ledger.post(posting) for posting in postings))
    return time.perf_counter() - started


async def upkeep(url: str, *, credit_count: int, accounts: int) -> dict[str, float]:
    """The view over a long tail before and after a run, a run over many accounts, and a refold; milliseconds and seconds."""
    found: dict[str, float] = {}
    database = Database.open(url, pool_size=2, operation_timeout_seconds=_OPERATION_SECONDS)
    try:
        await PostgresAccounts(database).open_account(tenant=_TENANT, account_id=_ACCOUNT, currency="EUR", kind=AccountKind.CURRENT)
        _fill_tail(url, credit_count)
        maintenance = PostgresMaintenance(database)

        async def look() -> None:
            await PostgresAccounts(database).balance(_TENANT, _ACCOUNT)

        found["balance before, ms"] = await _median_ms(look)
        report = await maintenance.run()
        found["credits folded"] = report.folded_credits
        found["run, s"] = report.seconds
        found["balance after, ms"] = await _median_ms(look)

        async def metrics() -> None:
            await maintenance.metrics()

        found["metrics, ms"] = await _median_ms(metrics)
        _fill_accounts(url, accounts)
        await maintenance.run()  # its checkpoints
        report = await maintenance.run()
        found["accounts"] = report.accounts
        found["run with nothing to do, s"] = report.seconds
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("UPDATE ledger_cluster SET system_identifier = 0")
        refolded = await PostgresRefold(database).refold()
        found["credits refolded"] = refolded.credits
        found["refold, s"] = refolded.seconds
    finally:
        await database.close()
    return found


def _fill_tail(url: str, count: int) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(count // _CREDITS_PER_TRANSACTION):
            connection.execute(
                "INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, value_date)"
                " SELECT %s, %s, 'EUR', 1, gen_random_uuid(), 'credit', '2026-01-01' FROM generate_series(1, %s)",
                [_TENANT, _ACCOUNT, _CREDITS_PER_TRANSACTION],
            )
        connection.execute("VACUUM ANALYZE offline_entry")


_ACCOUNTS: Final[tuple[LiteralString, ...]] = (
    """
    INSERT INTO account (tenant, account_id, currency, kind)
    SELECT 'bench', 'n' || n, 'EUR', 'current' FROM generate_series(1, %s) AS n
    """,
    "INSERT INTO online_balance (tenant, account_id) SELECT 'bench', 'n' || n FROM generate_series(1, %s) AS n",
    """
    INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, value_date)
    SELECT 'bench', 'n' || n, 'EUR', 1, gen_random_uuid(), 'credit', '2026-01-01' FROM generate_series(1, %s) AS n, generate_series(1, 5)
    """,
)


def _fill_accounts(url: str, count: int) -> None:
    """Accounts with five credits each."""
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in _ACCOUNTS:
            connection.execute(statement, [count])
        connection.execute("VACUUM ANALYZE")


async def _median_ms(work: Callable[[], Awaitable[None]], *, repeats: int = 30) -> float:
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - started) * 1_000)
    return round(statistics.median(taken), 2)


def main() -> int:
    """Measure, and print; the exit code."""
    parser = argparse.ArgumentParser(prog="casaflow bench upkeep", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--credits", type=int, default=100_000, help="credits in the long tail")
    parser.add_argument("--accounts", type=int, default=100_000, help="other accounts, with five credits each")
    parser.add_argument("--json", action="store_true", help="print JSON, for programs")
    options = parser.parse_args()
    try:
        server = server_url()
        with own_database(server) as first, own_database(server) as second:
            urls = [database_url(server, name) for name in (first, second)]
            for url in urls:
                upgrade(url)
            found: dict[str, object] = {"a call, us": call_cost_us(urls[0]), "role": asyncio.run(role_ratios(urls[0], urls[1]))}
        with own_database(server) as name:
            url = database_url(server, name)
            upgrade(url)
            found["upkeep"] = asyncio.run(upkeep(url, credit_count=options.credits, accounts=options.accounts))
    except BenchError as error:
        sys.stderr.write(f"bench.upkeep: {error}\n")
        return 1
    print(json.dumps(found) if options.json else json.dumps(found, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
