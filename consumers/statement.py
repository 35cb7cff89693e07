"""The statement group: a line for each posted leg, in booking order, and numbered statements with closing balances."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from consumers.member import member_of
from infra.postgres.statement_closing import LedgerHorizon, StatementClosing
from infra.postgres.statement_lines import StatementEffects
from infra.postgres.stored_offsets import StoredOffsets
from infra.statement_closing import StatementCloser
from ledger.events import TOPIC_BALANCE_UPDATED

if TYPE_CHECKING:
    from consumers.member import GroupMember, Surroundings

GROUP: Final = "statement"


def statement_member(given: Surroundings) -> GroupMember:
    """A member of the statement group; it reads the topic of balances alone."""
    closer = StatementCloser(
        StatementClosing(given.database),
        LedgerHorizon(given.database),
        StoredOffsets(given.database, schema=StatementEffects.schema, consumer_group=given.named(GROUP)),
        servers=given.servers,
        period=given.settings.statement_period,
        time_zone=given.settings.time_zone,
        topic=given.named(TOPIC_BALANCE_UPDATED),
    )
    return member_of(GROUP, (TOPIC_BALANCE_UPDATED,), StatementEffects(), given, beside=(closer.keep_up,))
