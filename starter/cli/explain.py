"""`casaflow explain`: a transaction from the request to the last consumer, in one timeline."""

from __future__ import annotations

import datetime as dt
import sys
from typing import Annotated, Any, Final

import typer

from infra.settings import Settings
from infra.stack.control import read_stack_info
from starter.cli.access import ApiKey, ApiUrl, Json, ask, show
from starter.web_ui import workflow_link

_WIDTH: Final = 160
"""Where the output isn't a terminal, so that a log or a test has whole lines."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(
    transaction_id: Annotated[str, typer.Argument(help="The transaction's id, a UUID.")],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Tell what became of a transaction: request, rate, decisions, entries, events, consumers, operators and workflow, in one timeline."""
    found = ask(api_url, api_key, lambda client: client.explanation(transaction_id))
    if as_json:
        show(found, as_json=True)
        return
    _print(found)


def _print(found: dict[str, Any]) -> None:
    from rich.console import Console  # noqa: PLC0415  tables are loaded only where they are shown
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH)
    for line in _head(found):
        console.print(Text(line))
    table = Table("at", "who", "what", box=None, header_style="bold", pad_edge=False)
    day = ""
    for moment in found["timeline"]:
        # The day once, and then the time to the microsecond: legs of one batch are as close as that.
        at = dt.datetime.fromisoformat(moment["at"]).astimezone(dt.UTC)
        if day != f"{at:%Y-%m-%d}":
            day = f"{at:%Y-%m-%d}"
            table.add_row(Text(f"{day} UTC", style="bold"), "", "")
        style = "red" if "failed" in moment["detail"] or moment["detail"].get("outcome") == "refused" else ""
        # As Text, since ids and messages may have brackets, which the table would take for its own markup.
        table.add_row(Text(f"{at:%H:%M:%S.%f}"), Text(moment["part"]), Text(moment["what"], style=style))
    console.print(table)


def _head(found: dict[str, Any]) -> list[str]:
    why = f", {found['reason']['detail']}" if found["reason"] else ""
    lines = [f"transaction {found['transaction_id']}: {found['status']}{why}"]
    if found["reversed_by"]:
        lines.append(f"taken back by {', '.join(found['reversed_by'])}")
    workflow = found["workflow"]
    if workflow is not None:
        lines.append(f"workflow {workflow['workflow_id']}: {workflow['status']}")
        if workflow["waits_for"]:
            lines.append(f"it waits for {workflow['waits_for']}")
        settings = Settings()
        info = read_stack_info(settings.home)
        if info is not None and info.temporal_ui is not None:
            lines.append(workflow_link(info.temporal_ui, settings.temporal_namespace, workflow["workflow_id"], workflow["run_id"]))
    return [*lines, *(f"not told: {gap}" for gap in found["gaps"])]
