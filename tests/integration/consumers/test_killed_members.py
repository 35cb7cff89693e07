"""Members of each group are killed again and again while they read; what the group has is what the ledger's own tables say.

Two members of the group are processes. One of them, picked by chance, is killed with SIGKILL and started again at once: at a random moment,
or when the group has done its work in the database and is kept from storing how far it came. Each kill counts only while the group has
records left to apply. The broker would notice that a killed member is gone when its session ends, ten seconds later, and nobody would
read meanwhile. So the test says so on its behalf, which also leaves less time for what the member has under way in the database.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from aiokafka.protocol.group import LeaveGroupRequest
from psycopg import sql

from bench.events.load import EVENTS_PER_TRANSACTION, Transaction, fill, renamed
from bench.events.place import Place, Servers, Watch
from bench.ledger.server import database_url, own_database
from infra.kafka.publisher import KafkaPublisher
from infra.postgres.migrate import upgrade
from tests.integration.consumers.conftest import administration, broken_chains, rows, until
from tests.integration.consumers.stores import GROUPS, Group, counted_repeats, differences, effects, prepare
from tests.integration.forking import Forker
from tests.stack_fixtures import RunningStack

MEMBERS = 2
REPEATED_OF_TEN = 1
"""Of ten events so many are there twice, or more often."""
MOST_SECONDS_TO_A_KILL = 0.25
"""About what a member takes to be handed records, and to apply them."""


class Members:
    """The processes, and the broker's word on who is a member."""

    def __init__(self, admin: Any, forker: Forker, place: Place, group: str, log: Path) -> None:
        self._admin = admin
        self._forker = forker
        self._place = place
        self._group = group
        self._log = log
        self.running: list[tuple[psutil.Process, str]] = []
        """Each with the id that the broker gave it."""

    async def start(self) -> None:
        """Start one, and wait until the broker knows it."""
        known = await self._ids()
        process = self._forker.start([self._group, self._place.prefix], self._place.environment, self._log)

        async def joined() -> bool:
            assert process.is_running(), self._log.read_text()
            return bool(await self._ids() - known)

        await until(joined, "the new member has asked to join")
        (identifier,) = await self._ids() - known
        self.running.append((process, identifier))

    async def kill(self, number: int) -> None:
        process, identifier = self.running.pop(number)
        process.kill()
        process.wait()
        node = await self._admin.find_coordinator(self._name)
        answer = await self._admin._send_request(LeaveGroupRequest(self._name, identifier), node)
        assert answer.error_code == 0, answer

    @property
    def _name(self) -> str:
        return self._place.prefix + self._group

    async def _ids(self) -> set[str]:
        (answer,) = await self._admin.describe_consumer_groups([self._name])
        ((_, _, _, _, _, members, *_),) = answer.groups
        return {member[0] for member in members}


@dataclass
class Readers:
    """What the group has read of what it was given."""

    place: Place
    watch: Watch
    group: Group
    publisher: KafkaPublisher
    given: int = 0

    async def publish(self, transactions: Sequence[Transaction]) -> None:
        await asyncio.gather(*(self.publisher.publish(transaction) for transaction in transactions))
        self.given += self.group.events_per_transaction * len(transactions)

    async def read(self) -> int:
        return sum((await self.watch.look()).get(self.group.name, {}).values())

    async def until_beyond(self, read: int) -> None:
        async def beyond() -> bool:
            return await self.read() > read

        await until(beyond, f"group {self.group.name} has applied more than {read} records")

    @asynccontextmanager
    async def kept_from_storing(self) -> AsyncIterator[None]:
        """Nobody stores an offset until this is left; entered once somebody waits for that, the last step of its database transaction."""
        waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = %s::regclass AND NOT granted) AS waits"
        table = f"{self.group.name}.consumer_offset"
        with psycopg.connect(self.place.database_url) as connection:
            connection.execute(sql.SQL("LOCK TABLE {} IN SHARE MODE").format(sql.Identifier(*table.split("."))))

            async def one_waits() -> bool:
                return bool(rows(self.place.database_url, waits, table)[0]["waits"])

            await until(one_waits, f"a member of {self.group.name} has something to store")
            yield


@dataclass
class Toll:
    """The kills that count."""

    kills: int = 0
    at_work: int = 0
    """The group was about to store how far it had come."""


async def _kill_while_they_read(readers: Readers, members: Members, transactions: Sequence[Transaction], kills: int) -> Toll:
    chance = random.Random(f"{readers.group.name} {kills}")  # noqa: S311  a load, not a secret
    toll, read_before = Toll(), 0
    size = len(transactions) // kills
    for number in range(2 * kills):
        if number >= kills and toll.kills == kills:
            break
        # Once all was given, only repeats: for kills that came when all had been read, and so don't count.
        portion = transactions[number * size : (number + 1) * size if number != kills - 1 else None] if number < kills else []
        # Some again of what was given already, and may have been applied already.
        repeats = chance.choices(transactions[: (number + 1) * size], k=max(1, len(portion) * REPEATED_OF_TEN // 10))
        await readers.publish([*portion, *repeats])
        await readers.until_beyond(read_before)
        victim = chance.randrange(MEMBERS)
        if number % 2 == 0:
            await asyncio.sleep(chance.uniform(0, MOST_SECONDS_TO_A_KILL))
            while await readers.read() == readers.given:
                await readers.publish(repeats)
            await members.kill(victim)
        else:
            await readers.publish(repeats)
            async with readers.kept_from_storing():
                await members.kill(victim)
            toll.at_work += 1
        read_before = await readers.read()
        toll.kills += read_before < readers.given
        await members.start()
    return toll


@asynccontextmanager
async def _ledger(stack: RunningStack, events: int, group: Group) -> AsyncIterator[tuple[Place, list[Transaction]]]:
    """A ledger with so many events for the group in its outbox, and what they are on the place's topics."""
    with own_database(stack.postgres_dsn) as name:
        url = database_url(stack.postgres_dsn, name)
        await asyncio.to_thread(upgrade, url)
        transactions = await fill(url, events * EVENTS_PER_TRANSACTION // group.events_per_transaction)
        await prepare(url, group, sorted({event.key.partition("/")[2] for (event, *_) in transactions}))
        async with Servers(stack.postgres_dsn, stack.kafka_bootstrap_servers, name).place() as place:
            yield place, renamed(transactions, place.prefix)


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with Forker("bench.events.member") as forker:
        yield forker


@pytest.mark.parametrize(
    ("group", "events", "kills"),
    [
        pytest.param("statement", 1_000, 10, id="statement, a few times"),
        *(pytest.param(name, 10_000, 100, id=f"{name}, a hundred times", marks=pytest.mark.slow) for name in GROUPS),
    ],
)
async def test_what_killed_members_leave_is_what_the_ledger_says(
    stack: RunningStack, forker: Forker, tmp_path: Path, group: str, events: int, kills: int
) -> None:
    tested = GROUPS[group]
    publisher = KafkaPublisher(stack.kafka_bootstrap_servers)
    async with (
        _ledger(stack, events, tested) as (place, transactions),
        place.watch() as watch,
        administration(stack) as admin,
    ):
        readers = Readers(place, watch, tested, publisher)
        members = Members(admin, forker, place, group, tmp_path / "member.log")
        try:
            for _ in range(MEMBERS):
                await members.start()
            toll = await _kill_while_they_read(readers, members, transactions, kills)
            await watch.until_at([group], await place.ends())
        finally:
            await publisher.stop()
            for process, _ in members.running:
                process.kill()
                process.wait()
        print(f"{group}: {toll}, {readers.given:,} records of {events:,} events")  # noqa: T201  shown with a failure, or on -s
        assert toll.kills == kills
        assert toll.at_work > 0
        _assert_equal(place.database_url, tested, events, records=await readers.read())


def _assert_equal(url: str, group: Group, events: int, *, records: int) -> None:
    assert differences(url, group) == []
    assert effects(url, group) == events
    assert counted_repeats(url, group) == records - events > 0
    assert broken_chains(url) == []
