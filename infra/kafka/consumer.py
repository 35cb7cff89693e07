"""The consumer loop of every group: each event is applied once, whatever crashes, rebalances or is sent again.

The group's own database says where each partition goes on; Kafka's committed offset only shows the lag. A batch is applied and its offset
moved on in one database transaction, by compare and set, so a member that lost a partition without knowing it can't apply anything.
Kafka and PostgreSQL may both be away: then the loop waits, says so, and goes on where it was.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError, KafkaError

from infra import tracing
from infra.kafka.assignment import assignors
from infra.kafka.connection import KafkaConnection, disconnect
from infra.kafka.records import Partition, Record, StaleOwnerError
from ledger.errors import LedgerIntegrityError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from infra.kafka.records import GroupEffects
    from infra.metrics import ConsumerMetrics

_log = structlog.get_logger(__name__)

MAX_BATCH_RECORDS: Final = 500
"""Records that are taken at once, and so at most in one database transaction."""
_POLL_MILLISECONDS: Final = 500
"""How long one poll waits for records; also how late a stop is noticed."""
GATHER_MILLISECONDS: Final = 1_000
"""How long the broker lets records gather before it hands them out. Each batch of a partition costs the group a database transaction, and
records that came within a second may well share one: nobody waits for what is done downstream."""
GATHER_BYTES: Final = 64 * 1024
"""With so many there is nothing to wait for."""
_LOOK_SECONDS: Final = 3.0
"""How often a member looks whether its partitions still go on where it believes: an operator may have sent the group back."""
_FIRST_WAIT_SECONDS: Final = 0.25
_LONGEST_WAIT_SECONDS: Final = 10.0
_CONNECT_TIMEOUT_SECONDS: Final = 30.0
_COMMIT_TIMEOUT_SECONDS: Final = 5.0
_STOP_TIMEOUT_SECONDS: Final = 5.0


class ConsumerLoop:
    """One member of a consumer group."""

    def __init__(
        self,
        servers: KafkaConnection | str,
        *,
        group: str,
        topics: Sequence[str],
        effects: GroupEffects,
        metrics: ConsumerMetrics | None = None,
    ) -> None:
        """Prepare; :meth:`run` connects.

        Args:
            servers: where Kafka is, and how it is reached.
            group: the consumer group.
            topics: what it reads.
            effects: what it does, and where it keeps how far it has come.
            metrics: where it counts; None: nowhere.
        """
        self._servers = KafkaConnection.to(servers)
        self._group = group
        self._topics = topics
        self._effects = effects
        self._metrics = metrics
        self._stopping = asyncio.Event()
        self._positions: dict[Partition, int] = {}
        self._belongs = False
        self._committing = asyncio.Lock()
        self._wait_seconds = _FIRST_WAIT_SECONDS
        self._looked_at = time.monotonic()

    def stop(self) -> None:
        """Finish the batch at hand, leave the group, and return from :meth:`run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Consume until :meth:`stop`."""
        while not self._stopping.is_set():
            try:
                await self._connect_and_consume()
            except (KafkaError, OSError, TimeoutError) as error:
                _log.warning("consumer.kafka-away", group=self._group, error=str(error) or type(error).__name__)
                await self._wait()
            except asyncio.CancelledError:
                # Of ours, or of a task of aiokafka's own, whose cancellation would end this member for good and without a word.
                if (running := asyncio.current_task()) is None or running.cancelling():
                    raise
                _log.warning("consumer.kafka-away", group=self._group, error="a task of the client's own was cancelled")
                await self._wait()

    async def revoked(self) -> None:
        """The group is being divided anew: whoever has a partition next reads its stored offset first.

        Until this member has its new part it neither looks partitions up nor commits: aiokafka still names the old ones, and a commit
        that is refused meanwhile would throw the member out of the division that it waits for, again and again.
        """
        self._belongs = False
        self._positions.clear()
        async with self._committing:
            pass

    def assigned(self) -> None:
        """The division is done; other members may have moved partitions on since this one had them."""
        self._positions.clear()
        self._belongs = True

    async def _connect_and_consume(self) -> None:
        consumer = AIOKafkaConsumer(
            **self._servers.client_options(),
            # Whose member it is: a group keeps the members of a process that was killed until their session has timed out.
            client_id=f"casaflow-{self._group}-{os.getpid()}",
            group_id=self._group,
            enable_auto_commit=False,
            # Only until the stored offset is known; nothing that was read before is applied.
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            partition_assignment_strategy=assignors(),
            session_timeout_ms=10_000,
            heartbeat_interval_ms=3_000,
            max_poll_interval_ms=300_000,
            max_poll_records=MAX_BATCH_RECORDS,
            fetch_min_bytes=GATHER_BYTES,
            fetch_max_wait_ms=GATHER_MILLISECONDS,
            request_timeout_ms=15_000,
            metadata_max_age_ms=60_000,
        )
        self._positions.clear()
        self._belongs = False
        try:
            consumer.subscribe(topics=list(self._topics), listener=_Membership(self))
            await self._unless_stopped(self._servers.start(consumer))
            while not self._stopping.is_set():
                await self._consume_once(consumer)
        finally:
            await _end(consumer)

    async def _unless_stopped(self, starting: Any) -> None:  # noqa: ANN401
        """Wait for the group to let this member in, which may take as long as a rebalance, but not longer than for a stop."""
        start = asyncio.ensure_future(starting)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([start, stopping], timeout=_CONNECT_TIMEOUT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if start.done():
                start.result()
                _log.info("consumer.joined", group=self._group, topics=list(self._topics))
            elif not stopping.done():
                message = f"group {self._group} was not joined within {_CONNECT_TIMEOUT_SECONDS:.0f} s"
                raise TimeoutError(message)
        finally:
            for task in (start, stopping):
                task.cancel()
            await asyncio.wait([start, stopping])

    async def _consume_once(self, consumer: Any) -> None:  # noqa: ANN401
        try:
            await self._look()
            await self._find_positions(consumer)
            # A partition that is assigned while this waits has no position yet; its records are fetched again from the right one.
            batches = await consumer.getmany(timeout_ms=_POLL_MILLISECONDS)
            refused = False
            for place, records in batches.items():
                partition = Partition(place.topic, place.partition)
                if partition in self._positions:
                    refused |= not await self._apply(partition, records)
            if batches:
                await self._show_progress(consumer, {Partition(place.topic, place.partition) for place in batches})
            if refused:
                await self._wait()
            else:
                self._wait_seconds = _FIRST_WAIT_SECONDS
        except UnavailableError as error:
            # Whether the last batch was applied is unknown: only the stored offset can say.
            self._positions.clear()
            _log.warning("consumer.waits", group=self._group, error=str(error))
            await self._wait()

    async def _apply(self, partition: Partition, records: Sequence[Any]) -> bool:
        """Apply a batch; False when the database refused it, which must not keep the other partitions from going on."""
        expected = self._positions[partition]
        began = time.perf_counter()
        batch = [Record(offset=record.offset, key=record.key, value=record.value, headers=tuple(record.headers)) for record in records]
        try:
            if batch[0].offset < expected:
                # Only the broker sends a reader back: the stored offset isn't in the partition any more, since the topic was made anew.
                await self._move(partition, expected, batch[0].offset)
                expected = batch[0].offset
            with tracing.processing(self._group, partition.topic, [record.headers for record in batch]):
                effective = await self._effects.apply(partition, batch, expected=expected)
        except StaleOwnerError:
            _log.info("consumer.partition-moved", group=self._group, partition=str(partition), expected=expected)
            # A rebalance may have taken the position away already.
            self._positions.pop(partition, None)
            return True
        except LedgerIntegrityError as error:
            _log.exception(
                "consumer.refused", group=self._group, partition=str(partition), error=str(error), transaction_ids=_transactions(batch)
            )
            self._positions.pop(partition, None)
            return False
        if self._metrics is not None:
            self._metrics.applied(self._group, records=len(batch), seconds=time.perf_counter() - began)
        # A rebalance meanwhile took the position away; then the stored offset is read again, by this member or another.
        if partition in self._positions:
            self._positions[partition] = batch[-1].offset + 1
        _log.debug(
            "consumer.applied",
            group=self._group,
            partition=str(partition),
            records=len(batch),
            effective=effective,
            next_offset=batch[-1].offset + 1,
            transaction_ids=_transactions(batch),
        )
        return True

    async def _look(self) -> None:
        """Forget the position of each partition that was sent back, so that it is looked up and sought."""
        if time.monotonic() - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        stored = await self._effects.next_offsets(self._positions)
        for partition, offset in stored.items():
            if self._positions.get(partition, offset) != offset:
                self._positions.pop(partition)

    async def _find_positions(self, consumer: Any) -> None:  # noqa: ANN401
        """Seek each partition that has no position yet to its stored offset."""
        if not self._belongs:
            return
        unknown = [place for place in consumer.assignment() if Partition(place.topic, place.partition) not in self._positions]
        if not unknown:
            return
        beginnings = _by_partition(await consumer.beginning_offsets(unknown))
        ends = _by_partition(await consumer.end_offsets(unknown))
        stored = await self._effects.next_offsets(beginnings)
        for partition, offset in stored.items():
            position = offset
            if not beginnings[partition] <= offset <= ends[partition]:
                position = beginnings[partition]
                try:
                    await self._move(partition, offset, position)
                except StaleOwnerError:
                    continue  # another member was faster; what it stored is read next time
            try:
                consumer.seek(TopicPartition(partition.topic, partition.number), position)
            except IllegalStateError:
                continue  # it was taken away meanwhile
            self._positions[partition] = position
        await self._show_progress(consumer, set(stored))

    async def _move(self, partition: Partition, stored: int, beginning: int) -> None:
        """The stored offset isn't in the partition: its records ran out of retention, or the topic was made anew.

        The group goes on at the partition's beginning. What was applied before is not applied again, since its event ids are known.

        Raises:
            StaleOwnerError: another member has moved it meanwhile.
        """
        _log.error("consumer.offset-out-of-range", group=self._group, partition=str(partition), stored=stored, beginning=beginning)
        await self._effects.move(partition, expected=stored, to=beginning)

    async def _show_progress(self, consumer: Any, partitions: set[Partition]) -> None:  # noqa: ANN401
        """Commit positions to Kafka, so that the group's lag can be seen there. Nothing depends on it."""
        owned = {Partition(place.topic, place.partition) for place in consumer.assignment()}
        offsets = {
            TopicPartition(partition.topic, partition.number): self._positions[partition]
            for partition in partitions & owned
            if partition in self._positions
        }
        if not offsets:
            return
        try:
            async with asyncio.timeout(_COMMIT_TIMEOUT_SECONDS), self._committing:
                if self._belongs:
                    await consumer.commit(offsets)
        except (KafkaError, TimeoutError) as error:
            _log.info("consumer.progress-not-shown", group=self._group, error=str(error) or type(error).__name__)

    async def _wait(self) -> None:
        """Wait before the next attempt, each time twice as long, but not longer than for a stop."""
        try:
            async with asyncio.timeout(self._wait_seconds):
                await self._stopping.wait()
        except TimeoutError:
            self._wait_seconds = min(2 * self._wait_seconds, _LONGEST_WAIT_SECONDS)


def _transactions(batch: Sequence[Record]) -> list[str]:
    """The transactions that a batch is about, each once; what isn't an event of casaflow's form is about none."""
    subjects = (value.decode("utf-8", "replace") for record in batch for name, value in record.headers if name == "ce_subject" and value)
    return list(dict.fromkeys(subjects))


class _Membership(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka has no types
    """Tells the loop when the group is being divided anew, and when that is done."""

    def __init__(self, loop: ConsumerLoop) -> None:
        self._loop = loop

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:  # noqa: ARG002  they may all move
        await self._loop.revoked()

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:  # noqa: ARG002  all are looked up
        self._loop.assigned()


def _by_partition(offsets: Mapping[TopicPartition, int]) -> dict[Partition, int]:
    return {Partition(place.topic, place.partition): offset for place, offset in offsets.items()}


async def _end(consumer: Any) -> None:  # noqa: ANN401
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
            await disconnect(consumer)
    except TimeoutError:
        # The group notices by itself that this member is gone, when its session ends.
        _log.warning("consumer.left-without-a-word")
