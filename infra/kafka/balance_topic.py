"""Writes the latest state of accounts to a compacted topic, so that no late or repeated event leaves an old one there.

An event only says which account to look at. The partition's one writer is fenced by its transactional id: whoever takes a partition over
makes the earlier writer's transactions fail, and reads the database only after that. So of two records of an account the later one in the
topic was read later as well. Records and the group's offset are committed together. See ``docs/decisions/0027-balance-topic.md``.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Protocol

import structlog
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, ProducerFenced

from infra.kafka.cloud_events import headers_of
from infra.kafka.connection import KafkaConnection
from infra.kafka.consumer import ConsumerLoop
from infra.kafka.publisher import end_producer
from infra.kafka.records import StaleOwnerError
from ledger.balances import TOPIC_BALANCE
from ledger.errors import UnavailableError
from ledger.events import TOPIC_BALANCE_UPDATED

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from infra.kafka.records import Partition, Record
    from infra.metrics import ConsumerMetrics
    from ledger.balances import AccountStateV1

_log = structlog.get_logger(__name__)

REQUEST_TIMEOUT_MILLISECONDS: Final = 5_000
FENCE_TIMEOUT_SECONDS: Final = 15.0
"""To take a partition over: an earlier writer's open transaction is aborted first."""
WRITE_TIMEOUT_SECONDS: Final = 10.0
TRANSACTION_TIMEOUT_MILLISECONDS: Final = 15_000
"""After which the broker aborts a killed writer's transaction by itself, if nobody took the partition over. Until then readers of committed
records wait at it, so it is short; longer than a write may take."""


class BalanceStates(Protocol):
    """Where the state of accounts is found."""

    async def read(self, accounts: Collection[tuple[str, str]]) -> list[AccountStateV1]:
        """The state, now, of those accounts (tenant, account id) that exist.

        Raises:
            UnavailableError: the database did not answer.
        """
        ...


class BalanceTopic:
    """Implements :class:`infra.kafka.records.GroupEffects`; what the group has come to is kept by Kafka, beside what it wrote."""

    def __init__(self, servers: KafkaConnection | str, states: BalanceStates, *, group: str, topic: str = TOPIC_BALANCE) -> None:
        """Take what it works with; nothing connects yet.

        Args:
            servers: where Kafka is, and how it is reached.
            states: where the state of accounts is found.
            group: the consumer group; its name begins the transactional ids.
            topic: where states go: the partition with the number of the event's partition, so both topics have equally many.
        """
        self._connection = KafkaConnection.to(servers)
        self._states = states
        self._group = group
        self._topic = topic
        self._writers: dict[int, Any] = {}

    async def next_offsets(self, beginnings: Mapping[Partition, int]) -> dict[Partition, int]:
        """See :meth:`infra.kafka.records.GroupEffects.next_offsets`. Fences whoever wrote these partitions before.

        Raises:
            UnavailableError: Kafka did not answer.
        """
        try:
            async with asyncio.timeout(FENCE_TIMEOUT_SECONDS):
                fenced = await asyncio.gather(*(self._fence(partition.number) for partition in beginnings), return_exceptions=True)
                for outcome in fenced:
                    if isinstance(outcome, BaseException):
                        raise outcome
                # After the fence: the earlier writer's last transaction has ended, and its offset is known or never will be.
                committed = await self._committed()
        except (KafkaError, OSError, TimeoutError) as error:
            raise _unavailable(error) from error
        return {
            partition: committed.get(TopicPartition(partition.topic, partition.number), beginning)
            for partition, beginning in beginnings.items()
        }

    async def move(self, partition: Partition, *, expected: int, to: int) -> None:
        """Nothing to store: the next write commits an offset, and a state that is written again is the same."""

    async def apply(self, partition: Partition, records: Sequence[Record], *, expected: int) -> int:
        """Write the current state of each account that the records name; see :meth:`infra.kafka.records.GroupEffects.apply`.

        Raises:
            StaleOwnerError: another member writes the partition by now; nothing was written.
            UnavailableError: the outcome is unknown; the offset must be read again.
        """
        writer = self._writers.get(partition.number)
        if writer is None:
            raise StaleOwnerError(partition=partition, expected=expected)
        accounts = _accounts(records)
        states = await self._states.read(accounts)
        if len(states) < len(accounts):
            _log.warning("balance.unknown-accounts", partition=str(partition), accounts=len(accounts) - len(states))
        try:
            async with asyncio.timeout(WRITE_TIMEOUT_SECONDS):
                await self._write(writer, partition, states, records[-1].offset + 1)
        except ProducerFenced as error:
            await self._drop(partition.number)
            raise StaleOwnerError(partition=partition, expected=expected) from error
        except (KafkaError, OSError, TimeoutError) as error:
            await self._drop(partition.number)
            raise _unavailable(error) from error
        return len(states)

    async def close(self) -> None:
        """Disconnect."""
        await asyncio.gather(*(self._drop(number) for number in tuple(self._writers)))

    async def _write(self, writer: Any, partition: Partition, states: Iterable[AccountStateV1], next_offset: int) -> None:  # noqa: ANN401
        # Without aiokafka's own context manager, whose way out after an error is an abort that may wait for ever. Whoever fences next
        # aborts what is left open.
        await writer.begin_transaction()
        deliveries = []
        for state in states:
            event = state.event(self._topic)
            delivery = await writer.send(
                event.topic, key=event.key.encode(), value=event.data.encode(), headers=headers_of(event), partition=partition.number
            )
            delivery.add_done_callback(_retrieve)
            deliveries.append(delivery)
        if deliveries:
            await asyncio.wait(deliveries)
        for delivery in deliveries:
            delivery.result()
        await writer.send_offsets_to_transaction({TopicPartition(partition.topic, partition.number): next_offset}, self._group)
        await writer.commit_transaction()

    async def _fence(self, number: int) -> None:
        """Become the one writer of a partition: from now on no earlier writer commits anything."""
        await self._drop(number)
        writer = AIOKafkaProducer(
            **self._connection.client_options(),
            client_id=f"casaflow-{self._group}-{number}",
            transactional_id=f"casaflow-{self._group}-{number}",
            transaction_timeout_ms=TRANSACTION_TIMEOUT_MILLISECONDS,
            acks="all",
            enable_idempotence=True,
            compression_type="gzip",
            request_timeout_ms=REQUEST_TIMEOUT_MILLISECONDS,
            retry_backoff_ms=50,
            metadata_max_age_ms=60_000,
        )
        started = False
        try:
            await self._connection.start(writer)
            started = True
        finally:
            if not started:
                await end_producer(writer, ())
        self._writers[number] = writer

    async def _drop(self, number: int) -> None:
        writer = self._writers.pop(number, None)
        if writer is not None:
            await end_producer(writer, ())

    async def _committed(self) -> dict[TopicPartition, int]:
        admin = AIOKafkaAdminClient(
            **self._connection.client_options(),
            client_id=f"casaflow-{self._group}-offsets",
            request_timeout_ms=REQUEST_TIMEOUT_MILLISECONDS,
        )
        try:
            await self._connection.start(admin)
            found = await admin.list_consumer_group_offsets(self._group)
        finally:
            await admin.close()
        return {place: at.offset for place, at in found.items() if at.offset >= 0}


class BalanceLoop:
    """One member of the group that keeps the topic."""

    def __init__(
        self,
        servers: KafkaConnection | str,
        states: BalanceStates,
        *,
        group: str,
        source: str = TOPIC_BALANCE_UPDATED,
        topic: str = TOPIC_BALANCE,
        metrics: ConsumerMetrics | None = None,
    ) -> None:
        """Prepare; :meth:`run` connects. `source` is the topic with the events that name accounts; else as :class:`BalanceTopic`."""
        self._effects = BalanceTopic(servers, states, group=group, topic=topic)
        self._loop = ConsumerLoop(servers, group=group, topics=[source], effects=self._effects, metrics=metrics)

    def stop(self) -> None:
        """Finish the batch at hand, leave the group, and return from :meth:`run`."""
        self._loop.stop()

    async def run(self) -> None:
        """Consume until :meth:`stop`."""
        try:
            await self._loop.run()
        finally:
            await self._effects.close()


def _accounts(records: Iterable[Record]) -> list[tuple[str, str]]:
    """The accounts that records name by their keys, each once; a record that names none is no event of casaflow's, and is passed over."""
    found: dict[tuple[str, str], None] = {}
    for record in records:
        tenant, slash, account_id = (record.key or b"").decode("utf-8", "replace").partition("/")
        if slash and "\x00" not in account_id + tenant:
            found[tenant, account_id] = None
        else:
            _log.warning("balance.no-account", offset=record.offset)
    return list(found)


def _unavailable(error: Exception) -> UnavailableError:
    # aiokafka wraps what it did not expect of a broker's answer, and says only that it did not.
    unexpected = f" ({error.__cause__!r})" if isinstance(error, KafkaError) and error.__cause__ is not None else ""
    return UnavailableError(part="kafka", detail=f"{str(error) or type(error).__name__}{unexpected}")


def _retrieve(delivery: asyncio.Future[Any]) -> None:
    """Take the error of a delivery that nobody waits for any more, which would be logged as never retrieved."""
    if not delivery.cancelled():
        delivery.exception()
