"""`casaflow transaction approve`, `decline` and `cancel`: what becomes of a transaction that waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import typer

from starter.api_access import ApiKey, ApiUrl, ask, show  # Typer reads annotations at run time
from starter.stack_commands import Json  # noqa: TC001  as above

if TYPE_CHECKING:
    from collections.abc import Callable

_WAIT_SECONDS: Final = 30
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
        answer = ask(api_url, api_key, lambda client: client.decide(transaction_id, action, reason, wait_seconds=_WAIT_SECONDS))
        given = {name: value for name, value in answer.items() if value not in (None, [], {}, False)}
        show(answer if as_json else given, as_json=as_json)

    return decide
