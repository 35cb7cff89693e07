"""`casaflow transaction submit`, `list`, `show` and `reverse`."""

from __future__ import annotations

from typing import Annotated

import typer

from ledger.errors import InvalidInputError
from starter.cli.access import API_WAIT_SECONDS, EXIT_NOT_PROVEN, ApiKey, ApiUrl, Json, ask, given, json_object, present, show
from starter.cli.lists import list_transactions


def register(transactions: typer.Typer) -> None:
    """Add the commands."""
    transactions.command("submit")(submit)
    transactions.command("list")(list_transactions)
    transactions.command("show")(show_transaction)
    transactions.command("reverse")(reverse)


def submit(  # noqa: PLR0913, PLR0917  each is an option
    amount: Annotated[str | None, typer.Argument(help="In major units, such as 12.50.")] = None,
    currency: Annotated[str | None, typer.Argument(help="ISO 4217 code, such as EUR.")] = None,
    debtor: Annotated[str | None, typer.Option(help="The account that pays. Without it: a deposit.")] = None,
    creditor: Annotated[str | None, typer.Option(help="The account that is paid. Without it: a withdrawal.")] = None,
    transaction_id: Annotated[str | None, typer.Option("--id", help="A UUID; the same one again posts nothing twice.")] = None,
    reference: Annotated[str | None, typer.Option(help="Up to 35 characters.")] = None,
    remittance_information: Annotated[str | None, typer.Option(help="Up to 140 characters, for the other side.")] = None,
    value_date: Annotated[str | None, typer.Option(help="Such as 2026-01-31; the day of posting unless given.")] = None,
    metadata: Annotated[list[str] | None, typer.Option(help="NAME=TEXT; several may be given.")] = None,
    body: Annotated[str | None, typer.Option(help="A JSON file with the request, for what has no option; - is standard input.")] = None,
    wait: Annotated[int, typer.Option(min=0, help="Seconds to wait for the outcome.")] = API_WAIT_SECONDS,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Submit one transaction: a deposit, a withdrawal or a transfer. Exit code 1 if it doesn't end as completed."""
    options = given(
        transaction_id=transaction_id,
        debtor=debtor,
        creditor=creditor,
        amount=amount,
        currency=currency,
        reference=reference,
        remittance_information=remittance_information,
        value_date=value_date,
        metadata=_pairs(metadata) if metadata else None,
    )
    request = (json_object(body, field="--body") if body else {}) | options
    answer = ask(api_url, api_key, lambda client: client.submit(request, wait_seconds=wait))
    show(answer if as_json else present(answer), as_json=as_json)
    if answer["status"] != "completed":
        raise typer.Exit(EXIT_NOT_PROVEN)


def _pairs(given_pairs: list[str]) -> dict[str, str]:
    pairs = {}
    for pair in given_pairs:
        name, equals, text = pair.partition("=")
        if not equals:
            raise InvalidInputError(field="--metadata", value=pair, rule="must be NAME=TEXT")
        pairs[name] = text
    return pairs


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
    body = {
        **given(amount=amount, transaction_id=reversal_id, reference=reference, reason=reason),
        **({"override": {"reason": override}} if override else {}),
    }
    answer = ask(api_url, api_key, lambda client: client.reverse(transaction_id, body, wait_seconds=API_WAIT_SECONDS))
    show(answer if as_json else present(answer), as_json=as_json)
    # A parked one ends as reversed itself.
    if answer["status"] != ("reversed" if answer["transaction_id"] == transaction_id.lower() else "completed"):
        raise typer.Exit(EXIT_NOT_PROVEN)
