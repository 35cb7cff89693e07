from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from psycopg import sql

from infra.postgres import migrate
from infra.postgres.database import Database
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
