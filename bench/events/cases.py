"""What is measured: publishing, relaying, applying by each group, and the lag under a constant load."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from bench.events.load import EVENTS_PER_TRANSACTION, renamed
from bench.events.place import ALL_GROUPS, POLL_SECONDS
from bench.events.plain import plain_publisher, read_plainly, ready_records
from bench.ledger.measuring import MILLISECONDS, closed_loop, frozen_garbage, paced, percentile
from bench.ledger.server import BenchError
from infra.kafka.publisher import KafkaPublisher
from infra.kafka.records import Partition
from infra.postgres.database import Database
from infra.postgres.outbox import PostgresOutbox
from infra.relay import EventRelay
from infra.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from bench.events.load import Transaction
    from bench.events.place import Offsets, Servers, Watch

Figures = dict[str, float]

IN_FLIGHT: Final = 50
"""Callers of the publisher at one time."""
LOAD_PER_SECOND: Final = 200
"""Events, of the constant load."""
_WARM_UP_TRANSACTIONS: Final = 50


@dataclass(frozen=True)
class Run:
    """What a case is given."""

    servers: Servers
    transactions: Sequence[Transaction]
    """Those whose events wait in the outbox of each place; on casaflow's own topics, which nothing is published on."""
    seconds: float
    """Of the constant load."""
    plain_first: bool
    """Whose turn comes first."""

    @property
    def events(self) -> int:
        """How many."""
        return EVENTS_PER_TRANSACTION * len(self.transactions)


class Case(Protocol):
    """One measurement."""

    @property
    def name(self) -> str:
        """As in the table and in the JSON."""
        ...

    @property
    def quick(self) -> bool:
        """Whether ``--quick`` runs it."""
        ...

    async def measure(self, run: Run) -> Figures:
        """Run it once.

        Raises:
            BenchError: what was measured isn't what should have been.
        """
        ...


@dataclass(frozen=True)
class Publish:
    """The publisher and a plain producer."""

    name: str = "publish"
    quick: bool = True

    async def measure(self, run: Run) -> Figures:
        """See :meth:`Case.measure`."""
        async with run.servers.place() as place:
            transactions = renamed(run.transactions, place.prefix)
            records = [ready_records(transaction) for transaction in transactions]
            publisher = KafkaPublisher(run.servers.kafka)
            async with plain_publisher(run.servers.kafka) as plain:
                try:
                    sides: list[Callable[[], Awaitable[Figures]]] = [
                        lambda: _published(publisher.publish, transactions, ""),
                        lambda: _published(plain, records, "plain_"),
                    ]
                    found: Figures = {}
                    for side in reversed(sides) if run.plain_first else sides:
                        found |= await side()
                finally:
                    await publisher.stop()
            written = sum((await place.ends()).values())
            expected = 2 * (run.events + EVENTS_PER_TRANSACTION * min(_WARM_UP_TRANSACTIONS, len(transactions)))
            if written != expected:
                message = f"{written} records were written, not {expected}"
                raise BenchError(message)
            return found


async def _published(publish: Callable[[Any], Awaitable[None]], transactions: Sequence[Any], name: str) -> Figures:
    """Rate, and how long a caller waits; `name` begins the figures' names."""
    with frozen_garbage():
        await closed_loop(publish, transactions[:_WARM_UP_TRANSACTIONS], in_flight=IN_FLIGHT, seconds=math.inf)
        began = time.process_time()
        done = await closed_loop(publish, transactions, in_flight=IN_FLIGHT, seconds=math.inf)
        spent = time.process_time() - began
    return {
        f"{name}events_per_second": done.per_second * EVENTS_PER_TRANSACTION,
        f"{name}cpu_ms": spent * MILLISECONDS / len(done.latencies_ms) / EVENTS_PER_TRANSACTION,
        f"{name}p50_ms": percentile(done.latencies_ms, 50),
        f"{name}p99_ms": percentile(done.latencies_ms, 99),
    }


@dataclass(frozen=True)
class Relay:
    """The relay, on an outbox that nobody else empties."""

    name: str = "relay"
    quick: bool = True

    async def measure(self, run: Run) -> Figures:
        """See :meth:`Case.measure`."""
        async with run.servers.place() as place:
            database = Database.open(place.database_url, pool_size=2, role=Settings().postgres_role)
            publisher = KafkaPublisher(run.servers.kafka)
            try:
                await publisher.start()
                relay = EventRelay(PostgresOutbox(database), publisher, after_seconds=0)
                with frozen_garbage():
                    began = time.perf_counter()
                    relayed = await relay.run()
                    seconds = time.perf_counter() - began
            finally:
                await publisher.stop()
                await database.close()
            if not relayed == sum((await place.ends()).values()) == run.events:
                message = f"{relayed} events were relayed, not {run.events}"
                raise BenchError(message)
            return {"events_per_second": relayed / seconds}


@dataclass(frozen=True)
class Apply:
    """A member of a group, and a plain consumer of the same topics."""

    group: str
    quick: bool = True

    @property
    def name(self) -> str:
        """See :attr:`Case.name`."""
        return f"apply: {self.group}"

    async def measure(self, run: Run) -> Figures:
        """See :meth:`Case.measure`."""
        async with run.servers.place() as place:
            async with plain_publisher(run.servers.kafka) as publish:
                records = [ready_records(transaction) for transaction in renamed(run.transactions, place.prefix)]
                await closed_loop(publish, records, in_flight=IN_FLIGHT, seconds=math.inf)
            ends = await place.ends()
            async with place.watch() as watch, place.member(self.group):
                await watch.until_ready([self.group])
                began = time.perf_counter()
                await watch.until_at([self.group], ends)
                seconds = time.perf_counter() - began
                read = {partition: ends[partition] for partition in (await watch.look())[self.group]}
            # Its turn always comes second: what the group reads is known once it has.
            with frozen_garbage():
                plain = await read_plainly(run.servers.kafka, read)
            return {
                "events_per_second": sum(read.values()) / seconds,
                "plain_events_per_second": len(plain.records) / plain.seconds,
                "events": sum(read.values()),
            }


class Lag:
    """All groups at once under a constant load."""

    name: str = "lag"
    quick: bool = True

    async def measure(self, run: Run) -> Figures:
        """See :meth:`Case.measure`."""
        per_second = LOAD_PER_SECOND / EVENTS_PER_TRANSACTION
        load = run.transactions[: _WARM_UP_TRANSACTIONS + math.ceil(run.seconds * per_second)]
        seen: list[tuple[float, Offsets]] = []
        async with AsyncExitStack() as parts:
            place = await parts.enter_async_context(run.servers.place())
            transactions = renamed(load, place.prefix)
            watch = await parts.enter_async_context(place.watch())
            for group in ALL_GROUPS:
                await parts.enter_async_context(place.member(group))
            await watch.until_ready(ALL_GROUPS)
            publisher = KafkaPublisher(run.servers.kafka)
            parts.push_async_callback(publisher.stop)
            for transaction in transactions[:_WARM_UP_TRANSACTIONS]:
                await publisher.publish(transaction)
            warm = await place.ends()
            await watch.until_at(ALL_GROUPS, warm)
            watching = asyncio.create_task(_watch(watch, seen))
            try:
                await paced(publisher.publish, transactions[_WARM_UP_TRANSACTIONS:], per_second=per_second)
                ends = await place.ends()
                await watch.until_at(ALL_GROUPS, ends, seen=lambda found: seen.append((time.time(), found)))
            finally:
                watching.cancel()
                await asyncio.wait([watching])
            records = (await read_plainly(run.servers.kafka, ends)).records
        found: Figures = {}
        for group in ALL_GROUPS:
            lags = sorted(_lags_ms(group, records, warm, seen))
            found |= {f"{group}_p50_ms": percentile(lags, 50), f"{group}_p99_ms": percentile(lags, 99)}
        return found


async def _watch(watch: Watch, seen: list[tuple[float, Offsets]]) -> None:
    while True:
        found = await watch.look()
        seen.append((time.time(), found))
        await asyncio.sleep(POLL_SECONDS)


def _lags_ms(group: str, records: Sequence[Any], warm: Mapping[Partition, int], seen: Sequence[tuple[float, Offsets]]) -> Iterator[float]:
    """From each record's time stamp to the first look that found it applied."""
    for record in records:
        partition = Partition(record.topic, record.partition)
        if record.offset < warm[partition] or partition not in seen[-1][1][group]:
            continue
        applied_at = next(at for at, found in seen if found[group][partition] > record.offset)
        yield applied_at * MILLISECONDS - record.timestamp


CASES: Final[tuple[Case, ...]] = (Publish(), Relay(), *map(Apply, ALL_GROUPS), Lag())
