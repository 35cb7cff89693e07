"""`casaflow drain`: take no new work, and wait until what has begun is done."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated

import typer

from infra.settings import Settings
from starter.cli.access import EXIT_NOT_PROVEN, Json, operator, outside_or_stack

if TYPE_CHECKING:
    from ledger.drains import InFlight
    from starter.draining import Drain


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(drain)


def drain(
    off: Annotated[bool, typer.Option("--off", help="Take new work again.")] = False,
    report: Annotated[bool, typer.Option("--report", help="Change nothing; exit code 1 unless it is drained.")] = False,
    reason: Annotated[str | None, typer.Option(help="Why; recorded, and told to whoever is refused meanwhile.")] = None,
    timeout: Annotated[float, typer.Option(min=0, help="Seconds to wait until nothing is in flight.")] = 300.0,
    as_json: Json = False,
) -> None:
    """Take no new work, and wait until what has begun is done and published. Exit code 1 if that takes longer than --timeout.

    New transactions, holds and files are refused with 503, `draining` and Retry-After within a second or two; repeats of what has begun are
    answered, and reading goes on. What waits for an approval or for its day, or stands parked, is not waited for. It stays so, whatever is
    stopped and started, until `casaflow drain --off`.
    """
    if off and report:
        raise typer.BadParameter("give either --off or --report")  # noqa: TRY003, EM101  typer's own error
    from starter import draining  # noqa: PLC0415  the clients of the servers are loaded only where they are used

    settings = outside_or_stack(Settings())
    if report:
        found = asyncio.run(draining.standing(settings))
    elif off:
        found = asyncio.run(draining.resume(settings, actor=operator(), reason=reason))
    else:
        work = draining.drain(settings, actor=operator(), reason=reason, within_seconds=timeout, on_look=_Looks())
        found = asyncio.run(work)
    typer.echo(json.dumps(_as_json(found)) if as_json else _in_words(found))
    if not off and not found.is_drained:
        raise typer.Exit(EXIT_NOT_PROVEN)


class _Looks:
    """Says what is in flight whenever that is another number."""

    def __init__(self) -> None:
        self._said = ""

    def __call__(self, found: InFlight) -> None:
        line = f"in flight: {_counted(found)}"
        if line != self._said:
            self._said = line
            typer.echo(line, err=True)


def _counted(found: InFlight) -> str:
    return f"{found.transactions} transactions, {found.files} files, {found.events} events to publish"


def _as_json(found: Drain) -> dict[str, object]:
    return {
        "intake": found.intake.model_dump(mode="json"),
        "in_flight": found.in_flight.model_dump(mode="json"),
        "drained": found.is_drained,
    }


def _in_words(found: Drain) -> str:
    if found.intake.is_open:
        return "new work is taken"
    waits = (
        f"; {found.in_flight.standing} transactions wait for somebody or for their day, or stand parked" if found.in_flight.standing else ""
    )
    if found.is_drained:
        return f"drained: no new work is taken, and nothing is in flight{waits}"
    return f"not drained: no new work is taken, and in flight are {_counted(found.in_flight)}{waits}"
