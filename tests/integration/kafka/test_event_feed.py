"""The feed of events on topics of the tests' own: bounded, and right about what is kept no longer."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete

from infra.kafka.cloud_events import headers_of
from infra.kafka.connection import KafkaConnection
from infra.kafka.event_feed import BUFFERED_EVENTS, Ended, EventFeed, FeedEvent, Missing, Reached, Told
from infra.kafka.offsets import TopicEnds
from ledger.events import Event
from tests.stack_fixtures import RunningStack

_WITHIN_SECONDS = 60


@pytest.fixture
async def feed(stack: RunningStack, topic: str) -> AsyncIterator[EventFeed]:
    ends = TopicEnds(stack.kafka_bootstrap_servers, (topic,))
    opened = EventFeed(KafkaConnection.to(stack.kafka_bootstrap_servers), ends)
    yield opened
    await opened.stop()
    await ends.stop()


def _event(topic: str, number: int, tenant: str = "t") -> Event:
    return Event(
        event_id=str(uuid.uuid4()),
        topic=topic,
        key=f"{tenant}/A{number % 7}",
        type="casaflow.casa.credited.v1",
        source=f"urn:casaflow:{tenant}",
        subject=str(number),
        time=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
        data=json.dumps({"account_id": f"A{number % 7}", "number": number}),
    )


async def _publish(stack: RunningStack, events: list[Event]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=stack.kafka_bootstrap_servers, acks="all", linger_ms=20)
    await producer.start()
    try:
        sent = [await producer.send(each.topic, each.data.encode(), key=each.key.encode(), headers=headers_of(each)) for each in events]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


async def test_reader_that_is_too_slow_is_cut_off_and_can_go_on(stack: RunningStack, topic: str, feed: EventFeed) -> None:
    many = BUFFERED_EVENTS + 500
    slow_one, fast_one = (feed.stream("t", lambda _: True, after=None) for _ in range(2))
    async with aclosing(slow_one) as slow, aclosing(fast_one) as fast, asyncio.timeout(_WITHIN_SECONDS):
        assert isinstance(await anext(slow), Reached)
        assert isinstance(await anext(fast), Reached)
        waiting, reading = asyncio.ensure_future(anext(slow)), asyncio.ensure_future(_read(fast, many))
        await asyncio.sleep(0)  # their readers are there by then
        await _publish(stack, [_event(topic, number) for number in range(many)])
        assert sorted(each.data["number"] for each in await reading) == list(range(many))
        told = [await waiting, *[each async for each in slow]]
    assert isinstance(told[-1], Ended)
    assert told[-1].code == "too-slow"
    events = [each for each in told if isinstance(each, FeedEvent)]
    assert len(events) in {BUFFERED_EVENTS, BUFFERED_EVENTS + 1}
    async with aclosing(feed.stream("t", lambda _: True, after=events[-1].position)) as again, asyncio.timeout(_WITHIN_SECONDS):
        events += await _read(again, many - len(events))
    assert sorted(each.data["number"] for each in events) == list(range(many))


async def _read(stream: AsyncGenerator[Told], number: int) -> list[FeedEvent]:
    events: list[FeedEvent] = []
    while len(events) < number:
        told = await anext(stream)
        assert not isinstance(told, Ended | Missing), told
        events += [told] if isinstance(told, FeedEvent) else []
    return events


async def test_what_is_kept_no_longer_is_said(stack: RunningStack, topic: str, feed: EventFeed) -> None:
    async with aclosing(feed.stream("t", lambda _: True, after=None)) as stream:
        start = await anext(stream)
    assert isinstance(start, Reached)
    await _publish(stack, [_event(topic, number) for number in range(70)])
    places = await feed.places()
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    await admin.delete_records({TopicPartition(*place): RecordsToDelete(before_offset=1) for place in places[:1]})
    await admin.close()
    async with aclosing(feed.stream("t", lambda _: True, after=start.position)) as stream, asyncio.timeout(_WITHIN_SECONDS):
        told = [await anext(stream) for _ in range(3)]
    assert [type(each) for each in told] == [Reached, Missing, FeedEvent]


async def test_stop_ends_streams_and_those_that_begin_later(feed: EventFeed) -> None:
    async with aclosing(feed.stream("t", lambda _: True, after=None)) as stream, asyncio.timeout(_WITHIN_SECONDS):
        assert isinstance(await anext(stream), Reached)
        coming = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        feed.end()
        ended = await coming
        assert isinstance(ended, Ended)
        assert ended.code == "stopping"
    async with aclosing(feed.stream("t", lambda _: True, after=None)) as stream, asyncio.timeout(_WITHIN_SECONDS):
        assert [type(told) async for told in stream] == [Reached, Ended]
