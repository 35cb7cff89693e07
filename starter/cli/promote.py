"""`casaflow promote`: make a version of the workers the current one."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.errors import UnavailableError
from starter.cli.access import EXIT_NOT_PROVEN, Json, operator
from starter.group_stores import on_stores

if TYPE_CHECKING:
    from infra.postgres.database import Database
    from infra.temporal.deployment import Moves


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def promote(
        build_id: Annotated[str | None, typer.Argument(help="The version; unless given, that of the code which is installed here.")] = None,
        move_all: Annotated[bool, typer.Option("--move-all", help="Move runs whose own workers are still there, too.")] = False,
        report: Annotated[bool, typer.Option("--report", help="Change nothing; exit code 1 if no worker serves some run.")] = False,
        within: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a worker of the version.")] = 30.0,
        as_json: Json = False,
    ) -> None:
        """Make a version of the workers the current one, and move the runs that no worker serves any more to it.

        Safe to repeat: run it again once the last worker of the version before is gone. Going back is promoting the older build id.
        """
        if not report:
            on_stores(lambda settings, database: _note(settings, database, build_id, move_all=move_all))
        found = asyncio.run(_promote(_with_temporal(Settings()), build_id, move_all=move_all, report=report, within_seconds=within))
        typer.echo(json.dumps(found) if as_json else _in_words(found))
        if report and found["unserved"]:
            raise typer.Exit(EXIT_NOT_PROVEN)


async def _note(settings: Settings, database: Database, build_id: str | None, *, move_all: bool) -> None:
    """Record what is about to be done, whether it then succeeds or not."""
    from infra.postgres.administrative_acts import PostgresAdministrativeActs  # noqa: PLC0415  the driver is loaded only where it is used
    from infra.temporal.deployment import installed_build_id  # noqa: PLC0415

    detail = {"build_id": build_id or settings.worker_build_id or installed_build_id(), "move_all": move_all}
    await PostgresAdministrativeActs(database).record(operator(), "workers.promoted", f"task queue {settings.task_queue}", detail=detail)


def _with_temporal(settings: Settings) -> Settings:
    """The settings, with the Temporal of the running stack where they name none."""
    if settings.temporal_address is not None:
        return settings
    info = read_stack_info(settings.home)
    if info is None:
        detail = f"nothing runs in {settings.home.absolute()}, and CASAFLOW_TEMPORAL_ADDRESS is not set"
        raise UnavailableError(part="temporal", detail=detail)
    return settings.model_copy(update={"temporal_address": info.temporal_address})


async def _promote(settings: Settings, build_id: str | None, *, move_all: bool, report: bool, within_seconds: float) -> dict[str, Any]:
    from infra.temporal.client import connect  # noqa: PLC0415  the client is loaded only where it is used
    from infra.temporal.deployment import DEPLOYMENT, WorkerDeployment, installed_build_id  # noqa: PLC0415

    deployment = WorkerDeployment(await connect(settings), settings.worker_deployment or DEPLOYMENT, settings.task_queue)
    if report:
        polling = await deployment.polling()
        left = await deployment.left()
        return {
            "current": await deployment.current(),
            "polling": sorted(polling),
            "unserved": [asdict(run) for run in left if run.build_id not in polling],
            "served": sum(run.build_id in polling for run in left),
        }
    chosen = build_id or settings.worker_build_id or installed_build_id()
    await deployment.set_current(chosen, within_seconds=within_seconds)
    moves: Moves = await deployment.move_left(also_served=move_all)
    return {"current": chosen, "moved": [asdict(run) for run in moves.moved], "served": dict(moves.served)}


def _in_words(found: dict[str, Any]) -> str:
    lines = [f"current version: {found['current'] or 'none'}"]
    if "unserved" in found:
        lines.append(f"workers poll for: {', '.join(found['polling']) or 'no version'}")
        lines += [f"no worker serves {run['workflow_id']}, of version {run['build_id']}" for run in found["unserved"]]
        if not found["unserved"]:
            lines.append("each run of another version has a worker")
        return "\n".join(lines)
    lines += [f"moved {run['workflow_id']}, of version {run['build_id']}" for run in found["moved"]]
    lines += [f"{count} runs stay with version {build_id}, whose workers still poll" for build_id, count in found["served"].items()]
    return "\n".join(lines)
