"""`casaflow refold`: makes a ledger that was brought into another cluster its own there. See decision record 0013.

A credit's xid says which folds have seen it, and xids are a cluster's own. In another cluster the old ones may lie in its future, or belong
to postings that it makes now. So all credits get an xid that is older than any posting, and all are folded.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Final

import psycopg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from ledger.errors import CasaflowError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Row
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

LOCK_TIMEOUT_SECONDS: Final = 5
"""Longer than it takes PostgreSQL to send a vacuum away; a posting takes milliseconds."""
ACCOUNTS_PER_STEP: Final = 500

# EXCLUSIVE: others may read. Whoever has written and not ended holds a lock against it, whoever comes later waits.
_TABLES: Final = "account, transaction, decision, offline_entry, online_entry, gl_entry, online_balance, hold, ledger_cluster"
_LOCK: Final = text(f"LOCK TABLE {_TABLES} IN EXCLUSIVE MODE")
_LIMIT_WAITS: Final = text("SELECT set_config('lock_timeout', :timeout, true)")
_WRITERS: Final = text("""
    SELECT DISTINCT l.pid, a.usename AS role, a.application_name AS application, a.state
      FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
     WHERE l.locktype = 'relation' AND l.granted AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
       AND l.relation = ANY (CAST(string_to_array(:tables, ', ') AS regclass[]))
       AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock') AND l.pid <> pg_backend_pid()
     ORDER BY l.pid
""")
# Rows that a subscription brings later would have the old cluster's xids again.
_SUBSCRIPTIONS: Final = text("""
    SELECT s.subname FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
     WHERE d.datname = current_database() AND s.subenabled ORDER BY s.subname
""")
_CLUSTERS: Final = text("""
    SELECT (SELECT c.system_identifier FROM ledger_cluster c) AS ledger, s.system_identifier AS server,
           pg_has_role((SELECT relowner FROM pg_class WHERE oid = CAST('offline_entry' AS regclass)), 'USAGE') AS owner
      FROM pg_control_system() s
""")
# Every transaction of now and later has this xid or a higher one.
_HORIZON: Final = text("SELECT CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text)")
_LAST_OF_STEP: Final = text("""
    SELECT tenant, account_id
      FROM (SELECT tenant, account_id FROM online_balance
             WHERE (tenant, account_id) > (:tenant, :account_id)
             ORDER BY tenant, account_id LIMIT :accounts) AS step
     ORDER BY tenant DESC, account_id DESC LIMIT 1
""")
_FREEZE: Final = text("""
    UPDATE offline_entry SET xid = '3'
     WHERE (tenant, account_id) > (:tenant, :account_id) AND (tenant, account_id) <= (:last_tenant, :last_account_id) AND xid <> '3'
""")
_FOLD: Final = text("""
    UPDATE online_balance o
       SET folded = coalesce((SELECT sum(e.amount) FROM offline_entry e WHERE e.tenant = o.tenant AND e.account_id = o.account_id), 0),
           folded_until = CAST(:horizon AS xid8), folded_except = '{}'
     WHERE (tenant, account_id) > (:tenant, :account_id) AND (tenant, account_id) <= (:last_tenant, :last_account_id)
""")
_LEFT: Final = text("SELECT count(*) FROM offline_entry WHERE xid <> '3'")
# Of accounts without an online row, which there must not be; `check` names them.
_FREEZE_THE_REST: Final = text("UPDATE offline_entry SET xid = '3' WHERE xid <> '3'")
# Without this, a repeat under --force would be refused as on any other day.
_MARK_RESTORED: Final = text("UPDATE ledger_cluster SET system_identifier = 0")
_ADOPT: Final = text("UPDATE ledger_cluster SET system_identifier = (SELECT system_identifier FROM pg_control_system())")


class RefoldRefusedError(CasaflowError):
    """The ledger can't be refolded now; nothing was changed."""

    code: ClassVar[str] = "refold-refused"


@dataclass(frozen=True)
class Refolded:
    """What was done."""

    refolded: bool
    """False: the ledger belonged to this cluster already, and nothing was changed."""
    earlier_cluster: str
    """``system_identifier`` that the ledger came with."""
    cluster: str
    credits: int = 0
    """That were given the frozen xid and folded; in a repeat those that were not frozen yet."""
    accounts: int = 0
    seconds: float = 0.0


class PostgresRefold:
    """Works as the owner of the ledger, in one database transaction."""

    def __init__(self, database: Database) -> None:
        """Take a database whose operations may take as long as rewriting all credits does."""
        self._database = database

    async def refold(self, *, force: bool = False, on_progress: Callable[[int, int], None] | None = None) -> Refolded:
        """Give all credits a frozen xid, fold them, and make this cluster the ledger's. Safe to cut off, and to repeat.

        Args:
            force: also where the ledger says that it belongs to this cluster, since its rows came by replication and that one didn't.
            on_progress: called with the credits done and all there are.

        Raises:
            RefoldRefusedError: somebody is writing to the ledger, a subscription brings rows, or the log-in role isn't the owner.
            UnavailableError: the database did not answer; nothing was changed, or all of it.
        """

        async def work(connection: AsyncConnection) -> Refolded:
            started = time.monotonic()
            clusters = (await connection.execute(_CLUSTERS)).mappings().one()
            earlier, own = str(clusters["ledger"]), str(clusters["server"])
            if earlier == own and not force:
                return Refolded(refolded=False, earlier_cluster=earlier, cluster=own)
            if not clusters["owner"]:
                message = "only the owner of the ledger's tables may refold it: log in as the role that migrates"
                raise RefoldRefusedError(message)
            await _lock(connection)
            await connection.execute(_MARK_RESTORED)
            frozen, accounts = await _freeze_and_fold(connection, on_progress)
            await connection.execute(_ADOPT)
            seconds = round(time.monotonic() - started, 3)
            return Refolded(refolded=True, earlier_cluster=earlier, cluster=own, credits=frozen, accounts=accounts, seconds=seconds)

        return await self._database.run(work)


async def _lock(connection: AsyncConnection) -> None:
    """Keep everybody from writing until the end of the database transaction.

    Raises:
        RefoldRefusedError: somebody is writing.
    """
    await connection.execute(_LIMIT_WAITS, {"timeout": f"{LOCK_TIMEOUT_SECONDS}s"})
    savepoint = await connection.begin_nested()
    try:
        await connection.execute(_LOCK)
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable | psycopg.errors.DeadlockDetected):
            raise
        await savepoint.rollback()
        writers = (await connection.execute(_WRITERS, {"tables": _TABLES})).all()
        message = f"somebody is writing to the ledger: {'; '.join(map(_named, writers))}. Stop what posts, and run refold again"
        raise RefoldRefusedError(message) from error
    await connection.execute(_LIMIT_WAITS, {"timeout": "0"})
    subscriptions = (await connection.execute(_SUBSCRIPTIONS)).scalars().all()
    if subscriptions:
        message = f"the subscription {', '.join(subscriptions)} still brings rows from another cluster: disable or drop it first"
        raise RefoldRefusedError(message)


def _named(writer: Row[Any]) -> str:
    if writer.pid is None:
        return "a prepared transaction"
    return f"process {writer.pid} of {writer.role or 'another role'} ({writer.application or 'no name'}, {writer.state or 'unknown'})"


async def _freeze_and_fold(connection: AsyncConnection, on_progress: Callable[[int, int], None] | None) -> tuple[int, int]:
    """All credits and all accounts, step by step in the order of their keys; how many of each."""
    horizon = (await connection.execute(_HORIZON)).scalar_one()
    total = (await connection.execute(_LEFT)).scalar_one()
    frozen, accounts, place = 0, 0, {"tenant": "", "account_id": ""}
    while (last := (await connection.execute(_LAST_OF_STEP, {**place, "accounts": ACCOUNTS_PER_STEP})).one_or_none()) is not None:
        step = {**place, "last_tenant": last.tenant, "last_account_id": last.account_id}
        frozen += (await connection.execute(_FREEZE, step)).rowcount
        accounts += (await connection.execute(_FOLD, {**step, "horizon": horizon})).rowcount
        place = {"tenant": last.tenant, "account_id": last.account_id}
        if on_progress is not None:
            on_progress(frozen, total)
    frozen += (await connection.execute(_FREEZE_THE_REST)).rowcount
    return frozen, accounts
