"""Dead letters: what a group could not handle goes to a topic of its own, with the error, for whoever watches it.

The group's store is what counts: an event is held there in the database transaction that passes over it, and replayed from there. The topic
tells others, at least once.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from infra.kafka.connection import KafkaConnection
from infra.kafka.topics import ensure_topics
from ledger.errors import CasaflowError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.postgres.held_events import HeldEvent, HeldEvents

_log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 5.0
_AT_ONCE: Final = 500
_TIMEOUT_SECONDS: Final = 30.0


def dead_letter_topic(group: str) -> str:
    """The topic of a group's dead letters."""
    return f"casaflow.dead-letters.{group}"


class DeadLetterRelay:
    """Puts a group's dead letters on its topic. Several members may do so at a time; a letter may then be there twice."""

    def __init__(self, servers: KafkaConnection | str, *, group: str, held: HeldEvents) -> None:
        """Take what it works with.

        Args:
            servers: where Kafka is, and how it is reached.
            group: whose dead letters.
            held: where they are.
        """
        self._connection = KafkaConnection.to(servers)
        self._group = group
        self._held = held

    async def keep_up(self) -> None:
        """Tell of what is held, again and again, until cancelled."""
        while True:
            self._held.came.clear()
            try:
                while letters := await self._held.untold(at_most=_AT_ONCE):
                    await self._publish(letters)
                    await self._held.note_told(letters)
            except CasaflowError as error:
                _log.warning("dead-letters.not-now", group=self._group, error=str(error))
            try:
                async with asyncio.timeout(_LOOK_SECONDS):
                    await self._held.came.wait()
            except TimeoutError:
                continue

    async def _publish(self, letters: Sequence[HeldEvent]) -> None:
        topic = dead_letter_topic(self._group)
        await ensure_topics(self._connection, topics=(topic,))
        producer = AIOKafkaProducer(
            **self._connection.client_options(),
            client_id=f"casaflow-dead-letters-{self._group}",
            acks="all",
            enable_idempotence=True,
            request_timeout_ms=10_000,
        )
        try:
            async with asyncio.timeout(_TIMEOUT_SECONDS):
                await self._connection.start(producer)
                for letter in letters:
                    record = letter.record
                    await producer.send(
                        topic, key=record.key, value=record.value, headers=[*record.headers, *_headers(letter, self._group)]
                    )
                await producer.flush()
        except (KafkaError, OSError, TimeoutError) as error:
            raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error
        finally:
            await _end(producer)


def _headers(letter: HeldEvent, group: str) -> list[tuple[str, bytes]]:
    """What happened, beside the record's own headers."""
    return [
        ("casaflow_dead_letter_group", group.encode()),
        ("casaflow_dead_letter_topic", letter.topic.encode()),
        ("casaflow_dead_letter_partition", str(letter.partition).encode()),
        ("casaflow_dead_letter_offset", str(letter.offset).encode()),
        ("casaflow_dead_letter_error_type", (letter.error_type or "").encode()),
        ("casaflow_dead_letter_error", (letter.error or "").encode()),
        ("casaflow_dead_letter_held_at", letter.held_at.isoformat().encode()),
    ]


async def _end(producer: Any) -> None:  # noqa: ANN401  aiokafka has no types
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await producer.stop()
    except (KafkaError, TimeoutError) as error:
        _log.warning("dead-letters.producer-ended-with-an-error", error=repr(error))
