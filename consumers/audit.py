"""The audit group: appends every event once to hash chains that show any later change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.kafka.consumer import ConsumerLoop
from infra.postgres.audit import AuditEffects
from ledger.events import TOPICS

if TYPE_CHECKING:
    from infra.kafka.connection import KafkaConnection
    from infra.postgres.database import Database

GROUP: Final = "audit"


def audit_loop(servers: KafkaConnection | str, database: Database) -> ConsumerLoop:
    """A member of the audit group; it reads both topics."""
    return ConsumerLoop(servers, group=GROUP, topics=TOPICS, effects=AuditEffects(database, consumer_group=GROUP))
