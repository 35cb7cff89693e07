"""Each event is appended once, whatever is sent twice, restarted, killed or reassigned."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg
import pytest

from infra.kafka.consumer import ConsumerLoop
from infra.kafka.records import Partition, Record, StaleOwnerError
from infra.kafka.topics import PARTITIONS
from infra.postgres.audit import AuditEffects
from infra.postgres.database import Database
from ledger.errors import LedgerIntegrityError
from ledger.events import Event
from tests.integration.consumers.conftest import (
    broken_chains,
    commit,
    committed,
    ends,
    event,
    member,
    recorded,
    rows,
    send,
    stored,
    until,
    until_applied,
)
from tests.stack_fixtures import RunningStack

_MEMBER = Path(__file__).with_name("member.py")


def _assert_each_once(url: str, topic: str, events: Sequence[Event]) -> None:
    found = Counter(str(row["event_id"]) for row in recorded(url, topic))
    assert found == Counter({sent.event_id: 1 for sent in events})
    assert broken_chains(url) == []


async def test_an_event_is_appended_with_everything_it_says(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number) for number in range(40)]
    await send(stack, events)
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, events)
    by_id = {sent.event_id: sent for sent in events}
    for row in recorded(postgres_url, topic):
        sent = by_id[str(row["event_id"])]
        assert (row["key"], row["type"], row["source"], row["subject"], row["time"], row["payload"]) == (
            sent.key, sent.type, sent.source, sent.subject, sent.time, sent.data,
        )  # fmt: skip
        assert (row["problem"], row["raw_record"]) == (None, None)
    assert stored(postgres_url, group) == await ends(stack, topic)


async def test_a_chain_follows_its_partitions_order(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number, key=f"main/{number}") for number in range(300)]
    await send(stack, events)
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    chains: dict[str, list[tuple[int, int]]] = {}
    for row in recorded(postgres_url, topic):
        assert row["chain"] == f"{topic}/{row['partition']}"
        chains.setdefault(row["chain"], []).append((row["sequence"], row["offset"]))
    assert len(chains) == PARTITIONS
    for chain in chains.values():
        assert chain == [(position + 1, position) for position in range(len(chain))]


async def test_an_event_that_kafka_has_twice_is_appended_once(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number) for number in range(60)]
    # In one batch, in the next, and on another partition.
    await send(stack, [*events[:30], *events[:30], *events])
    await send(stack, events, partition=3)
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
        await send(stack, events)
        await until_applied(stack, postgres_url, group, topic)
    assert sum((await ends(stack, topic)).values()) == 30 + 30 + 60 + 60 + 60
    _assert_each_once(postgres_url, topic, events)


async def test_a_member_that_is_started_again_goes_on_where_the_last_one_stopped(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number) for number in range(400)]
    await send(stack, events[:200])
    effects = _Counting(AuditEffects(database, consumer_group=group), pause_seconds=0.05)
    async with member(stack, group, topic, effects) as loop:
        await until(effects.has_applied, "something is applied")
        loop.stop()
    before = sum(stored(postgres_url, group).values())
    assert before > 0
    await send(stack, events[200:])
    again = _Counting(AuditEffects(database, consumer_group=group))
    async with member(stack, group, topic, again):
        await until_applied(stack, postgres_url, group, topic)
    assert again.records == len(events) - before, "nothing is read twice after an orderly stop"
    _assert_each_once(postgres_url, topic, events)


async def test_a_batch_that_a_killed_member_left_behind_is_applied_by_the_next(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number) for number in range(200)]
    command = [sys.executable, str(_MEMBER), stack.kafka_bootstrap_servers, group, topic, postgres_url]
    with psycopg.connect(postgres_url) as holder:
        # The member is stopped in the middle: its offset is moved on, its records are not appended, nothing is committed.
        holder.execute("LOCK TABLE audit.record IN EXCLUSIVE MODE")
        await send(stack, events)
        killed = _start(command)
        try:
            waiting = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"

            async def in_the_middle() -> bool:
                assert killed.poll() is None
                return bool(rows(postgres_url, waiting))

            await until(in_the_middle, "the member is in the middle of a batch")
        finally:
            os.kill(killed.pid, signal.SIGKILL)
            killed.wait()
    # Its database transaction is still there, with the row's lock, until the server notices; the next member waits or is refused.
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, events)


def _start(command: list[str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=Path(__file__).parents[3])


async def test_members_that_come_and_go_share_the_partitions(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number) for number in range(600)]
    first, second = (_Counting(AuditEffects(database, consumer_group=group), pause_seconds=0.02) for _ in range(2))
    sending = asyncio.create_task(_send_slowly(stack, events))
    async with member(stack, group, topic, second) as goes_on:
        async with member(stack, group, topic, first):
            await until(first.has_applied, "the first member applies")
            await until(second.has_applied, "the second member applies")

            async def share() -> bool:
                return len(first.partitions) > 0 and len(second.partitions) > 0 and bool(goes_on._positions)

            await until(share, "both have partitions")
        await sending
        await until_applied(stack, postgres_url, group, topic)
    assert first.records > 0
    assert second.records > 0
    _assert_each_once(postgres_url, topic, events)


async def _send_slowly(stack: RunningStack, events: Sequence[Event]) -> None:
    for begin in range(0, len(events), 20):
        await send(stack, events[begin : begin + 20])
        await asyncio.sleep(0.2)


async def test_a_stale_owner_applies_nothing(postgres_url: str, database: Database, topic: str, group: str) -> None:
    effects = AuditEffects(database, consumer_group=group)
    partition = Partition(topic, 0)
    assert await effects.next_offsets({partition: 0}) == {partition: 0}
    batch = [_record(event(topic, number), offset=number) for number in range(3)]
    assert await effects.apply(partition, batch, expected=0) == 3
    later = [_record(event(topic, number), offset=number) for number in range(3, 6)]
    for stale in (0, 2, 4):
        with pytest.raises(StaleOwnerError):
            await effects.apply(partition, later, expected=stale)
    with pytest.raises(StaleOwnerError):
        await effects.move(partition, expected=0, to=17)
    assert len(recorded(postgres_url, topic)) == 3
    assert stored(postgres_url, group) == {partition: 3}
    assert broken_chains(postgres_url) == []


async def test_of_many_owners_at_the_same_time_one_applies(postgres_url: str, database: Database, topic: str, group: str) -> None:
    effects = AuditEffects(database, consumer_group=group)
    partition = Partition(topic, 0)
    await effects.next_offsets({partition: 0})
    for begin in range(0, 30, 3):
        events = [event(topic, number) for number in range(begin, begin + 3)]
        batch = [_record(sent, offset=begin + position) for position, sent in enumerate(events)]
        answers = await asyncio.gather(*(effects.apply(partition, batch, expected=begin) for _ in range(4)), return_exceptions=True)
        assert sorted(type(answer).__name__ for answer in answers) == ["StaleOwnerError"] * 3 + ["int"]
    assert len(recorded(postgres_url, topic)) == 30
    assert broken_chains(postgres_url) == []


async def test_a_member_whose_partition_was_moved_on_reads_the_stored_offset_again(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number) for number in range(20)]
    effects = _Overtaken(AuditEffects(database, consumer_group=group))
    async with member(stack, group, topic, effects) as loop:
        effects.loop = loop
        await until(lambda: _has_positions(loop), "it has its partitions")
        await send(stack, events)
        await until_applied(stack, postgres_url, group, topic)
        assert effects.overtaken > 0
        more = [event(topic, number) for number in range(20)]
        await send(stack, more)
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, [*events, *more])


async def test_a_member_that_waits_for_its_part_neither_looks_partitions_up_nor_commits(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    # aiokafka answers a commit that the group refuses by giving its membership up, the new one that it waits for, too.
    effects = _Counting(AuditEffects(database, consumer_group=group))
    async with member(stack, group, topic, effects) as loop:
        await until(lambda: _has_positions(loop), "it has its partitions")
        await loop.revoked()
        events = [event(topic, number) for number in range(20)]
        await send(stack, events)
        looked_up, shown = effects.looked_up, await committed(stack, group, topic)
        await asyncio.sleep(4)
        assert effects.looked_up == looked_up
        assert effects.records == 0
        assert await committed(stack, group, topic) == shown
        loop.assigned()
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, events)


async def _has_positions(loop: ConsumerLoop) -> bool:
    return len(loop._positions) == PARTITIONS


@pytest.mark.parametrize("place", ["behind", "ahead", "missing"])
async def test_kafkas_committed_offset_does_not_matter(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str, place: str
) -> None:
    events = [event(topic, number) for number in range(90)]
    await send(stack, events[:60])
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    applied = await ends(stack, topic)
    await send(stack, events[60:])
    last = await ends(stack, topic)
    if place == "missing":
        # Another name is another group for Kafka; what the database has is read under the old one.
        effects = _Counting(AuditEffects(database, consumer_group=group))
        group = f"{group}-new"
        assert await committed(stack, group, topic) == {}
    else:
        effects = _Counting(AuditEffects(database, consumer_group=group))
        await commit(stack, group, dict.fromkeys(last, 0) if place == "behind" else last)
    async with member(stack, group, topic, effects):
        await until_applied(stack, postgres_url, effects.group, topic)

        async def shows_progress() -> bool:
            return await committed(stack, group, topic) == last

        await until(shows_progress, "Kafka shows how far the group has come")
    assert effects.records == sum(last.values()) - sum(applied.values()) == 30
    _assert_each_once(postgres_url, topic, events)


async def test_a_batch_that_the_database_refuses_does_not_stop_other_partitions(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    bad = Partition(topic, 0)
    effects = _Refusing(AuditEffects(database, consumer_group=group), bad)
    events = {number: [event(topic) for _ in range(3)] for number in range(PARTITIONS)}
    for number, of_partition in events.items():
        await send(stack, of_partition, partition=number)
    last = await ends(stack, topic)
    async with member(stack, group, topic, effects):

        async def others_applied() -> bool:
            return stored(postgres_url, group) == {**last, bad: 0}

        await until(others_applied, "all other partitions are applied")
        effects.refuses = False
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, [sent for of_partition in events.values() for sent in of_partition])


def _record(sent: Event, *, offset: int) -> Record:
    from infra.kafka.cloud_events import headers_of  # noqa: PLC0415  used here only

    return Record(offset=offset, key=sent.key.encode(), value=sent.data.encode(), headers=tuple(headers_of(sent)))


class _Counting:
    """Passes everything on, and counts records."""

    def __init__(self, effects: AuditEffects, *, pause_seconds: float = 0.0) -> None:
        self.effects = effects
        self.group = effects.offsets._group
        self.records = 0
        self.partitions: set[Partition] = set()
        self.looked_up = 0
        self._pause_seconds = pause_seconds

    async def has_applied(self) -> bool:
        return self.records > 0

    async def next_offsets(self, beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
        self.looked_up += len(beginnings)
        return await self.effects.next_offsets(beginnings)

    async def move(self, partition: Partition, *, expected: int, to: int) -> None:
        await self.effects.move(partition, expected=expected, to=to)

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        effective = await self.effects.apply(partition, records, expected=expected)
        self.records += len(records)
        self.partitions.add(partition)
        await asyncio.sleep(self._pause_seconds)
        return effective


class _Overtaken(_Counting):
    """Another owner applies each first batch of a partition just before this member does, while a rebalance takes it away."""

    def __init__(self, effects: AuditEffects) -> None:
        super().__init__(effects)
        self.loop: ConsumerLoop | None = None
        self.overtaken = 0
        self._seen: set[Partition] = set()

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        if partition not in self._seen:
            self._seen.add(partition)
            self.overtaken += 1
            await self.effects.apply(partition, records, expected=expected)
            assert self.loop is not None
            await self.loop.revoked()
            self.loop.assigned()
        return await super().apply(partition, records, expected=expected)


class _Refusing(_Counting):
    """The database refuses one partition's batches."""

    def __init__(self, effects: AuditEffects, partition: Partition) -> None:
        super().__init__(effects)
        self.refuses = True
        self._bad = partition

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        if self.refuses and partition == self._bad:
            message = "refused by the test"
            raise LedgerIntegrityError(message)
        return await super().apply(partition, records, expected=expected)
