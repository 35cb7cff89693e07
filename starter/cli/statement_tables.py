"""A page of a statement, for people."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import typer
from rich.table import Table
from rich.text import Text

from starter.cli.reports import console

_TEXT_WIDTH: Final = 22


def show_statement(page: dict[str, Any]) -> None:
    """Print a page as the API gave it, and how to get the next one."""
    screen = console()
    screen.print(statement_table(page))
    screen.print(f"Opening balance {page['opening_balance']}, closing balance {page['closing_balance']} {page['currency']}.")
    provisional = sum(not line["settled"] for line in page["lines"])
    if provisional:
        screen.print(f"{provisional} provisional: a posting that is under way may still land before them.")
    if page["next_cursor"] is not None:
        # Plain, and on one line however long it is, so that it can be copied.
        typer.echo(f"More lines: --cursor {page['next_cursor']}")


def show_statements(found: dict[str, Any]) -> None:
    """Print an account's statements as the API gave them."""
    table = Table(
        title=f"Account {found['account_id']}, {found['currency']}", title_justify="left", box=None, pad_edge=False, header_style="bold"
    )
    for name in ("number", "from (UTC)", "until", "opening balance", "credited", "debited", "closing balance", "lines"):
        table.add_column(name, justify="left" if name in {"from (UTC)", "until"} else "right", no_wrap=True)
    current = {**found["current"], "number": "", "until": None}
    for one in (current, *found["closed"]):
        amounts = (one["opening_balance"], one["credited"], one["debited"], one["closing_balance"])
        table.add_row(str(one["number"]), _minute(one["since"]), _minute(one["until"]) or "not closed", *amounts, str(one["lines"]))
    console().print(table)
    if found["next_before"] is not None:
        typer.echo(f"Earlier statements: --cursor {found['next_before']}")


def show_closed_statement(found: dict[str, Any]) -> None:
    """Print a page of a closed statement."""
    statement = found["statement"]
    typer.echo(
        f"Statement {statement['number']}, {_minute(statement['since'])} to {_minute(statement['until'])} UTC, {statement['lines']} lines."
    )
    show_statement(found["page"])


def _minute(instant: str | None) -> str:
    return "" if instant is None else dt.datetime.fromisoformat(instant).astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M")


def statement_table(page: dict[str, Any]) -> Table:
    """The lines, debits with a minus."""
    table = Table(title=f"Account {page['account_id']}", title_justify="left", box=None, pad_edge=False, header_style="bold")
    for name in ("booked at (UTC)", "value date", "amount", "balance after"):
        table.add_column(name, justify="right" if name in {"amount", "balance after"} else "left", no_wrap=True)
    table.add_column("text", min_width=_TEXT_WIDTH, overflow="fold")
    for name in ("transaction", ""):
        table.add_column(name, no_wrap=True)
    for line in page["lines"]:
        texts = (
            "" if line["leg"] == line["direction"] else line["leg"],
            line["counterparty"],
            line["reference"],
            line["remittance_information"],
        )
        table.add_row(
            dt.datetime.fromisoformat(line["booked_at"]).astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S"),
            line["value_date"],
            f"{'-' if line['direction'] == 'debit' else ''}{line['amount']}",
            line["ledger_balance_after"],
            Text(" ".join(text for text in texts if text)),  # what customers wrote is text, never markup
            line["transaction_id"],
            "" if line["settled"] else "provisional",
        )
    return table
