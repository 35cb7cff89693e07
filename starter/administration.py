"""What an administrator does directly on the servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from infra.kafka.connection import connection_of
from infra.kafka.topics import ensure_topics, topic_policy_of
from infra.postgres.migrate import upgrade
from infra.temporal.search_attributes import ensure_search_attributes
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from infra.settings import Settings


def _postgres_url(settings: Settings) -> str:
    if settings.postgres_url is None:
        raise UnavailableError(part="postgres", detail="CASAFLOW_POSTGRES_URL is not set")
    return settings.postgres_url.get_secret_value()


async def migrate_servers(settings: Settings) -> None:
    """Bring database, topics and search attributes to this version.

    Raises:
        InvalidInputError: what the settings say about Kafka breaks a rule.
        UnavailableError: a server did not answer.
        TopicMismatchError: a topic exists with too few partitions.
    """
    if settings.temporal_address is None or settings.kafka_bootstrap_servers is None:
        raise UnavailableError(part="temporal or kafka", detail="CASAFLOW_TEMPORAL_ADDRESS or CASAFLOW_KAFKA_BOOTSTRAP_SERVERS is not set")
    kafka, policy = connection_of(settings), topic_policy_of(settings, embedded=False)
    await asyncio.to_thread(upgrade, _postgres_url(settings))
    await ensure_topics(kafka, policy)
    await ensure_search_attributes(settings)
