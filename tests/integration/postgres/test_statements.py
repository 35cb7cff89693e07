"""Statements and balances in time against an independent model, with late commits, with checkpoints and without them."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import uuid
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from psycopg import sql
from sqlalchemy import create_engine

from infra.postgres import migrate
from infra.postgres.checkpoints import Advanced, PostgresCheckpoints
from infra.postgres.database import Database, driver_url
from infra.postgres.statements import PostgresStatements
from ledger.errors import NotFoundError
from ledger.statements import LinePosition, StatementRequest
from tests.integration.postgres.bank import Bank, connected
from tests.integration.postgres.booked import (
    MICROSECOND,
    NEWEST,
    NO_MARGIN,
    NOON,
    OLDEST,
    all_pages,
    assert_derived_sums,
    assert_lines,
    entry,
    lines_of,
    open_posting,
    random_entries,
    write,
)
from tests.stack_fixtures import RunningStack


@pytest.fixture
def statements(bank: Bank) -> PostgresStatements:
    return PostgresStatements(bank.database)


@pytest.fixture
def checkpoints(bank: Bank) -> PostgresCheckpoints:
    return PostgresCheckpoints(bank.database)


# ---- equal to what the entries say ----


@pytest.mark.parametrize(
    ("seed", "lines_per_checkpoint"),
    [
        (1, None),
        (2, 1),
        (3, 13),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(1, 1), (1, 13), (2, None), (2, 13), (3, None), (3, 1)]),
    ],
)
async def test_every_page_and_balance_is_what_a_model_makes_of_the_entries(
    bank: Bank, statements: PostgresStatements, checkpoints: PostgresCheckpoints, seed: int, lines_per_checkpoint: int | None
) -> None:
    chance = random.Random(seed)  # noqa: S311  repeatable, not secret
    account, other = await bank.open(), await bank.open()
    entries = random_entries(chance, 120)
    half = len(entries) // 2
    entries.sort(key=lambda booked: booked.posted_at)
    await write(bank, account, entries[:half])
    await write(bank, other, random_entries(chance, 30))
    if lines_per_checkpoint is not None:
        await checkpoints.advance(margin=NO_MARGIN, lines=lines_per_checkpoint)
    await write(bank, account, [booked for booked in entries[half:] if booked.posted_at > entries[half - 1].posted_at])
    if lines_per_checkpoint is not None:
        await checkpoints.advance(margin=NO_MARGIN, lines=lines_per_checkpoint)
    entries = entries[:half] + [booked for booked in entries[half:] if booked.posted_at > entries[half - 1].posted_at]
    model = sorted(entries, key=lambda booked: booked.order)
    made = await bank.value("SELECT count(*) FROM balance_checkpoint WHERE tenant = %(tenant)s AND account_id = %(id)s", id=account)
    assert bool(made) == (lines_per_checkpoint is not None)
    print(f"{len(model)} entries, {made} checkpoints, {len({booked.posted_at for booked in model})} instants")  # noqa: T201

    instants: list[dt.datetime | None] = [None, *chance.sample(sorted({booked.posted_at for booked in model}), 6)]
    for _ in range(25):
        since, until = chance.choice(instants), chance.choice(instants)
        if since is not None and until is not None:
            since, until = min(since, until), max(since, until)
        expected = [
            booked for booked in model if (since is None or booked.posted_at >= since) and (until is None or booked.posted_at < until)
        ]
        opening = sum(booked.amount for booked in model if since is not None and booked.posted_at < since)
        order, limit = chance.choice((OLDEST, NEWEST)), chance.choice((1, 2, 7, 50, 500))
        pages = await all_pages(statements, bank, account, order=order, limit=limit, since=since, until=until)
        assert_lines(lines_of(pages), expected, opening)
        assert all(page.opening_balance + sum(line.signed_amount for line in page.lines) == page.closing_balance for page in pages)
        chained = pages if order is OLDEST else pages[::-1]
        assert [page.closing_balance for page in chained[:-1]] == [page.opening_balance for page in chained[1:]]
        assert (chained[0].opening_balance, chained[-1].closing_balance) == (opening, opening + sum(booked.amount for booked in expected))
        assert all(len(page.lines) == limit for page in pages[:-1])

    for instant in instants[1:]:
        assert instant is not None
        for at in (instant - MICROSECOND, instant, instant + MICROSECOND):
            balance = await statements.balance_at(bank.tenant, account, at)
            until_then = [booked.amount for booked in model if booked.posted_at <= at]
            assert (balance.ledger, balance.credited) == (sum(until_then), sum(amount for amount in until_then if amount > 0))
            assert (balance.as_of, balance.settled) == (at, True)
    for day in {booked.value_date for booked in model} | {NOON.date() - dt.timedelta(days=60), NOON.date() + dt.timedelta(days=60)}:
        on_day = await statements.balance_on(bank.tenant, account, day)
        assert on_day.ledger == sum(booked.amount for booked in model if booked.value_date <= day)
        assert on_day.debited == -sum(booked.amount for booked in model if booked.value_date <= day and booked.amount < 0)


async def test_an_account_without_entries_has_an_empty_statement_and_no_money_at_any_time(
    bank: Bank, statements: PostgresStatements
) -> None:
    account = await bank.open(currency="JPY")
    for order in (OLDEST, NEWEST):
        for since, until in ((None, None), (NOON, None), (None, NOON), (NOON, NOON)):
            (page,) = await all_pages(statements, bank, account, order=order, since=since, until=until)
            assert (page.currency, page.lines, page.opening_balance, page.closing_balance) == ("JPY", (), 0, 0)
    assert (await statements.balance_at(bank.tenant, account, NOON)).ledger == 0
    assert (await statements.balance_on(bank.tenant, account, NOON.date())).ledger == 0


async def test_an_empty_range_opens_and_closes_with_the_balance_of_that_time(bank: Bank, statements: PostgresStatements) -> None:
    account = await bank.open()
    await write(bank, account, [entry(700, NOON), entry(-200, NOON + dt.timedelta(hours=2), version=1)])
    for order in (OLDEST, NEWEST):
        for since, until, balance in (
            (NOON + MICROSECOND, NOON + dt.timedelta(hours=2), 700),
            (NOON, NOON, 0),
            (NOON + dt.timedelta(hours=3), None, 500),
            (None, NOON, 0),
        ):
            (page,) = await all_pages(statements, bank, account, order=order, since=since, until=until)
            assert (page.lines, page.opening_balance, page.closing_balance) == ((), balance, balance)


async def test_a_cursor_at_the_end_finds_what_came_later(bank: Bank, statements: PostgresStatements) -> None:
    account = await bank.open()
    first, second = entry(5, NOON), entry(6, NOON + MICROSECOND)
    await write(bank, account, [first])
    position = LinePosition(first.posted_at, str(first.transaction_id), first.leg)
    request = StatementRequest(account_id=account, after=position)
    at_the_end = await statements.page(bank.tenant, request)
    assert (at_the_end.lines, at_the_end.opening_balance, at_the_end.next_cursor) == ((), 5, None)
    await write(bank, account, [second])
    assert_lines((await statements.page(bank.tenant, request)).lines, [second], 5)


async def test_a_line_tells_what_its_transaction_says(bank: Bank, statements: PostgresStatements) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    debit = bank.transfer(debtor, creditor, 250, reference="invoice 7", remittance_information="thanks", value_date=dt.date(2026, 4, 1))
    booked = await bank.post_transfer(debit)
    paid_in, paid_out = (await statements.page(bank.tenant, StatementRequest(account_id=debtor))).lines
    (received,) = (await statements.page(bank.tenant, StatementRequest(account_id=creditor))).lines
    for line, decision, counterparty, version in ((paid_out, booked[0], creditor, 1), (received, booked[1], debtor, None)):
        assert (line.transaction_id, line.leg) == (debit.request.transaction_id, decision.leg)
        assert (line.amount, line.posted_at, line.value_date) == (250, decision.decided_at, dt.date(2026, 4, 1))
        assert (line.counterparty, line.reference, line.remittance_information) == (counterparty, "invoice 7", "thanks")
        assert line.version == version
        assert line.settled
    assert (paid_in.balance_after, paid_out.balance_after, received.balance_after) == (1000, 750, 250)
    assert (paid_in.counterparty, paid_in.reference) == (None, None)


async def test_counterparty_of_a_share_is_the_debtor_and_the_debtor_of_several_shares_has_none(
    bank: Bank, statements: PostgresStatements
) -> None:
    debtor, sharer = await bank.open(), await bank.open()
    paid = entry(-100, NOON, version=1)
    await write(bank, debtor, [paid])
    await write(bank, sharer, [replace(paid, amount=60, leg="credit", version=None)])
    await bank.rows.execute(
        "INSERT INTO transaction (tenant, transaction_id, fingerprint, kind, debtor, request, status, submitted_by, submitted_at,"
        " finished_at) VALUES (%s, %s, '', 'transfer', %s, '{}', 'completed', 'teller', %s, %s)",
        (bank.tenant, paid.transaction_id, debtor, NOON, NOON),
    )
    (paid_line,) = (await statements.page(bank.tenant, StatementRequest(account_id=debtor))).lines
    (share_line,) = (await statements.page(bank.tenant, StatementRequest(account_id=sharer))).lines
    assert (paid_line.counterparty, share_line.counterparty) == (None, debtor)


async def test_several_debits_of_one_transaction_are_lines_of_their_own(bank: Bank, statements: PostgresStatements) -> None:
    account = await bank.open()
    await bank.rows.execute("ALTER TABLE online_entry DROP CONSTRAINT IF EXISTS online_entry_leg_check")  # whatever legs there will be
    first = entry(-100, NOON, version=1)
    fee = replace(first, leg="a-later-leg", amount=-3, version=2)
    await write(bank, account, [entry(500, NOON - MICROSECOND), first, fee])
    pages = await all_pages(statements, bank, account, limit=1)
    assert [(line.leg, line.balance_after) for line in lines_of(pages)] == [("credit", 500), ("a-later-leg", 497), ("debit", 397)]


async def test_an_account_of_nobody_or_of_another_tenant_is_not_found(bank: Bank, statements: PostgresStatements) -> None:
    account = await bank.open(funds=5)
    for tenant, account_id in ((bank.tenant, "nobody's"), (f"{bank.tenant}x", account)):
        with pytest.raises(NotFoundError):
            await statements.page(tenant, StatementRequest(account_id=account_id))
        with pytest.raises(NotFoundError):
            await statements.balance_at(tenant, account_id, NOON)
        with pytest.raises(NotFoundError):
            await statements.balance_on(tenant, account_id, NOON.date())


# ---- settled and provisional ----


async def test_lines_at_or_behind_the_start_of_an_open_posting_are_provisional_until_it_ends(
    bank: Bank, statements: PostgresStatements
) -> None:
    account, elsewhere = await bank.open(funds=100), await bank.open()
    request = StatementRequest(account_id=account)
    async with open_posting(bank, elsewhere, 1):
        # It might be one of this account; what is locked where can't be known.
        assert (await bank.post(bank.deposit(account, 20))).posted
        before, after = (await statements.page(bank.tenant, request)).lines
        assert (before.settled, after.settled) == (True, False)
        at = await statements.balance_at(bank.tenant, account, after.posted_at)
        assert (at.ledger, at.settled) == (120, False)
        assert (await statements.balance_at(bank.tenant, account, before.posted_at)).settled
    assert [line.settled for line in (await statements.page(bank.tenant, request)).lines] == [True, True]


async def test_a_late_commit_lands_among_the_provisional_lines_and_changes_no_settled_one(
    bank: Bank, statements: PostgresStatements
) -> None:
    account = await bank.open(funds=100)
    request = StatementRequest(account_id=account)
    async with open_posting(bank, account, 7) as late:
        assert (await bank.post(bank.deposit(account, 20))).posted
        seen = (await statements.page(bank.tenant, request)).lines
    now = (await statements.page(bank.tenant, request)).lines
    assert [line.amount for line in seen] == [100, 20]
    assert [line.amount for line in now] == [100, 7, 20]
    assert now[1].transaction_id == str(late.transaction_id)
    assert now[0] == seen[0]
    assert all(line.settled for line in now)


async def test_a_posting_that_has_begun_between_two_looks_of_one_database_transaction_is_seen(bank: Bank) -> None:
    account = await bank.open()
    async with connected(bank.url, autocommit=False) as reader:

        async def settled_until() -> dt.datetime:
            found = await (await reader.execute("SELECT settled_until() AS instant")).fetchone()
            assert found is not None
            instant: dt.datetime = found["instant"]
            return instant

        first = await settled_until()
        async with open_posting(bank, account, 1) as late:
            assert first < await settled_until() <= late.posted_at
        assert await settled_until() > late.posted_at


async def test_a_posting_is_seen_as_open_from_before_it_takes_its_booking_time(bank: Bank, statements: PostgresStatements) -> None:
    account = await bank.open()
    async with connected(bank.url, autocommit=False) as connection:
        # The first half of every posting, before anything is written.
        values = {"tenants": [bank.tenant], "accounts": [account]}
        opened = await connection.execute("SELECT opened_at FROM open_accounts(%(tenants)s, %(accounts)s, ARRAY[false])", values)
        found = await opened.fetchone()
        assert found is not None
        settled_until = await statements.settled_until()
        assert settled_until is not None
        assert settled_until <= found["opened_at"]


async def test_nothing_is_settled_where_the_start_of_a_writing_session_is_hidden(bank: Bank, statements: PostgresStatements) -> None:
    account = await bank.open(funds=1)
    role = sql.Identifier(f"limited_{uuid.uuid4().hex[:12]}")
    owner = sql.Identifier(await bank.value("SELECT current_user"))
    await bank.rows.execute(sql.SQL("CREATE ROLE {}").format(role))
    await bank.rows.execute(sql.SQL("GRANT CREATE ON SCHEMA public TO {}").format(role))
    await bank.rows.execute(sql.SQL("ALTER FUNCTION settled_until() OWNER TO {}").format(role))
    try:
        async with open_posting(bank, account, 1):
            page = await statements.page(bank.tenant, StatementRequest(account_id=account))
            assert page.settled_until is None
            assert [line.settled for line in page.lines] == [False]
            assert not (await statements.balance_at(bank.tenant, account, NOON)).settled
            assert (await PostgresCheckpoints(bank.database).advance(margin=NO_MARGIN, lines=1)).checkpoints == 0
        assert await statements.settled_until() is not None
    finally:
        await bank.rows.execute(sql.SQL("ALTER FUNCTION settled_until() OWNER TO {}").format(owner))
        await bank.rows.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


async def test_lines_in_a_checkpoint_stay_settled_when_an_older_database_transaction_begins_to_write(
    bank: Bank, statements: PostgresStatements, checkpoints: PostgresCheckpoints
) -> None:
    account = await bank.open()
    request = StatementRequest(account_id=account)
    async with connected(bank.url, autocommit=False) as older:
        await older.execute("SELECT 1")
        assert (await bank.post(bank.deposit(account, 20))).posted
        assert (await bank.post(bank.deposit(account, 30))).posted
        await checkpoints.advance(margin=NO_MARGIN, lines=2)
        assert (await bank.post(bank.deposit(account, 40))).posted
        await older.execute("SELECT pg_current_xact_id()")
        lines = (await statements.page(bank.tenant, request)).lines
        assert [line.settled for line in lines] == [True, True, False]
        assert (await statements.balance_at(bank.tenant, account, lines[1].posted_at)).settled


async def test_nothing_is_settled_while_a_session_that_tracks_no_activity_writes(bank: Bank, statements: PostgresStatements) -> None:
    async with connected(bank.url, autocommit=True) as untracked:
        await untracked.execute("SET track_activities = off")
        async with untracked.transaction():
            await untracked.execute("SELECT pg_current_xact_id()")
            assert await statements.settled_until() is None
    assert await statements.settled_until() is not None


# ---- checkpoints ----


async def test_checkpoints_made_by_several_processes_at_once_hold_every_entry_once(bank: Bank) -> None:
    accounts = [await bank.open() for _ in range(3)]
    chance = random.Random(5)  # noqa: S311
    for account in accounts:
        await write(bank, account, random_entries(chance, 90))
    databases = [Database.open(bank.url, pool_size=1) for _ in range(4)]
    try:
        done = await asyncio.gather(*(PostgresCheckpoints(database).advance(margin=NO_MARGIN, lines=3) for database in databases))
    finally:
        for database in databases:
            await database.close()
    again = await PostgresCheckpoints(bank.database).advance(margin=NO_MARGIN, lines=3)
    assert again.checkpoints == 0
    made = await bank.value("SELECT count(*) FROM balance_checkpoint WHERE tenant = %(tenant)s")
    assert made > 20
    assert sum(advanced.checkpoints for advanced in done) >= made
    await assert_derived_sums(bank)


async def test_checkpoints_of_different_spacing_never_hold_an_entry_twice(bank: Bank) -> None:
    account = await bank.open()
    await write(bank, account, random_entries(random.Random(6), 90))  # noqa: S311
    await asyncio.gather(*(PostgresCheckpoints(bank.database).advance(margin=NO_MARGIN, lines=lines) for lines in (2, 3, 5, 7)))
    await assert_derived_sums(bank)


async def test_lines_younger_than_the_margin_wait_for_their_checkpoint(
    bank: Bank, statements: PostgresStatements, checkpoints: PostgresCheckpoints
) -> None:
    account = await bank.open(funds=5)
    await checkpoints.advance(margin=dt.timedelta(minutes=10), lines=1)
    query = "SELECT count(*) FROM balance_checkpoint WHERE tenant = %(tenant)s AND account_id = %(id)s"
    assert await bank.value(query, id=account) == 0
    await checkpoints.advance(margin=NO_MARGIN, lines=1)
    assert await bank.value(query, id=account) == 1
    assert [line.balance_after for line in lines_of(await all_pages(statements, bank, account))] == [5]


async def test_emptied_checkpoints_are_made_again_and_nothing_reads_differently_meanwhile(
    bank: Bank, statements: PostgresStatements, checkpoints: PostgresCheckpoints
) -> None:
    account = await bank.open()
    entries = random_entries(random.Random(7), 60)  # noqa: S311
    await write(bank, account, entries)

    async def everything() -> tuple[object, ...]:
        pages = await all_pages(statements, bank, account, limit=9)
        days = [await statements.balance_on(bank.tenant, account, booked.value_date) for booked in entries[:5]]
        return lines_of(pages), [day.ledger for day in days]

    before = await everything()
    await checkpoints.advance(margin=NO_MARGIN, lines=4)
    assert await everything() == before
    await bank.rows.execute("TRUNCATE balance_checkpoint, value_date_balance")
    assert await everything() == before
    assert (await checkpoints.advance(margin=NO_MARGIN, lines=4)).lines >= len(entries) - 4
    assert await everything() == before
    await assert_derived_sums(bank)


async def test_a_maintenance_run_tells_how_far_it_has_come(bank: Bank, checkpoints: PostgresCheckpoints) -> None:
    for _ in range(2):
        await write(bank, await bank.open(), random_entries(random.Random(8), 30))  # noqa: S311
    told: list[Advanced] = []
    done = await checkpoints.advance(margin=NO_MARGIN, lines=5, on_progress=told.append)
    assert told[-1] == done
    assert [each.lines for each in told] == sorted(each.lines for each in told)
    assert done.accounts >= 2
    assert done.checkpoints >= 10


# ---- the migration ----


async def test_the_revision_runs_on_a_database_with_entries_and_finds_all_of_them(stack: RunningStack) -> None:
    name = f"test_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    url = f"{stack.postgres_dsn.rpartition('/')[0]}/{name}"
    database = Database.open(url, pool_size=2)
    try:
        await asyncio.to_thread(_upgrade_to, url, "0002")
        entries = random_entries(random.Random(9), 60)  # noqa: S311
        async with connected(url, autocommit=True) as rows:
            bank = Bank(url=url, database=database, rows=rows)
            values = {"tenant": bank.tenant}
            await rows.execute(
                "INSERT INTO account (tenant, account_id, currency, kind) VALUES (%(tenant)s, 'old', 'EUR', 'current')", values
            )
            await write(bank, "old", entries)
            await asyncio.to_thread(migrate.upgrade, url)
            statements = PostgresStatements(database)
            model = sorted(entries, key=lambda booked: booked.order)
            assert_lines(lines_of(await all_pages(statements, bank, "old", limit=17)), model, 0)
            await PostgresCheckpoints(database).advance(margin=NO_MARGIN, lines=10)
            assert_lines(lines_of(await all_pages(statements, bank, "old", limit=17)), model, 0)
            await assert_derived_sums(bank)
    finally:
        await database.close()
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _upgrade_to(url: str, revision: str) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(Path(migrate.__file__).with_name("migrations")).replace("%", "%%"))
    engine = create_engine(driver_url(url))
    with engine.connect() as connection:
        configuration.attributes["connection"] = connection
        command.upgrade(configuration, revision)
        connection.commit()
    engine.dispose()
