"""The database that each round starts from a copy of: accounts, money, baselines, and accounts with very many credits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import psycopg

from bench.ledger import batched_row, one_by_one, pgbench
from bench.ledger.loads import CURRENCY, FUNDS, TENANT, TOO_MUCH, Accounts, Loads, all_account_ids
from bench.ledger.sides import POOL_SIZE, SideName, opened
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.migrate import upgrade
from ledger.accounts import AccountKind

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ledger.postings import Posting

CREDITS_BEFORE: Final = (1_000, 100_000, 1_000_000)
"""Credits on the accounts whose debits and balances are timed."""
CREDIT_MINOR_UNITS: Final = 100
"""Of each of these credits."""
_CREDITS_PER_TRANSACTION: Final = 10_000
_SCHEMAS: Final = (one_by_one.SCHEMA, batched_row.SCHEMA)
_PROBED: Final = "bench-999"
"""An account whose first legs tell which rows a leg writes."""

_LOAD_CREDITS: Final = """
    INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, value_date)
    SELECT %(tenant)s, %(account_id)s, %(currency)s, %(amount)s, gen_random_uuid(), 'credit', current_date
      FROM generate_series(1, %(credits)s)
"""
_FUND_ROWS: Final = """
    INSERT INTO {schema}.balance (tenant, account_id, currency, status, overdraft_limit, balance)
    SELECT %(tenant)s, a.account_id, %(currency)s, 'active', 0, %(funds)s FROM unnest(CAST(%(account_ids)s AS text[])) AS a (account_id)
"""


def credited_account_id(credits_before: int) -> str:
    """The account that has so many credits and no debit."""
    return f"credited-{credits_before}"


async def prepare(url: str, loads: Loads, credits_before: Sequence[int], say: Callable[[str], None]) -> dict[str, dict[str, int]]:
    """Make the database ready.

    Args:
        url: of an empty database.
        loads: makes the first postings.
        credits_before: for each, an account with so many credits and no debit.
        say: is told what comes next.

    Returns:
        The rows that a lone leg of each side writes, by side and leg, then by table.
    """
    say("schema and baselines")
    await asyncio.to_thread(upgrade, url)
    await asyncio.to_thread(_make_baselines, url)
    say("accounts")
    await _open_accounts(url, loads, [credited_account_id(count) for count in credits_before])
    say("rows of a leg")
    written = await _rows_of_a_leg(url, loads)
    for count in credits_before:
        say(f"an account with {count:,} credits")
        await asyncio.to_thread(_load_credits, url, count)
    await asyncio.to_thread(_settle, url)
    return written


def _make_baselines(url: str) -> None:
    pgbench.make_tpcb_tables(url)
    schema_sql = (pgbench.BASELINE / "balance_row.sql").read_text(encoding="utf-8")
    with psycopg.connect(url) as connection:
        connection.execute((pgbench.BASELINE / "init.sql").read_bytes())
        connection.execute("CREATE TABLE commit_probe (number bigint NOT NULL)")
        connection.execute("INSERT INTO commit_probe VALUES (0)")
        for schema in _SCHEMAS:
            connection.execute(schema_sql.replace("{schema}", schema).encode())
            funds = {"tenant": TENANT, "currency": CURRENCY, "funds": FUNDS, "account_ids": all_account_ids()}
            connection.execute(_FUND_ROWS.replace("{schema}", schema).encode(), funds)


async def _open_accounts(url: str, loads: Loads, unfunded: Sequence[str]) -> None:
    database = Database.open(url, pool_size=POOL_SIZE)
    accounts = PostgresAccounts(database)

    async def open_one(account: str) -> None:
        await accounts.open_account(tenant=TENANT, account_id=account, currency=CURRENCY, kind=AccountKind.CURRENT)

    try:
        await asyncio.gather(*(open_one(account) for account in (*all_account_ids(), *unfunded)))
    finally:
        await database.close()
    async with opened(SideName.CASAFLOW, url, in_flight=POOL_SIZE) as post:
        await asyncio.gather(*(post(loads.posting(account, debit=False, amount=FUNDS)) for account in all_account_ids()))


def _load_credits(url: str, credits_before: int) -> None:
    """In many database transactions, as credits come in; straight into the table, since only the account's own side is timed."""
    parameters = {"tenant": TENANT, "account_id": credited_account_id(credits_before), "currency": CURRENCY, "amount": CREDIT_MINOR_UNITS}
    with psycopg.connect(url, autocommit=True) as connection:
        for loaded in range(0, credits_before, _CREDITS_PER_TRANSACTION):
            connection.execute(_LOAD_CREDITS, {**parameters, "credits": min(_CREDITS_PER_TRANSACTION, credits_before - loaded)})


def _settle(url: str) -> None:
    # So that no round has to be shared with the vacuum of what was just loaded; a running server does it as credits come in.
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("VACUUM (ANALYZE)")


async def _rows_of_a_leg(url: str, loads: Loads) -> dict[str, dict[str, int]]:
    legs: dict[str, Callable[[], Posting]] = {
        "credit": lambda: loads.posting(_PROBED, debit=False),
        "debit": lambda: loads.posting(_PROBED, debit=True),
        "refused debit": lambda: loads.posting(_PROBED, debit=True, amount=TOO_MUCH),
    }
    schemas = {SideName.CASAFLOW: "public", SideName.BATCHED_ROW: batched_row.SCHEMA, SideName.ONE_BY_ONE: one_by_one.SCHEMA}
    written: dict[str, dict[str, int]] = {}
    for side, schema in schemas.items():
        async with opened(side, url, in_flight=1) as post:
            for leg, make in legs.items():
                before = await asyncio.to_thread(_next_xid, url)
                await post(make())
                written[f"{side}, {leg}"] = await asyncio.to_thread(_written_since, url, schema, before)
    for name, script in ((f"{SideName.LOCKED_ROW}, debit", Accounts.ONE), ("pgbench, TPC-B", None)):
        before = await asyncio.to_thread(_next_xid, url)
        await asyncio.to_thread(pgbench.once, url, script)
        written[name] = await asyncio.to_thread(_written_since, url, "public", before)
    return written


def _next_xid(url: str) -> int:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint").fetchone()
        assert row is not None  # noqa: S101  an expression without FROM has one row
        return int(row[0])


def _written_since(url: str, schema: str, first_xid: int) -> dict[str, int]:
    """The rows, inserted or changed, that transactions from `first_xid` on left, for each table. Nobody else writes to this database."""
    written = {}
    with psycopg.connect(url) as connection:
        tables = connection.execute(
            "SELECT c.relname, c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition "
            "AND c.relnamespace = %s::regnamespace ORDER BY 1",
            [schema],
        ).fetchall()
        for name, qualified in tables:
            # age() counts back from the next transaction, so this holds however often the 32 bits of xmin went round.
            row = connection.execute(
                f"SELECT count(*) FROM {qualified} WHERE age(xmin) <= age(CAST(%s AS xid))",  # noqa: S608  a name from the catalogue
                [str(first_xid % 2**32)],
            ).fetchone()
            if row is not None and row[0]:
                written[name] = int(row[0])
    return written
