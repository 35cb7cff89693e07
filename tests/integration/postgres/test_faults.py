"""A database that is cut off, hangs, refuses, or loses a COMMIT's answer: an error in bounded time, and the same id settles it."""

from __future__ import annotations

import asyncio
from typing import LiteralString

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.decisions import Decision
from ledger.errors import LedgerIntegrityError, UnavailableError
from ledger.postings import Posting
from ledger.refusals import Refusal, RefusalCode
from ledger.results import Rejection, TransactionStatus
from tests.integration.postgres.bank import ALL_ENTRIES, FAULTY_TIMEOUT_SECONDS, PATIENCE_SECONDS, Bank, above_the_limit, leg_sums
from tests.integration.postgres.proxy import READY_FOR_QUERY, PostgresProxy

KINDS = ("credit", "debit")
COMMIT, ROLLBACK = b"COMMIT\0", b"ROLLBACK\0"
"""As they stand in a message: ``BEGIN ISOLATION LEVEL READ COMMITTED`` is something else."""


def _leg(bank: Bank, account: str, kind: str) -> Posting:
    return bank.deposit(account, 5) if kind == "credit" else bank.withdrawal(account, 5)


async def _post_in_vain(database: Database, posting: Posting) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError) as raised:
            await PostgresLedger(database).post(posting)
    assert raised.value.part == "postgres"


async def _assert_posted_once(bank: Bank, posting: Posting, decision: Decision) -> None:
    account, transaction_id = posting.account_id, posting.request.transaction_id
    assert decision.posted
    assert await bank.post(posting) == decision
    assert await bank.count("decision", transaction_id) == 1
    assert await bank.count("gl_entry", transaction_id) == 1
    assert await bank.count("event_outbox", transaction_id) == 2
    assert set(leg_sums(await bank.select(ALL_ENTRIES)).values()) == {0}
    assert (await bank.balance(account)).ledger == (995 if posting.is_debit else 1005)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_refused_connection_is_an_error_at_once_and_the_same_leg_is_posted_later(
    bank: Bank, proxy: PostgresProxy, faulty: Database, kind: str
) -> None:
    posting = _leg(bank, await bank.open(funds=1000), kind)
    await proxy.refuse()
    await _post_in_vain(faulty, posting)
    assert await bank.nothing_is_written_of(posting.request.transaction_id)
    await proxy.accept()
    await _assert_posted_once(bank, posting, await PostgresLedger(faulty).post(posting))


@pytest.mark.parametrize("kind", [KINDS[0], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[1:])])
async def test_a_database_that_hangs_is_an_error_in_bounded_time_and_the_same_leg_is_posted_later(
    bank: Bank, proxy: PostgresProxy, faulty: Database, kind: str
) -> None:
    posting = _leg(bank, await bank.open(funds=1000), kind)
    await faulty.ping()
    await proxy.hang()
    await _post_in_vain(faulty, posting)
    await _post_in_vain(faulty, posting)
    await proxy.accept()
    await _assert_posted_once(bank, posting, await PostgresLedger(faulty).post(posting))


async def test_a_database_that_hangs_while_the_first_connection_is_made_is_an_error_in_bounded_time(
    proxy: PostgresProxy, faulty: Database
) -> None:
    await proxy.hang()
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError):
            await faulty.ping()
    await proxy.accept()
    await faulty.ping()


async def test_a_database_that_hangs_after_the_log_in_of_the_first_connection_is_an_error_in_bounded_time(
    proxy: PostgresProxy, faulty: Database
) -> None:
    await proxy.hang(after=READY_FOR_QUERY)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError):
            await faulty.ping()
    await proxy.accept()
    await faulty.ping()


async def test_a_database_that_hangs_at_a_roll_back_is_an_error_in_bounded_time(bank: Bank, proxy: PostgresProxy, faulty: Database) -> None:
    too_much = above_the_limit(_leg(bank, await bank.open(), "credit"))
    await faulty.ping()
    proxy.hold(ROLLBACK)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises((UnavailableError, LedgerIntegrityError)):
            await PostgresLedger(faulty).post(too_much)
    assert proxy.seen.is_set()
    proxy.deliver()
    with pytest.raises(LedgerIntegrityError):
        await PostgresLedger(faulty).post(too_much)


async def test_a_full_pool_is_an_error_in_bounded_time(postgres_url: str) -> None:
    database = Database.open(postgres_url, pool_size=1, operation_timeout_seconds=FAULTY_TIMEOUT_SECONDS)
    busy = asyncio.Event()

    async def be_slow(connection: AsyncConnection) -> None:
        await connection.execute(text("SELECT 1"))
        busy.set()
        await asyncio.sleep(FAULTY_TIMEOUT_SECONDS * 2.5)

    holder = asyncio.create_task(database.run(be_slow))
    await busy.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError):
            await database.ping()
        with pytest.raises(UnavailableError):
            await holder  # It took too long itself, so its connection was cut.
        await database.ping()
        await database.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_a_connection_that_was_cut_costs_one_error_and_the_next_one_is_new(
    bank: Bank, proxy: PostgresProxy, faulty: Database, kind: str
) -> None:
    posting = _leg(bank, await bank.open(funds=1000), kind)
    await asyncio.gather(faulty.ping(), faulty.ping())
    await proxy.cut()
    await _post_in_vain(faulty, posting)
    await _assert_posted_once(bank, posting, await PostgresLedger(faulty).post(posting))


@pytest.mark.parametrize("message", [b"open_accounts", b"record_legs", COMMIT])
@pytest.mark.parametrize("kind", KINDS)
async def test_a_leg_whose_connection_is_cut_on_the_way_is_settled_by_posting_it_again(
    bank: Bank, proxy: PostgresProxy, faulty: Database, kind: str, message: bytes
) -> None:
    posting = _leg(bank, await bank.open(funds=1000), kind)
    await faulty.ping()
    proxy.hold(message)
    lost = asyncio.create_task(_post_in_vain(faulty, posting))
    await proxy.seen.wait()
    await proxy.cut()  # The message never arrives.
    await lost
    assert await bank.nothing_is_written_of(posting.request.transaction_id)
    await _assert_posted_once(bank, posting, await PostgresLedger(faulty).post(posting))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_commit_whose_answer_is_lost_is_settled_by_posting_again_and_is_posted_once(
    bank: Bank, proxy: PostgresProxy, faulty: Database, kind: str
) -> None:
    posting = _leg(bank, await bank.open(funds=1000), kind)
    await faulty.ping()
    proxy.lose_the_answer_to(COMMIT)
    await _post_in_vain(faulty, posting)
    assert await bank.count("decision", posting.request.transaction_id) == 1
    await _assert_posted_once(bank, posting, await PostgresLedger(faulty).post(posting))


@pytest.mark.parametrize("kind", KINDS)
async def test_a_commit_that_lands_after_the_retry_has_begun_posts_nothing_twice(
    bank: Bank, proxy: PostgresProxy, faulty: Database, kind: str
) -> None:
    posting = _leg(bank, await bank.open(funds=1000), kind)
    await faulty.ping()
    proxy.hold(COMMIT)
    await _post_in_vain(faulty, posting)
    # A look-up would say now that nothing was posted, and be wrong a moment later.
    assert await bank.transactions.get(bank.tenant, posting.request.transaction_id) is None
    # Legs and COMMIT travel together, so what is late is both: only a debit has a lock by then, its account's row.
    again = asyncio.create_task(bank.post(posting))
    if kind == "debit":
        await bank.until_blocked()
        assert not again.done()
        proxy.deliver()
    decision = await again
    proxy.deliver()
    await _until_the_late_one_has_ended(bank)
    await _assert_posted_once(bank, posting, decision)


async def _until_the_late_one_has_ended(bank: Bank) -> None:
    query: LiteralString = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await bank.value(query):  # noqa: ASYNC110  nobody tells when another's transaction ends
            await asyncio.sleep(0.02)


async def test_a_rejection_whose_commit_lands_late_wins_over_the_leg_that_came_meanwhile(
    bank: Bank, proxy: PostgresProxy, faulty: Database
) -> None:
    posting = _leg(bank, await bank.open(funds=1000), "debit")
    refusal = Refusal(code=RefusalCode.CANCELLED, detail="it was cancelled")
    await faulty.ping()
    proxy.hold(COMMIT)
    async with asyncio.timeout(PATIENCE_SECONDS):
        with pytest.raises(UnavailableError):
            await PostgresLedger(faulty).reject(Rejection(request=posting.request, refusal=refusal))
    leg = asyncio.create_task(bank.post(posting))
    await bank.until_blocked()
    proxy.deliver()
    assert (await leg).refusal == refusal
    again = await bank.ledger.reject(Rejection(request=posting.request, refusal=refusal))
    assert (again.status, again.reason) == (TransactionStatus.REJECTED, refusal)
    assert (await bank.balance(posting.account_id)).ledger == 1000


async def test_a_caller_that_gives_up_leaves_its_leg_to_end_by_itself(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    async with bank.in_flight(bank.withdrawal(account, 100)):
        posting = bank.withdrawal(account, 5)
        caller = asyncio.create_task(bank.post(posting))
        await bank.until_blocked()
        caller.cancel()
        with pytest.raises(asyncio.CancelledError):
            await caller
    decision = await bank.post(posting)
    assert (decision.version, decision.ledger_after) == (2, 895)


async def test_a_server_that_became_read_only_is_unavailable_and_its_connection_is_not_used_again(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    database = Database.open(bank.url, pool_size=1)
    try:
        posting = bank.withdrawal(account, 5)
        await database.run(lambda connection: connection.execute(text("SET default_transaction_read_only = on")))
        await _post_in_vain(database, posting)
        # A new connection reaches whoever is the primary by now.
        assert (await PostgresLedger(database).post(posting)).posted
    finally:
        await database.close()


async def test_a_statement_planned_before_a_migration_is_unavailable_once_and_then_planned_anew(bank: Bank) -> None:
    await bank.rows.execute("CREATE TABLE planned (one int)")
    database = Database.open(bank.url, pool_size=1)

    async def read(connection: AsyncConnection) -> list[str]:
        return list((await connection.execute(text("SELECT * FROM planned"))).keys())

    try:
        for _ in range(10):  # psycopg prepares what it has sent a few times.
            assert await database.run(read) == ["one"]
        await bank.rows.execute("ALTER TABLE planned ADD COLUMN two int")
        with pytest.raises(UnavailableError):
            await database.run(read)
        assert await database.run(read) == ["one", "two"]
    finally:
        await database.close()
        await bank.rows.execute("DROP TABLE planned")


async def test_what_the_database_refuses_is_a_defect_and_not_an_outage(bank: Bank) -> None:
    async def overdraw(connection: AsyncConnection) -> None:
        await connection.execute(text("UPDATE online_balance SET debited = -1"))

    await bank.open()
    with pytest.raises(LedgerIntegrityError):
        await bank.database.run(overdraw)
