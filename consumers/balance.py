"""The balance group: keeps the latest state of each account in a compacted topic, for systems that have a copy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from infra.kafka.balance_topic import BalanceLoop
from infra.postgres.balance_states import PostgresBalanceStates
from ledger.balances import TOPIC_BALANCE
from ledger.events import TOPIC_BALANCE_UPDATED

if TYPE_CHECKING:
    from consumers.member import Surroundings

GROUP: Final = "balance"


def balance_member(given: Surroundings) -> BalanceLoop:
    """A member of the balance group. It has no store: its offsets are Kafka's, committed with what it writes."""
    return BalanceLoop(
        given.servers,
        PostgresBalanceStates(given.database),
        group=given.named(GROUP),
        source=given.named(TOPIC_BALANCE_UPDATED),
        topic=given.named(TOPIC_BALANCE),
        metrics=given.metrics,
    )
