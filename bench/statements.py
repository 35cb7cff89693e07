"""Statements and balances in time on an account with a million entries, among many small accounts, and what their indexes cost.

``casaflow bench statements [--entries N] [--explain] [--json]`` uses the PostgreSQL of ``CASAFLOW_POSTGRES_URL``, or of the running
stack, in a database of its own that is dropped at the end. Latencies are those of a caller in Python, the round trips included; *generic
plan* is the plan that PostgreSQL may fall back to for a prepared statement, which knows nothing of the account's size.
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
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, LiteralString

import psycopg
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from bench.ledger.server import BenchError, database_url, own_database, server_url
from infra.postgres import statements
from infra.postgres.checkpoints import PostgresCheckpoints
from infra.postgres.database import Database
from infra.postgres.migrate import upgrade
from infra.postgres.statements import PostgresStatements
from ledger.statements import StatementOrder, StatementRequest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

REPEATS: Final = 60
SMALL_ACCOUNTS: Final = 5_000
SMALL_LINES: Final = 20
_TENANT: Final = "bench"
_HOT: Final = "hot"
_BEGIN: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
_INSERTED: Final = 50_000

# Two credits for each debit, a line each 60 seconds, value dates up to two days around the booking.
_OPEN: LiteralString = """
    INSERT INTO account (tenant, account_id, currency, kind)
    SELECT 'bench', CASE i WHEN 0 THEN 'hot' ELSE 'small-' || i END, 'EUR', 'current' FROM generate_series(0, %(small)s) AS i
"""
_CREDITS: LiteralString = """
    INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, posted_at, value_date)
    SELECT a.tenant, a.account_id, 'EUR', 1 + i %% 977, gen_random_uuid(), 'credit', t.at, CAST(t.at AS date) + CAST(i %% 5 AS integer) - 2
      FROM account a
     CROSS JOIN LATERAL generate_series(1, CASE a.account_id WHEN 'hot' THEN %(entries)s ELSE %(lines)s END) AS i
     CROSS JOIN LATERAL (SELECT %(begin)s + i * interval '60 seconds' AS at) AS t
     WHERE i %% 3 <> 0
     ORDER BY i
"""
_DEBITS: LiteralString = """
    INSERT INTO online_entry (tenant, account_id, version, currency, amount, balance_after, available_after, transaction_id, leg,
                              posted_at, value_date)
    SELECT a.tenant, a.account_id, i / 3, 'EUR', 1 + i %% 97, 0, 0, gen_random_uuid(), 'debit', t.at, CAST(t.at AS date)
      FROM account a
     CROSS JOIN LATERAL generate_series(3, CASE a.account_id WHEN 'hot' THEN %(entries)s ELSE %(lines)s END, 3) AS i
     CROSS JOIN LATERAL (SELECT %(begin)s + i * interval '60 seconds' AS at) AS t
     ORDER BY i
"""
_TRANSACTIONS: LiteralString = """
    INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, creditor, request, status, submitted_by, submitted_at, finished_at)
    SELECT tenant, transaction_id, 'bench', 'deposit', account_id, '{"reference": "invoice", "remittance_information": "bench"}',
           'completed', 'bench', posted_at, posted_at
      FROM (SELECT tenant, transaction_id, account_id, posted_at FROM offline_entry
             UNION ALL SELECT tenant, transaction_id, account_id, posted_at FROM online_entry) AS entries
"""
_ONE_MORE: Final[dict[str, LiteralString]] = {
    "credit": """
        INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, value_date)
        SELECT 'cost', 'a-' || i %% %(accounts)s, 'EUR', 5, gen_random_uuid(), 'credit', current_date
          FROM generate_series(1, %(rows)s) AS i
    """,
    "debit": """
        INSERT INTO online_entry (tenant, account_id, version, currency, amount, balance_after, available_after, transaction_id, leg,
                                  posted_at, value_date)
        SELECT 'cost', 'a-' || i %% %(accounts)s, i + %(start)s, 'EUR', 5, 0, 0, gen_random_uuid(), 'debit', clock_timestamp(), current_date
          FROM generate_series(1, %(rows)s) AS i
    """,
}
_INDEX: Final[dict[str, tuple[LiteralString, LiteralString]]] = {
    "credit": (
        "DROP INDEX offline_entry_by_time",
        "CREATE INDEX offline_entry_by_time ON offline_entry (tenant, account_id, posted_at) INCLUDE (amount)",
    ),
    "debit": (
        "DROP INDEX online_entry_by_time",
        "CREATE INDEX online_entry_by_time ON online_entry (tenant, account_id, posted_at) INCLUDE (amount)",
    ),
}


@dataclass(frozen=True)
class Reading:
    """One kind of question, asked again and again."""

    name: str
    ask: Callable[[], Awaitable[object]]


def fill(url: str, entries: int, step: Callable[[str], None]) -> None:
    """Write the accounts' entries at once, past the posting functions, as a migration from another system would."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(_OPEN, {"small": SMALL_ACCOUNTS})
        values = {"entries": entries, "lines": SMALL_LINES, "begin": _BEGIN}
        connection.execute(_CREDITS, values)
        connection.execute(_DEBITS, values)
        step("entries written")
        connection.execute(_TRANSACTIONS)
        connection.execute("VACUUM ANALYZE")
        step("transactions written")


async def readings(reader: PostgresStatements, entries: int) -> list[Reading]:
    """What is measured."""

    def page(order: StatementOrder, share: float | None) -> Callable[[], Awaitable[object]]:
        since = None if share is None else _instant(entries, share)
        bound = {} if since is None else ({"since": since} if order is StatementOrder.OLDEST_FIRST else {"until": since})
        return lambda: reader.page(_TENANT, StatementRequest(account_id=_HOT, order=order, **bound))

    middle = await reader.page(_TENANT, StatementRequest(account_id=_HOT, since=_instant(entries, 0.4)))
    behind_cursor = StatementRequest.parse(_HOT, cursor=middle.next_cursor)
    return [
        Reading("first page, oldest first", page(StatementOrder.OLDEST_FIRST, None)),
        Reading("first page, newest first", page(StatementOrder.NEWEST_FIRST, None)),
        Reading("page in the middle, oldest first", page(StatementOrder.OLDEST_FIRST, 0.5123)),
        Reading("page in the middle, newest first", page(StatementOrder.NEWEST_FIRST, 0.5123)),
        Reading("page behind a cursor", lambda: reader.page(_TENANT, behind_cursor)),
        Reading("balance as of an instant", lambda: reader.balance_at(_TENANT, _HOT, _instant(entries, 0.7777))),
        Reading("balance as of a value date", lambda: reader.balance_on(_TENANT, _HOT, _instant(entries, 0.7777).date())),
        Reading("settled_until() alone", reader.settled_until),
    ]


def _instant(entries: int, share: float) -> dt.datetime:
    return _BEGIN + dt.timedelta(seconds=60 * int(entries * share) + 7)


async def latencies_ms(reading: Reading) -> list[float]:
    """Of each of the repeats."""
    taken = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        await reading.ask()
        taken.append((time.perf_counter() - started) * 1_000)
    return taken


async def measure(url: str, entries: int, step: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Median and 99th percentile by kind and state, in milliseconds."""
    found: dict[str, dict[str, float]] = {}
    database = Database.open(url, pool_size=2)
    # A server-side plan that knows nothing of the account is what a long-lived connection may end up with.
    generic = Database.open(f"{url}?options=-c%20plan_cache_mode%3Dforce_generic_plan", pool_size=2)
    try:
        reader = PostgresStatements(database)
        for reading in await readings(reader, entries):
            taken = await latencies_ms(Reading(reading.name, reading.ask))
            found[reading.name] = {"without checkpoints, median": statistics.median(taken)}
            step(f"{reading.name}, without checkpoints")
        started = time.perf_counter()
        advanced = await PostgresCheckpoints(database).advance()
        seconds = time.perf_counter() - started
        found["advance"] = {"seconds": seconds, "checkpoints": advanced.checkpoints, "lines per second": advanced.lines / seconds}
        started = time.perf_counter()
        await PostgresCheckpoints(database).advance()
        found["advance again"] = {"seconds": time.perf_counter() - started}
        step("checkpoints made")
        for state, source in (("after advance", database), ("generic plan", generic)):
            for reading in await readings(PostgresStatements(source), entries):
                taken = sorted(await latencies_ms(reading))
                found[reading.name] |= {f"{state}, median": statistics.median(taken), f"{state}, p99": taken[int(len(taken) * 0.99)]}
            step(state)
    finally:
        await database.close()
        await generic.close()
    return found


def index_cost(url: str, step: Callable[[str], None]) -> dict[str, dict[str, float]]:
    """Microseconds and bytes of write-ahead log for each row, with the index and without it; medians of turns one after the other."""
    found: dict[str, dict[str, float]] = {}
    start = 0
    with psycopg.connect(url, autocommit=True) as connection:
        for side, query in _ONE_MORE.items():
            drop, create = _INDEX[side]
            for accounts in (1, 1_000):
                turns: dict[str, list[tuple[float, float]]] = {"with": [], "without": []}
                for turn in range(10):
                    state = ("with", "without")[turn % 2]
                    if state == "without":
                        connection.execute(drop)
                    before = _wal_position(connection)
                    started = time.perf_counter()
                    connection.execute(query, {"accounts": accounts, "rows": _INSERTED, "start": start})
                    taken = time.perf_counter() - started
                    turns[state].append((taken / _INSERTED * 1e6, (_wal_position(connection) - before) / _INSERTED))
                    start += _INSERTED
                    if state == "without":
                        connection.execute(create)
                found[f"{side}, {accounts} account(s)"] = {
                    f"{unit} {state}": statistics.median(turn[number] for turn in turns[state])
                    for number, unit in enumerate(("us", "bytes"))
                    for state in turns
                }
                step(f"index of {side}s, {accounts} accounts")
    return found


def _wal_position(connection: psycopg.Connection) -> float:
    row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'").fetchone()
    return 0.0 if row is None else float(row[0])


def explain(url: str, entries: int) -> Iterator[str]:
    """The plans of a page in the middle."""
    at = _instant(entries, 0.5)
    values: dict[str, object] = {
        "tenant": _TENANT, "account_id": _HOT, "limit": 50,
        "lower_at": at, "lower_transaction": str(uuid.UUID(int=0)), "lower_leg": "",
        "upper_at": None, "upper_transaction": str(uuid.UUID(int=2**128 - 1)), "upper_leg": "",
    }  # fmt: skip
    with psycopg.connect(url, autocommit=True) as connection:
        for order, query in statements.PAGES.items():
            yield f"-- {order}"
            named = "EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, BUFFERS OFF) " + query.text.replace("%", "%%")
            for name in values:
                named = named.replace(f":{name}", f"%({name})s")
            for row in connection.execute(named.encode(), values, prepare=True):
                yield row[0]


def main(arguments: list[str]) -> None:
    """Fill, read, and print."""
    parser = argparse.ArgumentParser(prog="casaflow bench statements", description=__doc__)
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the large account")
    parser.add_argument("--explain", action="store_true", help="print the plans of a page in the middle")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    steps = 16
    try:
        server = server_url()
    except BenchError as error:
        sys.exit(str(error))
    with Progress(console=Console(stderr=True)) as shown, own_database(server) as name:
        url = database_url(server, name)
        upgrade(url)
        task = shown.add_task("filling", total=steps)

        def step(what: str) -> None:
            shown.update(task, advance=1, description=what)

        fill(url, options.entries, step)
        readings_ms = asyncio.run(measure(url, options.entries, step))
        plans = list(explain(url, options.entries)) if options.explain else []
        costs = index_cost(url, step)
    if options.json:
        print(json.dumps({"entries": options.entries, "readings_ms": readings_ms, "index": costs}, indent=1))
        return
    screen = Console(width=None if sys.stdout.isatty() else 160)
    print("\n".join(plans))
    for title, rows in ((f"Readings, {options.entries} entries, ms unless said otherwise", readings_ms), ("Index on booking time", costs)):
        screen.print(_table(title, rows))


def _table(title: str, rows: dict[str, dict[str, float]]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    table.add_column("figures")
    for name, figures in rows.items():
        table.add_row(name, ", ".join(f"{what} {value:.2f}" for what, value in figures.items()))
    return table


if __name__ == "__main__":
    main(sys.argv[1:])
