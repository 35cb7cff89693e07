"""The topics: how many partitions they have, how long they keep events, and how they come to be."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError, KafkaError, TopicAlreadyExistsError, for_code

from infra.kafka.connection import KafkaConnection
from ledger.balances import TOPIC_BALANCE
from ledger.errors import CasaflowError, InvalidInputError, UnavailableError
from ledger.events import TOPICS

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import ClassVar

    from infra.settings import Settings

_log = structlog.get_logger(__name__)

PARTITIONS: Final = 6
"""Partitions of each topic: the most members of one group that can work at once.

Six divide evenly among one, two, three or six members. More than one machine's consumers need, and few enough that a broker with many
topics doesn't mind. The number can't grow later without moving keys to other partitions, so it is set once.
"""
COPIES: Final = 3
"""Of each partition, where Kafka is the bank's own: one broker may be serviced and another one die without losing an event."""
ALL_TOPICS: Final = (*TOPICS, TOPIC_BALANCE)
COMPACTED: Final = frozenset({TOPIC_BALANCE})
"""Of these the last record of each key stays, for ever; of the others each record stays for a while."""
_DAY_MILLISECONDS: Final = 24 * 60 * 60 * 1000
_TIMEOUT_SECONDS: Final = 30.0
_REQUEST_TIMEOUT_MILLISECONDS: Final = 10_000


@dataclass(frozen=True)
class TopicPolicy:
    """How topics are made."""

    replication_factor: int = 1
    """Copies of each partition. One suits a single embedded broker only."""
    min_insync_replicas: int = 1
    """Copies that must have an event before the producer takes it for delivered."""
    retention_days: int = 30
    """How long an event stays readable: a group may be away for so long and miss nothing."""

    def configuration(self, *, compacted: bool) -> dict[str, str]:
        """A topic's own configuration, as Kafka names it."""
        in_sync = {"min.insync.replicas": str(self.min_insync_replicas)}
        if compacted:
            # The segment that is written to is never compacted; by default that is what came within a week.
            return {"cleanup.policy": "compact", "segment.ms": str(_DAY_MILLISECONDS), **in_sync}
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention_days * _DAY_MILLISECONDS),
            "retention.bytes": "-1",
            **in_sync,
        }


def topic_policy_of(settings: Settings, *, embedded: bool) -> TopicPolicy:
    """What the settings say of new topics.

    Args:
        settings: copies and retention.
        embedded: whether the broker is the stack's own, which is alone.

    Raises:
        InvalidInputError: more copies must be in step than there are.
    """
    copies = settings.kafka_replication_factor or (1 if embedded else COPIES)
    # One copy may be away without stopping the producer; two may not, so that an acknowledged event is never on one disk only.
    in_sync = settings.kafka_min_insync_replicas or max(1, copies - 1)
    if in_sync > copies:
        rule = f"must not be greater than the number of copies, {copies} (CASAFLOW_KAFKA_REPLICATION_FACTOR)"
        raise InvalidInputError(field="CASAFLOW_KAFKA_MIN_INSYNC_REPLICAS", value=in_sync, rule=rule)
    return TopicPolicy(replication_factor=copies, min_insync_replicas=in_sync, retention_days=settings.kafka_retention_days)


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


async def ensure_topics(
    servers: KafkaConnection | str,
    policy: TopicPolicy = TopicPolicy(),
    *,
    topics: Sequence[str] = ALL_TOPICS,
    compacted: Collection[str] = COMPACTED,
) -> None:
    """Create the topics that are missing; leave those that exist as they are, and say in the log where one differs from the policy.

    Args:
        servers: where Kafka is, and how it is reached.
        policy: copies and retention of new topics.
        topics: which topics.
        compacted: which of them keep the last record of each key, instead of every record for a while.

    Raises:
        TopicMismatchError: a topic exists with fewer partitions.
        UnavailableError: no broker answered, or it refused.
    """
    connection = KafkaConnection.to(servers)
    admin = AIOKafkaAdminClient(
        **connection.client_options(), client_id="casaflow-topics", request_timeout_ms=_REQUEST_TIMEOUT_MILLISECONDS
    )
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            await connection.start(admin)
            existing = set(await admin.list_topics()) & set(topics)
            configurations = {topic: policy.configuration(compacted=topic in compacted) for topic in topics}
            await _create_missing(admin, {name: configurations[name] for name in topics if name not in existing}, policy.replication_factor)
            copies = await _check_partitions(admin, topics)
            for topic in sorted(existing):
                wanted = {"replication.factor": str(policy.replication_factor), **configurations[topic]}
                await _report_differences(admin, topic, wanted, copies[topic])
    except (KafkaError, OSError, TimeoutError) as error:
        raise UnavailableError(part="kafka", detail=str(error) or type(error).__name__) from error
    finally:
        await admin.close()


async def _create_missing(admin: Any, missing: dict[str, dict[str, str]], copies: int) -> None:  # noqa: ANN401  aiokafka has no types
    if not missing:
        return
    response = await admin.create_topics(
        [
            NewTopic(name=topic, num_partitions=PARTITIONS, replication_factor=copies, topic_configs=configuration)
            for topic, configuration in missing.items()
        ]
    )
    for topic, code, *message in response.topic_errors:
        error = for_code(code)
        # Another process may create the same topics at the same time, with the same numbers; the check that follows looks at them.
        if code and error is not TopicAlreadyExistsError:
            reason = f"topic {topic} was not created: {' '.join(str(part) for part in message)}"
            if error is InvalidReplicationFactorError:
                reason += f" (CASAFLOW_KAFKA_REPLICATION_FACTOR: {copies})"
            raise error(reason)
        _log.info("kafka.topic-created", topic=topic, partitions=PARTITIONS, replication_factor=copies, **missing[topic])


async def _check_partitions(admin: Any, topics: Sequence[str]) -> dict[str, int]:  # noqa: ANN401
    """How many copies each topic has, of the partition that has the fewest."""
    waiting, copies = set(topics), {}
    while waiting:
        for described in await admin.describe_topics(sorted(waiting)):
            # Right after its creation a topic may not be known to the broker that is asked, or have no leaders yet.
            if described["error_code"] or any(partition["leader"] < 0 for partition in described["partitions"]):
                continue
            if len(described["partitions"]) < PARTITIONS:
                raise TopicMismatchError(topic=described["topic"], partitions=len(described["partitions"]))
            waiting.remove(described["topic"])
            copies[described["topic"]] = min(len(partition["replicas"]) for partition in described["partitions"])
        if waiting:
            await asyncio.sleep(0.05)
    return copies


async def _report_differences(admin: Any, topic: str, wanted: dict[str, str], copies: int) -> None:  # noqa: ANN401
    """Say what of an existing topic isn't as the policy has it. It is not changed: somebody may have meant it."""
    (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    code, message, _, _, entries = answer.resources[0][:5]
    if code:
        _log.warning("kafka.topic-not-described", topic=topic, error=message or for_code(code).__name__)
    found = {"replication.factor": str(copies), **{entry[0]: entry[1] for entry in entries}}
    for name, value in wanted.items():
        if name in found and found[name] != value:
            _log.warning("kafka.topic-differs", topic=topic, setting=name, found=found[name], wanted=value)
