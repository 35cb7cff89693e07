"""`casaflow transaction list`, `account list` and `hold list`: pages of what is found."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final

import typer

from ledger.accounts import AccountKind, AccountStatus
from ledger.holds import HoldStatus
from ledger.requests import TransactionKind
from ledger.results import TransactionStatus
from ledger.searches import DEFAULT_PAGE, SearchOrder
from starter.cli.access import ApiKey, ApiUrl, Json, ask, given, show

Limit = Annotated[int, typer.Option(help="Of what is found, on one page at most.")]
Cursor = Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")]
Order = Annotated[SearchOrder, typer.Option(help="Which comes first.")]
Account = Annotated[str | None, typer.Option(help="Only those of this account.")]
Currency = Annotated[str | None, typer.Option(help="ISO 4217 code, such as EUR.")]
_ACCOUNT_COLUMNS: Final = ("account_id", "status", "kind", "currency", "overdraft_limit", "opened_at")
_HOLD_COLUMNS: Final = ("hold_id", "status", "account_id", "remaining", "amount", "currency", "expires_at", "reference")
_TRANSACTION_COLUMNS: Final = (
    "submitted_at",
    "transaction_id",
    "status",
    "reason",
    "kind",
    "debtor",
    "creditor",
    "amount",
    "currency",
    "reference",
)
_IDS: Final = frozenset({"transaction_id", "hold_id"})
_NUMBERS: Final = frozenset({"amount", "remaining", "overdraft_limit"})


def list_transactions(  # noqa: PLR0913, PLR0917  each is an option
    account: Account = None,
    status: Annotated[TransactionStatus | None, typer.Option(help="How it stands.")] = None,
    kind: Annotated[TransactionKind | None, typer.Option(help="What it is.")] = None,
    currency: Currency = None,
    amount: Annotated[str | None, typer.Option(help="Exactly this amount of --currency.")] = None,
    amount_min: Annotated[str | None, typer.Option(help="This amount of --currency or more.")] = None,
    amount_max: Annotated[str | None, typer.Option(help="This amount of --currency or less.")] = None,
    submitted_from: Annotated[str | None, typer.Option("--from", help="Submitted then or later, such as 2026-01-31T12:00:00Z.")] = None,
    submitted_to: Annotated[str | None, typer.Option("--to", help="Submitted before then.")] = None,
    reference: Annotated[str | None, typer.Option(help="Exactly this reference.")] = None,
    reason: Annotated[str | None, typer.Option(help="Why it was refused, such as insufficient-funds.")] = None,
    submitted_by: Annotated[str | None, typer.Option(help="The principal who submitted it.")] = None,
    order: Order = SearchOrder.NEWEST_FIRST,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List transactions, the newest first. One that waits for its first posting is found by its id alone."""
    asked: Any = given(
        account_id=account,
        status=status,
        kind=kind,
        currency=currency,
        amount=amount,
        amount_min=amount_min,
        amount_max=amount_max,
        submitted_from=submitted_from,
        submitted_to=submitted_to,
        reference=reference,
        reason=reason,
        submitted_by=submitted_by,
        order=order,
        limit=limit,
        cursor=cursor,
    )
    page = ask(api_url, api_key, lambda client: client.transactions(**asked))
    _show_page(page, page["transactions"], _TRANSACTION_COLUMNS, as_json=as_json)


def list_accounts(  # noqa: PLR0913, PLR0917  each is an option
    prefix: Annotated[str | None, typer.Option(help="What the id begins with.")] = None,
    status: Annotated[AccountStatus | None, typer.Option(help="How it stands.")] = None,
    currency: Currency = None,
    kind: Annotated[AccountKind | None, typer.Option(help="What it is for.")] = None,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List accounts, in the order of their ids."""
    page = ask(
        api_url,
        api_key,
        lambda client: client.accounts(prefix=prefix, status=status, currency=currency, kind=kind, limit=limit, cursor=cursor),
    )
    _show_page(page, page["accounts"], _ACCOUNT_COLUMNS, as_json=as_json)


def list_holds(
    account: Account = None,
    status: Annotated[HoldStatus | None, typer.Option(help="How it stands.")] = None,
    order: Order = SearchOrder.NEWEST_FIRST,
    limit: Limit = DEFAULT_PAGE,
    cursor: Cursor = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List holds, the newest first."""
    page = ask(api_url, api_key, lambda client: client.holds(account_id=account, status=status, order=order, limit=limit, cursor=cursor))
    _show_page(page, page["holds"], _HOLD_COLUMNS, as_json=as_json)


def _show_page(page: dict[str, Any], found: list[dict[str, Any]], columns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        show(page, as_json=True)
        return
    from rich.table import Table  # noqa: PLC0415  tables are loaded only where they are shown
    from rich.text import Text  # noqa: PLC0415

    from starter.cli.reports import console  # noqa: PLC0415

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in columns:
        # An id stays in one piece, so that it can be copied.
        is_id, is_number = name in _IDS, name in _NUMBERS
        table.add_column(name.replace("_", " "), justify="right" if is_number else "left", overflow="fold", no_wrap=is_id)
    for each in found:
        table.add_row(*(Text(_shown(name, each[name])) for name in columns))
    console().print(table)
    if page["next_cursor"] is not None:
        typer.echo(f"more: --cursor {page['next_cursor']}", err=True)


def _shown(name: str, value: Any) -> str:  # noqa: ANN401  whatever the API answers
    write: Callable[[Any], str] = _SHOWN.get(name, str)
    return "" if value is None else write(value)


def _second(instant: str) -> str:
    return f"{dt.datetime.fromisoformat(instant).astimezone(dt.UTC):%Y-%m-%d %H:%M:%S}"


_SHOWN: Final[Mapping[str, Callable[[Any], str]]] = {
    **dict.fromkeys(("submitted_at", "opened_at", "expires_at"), _second),
    "reason": lambda reason: str(reason["code"]),
}
