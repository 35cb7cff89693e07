"""Where a measurement happens: a copy of the filled database, topics and groups of its own, and members of these as processes."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
import time
import uuid
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from aiokafka.admin import AIOKafkaAdminClient
from psycopg import sql

from bench.ledger.server import PREFIX, BenchError, database_url, own_database
from consumers.__main__ import GROUPS
from infra.groups import with_store
from infra.kafka.offsets import end_offsets
from infra.kafka.records import Partition
from infra.kafka.topics import ensure_topics
from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.events import TOPICS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

ALL_GROUPS: Final = tuple(with_store(GROUPS))
"""Those that casaflow has."""
POLL_SECONDS: Final = 0.02
"""How often stored offsets are looked at, and so how exact a lag is."""
_READY_SECONDS: Final = 60.0
_STAND_STILL_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 15.0
_STORES: Final = "SELECT table_schema FROM information_schema.tables WHERE table_name = 'consumer_offset' ORDER BY 1"
_STORE: Final = "SELECT consumer_group, topic, partition, next_offset FROM {}.consumer_offset"

Offsets = dict[str, dict[Partition, int]]
"""By group, where each partition goes on."""


def kafka_servers() -> str:
    """The Kafka that ``CASAFLOW_KAFKA_BOOTSTRAP_SERVERS`` names, or that of the running stack.

    Raises:
        BenchError: there is neither.
    """
    settings = Settings()
    if settings.kafka_bootstrap_servers is not None:
        return settings.kafka_bootstrap_servers
    info = read_stack_info(settings.home)
    if info is None:
        message = "nothing runs: start the stack with `casaflow up --detach`, or set CASAFLOW_KAFKA_BOOTSTRAP_SERVERS"
        raise BenchError(message)
    return info.kafka_bootstrap_servers


@dataclass(frozen=True)
class Servers:
    """What places are made on."""

    postgres_url: str
    kafka: str
    template: str
    """Name of the filled database."""

    @asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """A place that is gone at the end, with its database, topics and groups."""
        prefix = f"{PREFIX}{uuid.uuid4().hex[:8]}."
        with own_database(self.postgres_url, template=self.template) as name:
            url = database_url(self.postgres_url, name)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("UPDATE event_outbox SET topic = %s || topic", [prefix])
                connection.execute("VACUUM ANALYZE event_outbox")
            await ensure_topics(self.kafka, topics=[prefix + topic for topic in TOPICS])
            try:
                yield Place(self, url, prefix)
            finally:
                await _delete(self.kafka, prefix)


@dataclass(frozen=True)
class Place:
    """One of them."""

    servers: Servers
    database_url: str
    prefix: str
    """What its topics and groups begin with on the broker."""

    @property
    def environment(self) -> dict[str, str]:
        """Of a process of a member; what is set outside for casaflow is not meant for it."""
        outside = {name: value for name, value in os.environ.items() if not name.startswith("CASAFLOW_")}
        return {
            **outside,
            "CASAFLOW_POSTGRES_URL": self.database_url,
            "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": self.servers.kafka,
            "CASAFLOW_LOG_LEVEL": "WARNING",
        }

    async def ends(self) -> dict[Partition, int]:
        """Where its topics end."""
        return await end_offsets(self.servers.kafka, [self.prefix + topic for topic in TOPICS])

    @asynccontextmanager
    async def member(self, group: str) -> AsyncIterator[None]:
        """A member of a group, as a process of its own.

        Raises:
            BenchError: it ended by itself.
        """
        with tempfile.TemporaryFile() as said:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "bench.events.member", group, self.prefix, env=self.environment, stderr=said, stdout=said
            )
            try:
                yield
            finally:
                ended = process.returncode is not None
                if not ended:
                    process.send_signal(signal.SIGTERM)
                    try:
                        async with asyncio.timeout(_STOP_SECONDS):
                            await process.wait()
                    except TimeoutError:
                        process.kill()
                        await process.wait()
                said.seek(0)
                words = said.read().decode(errors="replace")
            if ended:
                message = f"the member of group {group} ended by itself:\n{words}"
                raise BenchError(message)

    @asynccontextmanager
    async def watch(self) -> AsyncIterator[Watch]:
        """Look at the groups' stores."""
        async with await psycopg.AsyncConnection.connect(self.database_url, autocommit=True) as connection:
            schemas = [str(schema) for (schema,) in await (await connection.execute(_STORES)).fetchall()]
            query = sql.SQL(" UNION ALL ").join(sql.SQL(_STORE).format(sql.Identifier(schema)) for schema in schemas)

            async def look() -> Offsets:
                found: Offsets = {}
                for name, topic, partition, offset in await (await connection.execute(query)).fetchall():
                    if name.startswith(self.prefix):
                        found.setdefault(name.removeprefix(self.prefix), {})[Partition(topic, partition)] = offset
                return found

            yield Watch(look)


@dataclass(frozen=True)
class Watch:
    """What the groups have stored."""

    look: Callable[[], Awaitable[Offsets]]

    async def until_ready(self, groups: Sequence[str]) -> None:
        """Return once each group has entered where its partitions begin.

        Raises:
            BenchError: one did not; a group that takes no notice of its surroundings' prefix can't be measured.
        """
        try:
            async with asyncio.timeout(_READY_SECONDS):
                while not set(groups) <= set(await self.look()):  # noqa: ASYNC110  the database tells nobody
                    await asyncio.sleep(POLL_SECONDS)
        except TimeoutError as error:
            missing = sorted(set(groups) - set(await self.look()))
            message = f"no offsets of group {', '.join(missing)} within {_READY_SECONDS:.0f} s"
            raise BenchError(message) from error

    async def until_at(self, groups: Sequence[str], ends: dict[Partition, int], *, seen: Callable[[Offsets], object] = id) -> None:
        """Return once each group has applied all that there is of its partitions.

        Args:
            groups: which.
            ends: of all topics.
            seen: is told what was looked at.

        Raises:
            BenchError: nothing was applied for long.
        """
        before: Offsets = {}
        moved_at = time.perf_counter()
        while True:
            found = await self.look()
            seen(found)
            if all(found[group] == {partition: ends[partition] for partition in found[group]} for group in groups):
                return
            if found != before:
                before, moved_at = found, time.perf_counter()
            if time.perf_counter() - moved_at > _STAND_STILL_SECONDS:
                message = f"nothing was applied for {_STAND_STILL_SECONDS:.0f} s; offsets {found}, ends {ends}"
                raise BenchError(message)
            await asyncio.sleep(POLL_SECONDS)


async def _delete(bootstrap_servers: str, prefix: str) -> None:
    """Delete all topics with the prefix, those of dead letters too; the broker forgets the groups by itself, which have no offsets left."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        topics = [topic for topic in await admin.list_topics() if prefix in topic]
        await admin.delete_topics(topics)
    finally:
        await admin.close()
