"""The audit group: appends every event once to hash chains that show any later change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumers.member import GroupMember
from infra.kafka.consumer import ConsumerLoop
from infra.postgres.audit import AuditEffects
from ledger.events import TOPICS

if TYPE_CHECKING:
    from consumers.member import Surroundings

GROUP: Final = "audit"


def audit_member(given: Surroundings) -> GroupMember:
    """A member of the audit group; it reads both topics. What is no event is appended too, so nothing stands aside."""
    name = given.named(GROUP)
    effects = AuditEffects(given.database, consumer_group=name)
    topics = [given.named(topic) for topic in TOPICS]
    return GroupMember(ConsumerLoop(given.servers, group=name, topics=topics, effects=effects, metrics=given.metrics))
