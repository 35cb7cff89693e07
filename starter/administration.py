"""What an administrator does directly on the servers."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from infra.kafka.connection import connection_of
from infra.kafka.topics import ensure_topics, topic_policy_of
from infra.postgres.api_keys import ALL_SCOPES, SCOPES, PostgresApiKeys
from infra.postgres.database import Database
from infra.postgres.migrate import upgrade
from infra.temporal.search_attributes import ensure_search_attributes
from ledger.errors import InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from infra.settings import Settings

_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
"""It is part of workflow ids and of the keys of events."""
_LONGEST_PRINCIPAL: Final = 140


def _postgres_url(settings: Settings) -> str:
    if settings.postgres_url is None:
        raise UnavailableError(part="postgres", detail="CASAFLOW_POSTGRES_URL is not set")
    return settings.postgres_url.get_secret_value()


async def create_key(settings: Settings, tenant: str, principal: str, scopes: Sequence[str] = ALL_SCOPES) -> tuple[str, str]:
    """Make an API key; returns its id and its plaintext.

    Raises:
        InvalidInputError: tenant, principal or a scope breaks a rule.
        UnavailableError: the database did not answer.
    """
    if not _TENANT.fullmatch(tenant):
        rule = "must be 1 to 64 letters, digits, dots, hyphens or underscores, and begin with a letter or digit"
        raise InvalidInputError(field="tenant", value=tenant, rule=rule)
    if not (principal.isprintable() and principal.strip() and len(principal) <= _LONGEST_PRINCIPAL):
        raise InvalidInputError(field="principal", value=principal, rule=f"must be 1 to {_LONGEST_PRINCIPAL} printable characters")
    unknown = next((scope for scope in scopes if scope not in SCOPES), None)
    if unknown is not None or not scopes:
        raise InvalidInputError(field="scope", value=unknown, rule=f"must be one of {', '.join(SCOPES)}")
    database = Database.open(_postgres_url(settings), pool_size=1)
    try:
        return await PostgresApiKeys(database).create(tenant, principal, scopes)
    finally:
        await database.close()


async def revoke_key(settings: Settings, key_id: str) -> None:
    """Revoke an API key.

    Raises:
        NotFoundError: there is no such key.
        UnavailableError: the database did not answer.
    """
    database = Database.open(_postgres_url(settings), pool_size=1)
    try:
        await PostgresApiKeys(database).revoke(key_id)
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
