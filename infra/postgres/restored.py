"""What a restored ledger knows of what was told, and how its consumer groups go on behind what it has lost. See decision record 0041."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from sqlalchemy import text

from infra.groups import GROUPS
from ledger.restores import EffectOfLost, LostKind

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.groups import Group
    from infra.kafka.records import Partition
    from infra.postgres.database import Database

_KNOWN_EVENTS: Final = text("SELECT CAST(event_id AS text) FROM event_outbox WHERE event_id = ANY (CAST(:event_ids AS uuid[]))")
_NEWEST: Final = text("SELECT max(created_at) FROM event_outbox")
_ASKED: Final = "unnest(CAST(:tenants AS text[]), CAST(:identifiers AS uuid[])) AS w (tenant, identifier)"
_STANDING: Final = {
    LostKind.TRANSACTION: text(f"""
        SELECT w.tenant, CAST(w.identifier AS text) AS identifier, t.finished_at IS NOT NULL AS ended,
               (SELECT count(*) FROM decision d
                 WHERE d.tenant = w.tenant AND d.transaction_id = w.identifier
                   AND d.account_id IN (SELECT a.account_id FROM transaction_accounts(t.request) AS a)) AS decided
          FROM {_ASKED} JOIN transaction t ON t.tenant = w.tenant AND t.transaction_id = w.identifier
    """),  # noqa: S608  constants of this module, here and below
    LostKind.HOLD: text(f"""
        SELECT w.tenant, CAST(w.identifier AS text) AS identifier, h.status <> 'open' AS ended, 1 AS decided
          FROM {_ASKED} JOIN hold h ON h.tenant = w.tenant AND h.hold_id = w.identifier
    """),  # noqa: S608
    LostKind.FILE: text(f"""
        SELECT w.tenant, CAST(w.identifier AS text) AS identifier, f.finished_at IS NOT NULL AS ended, 1 AS decided
          FROM {_ASKED} JOIN payment_file f ON f.tenant = w.tenant AND f.file_id = w.identifier
    """),  # noqa: S608
}
_STAND_BEHIND: Final = """
    INSERT INTO {schema}.consumer_offset AS o (consumer_group, topic, partition, next_offset, updated_at)
    SELECT :consumer_group, b.topic, b.partition, b.next_offset, clock_timestamp()
      FROM unnest(CAST(:topics AS text[]), CAST(:partitions AS integer[]), CAST(:offsets AS bigint[])) AS b (topic, partition, next_offset)
     ORDER BY b.topic, b.partition
        ON CONFLICT (consumer_group, topic, partition)
        DO UPDATE SET next_offset = EXCLUDED.next_offset, updated_at = EXCLUDED.updated_at WHERE o.next_offset < EXCLUDED.next_offset
    RETURNING 1
"""
_APPLIED_UNKNOWN: Final = """
    SELECT count(*) AS events, CAST(min(CAST(a.event_id AS text)) AS text) AS example
      FROM {applied} a WHERE a.event_id IS NOT NULL AND NOT EXISTS (SELECT FROM event_outbox e WHERE e.event_id = a.event_id)
"""


class Standing(NamedTuple):
    """How the ledger has something."""

    ended: bool
    decided: int
    """Legs that were decided, posted or refused."""


class RestoredLedger:
    """The ledger and the stores of its groups, as the restore left them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def unknown_events(self, event_ids: Collection[str]) -> set[str]:
        """Those of the ids that no leg has stored.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> set[str]:
            return set((await connection.execute(_KNOWN_EVENTS, {"event_ids": list(event_ids)})).scalars())

        return set(event_ids) - await self._database.run_statement(work)

    async def newest(self) -> dt.datetime | None:
        """When the newest event was stored; None: there is none.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dt.datetime | None:
            found: dt.datetime | None = (await connection.execute(_NEWEST)).scalar_one()
            return found

        return await self._database.run_statement(work)

    async def standing(self, kind: LostKind, asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Standing]:
        """How the ledger has those that it has, by tenant and id.

        Raises:
            UnavailableError: the database did not answer.
        """
        values = {"tenants": [tenant for tenant, _ in asked], "identifiers": [identifier for _, identifier in asked]}

        async def work(connection: AsyncConnection) -> dict[tuple[str, str], Standing]:
            found = await connection.execute(_STANDING[kind], values)
            return {(row.tenant, row.identifier): Standing(row.ended, row.decided) for row in found}

        return await self._database.run_statement(work)

    async def applied_unknown(self, groups: Collection[str]) -> tuple[EffectOfLost, ...]:
        """Groups that have applied events which no leg has stored.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> tuple[EffectOfLost, ...]:
            found = []
            for name in groups:
                row = (await connection.execute(text(_APPLIED_UNKNOWN.format(applied=GROUPS[name].applied)))).one()
                if row.events:
                    found.append(EffectOfLost(group=name, events=row.events, example=row.example))
            return tuple(found)

        return await self._database.run(work)

    async def go_on_behind(self, ends: Mapping[Partition, int], groups: Collection[str]) -> tuple[int, int]:
        """Have all groups go on at `ends`, and what the ledger has and some group lacks published again, behind them.

        Both in one database transaction: no group passes over a record whose event would not come again.

        Returns:
            How many partitions were moved on, counted for each group, and how many events wait to be published again.

        Raises:
            UnavailableError: the outcome is unknown; it may be done again.
        """

        async def work(connection: AsyncConnection) -> tuple[int, int]:
            moved = 0
            for group in (GROUPS[name] for name in groups):
                own = sorted((partition, end) for partition, end in ends.items() if partition.topic in group.topics)
                values = {
                    "consumer_group": group.name,
                    "topics": [partition.topic for partition, _ in own],
                    "partitions": [partition.number for partition, _ in own],
                    "offsets": [end for _, end in own],
                }
                moved += len((await connection.execute(text(_STAND_BEHIND.format(schema=group.name)), values)).all())
            if not groups:
                return moved, 0
            again = await connection.execute(text(_publish_again([GROUPS[name] for name in groups])))
            return moved, again.rowcount

        return await self._database.run(work)


def _publish_again(groups: Sequence[Group]) -> str:
    """Take the mark from what was published, and what a group of its topic has neither applied nor holds."""
    lacking = []
    for group in groups:
        topics = ", ".join(f"'{topic}'" for topic in group.topics)
        lacking.append(f"(e.topic IN ({topics}) AND NOT {_has(group)})")
    return f"UPDATE event_outbox e SET published_at = NULL WHERE e.published_at IS NOT NULL AND ({' OR '.join(lacking)})"  # noqa: S608


def _has(group: Group) -> str:
    applied = f"EXISTS (SELECT FROM {group.applied} a WHERE a.event_id = e.event_id)"
    if group.handler is None:
        return applied
    held = f"EXISTS (SELECT FROM {group.name}.held_event h WHERE h.event_id = e.event_id AND h.status IN ('failed', 'waiting'))"
    return f"({applied} OR {held})"
