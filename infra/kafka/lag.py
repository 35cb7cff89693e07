"""How far consumer groups are behind, by their own stores: Kafka's committed offsets only follow these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

from infra.groups import GROUPS, with_store
from infra.kafka.offsets import end_offsets
from infra.postgres.held_events import HeldEvents
from infra.postgres.stored_offsets import StoredOffsets
from ledger.events import TOPICS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from infra.kafka.connection import KafkaConnection
    from infra.kafka.records import Partition
    from infra.postgres.database import Database


class GroupLag(BaseModel):
    """What a group has still to do."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    group: str
    records: int
    """On its topics, and not applied yet."""
    failed: int = 0
    """Events that it could not handle, and that nobody has replayed or skipped."""
    waiting: int = 0
    """Events that wait behind one of these."""
    unreadable: int = 0
    """Records that are no events."""


async def group_lags(database: Database, servers: KafkaConnection | str, groups: Collection[str]) -> list[GroupLag]:
    """The lag of groups now.

    Args:
        database: where their stores are.
        servers: where Kafka is, and how it is reached.
        groups: their names; those without a store in PostgreSQL are left out.

    Raises:
        UnavailableError: the database or the broker did not answer.
    """
    return await lags_behind(database, await end_offsets(servers, TOPICS), groups)


async def lags_behind(database: Database, ends: Mapping[Partition, int], groups: Collection[str]) -> list[GroupLag]:
    """The lag of groups behind ends that were read.

    Raises:
        UnavailableError: the database did not answer.
    """
    lags = []
    for group in (GROUPS[name] for name in with_store(groups)):
        stored = await StoredOffsets(database, schema=group.name, consumer_group=group.name).stored()
        records = sum(max(0, end - stored.get(place, 0)) for place, end in ends.items() if place.topic in group.topics)
        held = {} if group.handler is None else await HeldEvents(database, schema=group.name).counts()
        lags.append(GroupLag(group=group.name, records=records, **held))
    return lags
