"""Messages to customers: what events lead to, which are due, and what became of them. See ``docs/decisions/0029-notifications.md``."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol
from urllib.parse import urlsplit

import structlog
from sqlalchemy import text

from infra.postgres.json import to_jsonb
from infra.postgres.notification_preferences import PREFERENCE_COLUMNS, change_preferences, lock_preferences, preferences_of
from ledger.deliveries import DueMessage, earliest
from ledger.errors import CasaflowError
from ledger.events import (
    CREDITED_V1,
    DEBITED_V1,
    FINISHED_TYPES,
    HOLD_TYPES,
    TransactionFinishedV1,
)
from ledger.notifications import Channel, messages_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.kafka.received import ReceivedEvent
    from infra.postgres.database import Database
    from ledger.notifications import Message, NotificationPreferences

_log = structlog.get_logger(__name__)

EMAIL_ENDPOINT: Final = "email"
"""All e-mails go through one server. A webhook's endpoint is ``host:port``, so no two names meet."""

_CONCERNED: Final = text(f"""
    SELECT {PREFERENCE_COLUMNS} FROM notification.preference p
     WHERE p.enabled AND p.tenant = ANY (CAST(:tenants AS text[])) AND p.accounts && CAST(:accounts AS text[])
""")  # noqa: S608  a constant
_INSERT: Final = text("""
    INSERT INTO notification.message (message_id, tenant, event_id, transaction_id, customer_id, channel, kind, endpoint, address, subject,
                                      body, body_html, not_before, created_at)
    SELECT r.message_id, r.tenant, r.event_id, r.transaction_id, r.customer_id, r.channel, r.kind, r.endpoint, r.address, r.subject, r.body,
           r.body_html, r.not_before, :now
      FROM jsonb_to_recordset(CAST(:messages AS jsonb)) AS r (message_id uuid, tenant text, event_id uuid, transaction_id uuid,
           customer_id text, channel text, kind text, endpoint text, address text, subject text, body text, body_html text,
           not_before timestamptz)
     ORDER BY r.message_id
        ON CONFLICT DO NOTHING
""")
# Endpoints are hopped through in the index, so a long queue of one costs the others nothing. Of each come the messages that are due first,
# as many as it has room for; and each endpoint's first before any endpoint's second.
_CLAIM: Final = text(f"""
    WITH RECURSIVE endpoint (name) AS (
        (SELECT m.endpoint FROM notification.message m WHERE m.status = 'waiting' ORDER BY m.endpoint LIMIT 1)
        UNION ALL
        SELECT (SELECT m.endpoint FROM notification.message m
                 WHERE m.status = 'waiting' AND m.endpoint > e.name ORDER BY m.endpoint LIMIT 1)
          FROM endpoint e WHERE e.name IS NOT NULL
    ), due AS (
        SELECT d.message_id
          FROM endpoint e
          LEFT JOIN unnest(CAST(:endpoints AS text[]), CAST(:rooms AS integer[])) AS b (name, room) ON b.name = e.name
         CROSS JOIN LATERAL (
               SELECT m.message_id, m.not_before, row_number() OVER (ORDER BY m.not_before, m.message_id) AS place
                 FROM notification.message m
                WHERE m.status = 'waiting' AND m.endpoint = e.name AND m.not_before <= :now
                ORDER BY m.not_before, m.message_id
                LIMIT coalesce(b.room, :room)) AS d
         ORDER BY d.place, d.not_before, d.message_id
         LIMIT :at_most
    ), claimed AS (
        SELECT m.message_id FROM notification.message m
         WHERE m.message_id IN (SELECT due.message_id FROM due) AND m.status = 'waiting' AND m.not_before <= :now
           FOR UPDATE SKIP LOCKED
    )
    UPDATE notification.message m SET lease = CAST(:lease AS uuid), not_before = :leased_until, attempts = m.attempts + 1
      FROM claimed c, notification.preference p
     WHERE m.message_id = c.message_id AND p.tenant = m.tenant AND p.customer_id = m.customer_id
    RETURNING CAST(m.message_id AS text) AS message_id, m.channel, m.kind, m.endpoint, m.address, m.subject, m.body, m.body_html,
              m.created_at, m.attempts, CAST(m.lease AS text) AS lease, {PREFERENCE_COLUMNS}
""")  # noqa: S608
# Delivered is delivered, though the lease has ended: another deliverer that has the message now may not have begun.
_DELIVERED: Final = text("""
    UPDATE notification.message
       SET status = 'delivered', delivered_at = :now, lease = NULL, last_error = NULL, address = :address
     WHERE message_id = CAST(:message_id AS uuid) AND status = 'waiting'
""")
_AGAIN: Final = text("""
    UPDATE notification.message
       SET not_before = :not_before, lease = NULL, last_error = coalesce(:error, last_error), address = :address, attempts = :attempts
     WHERE message_id = CAST(:message_id AS uuid) AND status = 'waiting' AND lease = CAST(:lease AS uuid)
""")
_DEAD: Final = text("""
    UPDATE notification.message SET status = 'dead', lease = NULL, last_error = :error, address = :address
     WHERE message_id = CAST(:message_id AS uuid) AND status = 'waiting' AND lease = CAST(:lease AS uuid)
""")
_WAITING: Final = text("""
    SELECT count(*) FROM (SELECT FROM notification.message WHERE status = 'waiting' AND endpoint = :endpoint LIMIT :at_most) AS m
""")


class Wording(Protocol):
    """Puts messages into words."""

    def words(self, message: Message) -> tuple[str, str, str | None]:
        """Subject, body, and the body as HTML if there is one.

        Raises:
            ValueError: it can't be put into words.
        """


def endpoint_of(channel: Channel, address: str) -> str:
    """What takes messages to `address`.

    Raises:
        ValueError: not a webhook's URL.
    """
    if channel is Channel.EMAIL:
        return EMAIL_ENDPOINT
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class NotificationEffects:
    """Implements :class:`infra.postgres.consumption.EventHandler`: stores the messages that finished transactions lead to."""

    schema: ClassVar[str] = "notification"
    handled_types: ClassVar[frozenset[str]] = frozenset(FINISHED_TYPES.values())
    ignored_types: ClassVar[frozenset[str]] = frozenset({CREDITED_V1, DEBITED_V1}) | HOLD_TYPES

    def __init__(self, wording: Wording, *, clock: Callable[[], dt.datetime] = _now) -> None:
        self._wording = wording
        self._clock = clock

    async def apply(self, connection: AsyncConnection, events: Sequence[ReceivedEvent]) -> None:
        """See :meth:`infra.postgres.consumption.EventHandler.apply`."""
        finished = [(event.event_id, _finished(event)) for event in events if event.type in self.handled_types]
        if not finished:
            return
        concerned = await _concerned(connection, [event for _, event in finished])
        now = self._clock()
        rows: list[dict[str, Any]] = []
        for event_id, event in finished:
            customers = {
                preferences.customer_id: preferences
                for account_id in _accounts(event)
                for preferences in concerned.get((event.instruction.tenant, account_id), ())
            }
            for preferences in customers.values():
                rows.extend(self._row(message, preferences, now) for message in _messages(event_id, event, preferences))
        if rows:
            await connection.execute(_INSERT, {"messages": to_jsonb(rows), "now": now})

    def _row(self, message: Message, preferences: NotificationPreferences, now: dt.datetime) -> dict[str, Any]:
        subject, body, body_html = self._wording.words(message)
        return {
            **message.model_dump(include={"message_id", "tenant", "event_id", "channel", "address"}),
            "transaction_id": message.content.transaction_id,
            "customer_id": message.content.customer_id,
            "kind": message.content.kind,
            "endpoint": endpoint_of(message.channel, message.address),
            "subject": subject,
            "body": body,
            "body_html": body_html,
            "not_before": earliest(preferences, message.content.kind, now),
        }


def _finished(event: ReceivedEvent) -> TransactionFinishedV1:
    finished = TransactionFinishedV1.model_validate_json(event.data)
    if finished.instruction.tenant != event.tenant:
        message = f"event {event.event_id} has the key of tenant {event.tenant}, and tells of tenant {finished.instruction.tenant}"
        raise ValueError(message)
    return finished


def _messages(event_id: str, event: TransactionFinishedV1, preferences: NotificationPreferences) -> tuple[Message, ...]:
    try:
        return messages_of(event_id, event, preferences)
    except (CasaflowError, ArithmeticError) as error:
        # An amount that is none: the event is a dead letter, as one that can't be read at all.
        message = f"event {event_id}: {error}"
        raise ValueError(message) from error


def _accounts(event: TransactionFinishedV1) -> tuple[str, ...]:
    instruction = event.instruction
    named = (instruction.debtor, instruction.creditor, *(share.account_id for share in instruction.shares))
    return tuple(dict.fromkeys(account_id for account_id in (*named, *(leg.account_id for leg in event.legs)) if account_id is not None))


async def _concerned(
    connection: AsyncConnection, events: Sequence[TransactionFinishedV1]
) -> dict[tuple[str, str], list[NotificationPreferences]]:
    """By tenant and account: who wants to hear of it."""
    values = {
        "tenants": sorted({event.instruction.tenant for event in events}),
        "accounts": sorted({account_id for event in events for account_id in _accounts(event)}),
    }
    found: dict[tuple[str, str], list[NotificationPreferences]] = {}
    for row in (await connection.execute(_CONCERNED, values)).mappings():
        preferences = preferences_of(row)
        for account_id in preferences.accounts:
            found.setdefault((preferences.tenant, account_id), []).append(preferences)
    return found


class PostgresMessageQueue:
    """The messages that wait, for deliverers. Several may work on it; each message is one deliverer's until its lease ends."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, *, now: dt.datetime, lease: dt.timedelta, at_most: int, per_endpoint: int, rooms: Mapping[str, int]
    ) -> tuple[DueMessage, ...]:
        """Take messages that are due.

        Args:
            now: what is due by then.
            lease: for how long they are the caller's; what isn't marked by its end is due again.
            at_most: messages altogether.
            per_endpoint: messages for an endpoint.
            rooms: messages for the endpoints for which that is another number, 0 included.

        Raises:
            UnavailableError: the database did not answer; what was claimed unknown to all is due again when the lease ends.
        """
        values = {
            "now": now,
            "lease": str(uuid.uuid4()),
            "leased_until": now + lease,
            "at_most": at_most,
            "room": per_endpoint,
            "endpoints": list(rooms),
            "rooms": list(rooms.values()),
        }

        async def work(connection: AsyncConnection) -> tuple[DueMessage, ...]:
            found = (await connection.execute(_CLAIM, values)).mappings()
            return tuple(message for row in found if (message := _due(row)) is not None)

        return await self._database.run_statement(work)

    async def delivered(self, message: DueMessage, *, now: dt.datetime) -> None:
        """Note that a message was delivered.

        Raises:
            UnavailableError: the database did not answer; note it again, or the message is delivered once more.
        """
        values = {"message_id": message.message_id, "now": now, "address": message.address}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_DELIVERED, values)

        await self._database.run_statement(work)

    async def failed(self, message: DueMessage, *, error: str, not_before: dt.datetime) -> None:
        """Note that an attempt failed, and when the next one is due.

        Raises:
            UnavailableError: the database did not answer; the message is due when its lease ends.
        """
        await self._again(message, error=error, not_before=not_before, attempts=message.attempts)

    async def postponed(self, message: DueMessage, *, not_before: dt.datetime) -> None:
        """Give a message back that was not tried.

        Raises:
            UnavailableError: the database did not answer; the message is due when its lease ends.
        """
        await self._again(message, error=None, not_before=not_before, attempts=message.attempts - 1)

    async def _again(self, message: DueMessage, *, error: str | None, not_before: dt.datetime, attempts: int) -> None:
        values = {**_key(message), "error": error, "not_before": not_before, "attempts": attempts}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_AGAIN, values)

        await self._database.run_statement(work)

    async def dead(self, message: DueMessage, *, error: str, endpoint_gone: bool, now: dt.datetime) -> None:
        """Note that nothing more is tried; with `endpoint_gone`, that the customer's webhook wants no more messages at all.

        Raises:
            UnavailableError: the database did not answer; the message is due when its lease ends.
        """

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_DEAD, {**_key(message), "error": error})
            if not endpoint_gone:
                return
            known, version = await lock_preferences(connection, message.tenant, message.customer_id)
            # He may have given another URL meanwhile.
            if known.webhook_url == message.address and not known.webhook_gone:
                gone = known.model_copy(update={"webhook_gone": True})
                await change_preferences(connection, gone, version=version + 1, action="gone", by="deliverer", now=now)

        await self._database.run(work)

    async def waiting(self, endpoints: Collection[str], *, at_most: int) -> dict[str, int]:
        """How many messages wait for each of `endpoints`, counted up to `at_most`.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dict[str, int]:
            return {name: (await connection.execute(_WAITING, {"endpoint": name, "at_most": at_most})).scalar_one() for name in endpoints}

        return await self._database.run(work)


def _key(message: DueMessage) -> dict[str, object]:
    return {"message_id": message.message_id, "lease": message.lease, "address": message.address}


def _due(row: Mapping[Any, Any]) -> DueMessage | None:
    """The message of a row; None, and said in the log, where the customer's preferences can't be read: it must not stop the others."""
    try:
        preferences = preferences_of(row)
    except ValueError as error:
        _log.error("notification.unreadable-preferences", customer_id=row["customer_id"], tenant=row["tenant"], error=type(error).__name__)
        return None
    channel = Channel(row["channel"])
    names = ("message_id", "tenant", "customer_id", "kind", "endpoint", "subject", "body", "body_html", "created_at", "attempts", "lease")
    return DueMessage(
        **{name: row[name] for name in names},
        channel=channel,
        # Where the customer is reached now; where that is nowhere any more, where it was to go.
        address=preferences.address(channel) or row["address"],
        preferences=preferences,
    )
