"""Messages to customers as operators see them: listed by pages, and replayed when they are dead."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from ledger.deliveries import MessageStatus, StoredMessage
from ledger.errors import MessageNotDeadError, NotFoundError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_COLUMNS: Final = (
    "CAST(message_id AS text) AS message_id, CAST(event_id AS text) AS event_id, CAST(transaction_id AS text) AS transaction_id, "
    "customer_id, channel, kind, address, subject, status, attempts, not_before, last_error, created_at, delivered_at"
)
_FILTERS: Final = {"status": "AND m.status = :status", "customer_id": "AND m.customer_id = :customer_id"}
_LONG_AGO: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_LOCK: Final = text(f"""
    SELECT {_COLUMNS} FROM notification.message
     WHERE tenant = :tenant AND message_id = CAST(:message_id AS uuid)
       FOR UPDATE
""")  # noqa: S608  a constant
_NOTE_REPLAY: Final = text("""
    INSERT INTO notification.replay (message_id, number, by, reason, at, attempts, last_error)
    SELECT CAST(:message_id AS uuid), count(*) + 1, :by, :reason, :at, :attempts, :last_error
      FROM notification.replay WHERE message_id = CAST(:message_id AS uuid)
""")
_REVIVE: Final = text(f"""
    UPDATE notification.message SET status = 'waiting', attempts = 0, not_before = :at, lease = NULL
     WHERE message_id = CAST(:message_id AS uuid)
    RETURNING {_COLUMNS}
""")  # noqa: S608


class PostgresMessages:
    """The table of messages."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        tenant: str,
        *,
        status: MessageStatus | None,
        customer_id: str | None,
        after: tuple[dt.datetime, str] | None,
        at_most: int,
    ) -> tuple[StoredMessage, ...]:
        """Messages of a tenant, the oldest first.

        Args:
            tenant: whose customers they are to.
            status: only those that stand so; None: all.
            customer_id: only those to this customer; None: all.
            after: creation time and id of the last message of the page before; None: the first page.
            at_most: messages of the page.

        Raises:
            UnavailableError: the database did not answer.
        """
        created_at, message_id = after or (_LONG_AGO, _FIRST_ID)
        values: dict[str, Any] = {"tenant": tenant, "created_at": created_at, "message_id": message_id, "at_most": at_most}
        wanted = {"status": status.value if status is not None else None, "customer_id": customer_id}
        given = {name: value for name, value in wanted.items() if value is not None}
        statement = text(f"""
            SELECT {_COLUMNS} FROM notification.message m
             WHERE m.tenant = :tenant AND (m.created_at, m.message_id) > (:created_at, CAST(:message_id AS uuid))
                   {" ".join(_FILTERS[name] for name in given)}
             ORDER BY m.created_at, m.message_id
             LIMIT :at_most
        """)  # noqa: S608  constants

        async def work(connection: AsyncConnection) -> tuple[StoredMessage, ...]:
            found = (await connection.execute(statement, {**values, **given})).mappings()
            return tuple(StoredMessage.model_validate(dict(row)) for row in found)

        return await self._database.run_statement(work)

    async def replay(self, tenant: str, message_id: str, *, by: str, reason: str, now: dt.datetime) -> StoredMessage:
        """Have a dead message sent again, with all its attempts before it, and note who wanted it and why.

        Raises:
            NotFoundError: the tenant has no such message.
            MessageNotDeadError: it is delivered, or waits already.
            UnavailableError: the outcome is unknown; ask again.
        """

        async def work(connection: AsyncConnection) -> StoredMessage:
            row = (await connection.execute(_LOCK, {"tenant": tenant, "message_id": message_id})).mappings().one_or_none()
            if row is None:
                raise NotFoundError(kind="notification", identifier=message_id)
            known = StoredMessage.model_validate(dict(row))
            if known.status is not MessageStatus.DEAD:
                raise MessageNotDeadError(message_id=message_id, status=known.status)
            note = {
                "message_id": message_id,
                "by": by,
                "reason": reason,
                "at": now,
                "attempts": known.attempts,
                "last_error": known.last_error,
            }
            await connection.execute(_NOTE_REPLAY, note)
            revived = (await connection.execute(_REVIVE, {"message_id": message_id, "at": now})).mappings().one()
            return StoredMessage.model_validate(dict(revived))

        return await self._database.run(work)
