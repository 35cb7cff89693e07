"""`casaflow account` and `casaflow hold`: open accounts, change their rules and status, set money aside."""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from starter.cli.access import ApiKey, ApiUrl, Json, ask, show
from starter.cli.lists import list_accounts, list_holds

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starter.client import ApiClient

_NONE: Final = "none"
AccountId = Annotated[str, typer.Argument(help="1 to 34 letters, digits, dots, hyphens or underscores.")]
HoldId = Annotated[str, typer.Argument(help="The hold's id, a UUID.")]
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
    """Add both groups of commands."""
    accounts = typer.Typer(help="Open, list and show accounts, change their rules and status.", no_args_is_help=True)
    holds = typer.Typer(help="Set money aside for later debits.", no_args_is_help=True)
    app.add_typer(accounts, name="account")
    app.add_typer(holds, name="hold")
    accounts.command("open")(account_open)
    accounts.command("list")(list_accounts)
    accounts.command("show")(account_show)
    accounts.command("rules")(account_rules)
    accounts.command("freeze")(account_freeze)
    for change, what in (
        ("unfreeze", "Give a frozen account back the status that it had before."),
        ("dormant", "Refuse the customer's debits until the account is reactivated."),
        ("reactivate", "Make a dormant account active again."),
        ("close", "Close an account for good. It must have no money, no hold and no open transaction."),
    ):
        accounts.command(change, help=what)(_status_command(change))
    holds.command("authorise")(hold_authorise)
    holds.command("list")(list_holds)
    holds.command("show")(hold_show)
    holds.command("void")(hold_void)


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

    async def change(client: ApiClient) -> dict[str, Any]:
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
    show(ask(api_url, api_key, lambda client: client.change_account(account_id, "freeze", {"side": side.value})), as_json=as_json)


def hold_authorise(  # noqa: PLR0913, PLR0917  each is an option
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
    # Chosen here, so that the request stays the same hold should it be sent twice.
    body = {"hold_id": hold_id or str(uuid.uuid4()), "account_id": account_id, "amount": amount, "currency": currency}
    body |= {"expires_at": expires_at} | ({} if reference is None else {"reference": reference})
    show(ask(api_url, api_key, lambda client: client.authorise_hold(body)), as_json=as_json)


def hold_show(hold_id: HoldId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Show a hold as it stands."""
    show(ask(api_url, api_key, lambda client: client.hold(hold_id)), as_json=as_json)


def hold_void(hold_id: HoldId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
    """Release what an open hold still holds."""
    show(ask(api_url, api_key, lambda client: client.void_hold(hold_id)), as_json=as_json)


def _status_command(change: str) -> Callable[..., None]:
    def change_status(account_id: AccountId, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False) -> None:
        def ask_for_it(client: ApiClient) -> Awaitable[dict[str, Any]]:
            return client.change_account(account_id, change)

        show(ask(api_url, api_key, ask_for_it), as_json=as_json)

    return change_status


def _rules(**options: str | None) -> dict[str, str | None]:
    """The rules that were given; the word `none` takes one away."""
    return {name: None if value == _NONE else value for name, value in options.items() if value is not None}
