"""Publishes events to Kafka. One producer serves all callers of a process; it connects when it is needed, and is replaced when it is stuck.

An idempotent producer never gives a record up: while the broker is away it keeps what it was given and delivers it later. So a caller
that gave up and comes back with the same event finds it still on its way, and waits for the same delivery instead of adding a copy.
What a caller waits for is bounded either way.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, KafkaError

from infra import tracing
from infra.kafka.cloud_events import headers_of
from infra.kafka.connection import KafkaConnection
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ledger.events import Event

_log = structlog.get_logger(__name__)

PUBLISH_TIMEOUT_SECONDS: Final = 8.0
"""How long a caller waits at most. Shorter than an ordinary publishing attempt of the workflow, so that the error is ours to word."""
CONNECT_TIMEOUT_SECONDS: Final = 5.0
REQUEST_TIMEOUT_MILLISECONDS: Final = 4_000
"""How long the producer waits for one answer of a broker before it closes the connection and sends again."""
STALL_SECONDS: Final = 30.0
"""A producer that was asked to deliver and delivered nothing for this long is replaced, whatever it believes."""
LINGER_MILLISECONDS: Final = 2
"""Events of concurrent transactions that arrive within it go together. What one transaction alone pays for it is not noticed."""
MAX_BATCH_BYTES: Final = 128 * 1024
"""Uncompressed bytes of a batch; one batch per partition waits, so this also bounds what an outage keeps in memory."""
_STOP_TIMEOUT_SECONDS: Final = 2.0


class KafkaPublisher:
    """Implements :class:`ledger.ports.EventPublisher`."""

    def __init__(
        self,
        servers: KafkaConnection | str,
        *,
        client_id: str = "casaflow-publisher",
        publish_timeout_seconds: float = PUBLISH_TIMEOUT_SECONDS,
        stall_seconds: float = STALL_SECONDS,
    ) -> None:
        """Prepare; nothing connects yet.

        Args:
            servers: where Kafka is, and how it is reached.
            client_id: how this process appears in the broker's logs and quotas.
            publish_timeout_seconds: how long a caller waits at most.
            stall_seconds: when a producer that delivers nothing is replaced.
        """
        self._connection_to = KafkaConnection.to(servers)
        self._client_id = client_id
        self._publish_timeout_seconds = publish_timeout_seconds
        self._stall_seconds = stall_seconds
        self._producer: Any = None  # aiokafka has no types
        self._connecting: asyncio.Task[Any] | None = None
        self._on_their_way: dict[str, asyncio.Future[Any]] = {}
        self._stalled_since: float | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._stopped = False

    async def start(self) -> None:
        """Begin to connect, without waiting: a broker that is away must not keep a worker from posting."""
        self._connection().add_done_callback(_retrieve)

    async def stop(self) -> None:
        """Deliver what is on its way, within a few seconds, and disconnect."""
        self._stopped = True
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait([self._connecting])
        if self._producer is not None:
            self._let_go(self._producer)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_STOP_TIMEOUT_SECONDS + REQUEST_TIMEOUT_MILLISECONDS / 1000)

    async def publish(self, events: Sequence[Event]) -> None:
        """See :meth:`ledger.ports.EventPublisher.publish`."""
        if self._stopped:
            raise UnavailableError(part="kafka", detail="the publisher was stopped")
        if not events:
            return
        producer = None
        try:
            async with asyncio.timeout(self._publish_timeout_seconds):
                producer = await self._connected()
                deliveries = [await self._hand_over(producer, event) for event in events]
                # wait, not gather: a caller that gives up must not cancel a delivery that another caller may be waiting for.
                await asyncio.wait(deliveries)
                for delivery in deliveries:
                    delivery.result()
                _log.debug("kafka.published", event_ids=[event.event_id for event in events])
        except TimeoutError as error:
            if producer is not None and self._is_stalled():
                self._replace(producer, reason=f"nothing was delivered for {self._stall_seconds:.0f} s")
            raise UnavailableError(part="kafka", detail=f"no answer within {self._publish_timeout_seconds:.0f} s") from error
        except (KafkaError, OSError) as error:
            if producer is not None:
                self._replace(producer, reason=repr(error))
            raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error

    async def _connected(self) -> Any:  # noqa: ANN401
        connection = self._connection()
        # wait, so that a caller that gives up does not cancel what others wait for, and stop() does not look like a cancelled caller.
        await asyncio.wait([connection])
        if connection.cancelled():
            message = "the publisher was stopped"
            raise KafkaConnectionError(message)
        return connection.result()

    def _connection(self) -> asyncio.Task[Any]:
        """The one task that connects, shared by all who need it; a failed one is followed by a new one."""
        task = self._connecting
        if task is None or (task.done() and (task.cancelled() or task.exception() is not None)):
            task = self._connecting = asyncio.create_task(self._connect())
        return task

    async def _connect(self) -> Any:  # noqa: ANN401
        producer = AIOKafkaProducer(
            **self._connection_to.client_options(),
            client_id=self._client_id,
            acks="all",
            enable_idempotence=True,
            compression_type="gzip",
            linger_ms=LINGER_MILLISECONDS,
            max_batch_size=MAX_BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MILLISECONDS,
            retry_backoff_ms=100,
            metadata_max_age_ms=60_000,
        )
        started = False
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await self._connection_to.start(producer)
            started = True
        except TimeoutError as error:
            message = f"no broker of {self._connection_to.bootstrap_servers} answered within {CONNECT_TIMEOUT_SECONDS:.0f} s"
            raise KafkaConnectionError(message) from error
        finally:
            if not started:
                await producer.stop()
        self._producer = producer
        self._stalled_since = None
        _log.info("kafka.connected", bootstrap_servers=self._connection_to.bootstrap_servers)
        return producer

    async def _hand_over(self, producer: Any, event: Event) -> asyncio.Future[Any]:  # noqa: ANN401
        on_its_way = self._on_their_way.get(event.event_id)
        if on_its_way is not None:
            return on_its_way
        sending = tracing.sending(event.topic, event_id=event.event_id, key=event.key)
        headers = headers_of(event) if sending is None else [*headers_of(event), *sending.headers]
        delivery: asyncio.Future[Any] = await producer.send(event.topic, key=event.key.encode(), value=event.data.encode(), headers=headers)
        if sending is not None:
            delivery.add_done_callback(lambda done: sending.ended(None if done.cancelled() else done.exception()))
        self._on_their_way[event.event_id] = delivery
        delivery.add_done_callback(lambda done: self._delivered(event.event_id, done))
        return delivery

    def _delivered(self, event_id: str, delivery: asyncio.Future[Any]) -> None:
        if self._on_their_way.get(event_id) is delivery:
            del self._on_their_way[event_id]
        if not delivery.cancelled() and delivery.exception() is None:
            self._stalled_since = None

    def _is_stalled(self) -> bool:
        """Called when a caller waited in vain: whether the first who did so, without any delivery since, was long enough ago."""
        now = time.monotonic()
        if self._stalled_since is None:
            self._stalled_since = now - self._publish_timeout_seconds
        return now - self._stalled_since > self._stall_seconds

    def _replace(self, producer: Any, *, reason: str) -> None:  # noqa: ANN401
        """Let go of a producer: the next caller makes a new one, and this one ends by itself in the background."""
        if producer is self._producer:  # else another caller saw the same failure first
            _log.warning("kafka.producer-replaced", reason=reason)
            self._let_go(producer)

    def _let_go(self, producer: Any) -> None:  # noqa: ANN401
        self._producer = None
        self._connecting = None
        task = asyncio.create_task(end_producer(producer, tuple(self._on_their_way.values())))
        self._on_their_way.clear()
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


async def end_producer(producer: Any, deliveries: Iterable[asyncio.Future[Any]]) -> None:  # noqa: ANN401
    """Stop a producer, and give what is on its way a moment to arrive."""
    try:
        async with asyncio.timeout(_STOP_TIMEOUT_SECONDS):
            await producer.stop()
    except TimeoutError:
        # stop() waits until everything is delivered, which with idempotence may be forever. aiokafka 0.14 has no public way to give up,
        # so this takes its parts down one by one: no more sending, an error for all who wait, no more connections.
        _log.warning("kafka.producer-gave-up", undelivered=sum(1 for delivery in deliveries if not delivery.done()))
        await producer._sender.close()  # noqa: SLF001
        accumulator = producer._message_accumulator  # noqa: SLF001
        given_up = [batch for batches in accumulator._batches.values() for batch in batches]  # noqa: SLF001
        accumulator.fail_all(KafkaConnectionError("the producer was replaced"))
        for batch in given_up:
            # Takes the error that nobody waits for, which would be logged as never retrieved.
            with contextlib.suppress(KafkaError):
                await batch.wait_drain(timeout=0)
        await producer.client.close()
    except KafkaError as error:
        _log.warning("kafka.producer-ended-with-an-error", error=repr(error))


def _retrieve(task: asyncio.Task[Any]) -> None:
    """Say that nobody is waiting for a first attempt to connect; the next publication makes another."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.warning("kafka.not-connected", error=str(error))
