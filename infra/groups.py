"""The consumer groups whose store is in PostgreSQL: what each reads, and where it keeps what it has applied."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from infra.notifications.templates import MessageTemplates
from infra.postgres.mis import MisEffects
from infra.postgres.notifications import NotificationEffects
from infra.postgres.statement_lines import StatementEffects
from ledger.events import TOPIC_BALANCE_UPDATED, TOPIC_TRANSACTION_FINISHED, TOPICS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from infra.postgres.consumption import EventHandler
    from infra.settings import Settings


@dataclass(frozen=True)
class Group:
    """One group."""

    name: str
    """Of its schema, too."""
    topics: tuple[str, ...]
    handler: Callable[[Settings], EventHandler] | None
    """None: it appends everything (audit), and holds nothing."""

    @property
    def applied(self) -> str:
        """The table with the ids of the events that it has applied."""
        return f"{self.name}.record" if self.handler is None else f"{self.name}.applied_event"


def _notification(settings: Settings) -> NotificationEffects:
    return NotificationEffects(MessageTemplates(settings.notification_templates))


GROUPS: Final = {
    group.name: group
    for group in (
        Group("audit", TOPICS, None),
        Group("statement", (TOPIC_BALANCE_UPDATED,), lambda _: StatementEffects()),
        Group("mis", TOPICS, lambda _: MisEffects()),
        Group("notification", (TOPIC_TRANSACTION_FINISHED,), _notification),
    )
}
"""By name. A group's members are in :mod:`consumers`."""


def with_store(names: Iterable[str]) -> list[str]:
    """Those of the groups that have a store in PostgreSQL."""
    return [name for name in names if name in GROUPS]
