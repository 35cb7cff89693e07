"""The topics: how many partitions they have, how long they keep events, and how they come to be."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from ledger.errors import CasaflowError, UnavailableError
from ledger.events import TOPICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

_log = structlog.get_logger(__name__)

PARTITIONS: Final = 6
"""Partitions of each topic: the most members of one group that can work at once.

Six divide evenly among one, two, three or six members. More than one machine's consumers need, and few enough that a broker with many
topics doesn't mind. The number can't grow later without moving keys to other partitions, so it is set once.
"""
RETENTION_MILLISECONDS: Final = 30 * 24 * 60 * 60 * 1000
"""How long an event stays readable: a group may be away for 30 days and miss nothing."""
_TIMEOUT_SECONDS: Final = 30.0
_REQUEST_TIMEOUT_MILLISECONDS: Final = 10_000


class TopicMismatchError(CasaflowError):
    """A topic exists with fewer partitions than casaflow needs. It is not changed, since that would move keys to other partitions."""

    code: ClassVar[str] = "topic-mismatch"

    def __init__(self, *, topic: str, partitions: int) -> None:
        self.topic = topic
        self.partitions = partitions
        super().__init__(
            f"topic {topic} has {partitions} partitions, fewer than {PARTITIONS}; add some with kafka-topics --alter while no event is "
            "waiting, or delete the topic"
        )


async def ensure_topics(bootstrap_servers: str, *, replication_factor: int = 1, topics: Sequence[str] = TOPICS) -> None:
    """Create the topics that are missing; leave those that exist as they are.

    Args:
        bootstrap_servers: comma-separated ``host:port`` list.
        replication_factor: copies of each partition. One suits a single embedded broker only; production needs three.
        topics: which topics.

    Raises:
        TopicMismatchError: a topic exists with fewer partitions.
        UnavailableError: no broker answered, or it refused.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=bootstrap_servers, client_id="casaflow-topics", request_timeout_ms=_REQUEST_TIMEOUT_MILLISECONDS
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await admin.start()
            await _create_missing(admin, topics, replication_factor)
            await _check_partitions(admin, topics)
    except (KafkaError, OSError, TimeoutError) as error:
        raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error
    finally:
        await admin.close()


async def _create_missing(admin: Any, topics: Sequence[str], replication_factor: int) -> None:  # noqa: ANN401  aiokafka has no types
    existing = set(await admin.list_topics())
    configuration = {
        "cleanup.policy": "delete",
        "retention.ms": str(RETENTION_MILLISECONDS),
        "retention.bytes": "-1",
        # One replica may be away without stopping the producer; two may not, so that an acknowledged event is never on one disk only.
        "min.insync.replicas": str(max(1, replication_factor - 1)),
    }
    missing = [
        NewTopic(name=topic, num_partitions=PARTITIONS, replication_factor=replication_factor, topic_configs=configuration)
        for topic in topics
        if topic not in existing
    ]
    if not missing:
        return
    response = await admin.create_topics(missing)
    for topic, code, *message in response.topic_errors:
        error = for_code(code)
        # Another process may create the same topics at the same time, with the same numbers; the check that follows looks at them.
        if code and error is not TopicAlreadyExistsError:
            reason = f"topic {topic} was not created: {' '.join(str(part) for part in message)}"
            raise error(reason)
        _log.info("kafka.topic-created", topic=topic, partitions=PARTITIONS, replication_factor=replication_factor)


async def _check_partitions(admin: Any, topics: Sequence[str]) -> None:  # noqa: ANN401
    waiting = set(topics)
    while waiting:
        for described in await admin.describe_topics(sorted(waiting)):
            # Right after its creation a topic may not be known to the broker that is asked, or have no leaders yet.
            if described["error_code"] or any(partition["leader"] < 0 for partition in described["partitions"]):
                continue
            if len(described["partitions"]) < PARTITIONS:
                raise TopicMismatchError(topic=described["topic"], partitions=len(described["partitions"]))
            waiting.remove(described["topic"])
        if waiting:
            await asyncio.sleep(0.05)
