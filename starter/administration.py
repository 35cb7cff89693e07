"""What an administrator does directly on the servers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from infra.kafka.connection import connection_of
from infra.kafka.topics import ensure_topics, topic_policy_of
from infra.postgres.administrative_acts import PostgresAdministrativeActs
from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from infra.postgres.migrate import upgrade
from infra.temporal.search_attributes import ensure_search_attributes
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from infra.settings import Settings

Answer = TypeVar("Answer")


def _postgres_url(settings: Settings) -> str:
    if settings.postgres_url is None:
        raise UnavailableError(part="postgres", detail="CASAFLOW_POSTGRES_URL is not set")
    return settings.postgres_url.get_secret_value()


async def on_keys(settings: Settings, work: Callable[[PostgresApiKeys], Awaitable[Answer]]) -> Answer:
    """Do `work` on the table of keys.

    Raises:
        UnavailableError: the database did not answer.
    """

    async def with_keys(database: Database) -> Answer:
        return await work(PostgresApiKeys(database))

    return await _on_database(settings, with_keys)


async def on_acts(settings: Settings, work: Callable[[PostgresAdministrativeActs], Awaitable[Answer]]) -> Answer:
    """Do `work` on the log of administrative acts.

    Raises:
        UnavailableError: the database did not answer.
    """

    async def with_acts(database: Database) -> Answer:
        return await work(PostgresAdministrativeActs(database))

    return await _on_database(settings, with_acts)


async def _on_database(settings: Settings, work: Callable[[Database], Awaitable[Answer]]) -> Answer:
    database = Database.open(_postgres_url(settings), pool_size=1)
    try:
        return await work(database)
    finally:
        await database.close()


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
