"""`casaflow refold`: a ledger that was dumped and restored into another cluster posts nothing before it, and is exact after it."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from infra.postgres.database import Database
from infra.postgres.migrate import upgrade
from infra.postgres.privileges import ROLES
from infra.postgres.proof import PostgresProof
from infra.postgres.refold import PostgresRefold, RefoldRefusedError
from ledger.errors import UnavailableError
from tests.integration.postgres.bank import Bank, connected
from tests.integration.postgres.cluster import Cluster, running_cluster

CREDITS = 150
"""Two folds and a tail."""


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Cluster]:
    """Another cluster, whose transaction ids are lower than those of the first one's ledger."""
    with running_cluster() as cluster:
        with psycopg.connect(cluster.url(), autocommit=True) as connection:
            for role in ROLES:
                connection.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
        yield cluster


@contextlib.asynccontextmanager
async def _bank(url: str, *, role: str | None = "casaflow_app") -> AsyncIterator[Bank]:
    database = Database.open(url, pool_size=8, role=role)
    try:
        async with connected(url, autocommit=True) as rows:
            yield Bank(url=url, database=database, rows=rows, tenant="main")
    finally:
        await database.close()


@pytest.fixture(scope="module")
async def dump(postgres_url: str, elsewhere: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a ledger with credits, debits, folds, a credit that a fold had to leave out, and a tail."""
    async with _bank(postgres_url) as bank:
        await bank.open("busy", funds=1_000)
        await bank.open("quiet", funds=500)
        await bank.open("empty")
        for _ in range(CREDITS // 2):
            await bank.post(bank.deposit("busy", 10))
        async with bank.in_flight(bank.deposit("busy", 7)):
            assert (await bank.post(bank.withdrawal("busy", 100))).posted
        for _ in range(CREDITS // 2):
            await bank.post(bank.deposit("busy", 10))
        assert (await bank.post(bank.withdrawal("busy", 100))).posted
        await bank.post_transfer(bank.transfer("busy", "quiet", 50))
        assert (await bank.balance("busy")).ledger == 1_000 + 10 * CREDITS + 7 - 250
    file = tmp_path_factory.mktemp("dump") / "ledger.sql"
    done = elsewhere.run("pg_dump", "--file", str(file), postgres_url)
    assert done.returncode == 0, done.stderr
    return file


@pytest.fixture
async def restored(dump: Path, elsewhere: Cluster) -> str:
    url = elsewhere.create_database(f"restored_{uuid.uuid4().hex[:8]}")
    done = elsewhere.run("psql", "--quiet", "--set", "ON_ERROR_STOP=1", "--single-transaction", "--file", str(dump), url)
    assert done.returncode == 0, done.stderr
    return url


async def _xids(bank: Bank) -> list[int]:
    return [row["xid"] for row in await bank.select("SELECT CAST(CAST(xid AS text) AS bigint) AS xid FROM offline_entry ORDER BY 1")]


async def _proven(url: str) -> None:
    async with _bank(url, role=None) as owner:
        evidence = await PostgresProof(owner.database).ledger()
    assert [violation for found in evidence.violations.values() for violation in found.shown] == []


async def test_a_restored_ledger_posts_nothing_until_it_is_refolded_and_is_exact_then(restored: str) -> None:
    async with _bank(restored) as bank, _bank(restored, role=None) as owner:
        before = await _online(owner)
        newest = await owner.value("SELECT CAST(CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text) AS bigint)")
        assert min(await _xids(owner)) > newest, "the old cluster's transaction ids lie in the future of the new one"
        for posting in (bank.deposit("busy", 1), bank.withdrawal("busy", 1)):
            with pytest.raises(UnavailableError, match="casaflow refold"):
                await bank.post(posting)
        waiting = bank.deposit("busy", 300)
        in_flight = asyncio.create_task(_until_posted(bank, waiting))

        progress: list[tuple[int, int]] = []
        refolded = await PostgresRefold(owner.database).refold(on_progress=lambda done, total: progress.append((done, total)))
        assert refolded.refolded
        assert refolded.earlier_cluster != refolded.cluster
        credits_ = CREDITS + 4
        assert (refolded.credits, refolded.accounts, progress) == (credits_, 3, [(credits_, credits_)])
        await asyncio.wait_for(in_flight, timeout=30)

        after = await _online(owner)
        assert {name: row["folded"] for name, row in after.items()} == {"busy": 2_507, "quiet": 550, "empty": 0}
        for name, row in after.items():
            assert row["until"] < before["busy"]["until"]
            assert (row["except"], row["debited"], row["version"]) == ([], before[name]["debited"], before[name]["version"])
        await _proven(restored)

        # With new credits, debits and folds, at xids that are lower than the old ones were.
        expected = 2_507 - 250 + 300
        for _ in range(70):
            await bank.post(bank.deposit("busy", 10))
            expected += 10
            assert (await bank.balance("busy")).ledger == expected
        assert max(await _xids(owner)) < before["busy"]["until"]
        assert (await bank.post(bank.withdrawal("busy", expected))).ledger_after == 0
        assert (await bank.post(bank.withdrawal("quiet", 551))).refusal is not None
        assert (await _online(owner))["busy"]["folded"] > after["busy"]["folded"]
        await _proven(restored)


async def _until_posted(bank: Bank, posting: Any) -> None:
    while True:
        try:
            assert (await bank.post(posting)).posted
        except UnavailableError:
            await asyncio.sleep(0.01)
        else:
            return


async def _online(bank: Bank) -> dict[str, dict[str, Any]]:
    rows = await bank.select(
        "SELECT account_id, folded, debited, version, CAST(CAST(folded_until AS text) AS bigint) AS until, folded_except AS except"
        " FROM online_balance"
    )
    return {row["account_id"]: row for row in rows}


async def test_a_second_refold_changes_nothing_and_a_forced_one_is_as_exact(restored: str) -> None:
    async with _bank(restored) as bank, _bank(restored, role=None) as owner:
        refold = PostgresRefold(owner.database)
        assert (await refold.refold()).refolded
        await bank.post(bank.deposit("busy", 5))
        before, xids = await _online(owner), await _xids(owner)
        again = await refold.refold()
        assert (again.refolded, again.credits) == (False, 0)
        assert again.earlier_cluster == again.cluster
        assert (await _online(owner), await _xids(owner)) == (before, xids)
        forced = await refold.refold(force=True)
        assert (forced.refolded, forced.credits) == (True, 1)
        assert (await bank.balance("busy")).ledger == 2_507 - 250 + 5
        assert (await bank.post(bank.withdrawal("busy", 2_262))).ledger_after == 0
        await _proven(restored)


async def test_a_credit_of_a_transaction_that_was_open_all_the_while_counts_after_the_refold(restored: str) -> None:
    async with _bank(restored) as bank, _bank(restored, role=None) as owner, connected(restored, autocommit=False) as long_one:
        await long_one.execute("SELECT pg_current_xact_id()")  # it has an id, and has written nothing to the ledger
        await owner.rows.execute("SELECT pg_current_xact_id()")  # and is not the newest
        await PostgresRefold(owner.database).refold()
        await bank.post(bank.deposit("busy", 5))
        await long_one.execute(
            "INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, value_date)"
            " VALUES ('main', 'busy', 'EUR', 9, gen_random_uuid(), 'credit', '2026-01-01')"
        )
        await long_one.commit()
        assert (await bank.balance("busy")).ledger == 2_507 - 250 + 5 + 9
        assert (await bank.post(bank.withdrawal("busy", 2_271))).ledger_after == 0


async def test_it_refuses_while_somebody_is_writing_and_says_who(restored: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.postgres.refold.LOCK_TIMEOUT_SECONDS", 0.2)
    async with _bank(restored, role=None) as owner:
        before = await _online(owner)
        async with connected(restored, autocommit=False) as writer:
            await writer.execute("UPDATE online_balance SET version = version WHERE account_id = 'empty'")
            with pytest.raises(RefoldRefusedError, match=f"process {writer.info.backend_pid} of casaflow"):
                await PostgresRefold(owner.database).refold()
        assert await _online(owner) == before
        assert (await PostgresRefold(owner.database).refold()).refolded


async def test_it_refuses_while_a_subscription_brings_rows(restored: str) -> None:
    async with _bank(restored, role=None) as owner:
        await owner.rows.execute("CREATE SUBSCRIPTION mover CONNECTION 'dbname=nowhere' PUBLICATION p WITH (connect = false)")
        await owner.rows.execute("ALTER SUBSCRIPTION mover ENABLE")
        try:
            with pytest.raises(RefoldRefusedError, match="subscription mover"):
                await PostgresRefold(owner.database).refold()
        finally:
            await owner.rows.execute("ALTER SUBSCRIPTION mover DISABLE")
            await owner.rows.execute("ALTER SUBSCRIPTION mover SET (slot_name = NONE)")
            await owner.rows.execute("DROP SUBSCRIPTION mover")


async def test_only_the_owner_may_refold(restored: str) -> None:
    async with _bank(restored) as application:
        with pytest.raises(RefoldRefusedError, match="only the owner"):
            await PostgresRefold(application.database).refold()


REFUSED_ELSEWHERE = [
    "UPDATE offline_entry SET xid = '4'",
    "UPDATE offline_entry SET xid = xid",
    "UPDATE offline_entry SET xid = '3', amount = amount + 1",
    "UPDATE offline_entry SET xid = '3', posted_at = posted_at - interval '1 day'",
    "DELETE FROM offline_entry",
    "TRUNCATE offline_entry",
    "UPDATE online_entry SET amount = amount + 1",
    "UPDATE gl_entry SET amount = amount + 1",
    "UPDATE online_balance SET folded_until = '9'",
    "UPDATE online_balance SET folded_until = '9', folded_except = '{}'",
]


@pytest.mark.parametrize("statement", REFUSED_ELSEWHERE)
async def test_a_restored_ledger_allows_no_other_change_of_its_entries(restored: str, statement: str) -> None:
    async with connected(restored, autocommit=True) as owner:
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
            await owner.execute(sql.SQL(statement))


async def test_what_a_restored_ledger_allows_is_refused_in_its_own_cluster(restored: str) -> None:
    async with connected(restored, autocommit=False) as owner:
        await owner.execute("UPDATE offline_entry SET xid = '3'")
        fold = (
            "UPDATE online_balance o SET folded_until = '9', folded_except = '{{}}', folded = {} + (SELECT coalesce(sum(amount), 0)"
            " FROM offline_entry e WHERE e.account_id = o.account_id)"
        )
        await owner.execute(fold.format("0"))
        await owner.rollback()
        await owner.execute("UPDATE offline_entry SET xid = '3'")
        with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="may not decrease"):
            await owner.execute(fold.format("1"))
        await owner.rollback()
    async with _bank(restored, role=None) as bank:
        await PostgresRefold(bank.database).refold()
    async with connected(restored, autocommit=True) as owner:
        for statement, match in (("UPDATE offline_entry SET xid = '3'", "insert-only"), (fold.format("0"), "may not decrease")):
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match=match):
                await owner.execute(statement)


@pytest.mark.parametrize("role", ROLES)
async def test_a_migration_takes_the_role_that_another_database_makes_at_the_same_moment(role: str) -> None:
    with running_cluster() as cluster:
        async with connected(cluster.url(), autocommit=False) as faster, connected(cluster.url(), autocommit=True) as watching:
            await faster.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(role)))
            url = cluster.create_database("bank")
            migration = asyncio.create_task(asyncio.to_thread(upgrade, url))
            async with asyncio.timeout(60):
                while not await _is_blocked(watching):  # noqa: ASYNC110  a lock's queue tells nobody that it grew
                    await asyncio.sleep(0.02)
            await faster.commit()
            await migration
        # And a second database finds it there.
        other = cluster.create_database("other_bank")
        await asyncio.to_thread(upgrade, other)
        for each in (url, other):
            async with _bank(each) as bank:
                assert (await bank.balance(await bank.open(funds=10))).ledger == 10


async def _is_blocked(watching: psycopg.AsyncConnection[dict[str, Any]]) -> bool:
    found = await watching.execute("SELECT count(*) AS waiting FROM pg_stat_activity WHERE cardinality(pg_blocking_pids(pid)) > 0")
    return bool((await found.fetchone() or {})["waiting"])
