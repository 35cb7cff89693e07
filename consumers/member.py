"""A member of a consumer group: the loop that reads and applies, and what has to run beside it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from infra.kafka.consumer import ConsumerLoop
from infra.kafka.dead_letters import DeadLetterRelay
from infra.postgres.consumption import GroupStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from infra.kafka.connection import KafkaConnection
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


@dataclass
class GroupMember:
    """A consumer loop, and tasks that run beside it until it ends."""

    loop: ConsumerLoop
    beside: Sequence[Callable[[], Coroutine[None, None, None]]] = ()
    """Each runs until it is cancelled; one that ends by itself ends the member, with its error."""

    def stop(self) -> None:
        """Finish the batch at hand, leave the group, and return from :meth:`run`."""
        self.loop.stop()

    async def run(self) -> None:
        """Consume until :meth:`stop`."""
        consuming = asyncio.create_task(self.loop.run())
        beside = [asyncio.create_task(start()) for start in self.beside]
        try:
            await asyncio.wait([consuming, *beside], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.loop.stop()
            for task in beside:
                task.cancel()
            results = await asyncio.gather(consuming, *beside, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


def member_of(
    group: str, topics: Sequence[str], handler: EventHandler, given: Surroundings, *beside: Callable[[], Coroutine[None, None, None]]
) -> GroupMember:
    """A member of a group that applies each event once, and holds what it can't handle."""
    name = given.named(group)
    store = GroupStore(given.database, handler, consumer_group=name)
    letters = DeadLetterRelay(given.servers, group=name, held=store.held)
    loop = ConsumerLoop(given.servers, group=name, topics=[given.named(topic) for topic in topics], effects=store)
    return GroupMember(loop, (letters.keep_up, *beside))
