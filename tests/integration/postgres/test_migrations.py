from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import LiteralString

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from infra.postgres import migrate
from infra.postgres.database import Database
from infra.postgres.proof import PostgresProof
from tests.integration.postgres.bank import Bank, connected
from tests.stack_fixtures import RunningStack


@pytest.fixture
def empty_url(stack: RunningStack) -> Iterator[str]:
    """A fresh database without any table; its name has what URLs and formats trip over."""
    name = f"test %_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    base, _, _ = stack.postgres_dsn.rpartition("/")
    try:
        yield f"{base}/{name.replace('%', '%25').replace(' ', '%20')}"
    finally:
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _scripts() -> ScriptDirectory:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")))
    return ScriptDirectory.from_config(configuration)


async def test_an_upgrade_brings_an_empty_database_to_the_newest_revision_and_a_second_one_changes_nothing(empty_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_url)
    database = Database.open(empty_url, pool_size=2)
    async with connected(empty_url, autocommit=True) as rows:
        bank = Bank(url=empty_url, database=database, rows=rows)
        account = await bank.open(funds=1000)
        revision = await bank.value("SELECT version_num FROM alembic_version")
        objects = await bank.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert revision == _scripts().get_current_head()

        await asyncio.to_thread(migrate.upgrade, empty_url)

        assert await bank.value("SELECT version_num FROM alembic_version") == revision
        assert await bank.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace") == objects
        assert (await bank.balance(account)).ledger == 1000
        assert (await bank.post(bank.withdrawal(account, 5))).posted
    await database.close()


async def test_upgrades_at_the_same_time_run_each_revision_once(empty_url: str) -> None:
    await asyncio.gather(*(asyncio.to_thread(migrate.upgrade, empty_url) for _ in range(4)))
    async with connected(empty_url, autocommit=True) as rows:
        found = await (await rows.execute("SELECT version_num FROM alembic_version")).fetchall()
        assert found == [{"version_num": _scripts().get_current_head()}]
        locks = await (
            await rows.execute(
                "SELECT count(*) AS held FROM pg_locks WHERE locktype = 'advisory' AND database ="
                " (SELECT oid FROM pg_database WHERE datname = current_database())"
            )
        ).fetchone()
        assert locks == {"held": 0}


def test_the_revisions_are_one_line_that_only_goes_forward() -> None:
    scripts = _scripts()
    revisions = list(scripts.walk_revisions())
    assert len(scripts.get_heads()) == 1
    assert len(revisions) >= 2
    assert all(isinstance(revision.down_revision, str | None) for revision in revisions)
    assert not [revision.revision for revision in revisions if hasattr(revision.module, "downgrade")]
    assert not hasattr(migrate, "downgrade")


_LEDGER_OF_0002: LiteralString = """
    INSERT INTO account (tenant, account_id, currency, kind, overdraft_limit) VALUES ('old', 'alice', 'CZK', 'current', 500);
    INSERT INTO online_balance (tenant, account_id, debited, folded, folded_until, version)
    VALUES ('old', 'alice', 30, 100, pg_snapshot_xmin(pg_current_snapshot()), 1);
    INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, debtor, creditor, request, status, submitted_by, submitted_at,
                             finished_at)
    SELECT 'old', CAST('00000000-0000-0000-0000-00000000000' || n AS uuid), n, kind, debtor, creditor, '{}', 'completed', 'teller',
           now(), now()
      FROM (VALUES ('1', 'deposit', NULL, 'alice'), ('2', 'deposit', NULL, 'alice'), ('3', 'withdrawal', 'alice', NULL))
           AS asked (n, kind, debtor, creditor);
    INSERT INTO decision (tenant, account_id, transaction_id, leg, outcome, amount, currency, value_date, decided_at, version, ledger_after,
                          available_after)
    SELECT tenant, 'alice', transaction_id, CASE kind WHEN 'deposit' THEN 'credit' ELSE 'debit' END, 'posted',
           CASE kind WHEN 'deposit' THEN 100 ELSE 30 END, 'CZK', '2026-03-02', now(), CASE kind WHEN 'withdrawal' THEN 1 END,
           CASE kind WHEN 'withdrawal' THEN 70 END, CASE kind WHEN 'withdrawal' THEN 570 END
      FROM transaction;
    INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, value_date, xid)
    SELECT tenant, account_id, currency, amount, transaction_id, leg, value_date,
           CASE row_number() OVER (ORDER BY transaction_id) WHEN 1 THEN '3'::xid8 ELSE pg_current_xact_id() END -- the first one is folded
      FROM decision WHERE leg = 'credit';
    INSERT INTO online_entry (tenant, account_id, version, currency, amount, balance_after, available_after, transaction_id, leg, posted_at,
                              value_date)
    SELECT tenant, account_id, version, currency, amount, ledger_after, available_after, transaction_id, leg, decided_at, value_date
      FROM decision WHERE leg = 'debit';
    INSERT INTO gl_entry (tenant, account_id, currency, amount, transaction_id, leg, customer_account_id, posted_at)
    SELECT tenant, 'cash', currency, CASE leg WHEN 'credit' THEN -amount ELSE amount END, transaction_id, leg, account_id, decided_at
      FROM decision;
    INSERT INTO hold (tenant, account_id, hold_id, amount, captured, status, expires_at)
    VALUES ('old', 'alice', gen_random_uuid(), 50, 20, 'open', 'infinity');
"""


async def test_an_upgrade_of_a_ledger_with_data_keeps_every_balance_and_goes_on_posting(empty_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_url, "0002")
    database = Database.open(empty_url, pool_size=2)
    async with connected(empty_url, autocommit=False) as rows:
        await rows.execute(_LEDGER_OF_0002)
    async with connected(empty_url, autocommit=True) as rows:
        bank = Bank(url=empty_url, database=database, rows=rows, tenant="old", currencies={"alice": "CZK"})
        before = await bank.balance("alice")
        assert (before.ledger, before.held, before.available) == (170, 30, 640)

        await asyncio.to_thread(migrate.upgrade, empty_url)

        after = await bank.balance("alice")
        assert after.model_dump(exclude={"as_of"}) == before.model_dump(exclude={"as_of"})
        assert await bank.value("SELECT currency FROM hold WHERE tenant = %(tenant)s") == "CZK"
        debit = await bank.post(bank.withdrawal("alice", 640))
        assert (debit.version, debit.ledger_after, debit.available_after) == (2, -470, 0)
        assert not (await bank.post(bank.withdrawal("alice", 1))).posted
        evidence = await PostgresProof(database).ledger()
        # The hold's captures were no debits yet.
        assert [line for truth in evidence.violations.values() for line in truth.shown if "captured" not in line] == []
    await database.close()


async def test_a_revision_that_waits_for_a_table_lets_those_behind_it_go_on_and_is_run_in_the_end(empty_url: str) -> None:
    await asyncio.to_thread(migrate.upgrade, empty_url, "0035")
    async with connected(empty_url, autocommit=False) as reader, connected(empty_url, autocommit=True) as others:
        await reader.execute("SELECT FROM api_key")  # holds up what 0036 adds to the table, until it ends
        migration = asyncio.create_task(asyncio.to_thread(migrate.upgrade, empty_url))
        async with asyncio.timeout(30):
            while not await _waits_for_a_lock(others):  # noqa: ASYNC110  a lock's queue tells nobody that it grew
                await asyncio.sleep(0.02)
        await others.execute("SET statement_timeout = '10s'")
        await others.execute("SELECT FROM api_key")  # behind the revision, which steps back
        assert not migration.done()
        await reader.commit()
        await migration
        found = await (await others.execute("SELECT version_num FROM alembic_version")).fetchone()
        assert found == {"version_num": _scripts().get_current_head()}


async def _waits_for_a_lock(rows: psycopg.AsyncConnection[dict[str, object]]) -> bool:
    statement: LiteralString = "SELECT count(*) AS waiting FROM pg_locks WHERE NOT granted AND relation = 'api_key'::regclass"
    return bool((await (await rows.execute(statement)).fetchone() or {})["waiting"])
