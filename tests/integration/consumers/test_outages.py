"""Kafka, PostgreSQL and the topic itself go away and come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from aiokafka import TopicPartition

from infra.kafka.consumer import ConsumerLoop
from infra.kafka.records import Partition
from infra.postgres.audit import AuditEffects
from infra.postgres.database import Database
from ledger.events import Event
from tests.integration.consumers.conftest import (
    administration,
    broken_chains,
    ends,
    event,
    make_anew,
    member,
    recorded,
    send,
    stored,
    until,
    until_applied,
)
from tests.integration.proxies import KafkaProxy, TcpProxy
from tests.stack_fixtures import RunningStack


def _assert_each_once(url: str, topic: str, events: Sequence[Event]) -> None:
    assert Counter(str(row["event_id"]) for row in recorded(url, topic)) == Counter({sent.event_id: 1 for sent in events})
    assert broken_chains(url) == []


async def test_it_goes_on_when_kafka_is_back(stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str) -> None:
    events = [event(topic, number) for number in range(60)]
    async with KafkaProxy(stack.kafka_bootstrap_servers) as proxy:
        await proxy.refuse()
        async with member(stack, group, topic, database, bootstrap_servers=proxy.address) as loop:
            # Away from the beginning.
            await until(lambda: _has_waited(loop), "it has tried in vain")
            await proxy.accept()
            await send(stack, events[:30])
            await until_applied(stack, postgres_url, group, topic)
            # Away in between.
            await proxy.refuse()
            await send(stack, events[30:])
            await proxy.accept()
            await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, events)


async def _has_waited(loop: ConsumerLoop) -> bool:
    return loop._wait_seconds > 0.25


async def test_a_stop_is_obeyed_while_kafka_is_away(stack: RunningStack, database: Database, topic: str, group: str) -> None:
    async with KafkaProxy(stack.kafka_bootstrap_servers) as proxy:
        await proxy.hang()
        # Leaving the block waits for its end, within the time that all waits here have.
        async with member(stack, group, topic, database, bootstrap_servers=proxy.address) as loop:
            loop.stop()


async def test_it_goes_on_when_postgresql_is_back(stack: RunningStack, postgres_url: str, topic: str, group: str) -> None:
    events = [event(topic, number) for number in range(90)]
    async with TcpProxy(postgres_url) as proxy:
        database = Database.open(proxy.url(postgres_url), pool_size=2)
        await proxy.refuse()
        await send(stack, events[:30])
        try:
            async with member(stack, group, topic, AuditEffects(database, consumer_group=group)) as loop:
                await until(lambda: _has_waited(loop), "it has tried in vain")
                await proxy.accept()
                await until_applied(stack, postgres_url, group, topic)
                await proxy.refuse()
                await send(stack, events[30:60])
                await until(lambda: _has_waited(loop), "it has tried in vain again")
                await proxy.accept()
                await send(stack, events[60:])
                await until_applied(stack, postgres_url, group, topic)
        finally:
            await database.close()
    _assert_each_once(postgres_url, topic, events)


async def test_a_topic_made_anew_while_nobody_reads_is_read_from_its_beginning(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    before = [event(topic, number) for number in range(60)]
    await send(stack, before)
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    await make_anew(stack, topic)
    # Fewer than before, so that the stored offsets are out of range; some of them were applied in the old topic.
    after = [event(topic, number) for number in range(20)]
    await send(stack, [*before[:10], *after])
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, [*before, *after])


@pytest.mark.slow  # a client asks for a topic's state once a minute
async def test_a_topic_made_anew_under_a_running_member_is_read_from_its_beginning(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    before = [event(topic, number) for number in range(60)]
    after = [event(topic, number) for number in range(30)]
    await send(stack, before)
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
        await make_anew(stack, topic)
        await send(stack, after[:20])
        await until_applied(stack, postgres_url, group, topic)
        await send(stack, after[20:])
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, [*before, *after])


async def test_a_reader_that_the_broker_sends_back_goes_on_from_there(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    events = [event(topic, number) for number in range(9)]
    partition = Partition(topic, 1)
    async with member(stack, group, topic, database) as loop:
        await send(stack, events[:3], partition=1)
        await until_applied(stack, postgres_url, group, topic)
        # As if the topic had had 50 records until a moment ago: the reader was sent back, the group's offset was not.
        await AuditEffects(database, consumer_group=group).move(partition, expected=3, to=50)
        loop._positions[partition] = 50
        await send(stack, events[3:], partition=1)
        await until_applied(stack, postgres_url, group, topic)
    _assert_each_once(postgres_url, topic, events)


async def test_records_that_ran_out_of_retention_are_passed_over(
    stack: RunningStack, postgres_url: str, database: Database, topic: str, group: str
) -> None:
    lost = [event(topic, number) for number in range(5)]
    effects = AuditEffects(database, consumer_group=group)
    partition = Partition(topic, 2)
    await effects.next_offsets({partition: 0})
    await send(stack, lost, partition=2)
    kept = [event(topic, number) for number in range(5)]
    await send(stack, kept, partition=2)
    async with administration(stack) as admin:
        await admin.delete_records({TopicPartition(topic, 2): _records_to_delete(5)})
    async with member(stack, group, topic, database):
        await until_applied(stack, postgres_url, group, topic)
    assert stored(postgres_url, group)[partition] == (await ends(stack, topic))[partition] == 10
    _assert_each_once(postgres_url, topic, kept)


def _records_to_delete(before_offset: int) -> object:
    from aiokafka.admin import RecordsToDelete  # noqa: PLC0415  used here only

    return RecordsToDelete(before_offset=before_offset)
