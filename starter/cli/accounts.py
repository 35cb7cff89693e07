"""`casaflow account`: open accounts, change their rules and status."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final

import typer

from starter.cli.access import ApiKey, ApiUrl, Json, ask, show
from starter.cli.lists import list_accounts

if TYPE_CHECKING:
    from collections.abc import Callable

    from casaflow_client import AsyncClient
    from casaflow_client.models import Account

_NONE: Final = "none"
AccountId = Annotated[str, typer.Argument(help="1 to 34 letters, digits, dots, hyphens or underscores.")]
OverdraftLimit = Annotated[str | None, typer.Option(help="How far below zero the balance may go, such as 500.00.")]
MinimumBalance = Annotated[str | None, typer.Option(help="What a debit must leave available.")]
MaximumBalance = Annotated[str | None, typer.Option(help=f"What a credit may bring the balance to; {_NONE}: any.")]
TransactionLimit = Annotated[str | None, typer.Option(help=f"What one debit may take; {_NONE}: any.")]
DailyLimit = Annotated[str | None, typer.Option(help=f"What the debits and holds of a day may take together; {_NONE}: any.")]
MonthlyLimit = Annotated[str | None, typer.Option(help=f"What those of a calendar month may take together; {_NONE}: any.")]
TimeZone = Annotated[str | None, typer.Option(help="IANA name, such as Europe/Prague; days and months begin at its midnight.")]


class Side(StrEnum):
    """What a freeze refuses."""

    DEBITS = "debits"
    CREDITS = "credits"
    BOTH = "both"


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    accounts = typer.Typer(help="Open, list and show accounts, change their rules and status.", no_args_is_help=True)
    app.add_typer(accounts, name="account")
    accounts.command("open")(account_open)
    accounts.command("list")(list_accounts)
    accounts.command("show")(account_show)
    accounts.command("rules")(account_rules)
    accounts.command("freeze")(account_freeze)
    for change, method, what in (
        ("unfreeze", "unfreeze", "Give a frozen account back the status that it had before."),
        ("dormant", "make_dormant", "Refuse the customer's debits until the account is reactivated."),
        ("reactivate", "reactivate", "Make a dormant account active again."),
        ("close", "close_account", "Close an account for good. It must have no money, no hold and no open transaction."),
    ):
        accounts.command(change, help=what)(_status_command(method))


def account_open(  # noqa: PLR0913, PLR0917  each is an option
    account_id: AccountId,
    currency: Annotated[str, typer.Argument(help="ISO 4217 code, such as EUR.")],
    kind: Annotated[str, typer.Option(help="current or savings.")] = "current",
    overdraft_limit: OverdraftLimit = None,
    minimum_balance: MinimumBalance = None,
    maximum_balance: MaximumBalance = None,
    transaction_limit: TransactionLimit = None,
    daily_limit: DailyLimit = None,
    monthly_limit: MonthlyLimit = None,
    time_zone: TimeZone = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Open an account. The same call again changes nothing."""
    rules = _rules(
        overdraft_limit=overdraft_limit,
        minimum_balance=minimum_balance,
        maximum_balance=maximum_balance,
        transaction_limit=transaction_limit,
        daily_limit=daily_limit,
        monthly_limit=monthly_limit,
        time_zone=time_zone,
    )
    body = {"account_id": account_id, "currency": currency, "kind": kind, **rules}
    show(ask(api_url, api_key, lambda client: client.open_account(body)), as_json=as_json)


def account_show(account_id: AccountId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show an account and its rules."""
    show(ask(api_url, api_key, lambda client: client.account(account_id)), as_json=as_json)


def account_rules(  # noqa: PLR0913, PLR0917  each is an option
    account_id: AccountId,
    overdraft_limit: OverdraftLimit = None,
    minimum_balance: MinimumBalance = None,
    maximum_balance: MaximumBalance = None,
    transaction_limit: TransactionLimit = None,
    daily_limit: DailyLimit = None,
    monthly_limit: MonthlyLimit = None,
    time_zone: TimeZone = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Change the rules that are given, and show all of them. Amounts in the account's currency."""
    rules = _rules(
        overdraft_limit=overdraft_limit,
        minimum_balance=minimum_balance,
        maximum_balance=maximum_balance,
        transaction_limit=transaction_limit,
        daily_limit=daily_limit,
        monthly_limit=monthly_limit,
        time_zone=time_zone,
    )

    async def change(client: AsyncClient) -> Account:
        return await (client.change_rules(account_id, rules) if rules else client.account(account_id))

    show(ask(api_url, api_key, change), as_json=as_json)


def account_freeze(
    account_id: AccountId,
    side: Annotated[Side, typer.Option(help="What to refuse.")] = Side.BOTH,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Refuse debits, credits, or both from now on."""
    show(ask(api_url, api_key, lambda client: client.freeze(account_id, side.value)), as_json=as_json)


def _status_command(method: str) -> Callable[..., None]:
    def change_status(account_id: AccountId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
        show(ask(api_url, api_key, lambda client: getattr(client, method)(account_id)), as_json=as_json)

    return change_status


def _rules(**options: str | None) -> dict[str, str | None]:
    """The rules that were given; the word `none` takes one away."""
    return {name: None if value == _NONE else value for name, value in options.items() if value is not None}
