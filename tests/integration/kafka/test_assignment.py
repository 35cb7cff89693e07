"""Members of real groups on a real broker: who owns what while others join and leave, and while a group is brought to this version."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor

from infra.kafka.assignment import assignors
from infra.kafka.consumer import _FIRST_WAIT_SECONDS, ConsumerLoop
from infra.kafka.topics import PARTITIONS
from tests.integration.kafka.conftest import Seen
from tests.stack_fixtures import RunningStack

Join = Callable[..., Any]
_WAIT_SECONDS = 20


@pytest.fixture
def group() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


@pytest.fixture
async def join(stack: RunningStack, topic: str, group: str) -> AsyncIterator[Join]:
    async with AsyncExitStack() as exits:

        async def joined(*, group: str = group, strategy: tuple[type, ...] | None = None) -> Any:
            consumer = AIOKafkaConsumer(
                topic,
                bootstrap_servers=stack.kafka_bootstrap_servers,
                group_id=group,
                enable_auto_commit=False,
                partition_assignment_strategy=strategy or assignors(),
                heartbeat_interval_ms=100,
            )
            exits.push_async_callback(consumer.stop)
            await consumer.start()
            return consumer

        yield joined


def _owned(consumer: Any) -> set[int]:
    return {place.partition for place in consumer.assignment()}


async def _settled(*members: Any) -> list[set[int]]:
    """What each owns once every partition has one owner, and all have equally many."""
    async with asyncio.timeout(_WAIT_SECONDS):
        while True:
            owned = [_owned(member) for member in members]
            sizes = [len(one) for one in owned]
            if sum(sizes) == len(set().union(*owned)) == PARTITIONS and max(sizes) - min(sizes) <= 1:
                return owned
            await asyncio.sleep(0.05)


async def _protocol(stack: RunningStack, group: str) -> str:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        (response,) = await admin.describe_consumer_groups([group])
        return str(response.groups[0][4])
    finally:
        await admin.close()


async def test_members_keep_their_partitions_while_others_join_and_leave(join: Join, stack: RunningStack, group: str) -> None:
    first = await join()
    await _settled(first)
    second = await join()
    before = await _settled(first, second)
    third = await join()
    of_first, of_second, _ = await _settled(first, second, third)
    assert of_first < before[0]
    assert of_second < before[1]
    before = [of_first, of_second]
    await third.stop()
    after = await _settled(first, second)
    assert all(had <= has for had, has in zip(before, after, strict=True))
    assert await _protocol(stack, group) == "sticky"


async def test_two_groups_of_one_process_do_not_mix_what_they_own(join: Join, group: str) -> None:
    one, other = await join(), await join(group=f"{group}-other")
    await asyncio.gather(_settled(one), _settled(other))
    second = await join()
    await _settled(one, second)
    await join(group=f"{group}-other")
    third = await join()
    await _settled(one, second, third)


async def test_a_member_waits_until_the_last_one_of_the_earlier_version_has_left(
    join: Join, stack: RunningStack, topic: str, group: str
) -> None:
    old = await join(strategy=(RoundRobinPartitionAssignor,))
    await _settled(old)
    seen = Seen()
    loop = ConsumerLoop(stack.kafka_bootstrap_servers, group=group, topics=[topic], effects=seen)
    running = asyncio.create_task(loop.run())
    async with asyncio.timeout(_WAIT_SECONDS):
        while loop._wait_seconds == _FIRST_WAIT_SECONDS:  # noqa: ASYNC110  it tells nobody
            await asyncio.sleep(0.02)
    assert await _protocol(stack, group) == "roundrobin"
    assert await _settled(old)
    await old.stop()
    async with asyncio.timeout(_WAIT_SECONDS):
        while len(seen.asked_for) < PARTITIONS:  # noqa: ASYNC110  nor does it here
            await asyncio.sleep(0.05)
    assert await _protocol(stack, group) == "sticky"
    loop.stop()
    await running
