"""`casaflow restored`: what a restored ledger has lost although it was told, and how the rest goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Annotated, Final

import typer

from infra.settings import Settings
from ledger.errors import InvalidInputError
from starter.cli.access import EXIT_NOT_PROVEN, Json, operator, outside_or_stack

if TYPE_CHECKING:
    from ledger.restores import RestoreReport

_SHOWN: Final = 100
"""Lost items of a table; --json has them all."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(restored)


def restored(
    go_on: Annotated[
        bool,
        typer.Option("--go-on", help="Have groups go on behind what was lost, and remove its workflows. With all of casaflow stopped."),
    ] = False,
    since: Annotated[str | None, typer.Option(help="Look from this instant on, instead of from where the groups' stores stand.")] = None,
    as_json: Json = False,
) -> None:
    """Name what was published, or done by a workflow, and that a restored ledger lacks. Exit code 1 if there is something.

    Run it after the database was restored to an earlier instant, before workers, API and consumers start. The same ids posted again get
    the same events.
    """
    from starter.restored import find_lost  # noqa: PLC0415  the clients of the servers are loaded only where they are used

    report = asyncio.run(find_lost(outside_or_stack(Settings()), since=_instant(since), actor=operator() if go_on else None))
    if as_json:
        typer.echo(report.model_dump_json(indent=1))
    else:
        _show(report, asked_to_go_on=go_on)
    if report.lost or report.applied:
        raise typer.Exit(EXIT_NOT_PROVEN)


def _instant(text: str | None) -> dt.datetime | None:
    if text is None:
        return None
    rule = "must be an instant with its time zone, such as 2026-03-02T09:30:00Z"
    try:
        instant = dt.datetime.fromisoformat(text)
    except ValueError as error:
        raise InvalidInputError(field="since", value=text, rule=rule) from error
    if instant.tzinfo is None:
        raise InvalidInputError(field="since", value=text, rule=rule)
    return instant


def _show(report: RestoreReport, *, asked_to_go_on: bool) -> None:
    from rich.console import Console  # noqa: PLC0415  tables are loaded only where they are shown
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    counted = f"{report.records} records and {report.runs} workflows compared with the ledger"
    if report.lost:
        table = Table("lost", "tenant", "id", "told", "debtor", "creditor", "amount", "events", "workflow", box=None, header_style="bold")
        for item in report.lost[:_SHOWN]:
            cells = (item.kind.value + (" (its end)" if item.known else ""), item.tenant, item.identifier, item.told, item.debtor)
            run = item.run.status if item.run is not None else None
            table.add_row(*(Text(cell or "-") for cell in (*cells, item.creditor, item.amount, str(len(item.events)), run)))
        Console(width=None if typer.get_text_stream("stdout").isatty() else 250).print(table)
        if len(report.lost) > _SHOWN:
            typer.echo(f"and {len(report.lost) - _SHOWN} more; --json names them all")
        for item in report.lost[:_SHOWN]:
            for event in item.events:
                place = f"at offset {event.offset} of {event.topic}/{event.partition}"
                typer.echo(f"event {event.event_id} ({event.type}) of {item.identifier}, {place}")
    for effect in report.applied:
        typer.echo(f"group {effect.group} has applied {effect.events} events that the ledger lacks, such as {effect.example}")
    typer.echo(f"{counted}: {f'{len(report.lost)} lost' if report.lost else 'nothing is lost'}")
    typer.echo(_next_step(report, asked_to_go_on=asked_to_go_on))


def _next_step(report: RestoreReport, *, asked_to_go_on: bool) -> str:
    if report.applied:
        return "Consumers ran before this command. Restore again, and start nothing of casaflow before it."
    if report.done is not None:
        done = report.done
        return (
            f"Groups go on behind it ({done.partitions} offsets moved), {done.events_again} events are published again, "
            f"{done.runs_removed} workflows removed. Start casaflow, and have the lost ids posted again."
        )
    if report.lost and not asked_to_go_on:
        return "Keep this list (--json), then `casaflow restored --go-on`, start casaflow, and have the same ids posted again."
    return "Have the groups go on with `casaflow restored --go-on`, if the ledger was restored, and start casaflow."
