"""A member of a consumer group: the loop that reads and applies, and what has to run beside it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from infra.kafka.consumer import ConsumerLoop
from infra.kafka.dead_letters import DeadLetterRelay
from infra.postgres.consumption import GroupStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from infra.kafka.connection import KafkaConnection
    from infra.metrics import ConsumerMetrics
    from infra.postgres.consumption import EventHandler
    from infra.postgres.database import Database
    from infra.settings import Settings


class Surroundings(NamedTuple):
    """What a member is given."""

    settings: Settings
    servers: KafkaConnection
    database: Database
    prefix: str = ""
    """What the names of the group and of its topics begin with on the broker: benchmarks and tests have their own beside those in use."""

    metrics: ConsumerMetrics | None = None
    """Where the members count; None: nowhere."""

    def named(self, name: str) -> str:
        """What a group or a topic is called on the broker."""
        return self.prefix + name


class Member(Protocol):
    """A member of some group."""

    def stop(self) -> None:
        """Finish what is at hand, and return from :meth:`run`."""
        ...

    async def run(self) -> None:
        """Work until :meth:`stop`."""
        ...


class GroupMember:
    """Parts that run side by side. Where one ends, for whatever reason, the others are stopped: half a member is none."""

    def __init__(self, *parts: Member, beside: Sequence[Callable[[], Coroutine[None, None, None]]] = ()) -> None:
        """Take the parts.

        Args:
            parts: a consumer loop, and what else ends what it has at hand when it is stopped.
            beside: what has nothing at hand, and is cancelled once the parts have ended.
        """
        self._parts = parts
        self._beside = beside

    def stop(self) -> None:
        """Have each part end what is at hand."""
        for part in self._parts:
            part.stop()

    async def run(self) -> None:
        """Run all until :meth:`stop`.

        Raises:
            ExceptionGroup: some failed; the others have ended in order.
        """
        running = [asyncio.create_task(part.run()) for part in self._parts]
        beside = [asyncio.create_task(start()) for start in self._beside]
        try:
            await asyncio.wait([*running, *beside], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.stop()
            ends = await asyncio.gather(*running, return_exceptions=True)
            for task in beside:
                task.cancel()
            ends += await asyncio.gather(*beside, return_exceptions=True)
        failures = [end for end in ends if isinstance(end, Exception)]
        if failures:
            message = "parts of the member failed"
            raise ExceptionGroup(message, failures)


def member_of(
    group: str,
    topics: Sequence[str],
    handler: EventHandler,
    given: Surroundings,
    *,
    parts: Sequence[Member] = (),
    beside: Sequence[Callable[[], Coroutine[None, None, None]]] = (),
) -> GroupMember:
    """A member of a group that applies each event once, and holds what it can't handle; with what :class:`GroupMember` runs besides."""
    name = given.named(group)
    store = GroupStore(given.database, handler, consumer_group=name)
    letters = DeadLetterRelay(given.servers, group=name, held=store.held)
    loop = ConsumerLoop(given.servers, group=name, topics=[given.named(topic) for topic in topics], effects=store, metrics=given.metrics)
    return GroupMember(loop, *parts, beside=(letters.keep_up, *beside))
