"""A page of a statement, for people."""

from __future__ import annotations

import datetime as dt
from typing import Any, Final

import typer
from rich.table import Table
from rich.text import Text

from starter.reports import console

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
