"""`casaflow notification`: what customers are told, the messages to them, and the replay of dead ones."""

from __future__ import annotations

import json
from typing import Annotated, Final

import typer

from ledger.deliveries import MessageStatus
from ledger.errors import InvalidInputError
from starter.cli.access import ApiKey, ApiUrl, Json, ask, json_object, show

_LISTED: Final = ("message_id", "status", "channel", "kind", "customer_id", "attempts", "last_error")


def register(app: typer.Typer) -> None:
    """Add the group of commands."""
    notifications = typer.Typer(help="Look after what customers are told.", no_args_is_help=True)
    app.add_typer(notifications, name="notification")
    notifications.command("preferences")(preferences)
    notifications.command("list")(list_messages)
    notifications.command("replay")(replay)


def preferences(
    customer_id: Annotated[str, typer.Argument(help="The customer's id.")],
    set_to: Annotated[str | None, typer.Option("--set", help="A JSON file with the new preferences; - is standard input.")] = None,
    disable: Annotated[bool, typer.Option("--disable", help="Tell the customer nothing more.")] = False,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show what a customer is told; set it from a file, or end it. A webhook's secret is shown where this has made it, and never again."""
    if set_to is not None and disable:
        raise InvalidInputError(field="--disable", value=disable, rule="must not be given beside --set")
    if set_to is not None:
        body = json_object(set_to, field="--set")
        found = ask(api_url, api_key, lambda client: client.set_notification_preferences(customer_id, body))
    elif disable:
        found = ask(api_url, api_key, lambda client: client.disable_notification_preferences(customer_id))
    else:
        found = ask(api_url, api_key, lambda client: client.notification_preferences(customer_id))
    if not as_json:
        webhook = found.pop("webhook") or {}
        found |= {f"webhook_{name}": value for name, value in webhook.items() if value is not None}
        found = {name: value if isinstance(value, str) else json.dumps(value) for name, value in found.items() if value is not None}
    show(found, as_json=as_json)


def list_messages(
    status: Annotated[MessageStatus | None, typer.Option(help="Only those that stand so.")] = None,
    customer: Annotated[str | None, typer.Option(help="Only those to this customer.")] = None,
    limit: Annotated[int, typer.Option(help="Messages at most.")] = 100,
    cursor: Annotated[str | None, typer.Option(help="The cursor that the page before ended with.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """List messages to customers, the oldest first."""
    page = ask(api_url, api_key, lambda client: client.notifications(customer_id=customer, status=status, limit=limit, cursor=cursor))
    if as_json:
        show(page, as_json=True)
        return
    for message in page["notifications"]:
        typer.echo("  ".join("-" if message[name] is None else str(message[name]) for name in _LISTED))
    if page["next_cursor"] is not None:
        typer.echo(f"more: --cursor {page['next_cursor']}", err=True)


def replay(
    message_id: Annotated[str, typer.Argument(help="The message's id, a UUID.")],
    reason: Annotated[str, typer.Option(help="Why; recorded with who asks for it.")],
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Have a dead message sent again, under the same id."""
    show(ask(api_url, api_key, lambda client: client.replay_notification(message_id, reason)), as_json=as_json)
