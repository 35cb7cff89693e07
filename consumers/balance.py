"""The balance group: keeps the latest state of each account in a compacted topic, for systems that have a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.kafka.balance_topic import BalanceLoop
from infra.postgres.balance_states import PostgresBalanceStates

if TYPE_CHECKING:
    from infra.kafka.connection import KafkaConnection
    from infra.postgres.database import Database

GROUP: Final = "balance"


def balance_loop(servers: KafkaConnection | str, database: Database) -> BalanceLoop:
    """A member of the balance group."""
    return BalanceLoop(servers, PostgresBalanceStates(database), group=GROUP)
