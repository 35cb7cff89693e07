"""What each customer wants to be told: looked up, set, disabled, with who did it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.json import to_jsonb
from ledger.errors import NotFoundError
from ledger.notifications import NotificationPreferences

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

PREFERENCE_COLUMNS: Final = (
    "p.tenant, p.customer_id, p.accounts, p.email, p.webhook_url, p.webhook_secrets, p.wishes, p.enabled, p.webhook_gone, p.since"
)
_WISHES: Final = frozenset({"kinds", "minimum_amounts", "language", "quiet_hours", "urgent"})
_FIND: Final = text(f"""
    SELECT {PREFERENCE_COLUMNS}, p.version FROM notification.preference p WHERE p.tenant = :tenant AND p.customer_id = :customer_id
""")  # noqa: S608  a constant
# Beside messages that are stored for the customer at this moment, whose foreign key locks the row's key.
_LOCK: Final = text(f"{_FIND.text} FOR NO KEY UPDATE")
_INSERT: Final = text("""
    INSERT INTO notification.preference (tenant, customer_id, accounts, email, webhook_url, webhook_secrets, wishes, enabled, webhook_gone,
                                         since, version)
    VALUES (:tenant, :customer_id, CAST(:accounts AS text[]), :email, :webhook_url, CAST(:webhook_secrets AS jsonb),
            CAST(:wishes AS jsonb), :enabled, :webhook_gone, :since, :version)
    ON CONFLICT DO NOTHING
""")
_UPDATE: Final = text("""
    UPDATE notification.preference
       SET accounts = CAST(:accounts AS text[]), email = :email, webhook_url = :webhook_url,
           webhook_secrets = CAST(:webhook_secrets AS jsonb), wishes = CAST(:wishes AS jsonb), enabled = :enabled,
           webhook_gone = :webhook_gone, since = :since, version = :version
     WHERE tenant = :tenant AND customer_id = :customer_id
""")
_NOTE_CHANGE: Final = text("""
    INSERT INTO notification.preference_change (tenant, customer_id, version, action, by, at)
    VALUES (:tenant, :customer_id, :version, :action, :by, :at)
""")


class PostgresNotificationPreferences:
    """The table of preferences."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, tenant: str, customer_id: str) -> NotificationPreferences | None:
        """A customer's preferences, disabled ones included; None: there are none.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> NotificationPreferences | None:
            row = (await connection.execute(_FIND, {"tenant": tenant, "customer_id": customer_id})).mappings().one_or_none()
            return preferences_of(row) if row is not None else None

        return await self._database.run_statement(work)

    async def set(
        self,
        tenant: str,
        customer_id: str,
        wanted: Callable[[NotificationPreferences | None], NotificationPreferences],
        *,
        by: str,
        now: dt.datetime,
    ) -> NotificationPreferences:
        """Have a customer's preferences be what `wanted` makes of the present ones, while nobody else changes them.

        Raises:
            UnavailableError: the outcome is unknown; set them again.
            Whatever `wanted` raises; then nothing has changed.
        """
        key = {"tenant": tenant, "customer_id": customer_id}

        async def work(connection: AsyncConnection) -> NotificationPreferences:
            found = (await connection.execute(_LOCK, key)).mappings().one_or_none()
            if found is None:
                made = wanted(None)
                if (await connection.execute(_INSERT, {**_values(made), "version": 1})).rowcount:
                    await connection.execute(_NOTE_CHANGE, {**key, "version": 1, "action": "set", "by": by, "at": now})
                    return made
                # Somebody was faster; a new statement sees and locks what he has set.
                found = (await connection.execute(_LOCK, key)).mappings().one()
            changed = wanted(preferences_of(found))
            await change_preferences(connection, changed, version=found["version"] + 1, action="set", by=by, now=now)
            return changed

        return await self._database.run(work)

    async def disable(self, tenant: str, customer_id: str, *, by: str, now: dt.datetime) -> NotificationPreferences:
        """Tell a customer nothing more. Disabling twice changes nothing.

        Raises:
            NotFoundError: the customer has no preferences.
            UnavailableError: the outcome is unknown; disable them again.
        """

        async def work(connection: AsyncConnection) -> NotificationPreferences:
            row = (await connection.execute(_LOCK, {"tenant": tenant, "customer_id": customer_id})).mappings().one_or_none()
            if row is None:
                raise NotFoundError(kind="notification preferences of customer", identifier=customer_id)
            known = preferences_of(row)
            if not known.enabled:
                return known
            disabled = known.model_copy(update={"enabled": False})
            await change_preferences(connection, disabled, version=row["version"] + 1, action="disable", by=by, now=now)
            return disabled

        return await self._database.run(work)


async def change_preferences(
    connection: AsyncConnection, preferences: NotificationPreferences, *, version: int, action: str, by: str, now: dt.datetime
) -> None:
    """Write changed preferences, whose row is locked, and who changed them."""
    await connection.execute(_UPDATE, {**_values(preferences), "version": version})
    key = {"tenant": preferences.tenant, "customer_id": preferences.customer_id}
    await connection.execute(_NOTE_CHANGE, {**key, "version": version, "action": action, "by": by, "at": now})


async def lock_preferences(connection: AsyncConnection, tenant: str, customer_id: str) -> tuple[NotificationPreferences, int]:
    """A customer's preferences and their version, which nobody else changes until the end of the database transaction."""
    row = (await connection.execute(_LOCK, {"tenant": tenant, "customer_id": customer_id})).mappings().one()
    return preferences_of(row), row["version"]


def preferences_of(row: Mapping[Any, Any]) -> NotificationPreferences:
    """The preferences that a row of :data:`PREFERENCE_COLUMNS` holds."""
    plain = ("tenant", "customer_id", "accounts", "email", "webhook_url", "webhook_secrets", "enabled", "webhook_gone", "since")
    return NotificationPreferences.model_validate({**{name: row[name] for name in plain}, **row["wishes"]})


def _values(preferences: NotificationPreferences) -> dict[str, Any]:
    return {
        **preferences.model_dump(include={"tenant", "customer_id", "email", "webhook_url", "enabled", "webhook_gone", "since"}),
        "accounts": list(preferences.accounts),
        "webhook_secrets": to_jsonb([secret.model_dump(mode="json") for secret in preferences.webhook_secrets]),
        "wishes": to_jsonb(preferences.model_dump(mode="json", include=set(_WISHES))),
    }
