"""What a consumer group does with events, and the form in which it gets them."""

from __future__ import annotations

import datetime as dt  # noqa: TC003  a field of the dataclass
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection


@dataclass(frozen=True, kw_only=True)
class ReceivedEvent:
    """An event as a group gets it."""

    event_id: str
    type: str
    source: str
    subject: str
    time: dt.datetime
    topic: str
    partition: int
    offset: int
    key: str
    data: str
    """The JSON text."""

    @property
    def tenant(self) -> str:
        """The key's part before the first slash."""
        return self.key.partition("/")[0]


class EventHandler(Protocol):
    """What a group does with events, in the database transaction that also stores their ids and the offset."""

    handled_types: ClassVar[frozenset[str]]
    """CloudEvents types that it handles."""
    ignored_types: ClassVar[frozenset[str]]
    """Known, and of no concern."""

    async def apply(self, connection: AsyncConnection, events: Sequence[ReceivedEvent]) -> None:
        """Apply new events (never one twice) of one partition in the order of their offsets.

        A ValueError (pydantic's included) or a refused write (SQLSTATE class 22 or 23) of one event makes it a dead letter; the framework
        finds out which by halving, in savepoints.
        """
