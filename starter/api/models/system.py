"""How the system is, as the API gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from infra.kafka.lag import GroupLag
from ledger.throughput import Throughput
from starter.api.models.fields import Answer
from starter.api.models.transactions import TransactionView

if TYPE_CHECKING:
    from infra.stack.model import PartState


class OutboxView(Answer):
    """What waits to be published, of all tenants."""

    events: int
    """At most 10,000: what is above is not counted."""
    oldest_seconds: float
    """Age of the oldest of them; 0 where none waits."""


class StandingView(Answer):
    """The tenant's transactions that Temporal carries now."""

    carried: int
    parked: int
    waiting_for_approval: int
    waiting_for_date: int


class WebUiView(Answer):
    """Links into Temporal's Web UI. What stands in braces is to be replaced, percent-encoded."""

    transaction: str
    """Has ``{transaction_id}``."""
    run: str
    """Has ``{workflow_id}`` and ``{run_id}``."""
    views: dict[str, str]
    """Lists of transactions, by what they hold."""


class StackPartView(Answer):
    """One part of the embedded stack, as its supervisor sees it."""

    name: str
    health: str
    pid: int | None
    restarts: int
    detail: str

    @classmethod
    def of(cls, part: PartState) -> Self:
        """The API's form of `part`."""
        return cls(**part.model_dump(include=set(cls.model_fields)))


class SystemView(Answer):
    """What an operator looks at first. What a part that doesn't answer would have told is null."""

    tenant: str
    principal: str
    """Whose key it is."""
    scopes: list[str]
    parts: dict[str, str]
    """`ready`, or what is the matter."""
    throughput: Throughput | None
    standing: StandingView | None
    outbox: OutboxView | None
    groups: list[GroupLag] | None
    web_ui: WebUiView | None
    """Null: the setting `temporal_ui` names none."""
    stack: list[StackPartView] | None
    """Null unless this is the API of an embedded stack, whose workers may be killed."""


class AttentionView(Answer):
    """Transactions that don't go on by themselves now: parked, or waiting for an approval or their day."""

    transactions: list[TransactionView]
    complete: bool
    """Whether there are no more of them."""
