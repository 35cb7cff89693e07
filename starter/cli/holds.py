"""`casaflow hold`: set money aside, take it, release it."""

from __future__ import annotations

from typing import Annotated

import typer

from starter.cli.access import API_WAIT_SECONDS, EXIT_NOT_PROVEN, ApiKey, ApiUrl, Json, ask, given, present, show
from starter.cli.lists import list_holds

AccountId = Annotated[str, typer.Argument(help="The account's id.")]
HoldId = Annotated[str, typer.Argument(help="The hold's id, a UUID.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    holds = typer.Typer(help="Set money aside for later debits, take it, release it.", no_args_is_help=True)
    app.add_typer(holds, name="hold")
    for name, command in (("authorise", authorise), ("list", list_holds), ("show", show_hold), ("capture", capture), ("void", void)):
        holds.command(name)(command)


def authorise(  # noqa: PLR0913, PLR0917  each is an option
    account_id: AccountId,
    amount: Annotated[str, typer.Argument(help="In the account's currency, such as 12.50.")],
    currency: Annotated[str, typer.Argument(help="The account's currency.")],
    expires_at: Annotated[str, typer.Option(help="When it ends by itself, such as 2026-01-31T12:00:00Z.")],
    hold_id: Annotated[str | None, typer.Option(help="A UUID. The same one again is the same hold; unless given, a new one.")] = None,
    reference: Annotated[str | None, typer.Option(help="What it is for.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Set money aside. Status `refused` says that the account's rules or funds did not allow it."""
    body = {"account_id": account_id, "amount": amount, "currency": currency, "expires_at": expires_at}
    body |= given(hold_id=hold_id, reference=reference)
    show(ask(api_url, api_key, lambda client: client.authorise_hold(body)), as_json=as_json)


def show_hold(hold_id: HoldId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a hold as it stands."""
    show(ask(api_url, api_key, lambda client: client.hold(hold_id)), as_json=as_json)


def void(hold_id: HoldId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Release what an open hold still holds."""
    show(ask(api_url, api_key, lambda client: client.void_hold(hold_id)), as_json=as_json)


def capture(  # noqa: PLR0913, PLR0917  each is an option
    hold_id: HoldId,
    amount: Annotated[str | None, typer.Argument(help="A part, such as 5.00; all that is still held unless given.")] = None,
    creditor: Annotated[str | None, typer.Option(help="The account that gets it; unless given, it leaves the bank.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep what is left for further captures.")] = False,
    transaction_id: Annotated[str | None, typer.Option("--id", help="A UUID; the same one again captures nothing twice.")] = None,
    reference: Annotated[str | None, typer.Option(help="Up to 35 characters.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Take what is held by a transaction of its own. Exit code 1 if that doesn't end as completed."""
    body = given(amount=amount, creditor=creditor, transaction_id=transaction_id, reference=reference) | {"releases_hold": not keep}
    answer = ask(api_url, api_key, lambda client: client.capture_hold(hold_id, body, wait_seconds=API_WAIT_SECONDS))
    show(answer if as_json else present(answer), as_json=as_json)
    if answer["status"] != "completed":
        raise typer.Exit(EXIT_NOT_PROVEN)
