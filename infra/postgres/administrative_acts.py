"""Administrative acts: who did what to which account, key, transaction or server, when, and from where.

Each act stands in one table: that of what it was done to, where there is one, and ``administrative_act`` otherwise. The view
``administrative_log`` shows all of them. See ``docs/decisions/0035-who-may.md``.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.json import to_jsonb
from ledger.acts import AdministrativeAct

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.principals import Actor

_INSERT: Final = text("""
    INSERT INTO administrative_act (tenant, by, key_id, address, action, subject, detail)
    VALUES (:tenant, :by, :key_id, :address, :action, :subject, CAST(:detail AS jsonb))
""")
_PAGE: Final = """
    SELECT tenant, at, act_id, by, key_id, address, action, subject, detail
      FROM administrative_log
     WHERE {whose} AND (at, act_id) < (:at, :act_id)
     ORDER BY at DESC, act_id DESC LIMIT :at_most
"""
_PAGE_OF_TENANT: Final = text(_PAGE.format(whose="tenant = :tenant"))
_PAGE_OF_ALL: Final = text(_PAGE.format(whose="true"))
_FROM_THE_NEWEST: Final = (dt.datetime(9999, 12, 31, tzinfo=dt.UTC), "")


async def record_act(
    connection: AsyncConnection, actor: Actor, action: str, subject: str, *, tenant: str | None, detail: Mapping[str, Any]
) -> None:
    """Record an act, in the database transaction in which it is done.

    Args:
        connection: that somebody else commits.
        actor: who does it.
        action: what: ``key.created``.
        subject: to what: ``key 0123456789abcdef``.
        tenant: whom it concerns; None: all of them.
        detail: what else is to be known, without secrets.
    """
    who = {"by": actor.name, "key_id": actor.key_id, "address": actor.address}
    await connection.execute(_INSERT, {**who, "tenant": tenant, "action": action, "subject": subject, "detail": to_jsonb(detail)})


class PostgresAdministrativeActs:
    """The log of all acts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, actor: Actor, action: str, subject: str, *, detail: Mapping[str, Any]) -> None:
        """Record an act of the servers that is not done in this database, before it is done: so none can be missing.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> None:
            await record_act(connection, actor, action, subject, tenant=None, detail=detail)

        await self._database.run_statement(work)

    async def page(self, tenant: str | None, *, after: tuple[dt.datetime, str] | None, at_most: int) -> list[AdministrativeAct]:
        """Acts, the newest first.

        Args:
            tenant: whose; None: of all tenants and of the servers.
            after: instant and id of the last one of the page before.
            at_most: how many.

        Raises:
            UnavailableError: the database did not answer.
        """
        at, act_id = after or _FROM_THE_NEWEST
        values = {"at": at, "act_id": act_id, "at_most": at_most}

        async def work(connection: AsyncConnection) -> list[AdministrativeAct]:
            found = await (
                connection.execute(_PAGE_OF_ALL, values)
                if tenant is None
                else connection.execute(_PAGE_OF_TENANT, {**values, "tenant": tenant})
            )
            return [AdministrativeAct.model_validate(dict(row)) for row in found.mappings()]

        return await self._database.run_statement(work)
