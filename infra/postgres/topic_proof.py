"""Compares the ids that are on the topics with the outbox: what is published must be there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from infra.postgres.proof_rules import SHOWN_VIOLATIONS
from ledger.errors import InvalidInputError
from ledger.ids import parse_transaction_id

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import AsyncIterator, Callable

    import psycopg

    from infra.postgres.database import Database

_CREATE: Final = "CREATE TEMP TABLE event_on_topic (event_id uuid NOT NULL) ON COMMIT DROP"
_COPY: Final = "COPY event_on_topic (event_id) FROM STDIN"
_COUNTS: Final = "SELECT count(*), count(DISTINCT event_id) FROM event_on_topic"
_MISSING: Final = """
    SELECT CAST(e.event_id AS text), e.type, CAST(e.transaction_id AS text), e.tenant, e.topic, e.published_at,
           b.beyond, count(*) OVER (PARTITION BY b.beyond)
      FROM event_outbox e
     CROSS JOIN LATERAL (SELECT coalesce(e.published_at < %(kept_since)s, false) AS beyond) AS b
     WHERE e.published_at IS NOT NULL AND e.created_at <= %(until)s
       AND NOT EXISTS (SELECT FROM event_on_topic t WHERE t.event_id = e.event_id)
     ORDER BY b.beyond, e.created_at
     LIMIT %(most)s
"""


@dataclass(frozen=True)
class TopicEvidence:
    """What is on the topics, and what of the outbox isn't."""

    records: int
    events: int
    """Different ids among the records; more records are repeats, which are allowed."""
    missing: tuple[str, ...]
    """A sentence for each event that is marked as published and isn't there, as many as are shown."""
    missing_total: int
    beyond_retention: int
    """Events that were published before the earliest records that the topics still have."""


async def compare_with_topics(
    database: Database, ids: AsyncIterator[list[str]], *, until: dt.datetime, kept_since: Callable[[], dt.datetime | None]
) -> TopicEvidence:
    """Compare, in a temporary table, so that memory is bounded.

    Args:
        database: whose outbox.
        ids: of what is on the topics.
        until: events that were stored by then must be there, if they are marked as published.
        kept_since: asked once all ids are read: from when on the topics have everything.

    Raises:
        UnavailableError: the database or the topics did not answer.
    """

    async def work(driver: psycopg.AsyncConnection[Any]) -> TopicEvidence:
        async with driver.transaction():
            await driver.execute(_CREATE)
            async with driver.cursor().copy(_COPY) as copy:
                async for some in ids:
                    await copy.write("".join(f"{one}\n" for one in some if _is_uuid(one)))
            await driver.execute("ANALYZE event_on_topic")
            records, events = (await (await driver.execute(_COUNTS)).fetchone()) or (0, 0)
            asked = {"until": until, "kept_since": kept_since(), "most": 2 * SHOWN_VIOLATIONS}
            rows = await (await driver.execute(_MISSING, asked)).fetchall()
        missing = [row for row in rows if not row[6]]
        beyond = [row for row in rows if row[6]]
        return TopicEvidence(
            records=records,
            events=events,
            missing=tuple(
                f"event {event_id} ({event_type}) of transaction {transaction_id}, tenant {tenant}: published at {published_at}, but it is "
                f"not on {topic}"
                for event_id, event_type, transaction_id, tenant, topic, published_at, *_ in missing[:SHOWN_VIOLATIONS]
            ),
            missing_total=missing[0][7] if missing else 0,
            beyond_retention=beyond[0][7] if beyond else 0,
        )

    return await database.run_on_driver(work)


def _is_uuid(text: str) -> bool:
    try:
        parse_transaction_id(text, field="ce_id")
    except InvalidInputError:
        return False
    return True
