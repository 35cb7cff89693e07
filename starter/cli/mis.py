"""`casaflow mis`: totals per hour or day, as a table with bars, as JSON, or as a picture."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from ledger.charts import Interval
from starter.cli.access import ApiKey, ApiUrl, Json, ask, show

if TYPE_CHECKING:
    from collections.abc import Sequence

_BAR_WIDTH: Final = 30
_DIMENSIONS: Final = ("currency", "kind", "outcome", "reason", "leg", "direction", "band", "balance_band")
"""In the order in which the API's rows have them."""


class Counted(StrEnum):
    """What is counted."""

    TRANSACTIONS = "transactions"
    ENTRIES = "entries"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mis)


def mis(  # noqa: PLR0913, PLR0917  each is an option
    what: Annotated[Counted, typer.Argument(help="Transactions that have ended, or entries on accounts.")] = Counted.TRANSACTIONS,
    since: Annotated[str | None, typer.Option("--from", help="From the hour of this instant on, such as 2026-01-31T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option("--to", help="To the end of the hour of this instant; now unless given.")] = None,
    per: Annotated[Interval, typer.Option(help="A row for each.")] = Interval.HOUR,
    by: Annotated[
        str | None,
        typer.Option(
            help="Told apart by currency (as unless given), kind, band; transactions by outcome, reason too, entries by leg, direction, "
            "balance_band; with commas. Without currency there are no amounts."
        ),
    ] = None,
    time_zone: Annotated[str, typer.Option(help="IANA name; days begin at its midnight.")] = "UTC",
    plot: Annotated[Path | None, typer.Option(help="Draw a picture into this file, .png or .html; needs matplotlib.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show how many transactions ended or entries were posted, and how much they moved, per hour or day."""
    asked = {"since": since, "until": until, "per": per.value, "by": by, "time_zone": time_zone}
    if plot is not None:
        from starter.cli.mis_pictures import check_target  # noqa: PLC0415  as below

        check_target(plot)
    chart = ask(
        api_url,
        api_key,
        lambda client: client.entry_chart(**asked) if what is Counted.ENTRIES else client.transaction_chart(**asked),
    )
    if plot is not None:
        from starter.cli.mis_pictures import draw  # noqa: PLC0415  loaded only where something is drawn

        draw(what.value, chart, plot)
        typer.echo(f"drawn: {plot}", err=True)
    if as_json:
        show(chart, as_json=True)
    else:
        _print(what.value, chart)


def dimensions_of(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What the rows are told apart by."""
    return [name for name in _DIMENSIONS if rows and name in rows[0]]


def _print(counted: str, chart: dict[str, Any]) -> None:
    from rich.table import Table  # noqa: PLC0415  tables are loaded only where they are shown
    from rich.text import Text  # noqa: PLC0415

    from starter.cli.reports import console  # noqa: PLC0415

    rows, names = chart["rows"], dimensions_of(chart["rows"])
    title = f"{counted.capitalize()} per {chart['per']}, {chart['time_zone']}"
    table = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in (chart["per"], *names):
        table.add_column(name.replace("_", " "), no_wrap=True)
    table.add_column(counted, justify="right", no_wrap=True)
    if "currency" in names:
        table.add_column("amount", justify="right", no_wrap=True)
    table.add_column("")
    most = max((row[counted] for row in rows), default=0)
    shown_before = ""
    for row in rows:
        at = f"{dt.datetime.fromisoformat(row['at']):{'%Y-%m-%d' if chart['per'] == Interval.DAY else '%Y-%m-%d %H:%M'}}"
        cells = ["" if at == shown_before else at, *(row[name] or "-" for name in names), str(row[counted])]
        if "currency" in names:
            cells.append(row["amount"]["value"])
        table.add_row(*map(Text, cells), Text("█" * max(1, round(_BAR_WIDTH * row[counted] / most)), style="green"))
        shown_before = at
    screen = console()
    screen.print(table)
    if not rows:
        screen.print(f"None from {chart['from']} to {chart['to']}.")
