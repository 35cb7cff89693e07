"""What each group's store must hold, said by SQL on the ledger's own tables."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from psycopg.rows import DictRow

from bench.events.load import EVENTS_PER_TRANSACTION
from infra.postgres.database import Database
from infra.postgres.mis_rules import MIS_RULES
from infra.postgres.notification_preferences import PostgresNotificationPreferences
from infra.settings import DEFAULT_TENANT
from ledger.events import TOPIC_BALANCE_UPDATED
from ledger.notifications import MAX_CUSTOMER_ACCOUNTS, NotificationPreferences
from tests.integration.consumers.conftest import rows

_OF_AUDIT: Final = """
    SELECT CAST(coalesce(o.event_id, r.event_id) AS text) AS event_id, o.event_id IS NULL AS made_up, r.event_id IS NULL AS missing
      FROM event_outbox o
      FULL JOIN audit.record r USING (event_id)
     WHERE (o.topic, o.type, o.key, o.source, o.subject, o.time, o.payload)
           IS DISTINCT FROM (r.topic, r.type, r.key, r.source, r.subject, r.time, r.payload)
"""
_OF_STATEMENT: Final = f"""
    SELECT coalesce(e.account_id, l.account_id) AS account_id, transaction_id, leg, e.amount, l.amount AS line_amount
      FROM (SELECT tenant, account_id, transaction_id, leg, 'credit' AS direction, currency, amount, posted_at, value_date,
                   CAST(NULL AS bigint) AS version
              FROM offline_entry
             UNION ALL
            SELECT tenant, account_id, transaction_id, leg, 'debit', currency, amount, posted_at, value_date, version
              FROM online_entry) AS e
      FULL JOIN statement.line l USING (tenant, account_id, transaction_id, leg)
     WHERE (e.direction, e.currency, e.amount, e.posted_at, e.value_date, e.version)
           IS DISTINCT FROM (l.direction, l.currency, l.amount, l.booked_at, l.value_date, l.version)
     UNION ALL
    SELECT o.key, coalesce(CAST(o.subject AS uuid), a.event_id), o.type, NULL, NULL
      FROM (SELECT * FROM event_outbox WHERE topic LIKE '%%{TOPIC_BALANCE_UPDATED}') AS o
      FULL JOIN statement.applied_event a USING (event_id)
     WHERE o.event_id IS NULL OR a.event_id IS NULL OR o.topic <> a.topic
"""  # noqa: S608  constants


@dataclass(frozen=True)
class Group:
    """A group that is put to the test."""

    name: str
    events_per_transaction: int
    """How many of a transaction's events it reads."""
    differences: tuple[str, ...]
    """SQL on a database with the ledger and the group's store: the rows by which they differ."""
    effects: str
    """The table with one row for each event that had its effect."""


_OF_NOTIFICATION: Final = """
    SELECT coalesce(t.transaction_id, m.transaction_id) AS transaction_id, count(m.message_id) AS messages
      FROM transaction t FULL JOIN notification.message m ON (m.tenant, m.transaction_id) = (t.tenant, t.transaction_id)
     GROUP BY 1, t.transaction_id HAVING t.transaction_id IS NULL OR count(m.message_id) <> 1
"""
# On topics of the test's own.
_OF_MIS: Final = tuple(str(rule.query).replace("%", "%%").replace("topic = '", "topic LIKE '%%") for rule in MIS_RULES)

# A group is one more line here.
GROUPS: Final = {
    "audit": Group("audit", EVENTS_PER_TRANSACTION, (_OF_AUDIT,), "audit.record"),
    "statement": Group("statement", 1, (_OF_STATEMENT,), "statement.line"),
    "mis": Group("mis", EVENTS_PER_TRANSACTION, _OF_MIS, "mis.applied_event"),
    "notification": Group("notification", 1, (_OF_NOTIFICATION,), "notification.message"),
}


async def prepare(url: str, group: Group, accounts: Sequence[str]) -> None:
    """What the group must know before its first event: customers who want e-mails, which wait since no server for them is set."""
    if group.name != "notification":
        return
    database = Database.open(url, pool_size=1)
    long_ago = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    for number, begin in enumerate(range(0, len(accounts), MAX_CUSTOMER_ACCOUNTS)):
        wanted = NotificationPreferences(
            tenant=DEFAULT_TENANT,
            customer_id=f"customer-{number}",
            accounts=tuple(accounts[begin : begin + MAX_CUSTOMER_ACCOUNTS]),
            email="jana@example.org",
            since=long_ago,
        )
        store = PostgresNotificationPreferences(database)
        await store.set(wanted.tenant, wanted.customer_id, lambda _, wanted=wanted: wanted, by="teller", now=long_ago)  # type: ignore[misc]
    await database.close()


def differences(url: str, group: Group) -> list[DictRow]:
    """The rows by which the group's store and the ledger differ."""
    return [row for query in group.differences for row in rows(url, query)]


def effects(url: str, group: Group) -> int:
    """How many events had their effect."""
    return int(rows(url, f"SELECT count(*) AS number FROM {group.effects}")[0]["number"])  # noqa: S608  a constant


def counted_repeats(url: str, group: Group) -> int:
    """How many events came again, by the group's own count."""
    return int(rows(url, f"SELECT sum(repeats) AS number FROM {group.name}.consumer_offset")[0]["number"])  # noqa: S608
