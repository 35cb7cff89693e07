"""Upkeep in small steps beside the postings: folds of long tails, checkpoints, expired holds. See decision record 0013."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import structlog
from sqlalchemy import text

from infra.postgres.checkpoints import PostgresCheckpoints
from infra.postgres.holds import PostgresHolds
from infra.postgres.json import to_jsonb
from ledger.errors import CasaflowError, UnavailableError

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.observing import LedgerObserver

_log = structlog.get_logger(__name__)

FOLD_FROM: Final = 64
"""Credits in a tail that is worth folding, as when a debit folds: fewer cost the view no more than none."""
CREDITS_PER_FOLD: Final = 20_000
"""Of one account in one database transaction, during which its debits wait: some ten milliseconds."""
ACCOUNTS_PER_LOOK: Final = 500

# The next accounts, and how long their tails are, counted to `fold_from` at most: so a look reads few index entries of each, however many
# credits there are.
_LOOK: Final = text("""
    SELECT o.tenant, o.account_id, newer.credits + late.credits AS credits
      FROM (SELECT tenant, account_id, folded_until, folded_except
              FROM online_balance
             WHERE (tenant, account_id) > (:tenant, :account_id)
             ORDER BY tenant, account_id
             LIMIT :accounts) AS o
     CROSS JOIN LATERAL (
           SELECT count(*) AS credits
             FROM (SELECT FROM offline_entry e
                    WHERE e.tenant = o.tenant AND e.account_id = o.account_id AND e.xid >= o.folded_until
                    LIMIT :fold_from) AS e) AS newer
     CROSS JOIN LATERAL (
           SELECT count(*) AS credits
             FROM (SELECT FROM offline_entry e
                    WHERE e.tenant = o.tenant AND e.account_id = o.account_id AND e.xid = ANY (o.folded_except) AND e.xid < o.folded_until
                    LIMIT :fold_from) AS e) AS late
     ORDER BY o.tenant, o.account_id
""")
_FOLD: Final = text("SELECT credits, more FROM fold_tail(:tenant, :account_id, :fold_from, :at_most)")
# Of processes that want to begin at one moment the second waits for the first's row, and then finds it begun.
_BEGIN: Final = text("""
    UPDATE maintenance_run SET begun_at = clock_timestamp()
     WHERE begun_at <= clock_timestamp() - make_interval(secs => :every_seconds)
    RETURNING begun_at
""")
_FINISH: Final = text("UPDATE maintenance_run SET finished_at = clock_timestamp(), report = CAST(:report AS jsonb)")
_METRICS: Final = text("""
    SELECT r.report, extract(epoch FROM clock_timestamp() - r.finished_at) AS seconds_ago,
           w.seconds AS writer_seconds, w.xids AS writer_xids
      FROM maintenance_run r CROSS JOIN oldest_writer() AS w
""")


@dataclass(frozen=True)
class MaintenanceReport:
    """What a run found and did."""

    accounts: int = 0
    """Looked at."""
    folded_accounts: int = 0
    folded_credits: int = 0
    busy_accounts: int = 0
    """With a tail to fold, but debited at that moment: the debit folds."""
    longest_tail: int = 0
    """Credits that one account's balance had to sum, at most; where somebody else folded it first, a part of them."""
    checkpoints: int = 0
    checkpoint_lines: int = 0
    expired_holds: int = 0
    seconds: float = 0.0


@dataclass(frozen=True)
class MaintenanceMetrics:
    """How much upkeep is due, by cheap queries."""

    longest_tail: int
    """Credits not folded of one account, as the last run found them; 0 before the first run."""
    last_run_seconds_ago: float | None
    """None: there was none."""
    oldest_writer_seconds: float
    """How long the oldest writing database transaction has been open, anywhere in the cluster; 0 without one."""
    oldest_writer_xids: int
    """Transaction ids between the oldest one in progress and the newest."""


class PostgresMaintenance:
    """Safe beside postings, to cut off, to repeat, and in several processes at once: each step is a short database transaction."""

    def __init__(self, database: Database, observer: LedgerObserver | None = None) -> None:
        self._database = database
        self._observer = observer
        self._checkpoints = PostgresCheckpoints(database)
        self._holds = PostgresHolds(database)

    async def run(self, *, on_progress: Callable[[MaintenanceReport], None] | None = None) -> MaintenanceReport:
        """Do all that is due now.

        Args:
            on_progress: called after each step with what was done so far.

        Raises:
            UnavailableError: the database did not answer, or the ledger was restored and not refolded; what was done stays.
        """
        started = time.monotonic()
        report = MaintenanceReport()

        def done(so_far: MaintenanceReport) -> None:
            if on_progress is not None:
                on_progress(so_far)

        tenant, account_id = "", ""
        while looked := await self._look(tenant, account_id):
            for tenant, account_id, tail in looked:
                report = replace(report, accounts=report.accounts + 1, longest_tail=max(report.longest_tail, tail))
                if tail >= FOLD_FROM:
                    report = await self._fold(tenant, account_id, report)
                    done(report)
            done(report)
        advanced = await self._checkpoints.advance()
        report = replace(report, checkpoints=advanced.checkpoints, checkpoint_lines=advanced.lines)
        done(report)
        report = replace(report, expired_holds=await self._holds.expire())
        report = replace(report, seconds=round(time.monotonic() - started, 3))
        done(report)
        await self._finish(report)
        return report

    async def keep_up(self, *, every_seconds: float) -> None:
        """Run again and again until cancelled. Of several processes that do so, one runs at a time, whichever comes first.

        A failed run is said in the log, and the next one is tried in time: whatever is wrong, postings don't depend on it.
        """
        while True:
            try:
                if await self._begin(every_seconds):
                    report = await self.run()
                    _log.info("maintenance.done", **asdict(report))
            except UnavailableError as error:
                _log.warning("maintenance.not-now", detail=error.detail)
            except CasaflowError as error:
                _log.error("maintenance.failed", error=str(error))
            await asyncio.sleep(every_seconds)

    async def metrics(self) -> MaintenanceMetrics:
        """How much upkeep is due.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> MaintenanceMetrics:
            row = (await connection.execute(_METRICS)).mappings().one()
            report: dict[str, Any] = row["report"] or {}
            return MaintenanceMetrics(
                longest_tail=int(report.get("longest_tail", 0)),
                last_run_seconds_ago=None if row["seconds_ago"] is None else float(row["seconds_ago"]),
                oldest_writer_seconds=float(row["writer_seconds"]),
                oldest_writer_xids=int(row["writer_xids"]),
            )

        return await self._database.run_statement(work)

    async def _look(self, tenant: str, account_id: str) -> Sequence[tuple[str, str, int]]:
        values = {"tenant": tenant, "account_id": account_id, "accounts": ACCOUNTS_PER_LOOK, "fold_from": FOLD_FROM}

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str, int]]:
            return [(row.tenant, row.account_id, row.credits) for row in await connection.execute(_LOOK, values)]

        return await self._database.run_statement(work)

    async def _fold(self, tenant: str, account_id: str, report: MaintenanceReport) -> MaintenanceReport:
        """Fold one account's tail, piece by piece; between two pieces its debits go on."""
        folded, more = 0, True
        while more:
            step = await self._fold_once(tenant, account_id)
            if step is None:
                report = replace(report, busy_accounts=report.busy_accounts + 1)
                break
            folded, more = folded + step[0], step[1]
        if folded and self._observer is not None:
            self._observer.folded(folded)
        return replace(
            report,
            folded_accounts=report.folded_accounts + (folded > 0),
            folded_credits=report.folded_credits + folded,
            longest_tail=max(report.longest_tail, folded),
        )

    async def _fold_once(self, tenant: str, account_id: str) -> tuple[int, bool] | None:
        values = {"tenant": tenant, "account_id": account_id, "fold_from": FOLD_FROM, "at_most": CREDITS_PER_FOLD}

        async def work(connection: AsyncConnection) -> tuple[int, bool] | None:
            row = (await connection.execute(_FOLD, values)).one_or_none()
            return None if row is None else (row.credits, row.more)

        return await self._database.run_statement(work)

    async def _begin(self, every_seconds: float) -> bool:
        async def work(connection: AsyncConnection) -> dt.datetime | None:
            begun_at: dt.datetime | None = (await connection.execute(_BEGIN, {"every_seconds": every_seconds})).scalar_one_or_none()
            return begun_at

        return await self._database.run_statement(work) is not None

    async def _finish(self, report: MaintenanceReport) -> None:
        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_FINISH, {"report": to_jsonb(asdict(report))})

        await self._database.run_statement(work)
