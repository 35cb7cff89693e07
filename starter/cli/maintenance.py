"""`casaflow maintain` and `refold`: what keeps the ledger's tables in order."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.errors import UnavailableError
from starter.cli.access import Json, operator

if TYPE_CHECKING:
    from infra.postgres.database import Database
    from infra.postgres.maintenance import MaintenanceReport

_REFOLD_SECONDS: Final = 24 * 3600.0
"""Rewriting all credits of a large ledger takes long, and ends whole or not at all."""
_SAID_EVERY_SECONDS: Final = 1.0


def register(app: typer.Typer) -> None:
    """Add both commands."""
    app.command()(maintain)
    app.command()(refold)


def maintain(
    once: Annotated[bool, typer.Option("--once", help="Run once and return; so it is without --every, too.")] = False,
    every: Annotated[float | None, typer.Option(min=0.1, help="Run again and again, this many seconds apart.")] = None,
    as_json: Json = False,
) -> None:
    """Fold long tails of credits, advance the checkpoints of statements, expire holds, and make missing Schedules of standing orders.

    Safe at any time. The workers do it, too, but look for Schedules that are missing altogether only when they start. Where a database and
    no Temporal is set, standing orders are left out, and the answer says so.
    """
    if once and every is not None:
        raise typer.BadParameter("give either --once or --every")  # noqa: TRY003, EM101  typer's own error
    asyncio.run(_maintain(Settings(), every_seconds=every, as_json=as_json))


async def _maintain(settings: Settings, *, every_seconds: float | None, as_json: bool) -> None:
    from infra.postgres.database import Database  # noqa: PLC0415  the driver is loaded only where it is used
    from infra.postgres.maintenance import PostgresMaintenance  # noqa: PLC0415

    database = Database.open(_postgres_url(settings), pool_size=2, role=settings.postgres_role)
    try:
        maintenance = PostgresMaintenance(database)
        while True:
            report = await maintenance.run(on_progress=_Progress().report)
            mended = await _mend_standing_orders(settings, database)
            found = asdict(report) | {"metrics": asdict(await maintenance.metrics()), "mended_standing_orders": mended}
            typer.echo(json.dumps(found) if as_json else f"{_in_words(report)}; {_mended_in_words(mended)}")
            if every_seconds is None:
                return
            await asyncio.sleep(every_seconds)
    finally:
        await database.close()


async def _mend_standing_orders(settings: Settings, database: Database) -> int | None:
    """Bring all Schedules in line with the register; how many orders needed it. None: there is no Temporal to look at."""
    from infra.postgres.standing_orders import PostgresStandingOrders  # noqa: PLC0415  as above
    from infra.temporal.client import connect  # noqa: PLC0415
    from infra.temporal.standing_orders import StandingOrderKeeper  # noqa: PLC0415

    reachable = _with_temporal(settings)
    if reachable is None:
        return None
    keeper = StandingOrderKeeper(PostgresStandingOrders(database), lambda: connect(reachable), task_queue=reachable.task_queue)
    return await keeper.reconcile(now=dt.datetime.now(dt.UTC), whole=True)


def _with_temporal(settings: Settings) -> Settings | None:
    """The settings, with the Temporal of the running stack where they name none. None: there is none that belongs to the database."""
    if settings.temporal_address is not None:
        return settings
    if settings.postgres_url is not None:
        return None  # a database of the user's doesn't belong to the stack that happens to run here
    info = read_stack_info(settings.home)
    return settings.model_copy(update={"temporal_address": info.temporal_address}) if info is not None else None


def _mended_in_words(mended: int | None) -> str:
    if mended is None:
        return "standing orders not looked at, since CASAFLOW_TEMPORAL_ADDRESS is not set"
    return f"{mended} Schedules of standing orders mended"


def _in_words(report: MaintenanceReport) -> str:
    return (
        f"{report.accounts} accounts looked at, {report.folded_credits} credits of {report.folded_accounts} folded, longest tail "
        f"{report.longest_tail}; {report.checkpoints} checkpoints added, {report.expired_holds} holds expired"
    )


def refold(
    force: Annotated[
        bool, typer.Option("--force", help="Even where the ledger says that it is this cluster's own: after a move by replication.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a ledger that was restored from a dump, or replicated, into another cluster postable there. With all posting stopped."""
    done = asyncio.run(_refold(Settings(), force=force))
    if as_json:
        typer.echo(json.dumps(done))
    elif done["refolded"]:
        typer.echo(
            f"refolded: {done['credits']} credits of {done['accounts']} accounts, from cluster {done['earlier_cluster']} "
            f"to {done['cluster']}, in {done['seconds']} s"
        )
    else:
        typer.echo(f"nothing to do: the ledger belongs to this cluster, {done['cluster']}")


async def _refold(settings: Settings, *, force: bool) -> dict[str, Any]:
    from infra.postgres.administrative_acts import PostgresAdministrativeActs  # noqa: PLC0415  as above
    from infra.postgres.database import Database  # noqa: PLC0415
    from infra.postgres.refold import PostgresRefold  # noqa: PLC0415

    # As the owner: the application may not touch what this rewrites.
    database = Database.open(_postgres_url(settings), pool_size=1, operation_timeout_seconds=_REFOLD_SECONDS)
    try:
        await PostgresAdministrativeActs(database).record(operator(), "ledger.refolded", "ledger", detail={"force": force})
        refolded = await PostgresRefold(database).refold(force=force, on_progress=_Progress().credits)
    finally:
        await database.close()
    return asdict(refolded)


class _Progress:
    """Says on standard error how far a long run has come."""

    def __init__(self) -> None:
        self._at = time.monotonic()

    def report(self, so_far: MaintenanceReport) -> None:
        """Of maintenance."""
        self._say(_in_words(so_far))

    def credits(self, done: int, total: int) -> None:
        """Of a refold."""
        self._say(f"{done} of {total} credits refolded")

    def _say(self, line: str) -> None:
        if time.monotonic() - self._at >= _SAID_EVERY_SECONDS:
            self._at = time.monotonic()
            typer.echo(line, err=True)


def _postgres_url(settings: Settings) -> str:
    """Of the environment, or of the running stack.

    Raises:
        UnavailableError: neither names one.
    """
    if settings.postgres_url is not None:
        return settings.postgres_url.get_secret_value()
    info = read_stack_info(settings.home)
    if info is None:
        raise UnavailableError(part="postgres", detail=f"nothing runs in {settings.home.absolute()}, and CASAFLOW_POSTGRES_URL is not set")
    return info.postgres_dsn
