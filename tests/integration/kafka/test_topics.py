from __future__ import annotations

import uuid

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from infra.kafka.topics import PARTITIONS, TopicMismatchError, TopicPolicy, ensure_topics
from ledger.errors import UnavailableError
from tests.stack_fixtures import RunningStack


async def test_a_topic_has_the_partitions_and_the_retention_that_are_written_down(stack: RunningStack, topic: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        (described,) = await admin.describe_topics([topic])
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    configuration = {entry[0]: entry[1] for entry in answer.resources[0][4]}
    assert len(described["partitions"]) == PARTITIONS
    assert configuration["retention.ms"] == str(30 * 24 * 60 * 60 * 1000)
    assert configuration["cleanup.policy"] == "delete"


async def test_creating_topics_again_changes_nothing(stack: RunningStack, topic: str) -> None:
    await ensure_topics(stack.kafka_bootstrap_servers, topics=(topic,))


async def test_a_topic_with_too_few_partitions_is_an_error_and_stays_as_it_is(stack: RunningStack) -> None:
    name = f"test.{uuid.uuid4().hex[:12]}"
    admin = AIOKafkaAdminClient(bootstrap_servers=stack.kafka_bootstrap_servers)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name=name, num_partitions=2, replication_factor=1)])
        with pytest.raises(TopicMismatchError, match=f"{name} has 2 partitions"):
            await ensure_topics(stack.kafka_bootstrap_servers, topics=(name,))
        (described,) = await admin.describe_topics([name])
        assert len(described["partitions"]) == 2
    finally:
        await admin.delete_topics([name])
        await admin.close()


async def test_a_broker_that_is_away_is_said_so() -> None:
    with pytest.raises(UnavailableError) as away:
        await ensure_topics("127.0.0.1:1")
    assert away.value.part == "kafka"


async def test_more_copies_than_brokers_are_refused_with_the_brokers_words(stack: RunningStack) -> None:
    name = f"test.{uuid.uuid4().hex[:12]}"
    with pytest.raises(UnavailableError, match=f"{name} was not created.*CASAFLOW_KAFKA_REPLICATION_FACTOR: 30"):
        await ensure_topics(stack.kafka_bootstrap_servers, TopicPolicy(replication_factor=30), topics=(name,))


async def test_a_topic_that_differs_is_told_and_left_as_it_is(
    stack: RunningStack, topic: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted = TopicPolicy(replication_factor=3, min_insync_replicas=2, retention_days=7)
    for _ in range(2):
        await ensure_topics(stack.kafka_bootstrap_servers, wanted, topics=(topic,))
        told = caplog.text + capsys.readouterr().out
        assert all(name in told for name in ("replication.factor", "min.insync.replicas", "retention.ms"))
        assert "cleanup.policy" not in told
