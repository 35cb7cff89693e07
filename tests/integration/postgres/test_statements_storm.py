"""Postings that commit late, in any order, while statements are read and checkpoints are made: what was settled stays."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random

import psycopg
import pytest

from infra.postgres.checkpoints import PostgresCheckpoints
from infra.postgres.statements import PostgresStatements
from ledger.statements import LinePosition, StatementLine
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank, connected
from tests.integration.postgres.booked import (
    NEWEST,
    NO_MARGIN,
    Booked,
    all_pages,
    assert_derived_sums,
    assert_lines,
    entry,
    lines_of,
    write_on,
)

SECONDS = 4
WRITERS = 6
LINES_PER_CHECKPOINT = 5
_NOW = "SELECT clock_timestamp() AS now"


class Storm:
    """Writers that take their booking time and commit much later; readers that remember what they were told is settled."""

    def __init__(self, bank: Bank, account_id: str) -> None:
        self.bank, self.account_id = bank, account_id
        self.statements, self.checkpoints = PostgresStatements(bank.database), PostgresCheckpoints(bank.database)
        self.stop = asyncio.Event()
        self.committed: list[Booked] = []
        self.settled: dict[LinePosition, StatementLine] = {}
        self.reads = self.provisional_seen = 0
        self._versions = itertools.count(1)
        self._debit_turn = asyncio.Lock()  # an account's debits come one after the other, as under the online row

    async def write(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311  repeatable, not secret
        async with connected(self.bank.url, autocommit=False) as connection:
            while not self.stop.is_set():
                if chance.random() < 0.3:
                    async with self._debit_turn:
                        await self._write_one(connection, chance, debit=True)
                else:
                    await self._write_one(connection, chance, debit=False)

    async def _write_one(self, connection: psycopg.AsyncConnection[dict[str, dt.datetime]], chance: random.Random, *, debit: bool) -> None:
        # As every posting does: an xid first, the booking time then.
        await connection.execute("SELECT pg_current_xact_id()")
        await asyncio.sleep(chance.random() * 0.01)
        found = await (await connection.execute(_NOW)).fetchone()
        assert found is not None
        amount = chance.randint(1, 1000)
        booked = entry(-amount if debit else amount, found["now"], version=next(self._versions) if debit else None)
        await write_on(connection, self.bank.tenant, self.account_id, booked)
        await asyncio.sleep(chance.random() * 0.05)
        if not debit and chance.random() < 0.1:
            await connection.rollback()
        else:
            await connection.commit()
            self.committed.append(booked)

    async def read(self) -> None:
        while not self.stop.is_set():
            lines = lines_of(await all_pages(self.statements, self.bank, self.account_id, order=NEWEST, limit=60))
            settled = [line for line in lines if line.settled]
            assert [line.settled for line in lines] == [True] * len(settled) + [False] * (len(lines) - len(settled))
            known = {line.position: line for line in settled}
            # What was shown before is there again, unchanged, and nothing has come between it.
            newest_before = max(self.settled, default=None)
            assert self.settled == {position: line for position, line in known.items() if newest_before and position <= newest_before}
            self.settled = known
            self.reads += 1
            self.provisional_seen += len(lines) - len(settled)
            await asyncio.sleep(0.005)

    async def maintain(self) -> None:
        while not self.stop.is_set():
            await self.checkpoints.advance(margin=NO_MARGIN, lines=LINES_PER_CHECKPOINT)
            await asyncio.sleep(0.01)

    async def run(self) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS), asyncio.TaskGroup() as group:
            for seed in range(WRITERS):
                group.create_task(self.write(seed))
            group.create_task(self.read())
            group.create_task(self.maintain())
            await asyncio.sleep(SECONDS)
            self.stop.set()


@pytest.mark.parametrize("maintained", [False, True])
async def test_what_was_shown_as_settled_never_changes_whatever_commits_later(bank: Bank, maintained: bool) -> None:
    account = await bank.open()
    storm = Storm(bank, account)
    if not maintained:
        storm.maintain = storm.stop.wait  # type: ignore[method-assign, assignment]
    await storm.run()
    made = await bank.value("SELECT count(*) FROM balance_checkpoint WHERE tenant = %(tenant)s")
    print(  # noqa: T201  so that it can't hold vacuously
        f"{len(storm.committed)} entries, {storm.reads} reads, {storm.provisional_seen} provisional lines, {made} checkpoints"
    )
    assert min(len(storm.committed), storm.reads, storm.provisional_seen, len(storm.settled)) > 20
    assert bool(made) == maintained

    model = sorted(storm.committed, key=lambda booked: booked.order)
    lines = lines_of(await all_pages(storm.statements, bank, account))
    assert_lines(lines, model, 0)
    assert all(line.settled for line in lines)
    for booked in model[::7]:
        balance = await storm.statements.balance_at(bank.tenant, account, booked.posted_at)
        assert balance.ledger == sum(known.amount for known in model if known.posted_at <= booked.posted_at)
    await storm.checkpoints.advance(margin=NO_MARGIN, lines=LINES_PER_CHECKPOINT)
    await assert_derived_sums(bank)
