"""`casaflow transaction list`, `show` and `reverse`."""

from __future__ import annotations

import uuid
from typing import Annotated

import typer

from starter.cli.access import API_WAIT_SECONDS, EXIT_NOT_PROVEN, ApiKey, ApiUrl, Json, ask, given, present, show
from starter.cli.lists import list_transactions


def register(transactions: typer.Typer) -> None:
    """Add the commands."""
    transactions.command("list")(list_transactions)
    transactions.command("show")(show_transaction)
    transactions.command("reverse")(reverse)


def show_transaction(transaction_id: str, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a transaction: how it stands, its legs, and what was asked."""
    found = ask(api_url, api_key, lambda client: client.transaction(transaction_id))
    show(found if as_json else present(found), as_json=as_json)


def reverse(  # noqa: PLR0913, PLR0917  each is an option
    transaction_id: str,
    amount: Annotated[str | None, typer.Option(help="A part, such as 5.00; all that is left unless given.")] = None,
    reversal_id: Annotated[str | None, typer.Option(help="The reversal's own id (a UUID); the same id never reverses twice.")] = None,
    reference: Annotated[str | None, typer.Option(help="Up to 35 characters.")] = None,
    override: Annotated[str | None, typer.Option(help="Why limits and balance of who gives the money back don't count.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why a parked transaction is reversed; recorded with it.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Take a transaction back, or a part of it, by a transaction of its own. Exit code 1 if that doesn't end as completed.

    A parked transfer gives its debtor the money back, and ends as reversed itself; that needs a reason.
    """
    if amount is not None and reversal_id is None:
        reversal_id = str(uuid.uuid4())  # The client may send a part again while the API is away, and must not take it back twice.
    body = {
        **given(amount=amount, transaction_id=reversal_id, reference=reference, reason=reason),
        **({"override": {"reason": override}} if override else {}),
    }
    answer = ask(api_url, api_key, lambda client: client.reverse(transaction_id, body, wait_seconds=API_WAIT_SECONDS))
    show(answer if as_json else present(answer), as_json=as_json)
    # A parked one ends as reversed itself.
    if answer["status"] != ("reversed" if answer["transaction_id"] == transaction_id.lower() else "completed"):
        raise typer.Exit(EXIT_NOT_PROVEN)
