"""Connections and processes that die in the middle of a batch, COMMITs whose answers are lost or late: each id once, whatever happens."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import LiteralString

import pytest

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.decisions import Decision
from ledger.errors import UnavailableError
from ledger.postings import LinkedPosting, Posting
from ledger.results import TransactionResult
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank, connected
from tests.integration.postgres.linked import assert_nothing_is_wrong, euro, shares_of, together
from tests.integration.postgres.proxy import PostgresProxy

COMMIT = b"COMMIT\0"
FUNDS = 10_000
GATE = 4_711
"""Key of the advisory lock at which the triggers of a test wait."""

Answer = Decision | TransactionResult


@dataclass
class Mixed:
    """A batch of credits, debits and linked legs between a few accounts, some of them refused."""

    bank: Bank
    accounts: list[str] = field(default_factory=list)
    work: list[Posting | LinkedPosting] = field(default_factory=list)

    @classmethod
    async def make(cls, bank: Bank) -> Mixed:
        one, two, three = [await bank.open(funds=FUNDS) for _ in range(3)]
        work: list[Posting | LinkedPosting] = []
        for _ in range(6):
            work += [
                bank.deposit(one, 7),
                bank.deposit(two, 11),
                bank.withdrawal(one, 13),
                bank.withdrawal(two, 2 * FUNDS),
                together(bank, debtor=one, creditor=three, amount=17, fee=euro(1)),
                together(bank, debtor=one, amount=30, shares=shares_of({two: 10, three: 20})),
                together(bank, debtor=three, creditor=one, amount=2 * FUNDS),
            ]
        return cls(bank, [one, two, three], work)

    async def post(self, ledger: PostgresLedger) -> list[Answer | BaseException]:
        """All at once, so that they go in few batches."""

        async def post_one(one: Posting | LinkedPosting) -> Answer:
            return await (ledger.post(one) if isinstance(one, Posting) else ledger.post_linked(one))

        async with asyncio.timeout(PATIENCE_SECONDS):
            return await asyncio.gather(*map(post_one, self.work), return_exceptions=True)

    async def assert_once(self, lost: Sequence[Answer | BaseException], answers: Sequence[Answer | BaseException]) -> None:
        """Each got an answer, what was answered before is answered again, and each was booked once."""
        assert not [answer for answer in answers if isinstance(answer, BaseException)]
        for before, after in zip(lost, answers, strict=True):
            assert isinstance(before, UnavailableError) or before == after
        assert await self.post(self.bank.ledger) == answers
        balances = [(await self.bank.balance(account)).ledger for account in self.accounts]
        assert balances == [FUNDS + 6 * (7 - 13 - 17 - 1 - 30), FUNDS + 6 * (11 + 10), FUNDS + 6 * (17 + 20)]
        assert await self.bank.value("SELECT count(*) FROM transaction WHERE tenant = %(tenant)s") == 3 + len(self.work)
        await assert_nothing_is_wrong(self.bank)


@asynccontextmanager
async def _gate(bank: Bank, trigger: LiteralString) -> AsyncIterator[None]:
    """Whatever `trigger` fires for waits until the end of the block."""
    await bank.rows.execute(
        "CREATE OR REPLACE FUNCTION wait_at_gate() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END $$"
    )
    await bank.rows.execute(trigger)
    try:
        async with connected(bank.url, autocommit=True) as keeper:
            await keeper.execute("SELECT pg_advisory_lock(%s)", (GATE,))
            yield
    finally:
        await bank.rows.execute("DROP TRIGGER gate ON decision")


@asynccontextmanager
async def _locked_row(bank: Bank, account: str) -> AsyncIterator[None]:
    async with connected(bank.url, autocommit=False) as keeper:
        await keeper.execute("SELECT 1 FROM online_balance WHERE tenant = %s AND account_id = %s FOR UPDATE", (bank.tenant, account))
        yield


PLACES: dict[str, LiteralString] = {
    "record_legs": "CREATE TRIGGER gate AFTER INSERT ON decision FOR EACH STATEMENT EXECUTE FUNCTION wait_at_gate()",
    "COMMIT": "CREATE CONSTRAINT TRIGGER gate AFTER INSERT ON decision DEFERRABLE INITIALLY DEFERRED"
    " FOR EACH ROW EXECUTE FUNCTION wait_at_gate()",
}


@pytest.mark.parametrize("place", ["open_accounts", *PLACES])
async def test_a_batch_whose_connection_is_killed_in_the_middle_of_a_statement_is_posted_once_when_it_is_posted_again(
    bank: Bank, place: str
) -> None:
    mixed = await Mixed.make(bank)
    ledger = PostgresLedger(bank.database)
    gate = _locked_row(bank, mixed.accounts[0]) if place == "open_accounts" else _gate(bank, PLACES[place])
    async with gate:
        running = asyncio.create_task(mixed.post(ledger))
        # The debits of one account take one lane; where credits don't pass, theirs waits too.
        await bank.until_blocked(1 if place == "open_accounts" else 2)
        killed = await bank.select(
            "SELECT pg_terminate_backend(pid), query FROM pg_stat_activity"
            " WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0"
        )
        assert all(place in row["query"] for row in killed), killed
        # Nothing of a killed batch is there, neither now nor later.
        if place != "open_accounts":
            assert await bank.value("SELECT count(*) FROM decision WHERE tenant = %(tenant)s") == 3
    lost = await running
    assert sum(isinstance(answer, UnavailableError) for answer in lost) >= 12
    await mixed.assert_once(lost, await mixed.post(ledger))


@pytest.mark.parametrize("message", [b"open_accounts", b"record_legs", COMMIT])
async def test_a_batch_whose_connection_is_killed_before_a_statement_arrives_is_posted_once_when_it_is_posted_again(
    bank: Bank, proxy: PostgresProxy, faulty: Database, message: bytes
) -> None:
    mixed = await Mixed.make(bank)
    await faulty.ping()
    proxy.hold(message)
    ledger = PostgresLedger(faulty)
    running = asyncio.create_task(mixed.post(ledger))
    await proxy.seen.wait()
    await proxy.cut()
    proxy.deliver()
    lost = await running
    assert any(isinstance(answer, UnavailableError) for answer in lost)
    await mixed.assert_once(lost, await mixed.post(ledger))


async def test_a_batch_whose_commit_is_answered_to_nobody_is_posted_once_when_it_is_posted_again(
    bank: Bank, proxy: PostgresProxy, faulty: Database
) -> None:
    mixed = await Mixed.make(bank)
    await faulty.ping()
    proxy.lose_the_answer_to(COMMIT)
    lost = await mixed.post(PostgresLedger(faulty))
    assert proxy.seen.is_set()
    unknown = sum(isinstance(answer, UnavailableError) for answer in lost)
    assert unknown > 1
    # What nobody heard of is there: a look-up would be right here, and wrong in the test after this one.
    assert await bank.value("SELECT count(*) FROM transaction WHERE tenant = %(tenant)s") == 3 + len(mixed.work)
    await mixed.assert_once(lost, await mixed.post(PostgresLedger(faulty)))


async def test_a_batch_whose_commit_lands_while_it_is_posted_again_is_posted_once(
    bank: Bank, proxy: PostgresProxy, faulty: Database
) -> None:
    mixed = await Mixed.make(bank)
    await faulty.ping()
    proxy.hold(COMMIT)
    lost = await mixed.post(PostgresLedger(faulty))
    assert sum(isinstance(answer, UnavailableError) for answer in lost) > 1
    again = asyncio.create_task(mixed.post(bank.ledger))
    # Either it waits for a lock of the late batch, or it is faster, and the late one violates a key.
    blocked = asyncio.create_task(bank.until_blocked())
    await asyncio.wait([again, blocked], return_when=asyncio.FIRST_COMPLETED)
    blocked.cancel()
    proxy.deliver()
    answers = await again
    await _until_nothing_is_written(bank)
    await mixed.assert_once(lost, answers)


async def _until_nothing_is_written(bank: Bank) -> None:
    query: LiteralString = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND backend_xid IS NOT NULL"
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await bank.value(query):  # noqa: ASYNC110  nobody tells when another's transaction ends
            await asyncio.sleep(0.02)


@pytest.mark.parametrize(("in_flight", "answers"), [(1, 40), (16, 60)])
async def test_a_process_killed_in_the_middle_of_256_debits_has_booked_each_once_or_not_at_all(
    bank: Bank, in_flight: int, answers: int
) -> None:
    account = await bank.open(funds=100_000)
    debits = [bank.withdrawal(account, 3) for _ in range(256)]
    async with _poster(bank, debits, in_flight=in_flight) as process:
        heard = [await _answer(process) for _ in range(answers)]
    heard += await _rest(process)
    await _until_nothing_is_written(bank)
    booked = await bank.value("SELECT count(*) FROM online_entry WHERE tenant = %(tenant)s")
    assert len(heard) <= booked < 256, "it was killed in the middle"
    ledger = PostgresLedger(bank.database)
    decisions = await asyncio.gather(*(ledger.post(debit) for debit in debits))
    for place, decision in heard:
        assert decisions[place] == decision
    await _assert_booked_once(bank, account, decisions)


async def test_a_process_killed_while_its_one_batch_of_256_debits_is_written_has_booked_each_once_or_not_at_all(bank: Bank) -> None:
    """Its COMMIT was sent before it died, so the batch may still land while another process posts the same."""
    account = await bank.open(funds=100_000)
    debits = [bank.withdrawal(account, 3) for _ in range(256)]
    async with _gate(bank, PLACES["record_legs"]):
        async with _poster(bank, debits, in_flight=256):
            await bank.until_blocked()
        ledger = PostgresLedger(bank.database)
        posting = asyncio.gather(*(ledger.post(debit) for debit in debits))
        await bank.until_blocked(2)
    decisions = await posting
    await _until_nothing_is_written(bank)
    await _assert_booked_once(bank, account, decisions)


async def _assert_booked_once(bank: Bank, account: str, decisions: Sequence[Decision]) -> None:
    assert sorted(decision.version or 0 for decision in decisions) == list(range(1, 257))
    assert (await bank.balance(account)).ledger == 100_000 - 256 * 3
    await assert_nothing_is_wrong(bank)


@asynccontextmanager
async def _poster(bank: Bank, debits: Sequence[Posting], *, in_flight: int) -> AsyncIterator[Process]:
    """A process that posts; it is killed at the end of the block, as ``kill -9`` does."""
    work = {"url": bank.url, "in_flight": in_flight, "postings": [json.loads(debit.model_dump_json()) for debit in debits]}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.integration.postgres.killed_process", stdin=pipe, stdout=pipe
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(work).encode())
        process.stdin.close()
        async with asyncio.timeout(PATIENCE_SECONDS):
            yield process
    finally:
        os.kill(process.pid, signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL


async def _answer(process: Process) -> tuple[int, Decision]:
    assert process.stdout is not None
    return _place_and_decision(await process.stdout.readline())


async def _rest(process: Process) -> list[tuple[int, Decision]]:
    """What it had said by the time it died; its last words may have been cut off."""
    assert process.stdout is not None
    lines = (await process.stdout.read()).splitlines(keepends=True)
    return [_place_and_decision(line) for line in lines if line.endswith(b"\n")]


def _place_and_decision(line: bytes) -> tuple[int, Decision]:
    place, answer = json.loads(line)
    return place, Decision.model_validate_json(json.dumps(answer))
