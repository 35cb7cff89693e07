"""Maintenance folds what nobody debits, in short steps, and no instant shows a wrong balance."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.maintenance import FOLD_FROM, MaintenanceReport, PostgresMaintenance
from ledger.errors import UnavailableError
from tests.integration.postgres.bank import Bank, connected

TAIL = """
    SELECT t.credits FROM online_balance o CROSS JOIN LATERAL credit_tail(o.tenant, o.account_id, o.folded_until, o.folded_except) AS t
     WHERE o.tenant = %(tenant)s AND o.account_id = %(account)s
"""


@pytest.fixture
def maintenance(database: Database) -> PostgresMaintenance:
    return PostgresMaintenance(database)


async def _credit(bank: Bank, account: str, count: int, *, amount: int = 10) -> None:
    ledger = bank.ledger
    await asyncio.gather(*(ledger.post(bank.deposit(account, amount)) for _ in range(count)))


async def _many_credits(bank: Bank, account: str, count: int, *, per_transaction: int = 100) -> None:
    """Behind the ledger's back, each hundred in a database transaction of its own."""
    for _ in range(0, count, per_transaction):
        await bank.rows.execute(
            "INSERT INTO offline_entry (tenant, account_id, currency, amount, transaction_id, leg, value_date)"
            " SELECT %s, %s, 'EUR', 1, gen_random_uuid(), 'credit', '2026-03-02' FROM generate_series(1, %s)",
            [bank.tenant, account, per_transaction],
        )


async def _online(bank: Bank, account: str) -> dict[str, Any]:
    (row,) = await bank.select("SELECT * FROM online_balance WHERE tenant = %(tenant)s AND account_id = %(account)s", account=account)
    return row


async def test_a_run_folds_the_long_tails_of_accounts_that_nobody_debits(bank: Bank, maintenance: PostgresMaintenance) -> None:
    long, short = await bank.open(), await bank.open()
    await _credit(bank, long, FOLD_FROM + 36)
    await _credit(bank, short, FOLD_FROM - 1)
    seen: list[MaintenanceReport] = []
    report = await maintenance.run(on_progress=seen.append)
    assert seen[-1] == report
    assert report.folded_credits >= FOLD_FROM + 36
    assert report.longest_tail >= FOLD_FROM + 36
    assert await bank.value(TAIL, account=long) == 0
    assert ((await bank.balance(long)).ledger, (await _online(bank, long))["folded"]) == (1_000, 1_000)
    assert await bank.value(TAIL, account=short) == FOLD_FROM - 1
    assert ((await bank.balance(short)).ledger, (await _online(bank, short))["folded"]) == (630, 0)
    again = await maintenance.run()
    assert (again.folded_accounts, again.folded_credits) == (0, 0)
    assert again.accounts == report.accounts
    assert (await bank.post(bank.withdrawal(long, 1_000))).ledger_after == 0


async def test_a_very_long_tail_is_folded_in_pieces_and_every_piece_is_exact(
    bank: Bank, maintenance: PostgresMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await bank.open()
    await _many_credits(bank, account, 1_000)
    monkeypatch.setattr("infra.postgres.maintenance.CREDITS_PER_FOLD", 250)
    folded = []
    fold_once = maintenance._fold_once

    async def noting(tenant: str, account_id: str) -> tuple[int, bool] | None:
        step = await fold_once(tenant, account_id)
        if step is not None and step[0] and account_id == account:
            folded.append(step[0])
            assert (await bank.balance(account)).ledger == 1_000
        return step

    monkeypatch.setattr(maintenance, "_fold_once", noting)
    await maintenance.run()
    # A hundred share an xid, and what has one xid is folded together.
    assert folded == [300, 300, 300, 100]
    assert await bank.value(TAIL, account=account) == 0


async def test_a_database_transaction_with_more_credits_than_a_piece_is_folded_whole(
    bank: Bank, maintenance: PostgresMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await bank.open()
    await _many_credits(bank, account, 500, per_transaction=500)
    monkeypatch.setattr("infra.postgres.maintenance.CREDITS_PER_FOLD", 250)
    await maintenance.run()
    assert await bank.value(TAIL, account=account) == 0
    assert (await bank.balance(account)).ledger == 500


async def test_a_fold_in_pieces_loses_no_credit_that_was_in_flight_below_its_boundary(
    bank: Bank, maintenance: PostgresMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    account = await bank.open()
    monkeypatch.setattr("infra.postgres.maintenance.CREDITS_PER_FOLD", 150)
    await _many_credits(bank, account, 200)
    async with bank.in_flight(bank.deposit(account, 7)):
        await _many_credits(bank, account, 300)
        await maintenance.run()
        online = await _online(bank, account)
        assert online["folded"] == 500, "the open credit keeps no other from being folded"
        assert online["folded_except"]
        assert (await bank.balance(account)).ledger == 500
    assert (await bank.balance(account)).ledger == 507
    assert await bank.value(TAIL, account=account) == 1
    await _many_credits(bank, account, 100)
    await maintenance.run()
    assert (await _online(bank, account))["folded"] == 607
    assert (await bank.post(bank.withdrawal(account, 607))).ledger_after == 0


async def test_a_long_writing_transaction_elsewhere_in_the_cluster_holds_no_fold_back(bank: Bank, maintenance: PostgresMaintenance) -> None:
    account = await bank.open()
    base, _, _ = bank.url.rpartition("/")
    async with connected(f"{base}/postgres", autocommit=False) as long_one:
        await long_one.execute("SELECT pg_current_xact_id()")
        for round_ in range(1, 3):
            await _many_credits(bank, account, 100)
            await maintenance.run()
            assert await bank.value(TAIL, account=account) == 0
            assert (await bank.balance(account)).ledger == (await _online(bank, account))["folded"] == 100 * round_
        metrics = await maintenance.metrics()
        assert metrics.oldest_writer_seconds > 0
        assert metrics.oldest_writer_xids > 2
        assert metrics.longest_tail >= 100
        assert metrics.last_run_seconds_ago is not None


async def test_an_account_that_is_being_debited_is_skipped_and_not_waited_for(bank: Bank, maintenance: PostgresMaintenance) -> None:
    account = await bank.open(funds=100)
    async with bank.in_flight(bank.withdrawal(account, 1)):
        await _many_credits(bank, account, 100)
        report = await asyncio.wait_for(maintenance.run(), timeout=30)
        assert report.busy_accounts == 1
        assert (await _online(bank, account))["folded"] == 0
    assert (await bank.balance(account)).ledger == 199


async def test_the_balance_is_exact_at_every_instant_while_runs_go_on_beside_credits_and_debits(
    bank: Bank, maintenance: PostgresMaintenance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.postgres.maintenance.CREDITS_PER_FOLD", 100)
    account, mirror = await bank.open(), await bank.open()
    await _many_credits(bank, account, 5_000)
    await bank.post(bank.deposit(mirror, 100_000))
    stop = asyncio.Event()
    counted = {"runs": 0, "looks": 0, "transfers": 0}

    async def upkeep() -> None:
        while not stop.is_set():
            await maintenance.run()
            counted["runs"] += 1

    async def move(ledger: PostgresLedger) -> None:
        # Both ways: what one account loses the other one, or transit, has.
        for _ in range(40):
            await bank.post_transfer(bank.transfer(mirror, account, 3))
            await bank.post_transfer(bank.transfer(account, mirror, 1))
            counted["transfers"] += 2
        await ledger.drain()

    async def look() -> None:
        while not stop.is_set():
            # In one snapshot: both accounts by the view, transit by its entries.
            total = await bank.value(
                "SELECT (SELECT sum(ledger) FROM account_balance WHERE tenant = %(tenant)s)"
                " + (SELECT coalesce(sum(amount), 0) FROM gl_entry WHERE tenant = %(tenant)s AND account_id = 'transit')"
            )
            assert total == 105_000
            counted["looks"] += 1
            await asyncio.sleep(0)

    watching, keeping = [asyncio.create_task(look())], [asyncio.create_task(upkeep()) for _ in range(2)]
    await asyncio.gather(*(move(bank.ledger) for _ in range(4)))
    stop.set()
    await asyncio.gather(*watching, *keeping)
    assert min(counted.values()) > 3, counted
    assert (await bank.balance(account)).ledger == 5_000 + 4 * 40 * 2
    assert (await bank.post(bank.withdrawal(account, 5_320))).ledger_after == 0


async def test_finding_long_tails_reads_few_index_entries_of_each_account_however_many_credits_there_are(bank: Bank) -> None:
    from infra.postgres.maintenance import _LOOK  # noqa: PLC0415  what it sends

    account = await bank.open("a-with-many")
    await _many_credits(bank, account, 20_000, per_transaction=1_000)
    await bank.rows.execute("VACUUM ANALYZE offline_entry")
    query = (
        _LOOK.text.replace(":tenant", "''").replace(":account_id", "''").replace(":accounts", "500").replace(":fold_from", str(FOLD_FROM))
    )
    (plan,) = await bank.value("EXPLAIN (ANALYZE, FORMAT JSON) " + query)
    accounts = await bank.value("SELECT count(*) FROM online_balance")
    assert 0 < _credits_read(plan["Plan"]) <= 2 * FOLD_FROM * accounts < 20_000


def _credits_read(node: dict[str, Any]) -> float:
    own = node["Actual Rows"] * node["Actual Loops"] if node.get("Relation Name") == "offline_entry" else 0
    return float(own) + sum(_credits_read(part) for part in node.get("Plans", ()))


async def test_of_several_processes_that_keep_up_one_runs_at_a_time(
    bank: Bank, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await bank.rows.execute("UPDATE maintenance_run SET begun_at = '-infinity'")
    runs = []

    async def run(_self: PostgresMaintenance) -> MaintenanceReport:
        runs.append(1)
        return MaintenanceReport()

    monkeypatch.setattr(PostgresMaintenance, "run", run)
    keeping = [asyncio.create_task(PostgresMaintenance(database).keep_up(every_seconds=3_600)) for _ in range(4)]
    try:
        async with asyncio.timeout(30):
            while not runs:  # noqa: ASYNC110  nothing tells that all have looked
                await asyncio.sleep(0.01)
            # All the others have asked by the time that a fifth one is told no.
            assert not await PostgresMaintenance(database)._begin(3_600)
    finally:
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, return_exceptions=True)
    assert runs == [1]


async def test_keeping_up_goes_on_after_a_run_that_failed(bank: Bank, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    done = asyncio.Event()
    runs = []

    async def run(_self: PostgresMaintenance) -> MaintenanceReport:
        runs.append(1)
        if len(runs) == 1:
            raise UnavailableError(part="postgres", detail="away")
        done.set()
        return MaintenanceReport()

    monkeypatch.setattr(PostgresMaintenance, "run", run)
    await bank.rows.execute("UPDATE maintenance_run SET begun_at = '-infinity'")
    task = asyncio.create_task(PostgresMaintenance(database).keep_up(every_seconds=0.01))
    await asyncio.wait_for(done.wait(), timeout=30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_restored_ledger_is_not_folded(bank: Bank, maintenance: PostgresMaintenance) -> None:
    account = await bank.open()
    await _many_credits(bank, account, 100)
    await bank.rows.execute("UPDATE ledger_cluster SET system_identifier = system_identifier + 1")
    try:
        with pytest.raises(UnavailableError, match="casaflow refold"):
            await maintenance.run()
        assert (await _online(bank, account))["folded"] == 0
    finally:
        await bank.rows.execute("UPDATE ledger_cluster SET system_identifier = system_identifier - 1")
