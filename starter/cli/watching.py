"""`casaflow events watch`: events as they are published."""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing
from typing import Annotated, Any

import typer

from starter.cli.access import ApiKey, ApiUrl, Json, api_client, given


def watch_events(
    account: Annotated[str | None, typer.Option(help="Only those of this account.")] = None,
    transaction: Annotated[str | None, typer.Option(help="Only those of this transaction.")] = None,
    after: Annotated[str | None, typer.Option(help="The id of an event; begin behind it instead of now.")] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many events.")] = None,
    api_url: ApiUrl = None,
    api_key: ApiKey = None,
    as_json: Json = False,
) -> None:
    """Show events as they are published, until it is interrupted. With --json a CloudEvent a line, its position in `casaflowposition`."""
    asyncio.run(_watch(given(account_id=account, transaction_id=transaction), after, count, api_url, api_key, as_json=as_json))


async def _watch(
    query: dict[str, str], after: str | None, count: int | None, api_url: str | None, api_key: str | None, *, as_json: bool
) -> None:
    shown = 0
    async with api_client(api_url, api_key, on_wait=_say) as client, aclosing(client.events(**query, after=after)) as watching:
        async for sent in watching:
            event = sent.content
            typer.echo(json.dumps({**event, "casaflowposition": sent.position}) if as_json else _line(sent.type, event))
            shown += 1
            if shown == count:
                return


def _say(reason: str) -> None:
    typer.echo(f"{reason}; going on behind the last event", err=True)


def _line(event_type: str, event: dict[str, Any]) -> str:
    data = event.get("data") or {}
    instruction = data.get("instruction") or {}
    amount = data.get("amount") or instruction.get("instructed") or {}
    parts = (
        event.get("time", "")[:19].replace("T", " "),
        event_type.removeprefix("casaflow."),
        event.get("subject"),
        data.get("account_id") or " -> ".join(instruction.get(side) or "" for side in ("debtor", "creditor")),
        f"{amount.get('value')} {amount.get('currency')}" if amount else None,
        (data.get("reason") or {}).get("code"),
    )
    return "  ".join(str(part) for part in parts if part)
