"""A group whose effect is a row for each event, so that a doubled or a missing one shows; events can be made poison."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, ClassVar, Final

import psycopg
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.kafka.received import ReceivedEvent
from ledger.events import Event

CREATE: Final = """
    CREATE TABLE IF NOT EXISTS effect (
        position bigint GENERATED ALWAYS AS IDENTITY, event_id uuid, key text, number numeric CHECK (number < 1000000))
"""
_INSERT: Final = text("INSERT INTO effect (event_id, key, number) VALUES (CAST(:event_id AS uuid), :key, :number)")


class Effects:
    """Implements :class:`infra.postgres.consumption.EventHandler` on a schema that a group of casaflow's has."""

    schema: ClassVar[str] = "mis"
    handled_types: ClassVar[frozenset[str]] = frozenset({"casaflow.casa.credited.v1"})
    ignored_types: ClassVar[frozenset[str]] = frozenset({"casaflow.casa.hold-voided.v1"})

    def __init__(self) -> None:
        self.poison: set[str] = set()
        """Ids of events that can't be handled now."""
        self.gates: dict[str, asyncio.Event] = {}
        """By event id: what has to be set before it is handled."""
        self._came: dict[str, asyncio.Event] = defaultdict(asyncio.Event)

    async def came(self, event: Event) -> None:
        """Return once the event is about to be handled."""
        await self._came[event.event_id].wait()

    async def apply(self, connection: AsyncConnection, events: Sequence[ReceivedEvent]) -> None:
        for event in events:
            self._came[event.event_id].set()
            if event.event_id in self.gates:
                await self.gates[event.event_id].wait()
            if event.event_id in self.poison:
                message = f"{event.event_id} is poison"
                raise ValueError(message)
            values = {"event_id": event.event_id, "key": event.key, "number": json.loads(event.data)["number"]}
            await connection.execute(_INSERT, values)


def effects(url: str) -> list[tuple[str, str, int]]:
    """Key, event id and number of each effect, in order."""
    return [
        (key, event_id, int(number))
        for key, event_id, number in select(url, "SELECT key, CAST(event_id AS text), number FROM effect ORDER BY position")
    ]


def held(url: str) -> list[tuple[str | None, str]]:
    """Event id and status of what is held or was."""
    return [
        (event_id, status)
        for event_id, status in select(url, "SELECT CAST(event_id AS text), status FROM mis.held_event ORDER BY position")
    ]


def select(url: str, statement: str, *values: object) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(statement.encode(), values).fetchall()


def execute(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement.encode())
