"""The topic with the latest state of accounts, on real servers, while events repeat and come late, and members die or stand still."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from infra.kafka.balance_topic import BalanceLoop
from infra.kafka.cloud_events import attributes_of
from infra.kafka.topics import PARTITIONS, ensure_topics
from infra.postgres.balance_states import PostgresBalanceStates
from infra.postgres.database import Database
from ledger.accounts import AccountStatus
from ledger.balances import AccountStateV1
from tests.integration.postgres.bank import Bank, connected
from tests.stack_fixtures import RunningStack

_MEMBER = Path(__file__).with_name("balance_member.py")
_WAIT_SECONDS = 60


@dataclass
class Place:
    """A source topic, a balance topic, and a group of a test's own."""

    servers: str
    source: str
    topic: str
    group: str
    url: str

    def loop(self, database: Database) -> BalanceLoop:
        return BalanceLoop(self.servers, PostgresBalanceStates(database), group=self.group, source=self.source, topic=self.topic)

    @asynccontextmanager
    async def member(self, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A member as a process; killed at the end, if it still is there."""
        # What nobody reads would fill the pipe, and the member stand still by itself.
        output = asyncio.subprocess.PIPE if arguments else asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(_MEMBER), self.servers, self.group, self.source, self.topic, self.url, *arguments,
            cwd=Path(__file__).parents[3], stdout=output,
        )  # fmt: skip
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()

    async def tell(self, keys: Sequence[str | None], *, partition: int | None = None) -> None:
        """Events that name accounts; what else they say doesn't matter."""
        producer = AIOKafkaProducer(bootstrap_servers=self.servers, acks="all")
        await producer.start()
        for key in keys:
            await producer.send(self.source, key=key.encode() if key else None, value=b"{}", partition=partition)
        await producer.stop()

    async def ends(self, topic: str, isolation_level: str = "read_uncommitted") -> dict[TopicPartition, int]:
        async with _consumer(self.servers, isolation_level) as consumer:
            places = [TopicPartition(topic, number) for number in range(PARTITIONS)]
            return dict(await consumer.end_offsets(places))

    async def all_is_read(self) -> None:
        """Wait until the group has committed the end of each partition that has records."""
        last = {place: end for place, end in (await self.ends(self.source)).items() if end}
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while True:
                    found = await admin.list_consumer_group_offsets(self.group)
                    if {place: found[place].offset for place in last if place in found} == last:
                        return
                    await asyncio.sleep(0.1)
        finally:
            await admin.close()

    async def has_members(self, count: int) -> None:
        """Wait until the group is at rest with so many members, of which the killed ones are counted until it misses them."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.servers)
        await admin.start()
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                while True:
                    (response,) = await admin.describe_consumer_groups([self.group])
                    _, _, state, _, _, members, *_ = response.groups[0]
                    if state == "Stable" and len(members) == count:
                        return
                    await asyncio.sleep(0.1)
        finally:
            await admin.close()

    async def has_grown(self) -> None:
        """Wait until states have been written that were not there before."""
        before = sum((await self.ends(self.topic)).values())
        async with asyncio.timeout(_WAIT_SECONDS):
            while sum((await self.ends(self.topic)).values()) == before:  # noqa: ASYNC110  topics tell nobody
                await asyncio.sleep(0.2)

    async def states(self) -> list[AccountStateV1]:
        """What a reader of committed records sees, partition by partition in its order."""
        ends = await self.ends(self.topic, "read_committed")
        async with _consumer(self.servers, "read_committed") as consumer:
            consumer.assign(list(ends))
            await consumer.seek_to_beginning(*ends)
            records: list[Any] = []
            async with asyncio.timeout(_WAIT_SECONDS):
                while not all([await consumer.position(place) >= end for place, end in ends.items()]):
                    for batch in (await consumer.getmany(timeout_ms=200)).values():
                        records.extend(batch)
        states = [AccountStateV1.model_validate_json(record.value) for record in records]
        for record, state in zip(records, states, strict=True):
            assert record.key == f"{state.tenant}/{state.account_id}".encode()
            assert attributes_of(record.headers).type == "casaflow.casa.balance.v1"
        return states


@asynccontextmanager
async def _consumer(servers: str, isolation_level: str) -> AsyncIterator[Any]:
    consumer = AIOKafkaConsumer(bootstrap_servers=servers, group_id=None, enable_auto_commit=False, isolation_level=isolation_level)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@pytest.fixture
async def place(stack: RunningStack, postgres_url: str) -> AsyncIterator[Place]:
    name = uuid.uuid4().hex[:12]
    source, topic = f"test.{name}.events", f"test.{name}.balance"
    await ensure_topics(stack.kafka_bootstrap_servers, topics=(source, topic), compacted=(topic,))
    yield Place(stack.kafka_bootstrap_servers, source, topic, f"test-{name}", postgres_url)
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_topics([source, topic])
    await admin.close()


@pytest.fixture
async def bank(postgres_url: str) -> AsyncIterator[Bank]:
    database = Database.open(postgres_url, pool_size=8)
    async with connected(postgres_url, autocommit=True) as rows:
        yield Bank(url=postgres_url, database=database, rows=rows)
    await database.close()


@asynccontextmanager
async def _running(loop: BalanceLoop) -> AsyncIterator[None]:
    running = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        loop.stop()
        await asyncio.wait_for(running, _WAIT_SECONDS)


def _key(bank: Bank, account_id: str) -> str:
    return f"{bank.tenant}/{account_id}"


def _never_goes_back(states: Sequence[AccountStateV1]) -> None:
    last: dict[str, AccountStateV1] = {}
    for state in states:
        before = last.get(state.account_id)
        assert before is None or (before.version, before.as_of) <= (state.version, state.as_of)
        last[state.account_id] = state


async def _matches_the_database(bank: Bank, states: Sequence[AccountStateV1], accounts: Sequence[str]) -> None:
    last = {state.account_id: state for state in states}
    rows = await bank.select(
        "SELECT o.account_id, o.version, o.debited, b.ledger FROM online_balance o JOIN account_balance b USING (tenant, account_id) "
        "WHERE o.tenant = %(tenant)s"
    )
    found = {row["account_id"]: (row["version"], int(row["debited"]), int(row["ledger"])) for row in rows}
    told = {name: (state.version, _minor(state.debited.value), _minor(state.ledger_balance.value)) for name, state in last.items()}
    assert told == {name: found[name] for name in accounts}


async def _says(process: asyncio.subprocess.Process, *words: str) -> None:
    """Wait until the process has printed any of them."""
    assert process.stdout is not None
    async with asyncio.timeout(_WAIT_SECONDS):
        while line := await process.stdout.readline():
            if any(word.encode() in line for word in words):
                return
    pytest.fail(f"the process ended without saying {words}")


def _minor(value: str) -> int:
    return int(value.replace(".", ""))


async def test_the_latest_state_of_each_account_is_told_whatever_the_events_say(bank: Bank, place: Place) -> None:
    account, other = await bank.open(funds=10_000, overdraft_limit=500), await bank.open(funds=200)
    await bank.post(bank.withdrawal(account, 1_250))
    await bank.hold(account, 2_000)
    await bank.set_status(other, AccountStatus.FROZEN)
    keys = [_key(bank, account)] * 3 + [_key(bank, other), _key(bank, "nobody"), "no account", None]
    async with _running(place.loop(bank.database)):
        await place.tell(keys)
        await place.all_is_read()
    states = {state.account_id: state for state in await place.states()}
    assert set(states) == {account, other}
    told = states[account].model_dump(mode="json", exclude={"as_of", "tenant", "account_id"})
    assert told == {
        "currency": "EUR",
        "status": "active",
        "version": 1,
        "debited": {"value": "12.50", "currency": "EUR"},
        "held": {"value": "20.00", "currency": "EUR"},
        "ledger_balance": {"value": "87.50", "currency": "EUR"},
        "available_balance": {"value": "72.50", "currency": "EUR"},
    }
    assert states[other].status is AccountStatus.FROZEN


async def test_a_state_has_the_partition_number_of_its_event(bank: Bank, place: Place) -> None:
    account = await bank.open(funds=100)
    async with _running(place.loop(bank.database)):
        await place.tell([_key(bank, account)], partition=4)
        await place.all_is_read()
    assert [at.partition for at, end in (await place.ends(place.topic)).items() if end] == [4]


async def test_the_topic_is_compacted(place: Place) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=place.servers)
    await admin.start()
    try:
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, "casa.balance")])
    finally:
        await admin.close()
    configuration = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert configuration["cleanup.policy"] == "compact"


async def test_a_member_goes_on_where_the_group_was(bank: Bank, place: Place) -> None:
    account = await bank.open(funds=100)
    for _ in range(2):
        async with _running(place.loop(bank.database)):
            await place.tell([_key(bank, account)])
            await place.all_is_read()
    assert len(await place.states()) == 2


async def test_a_writer_that_stood_still_writes_nothing_once_another_has_its_partition(bank: Bank, place: Place, tmp_path: Path) -> None:
    account, go_on = await bank.open(funds=10_000), tmp_path / "go on"
    await bank.post(bank.withdrawal(account, 100))
    async with place.member(str(go_on)) as zombie:
        await place.tell([_key(bank, account)])
        await _says(zombie, f"read {account}:1")
        zombie.send_signal(signal.SIGSTOP)
        await bank.post(bank.withdrawal(account, 100))
        # The other takes over when the group has given the first one up, and writes what the account has by now.
        async with place.member():
            await place.tell([_key(bank, account)])
            await place.all_is_read()
            assert [state.version for state in await place.states()][-1] == 2
            go_on.touch()
            zombie.send_signal(signal.SIGCONT)
            # What it does next is to write what it has read, whatever comes of it.
            await _says(zombie, "consumer.partition-moved", "consumer.applied")
            await bank.post(bank.withdrawal(account, 100))
            await place.tell([_key(bank, account)])
            await place.all_is_read()
    states = await place.states()
    assert 1 not in {state.version for state in states}
    _never_goes_back(states)
    await _matches_the_database(bank, states, [account])


@pytest.mark.parametrize("kills", [0, pytest.param(3, marks=pytest.mark.slow)])
async def test_after_a_storm_each_accounts_last_state_is_the_databases(bank: Bank, place: Place, kills: int) -> None:
    chance = random.Random(20261128)  # noqa: S311  nothing to guess
    accounts = [await bank.open(funds=100_000) for _ in range(10)]
    told: list[str] = []

    enough = asyncio.Event()

    async def teller(number: int) -> None:
        step = 0
        while not enough.is_set():
            account = accounts[(number * 7 + step) % len(accounts)]
            posting = bank.withdrawal(account, 3) if step % 2 else bank.deposit(account, 5)
            assert (await bank.post(posting)).posted
            told.append(_key(bank, account))
            # Its own event, and some that come late or again.
            await place.tell([told[-1], *chance.sample(told, min(len(told), 2))])
            step += 1

    async with _running(place.loop(bank.database)):
        tellers = [asyncio.create_task(teller(number)) for number in range(2)]
        for _ in range(kills):
            async with place.member() as killed:
                await place.has_members(2)
                await place.has_grown()
                killed.kill()
                await killed.wait()
        await place.has_members(1)
        await place.has_grown()
        enough.set()
        await asyncio.gather(*tellers)
        await place.all_is_read()
        states = await place.states()
    assert len(states) > len(accounts)
    _never_goes_back(states)
    await _matches_the_database(bank, states, accounts)
