"""`casaflow transaction approve`, `decline` and `cancel`: what becomes of a transaction that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.access import API_WAIT_SECONDS, ApiKey, ApiUrl, Json, ask, present, show

if TYPE_CHECKING:
    from collections.abc import Callable

Reason = Annotated[str | None, typer.Option(help="Up to 140 characters, recorded with who said it.")]
TransactionId = Annotated[str, typer.Argument(help="The transaction's id, a UUID.")]


def register(transactions: typer.Typer) -> None:
    """Add the three commands."""
    for action, what in (
        ("approve", "Let a transaction go on that somebody else submitted. Needs a key with the scope transactions:approve."),
        ("decline", "Refuse a transaction that somebody else submitted. Needs a key with the scope transactions:approve."),
        ("cancel", "End a transaction before its posting has begun."),
    ):
        transactions.command(action, help=what)(_command(action))


def _command(action: str) -> Callable[..., None]:
    def decide(
        transaction_id: TransactionId, reason: Reason = None, api_url: ApiUrl = None, api_key: ApiKey = None, as_json: Json = False
    ) -> None:
        answer = ask(api_url, api_key, lambda client: getattr(client, action)(transaction_id, reason, wait_seconds=API_WAIT_SECONDS))
        show(answer if as_json else present(answer), as_json=as_json)

    return decide
