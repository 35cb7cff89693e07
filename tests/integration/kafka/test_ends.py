"""Where topics end is read again and again, whatever became of an earlier reading."""

from __future__ import annotations

import asyncio

from infra.kafka.offsets import TopicEnds
from infra.kafka.topics import PARTITIONS
from ledger.events import TOPICS
from tests.stack_fixtures import RunningStack


async def test_a_reading_that_was_cut_off_is_followed_by_a_whole_one(stack: RunningStack) -> None:
    ends = TopicEnds(stack.kafka_bootstrap_servers, TOPICS)
    reading = asyncio.create_task(ends.read())
    await asyncio.sleep(0)  # it has begun to connect
    reading.cancel()
    await asyncio.wait([reading])
    try:
        assert len(await ends.read()) == len(TOPICS) * PARTITIONS
        assert len(await ends.read()) == len(TOPICS) * PARTITIONS
    finally:
        await ends.stop()
