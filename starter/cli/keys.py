"""`casaflow key`: create and revoke API keys."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer

from infra.settings import DEFAULT_TENANT, Settings
from starter.cli.access import Json, outside_or_stack, show

Tenant = Annotated[str, typer.Option(help="The tenant that the key belongs to.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="Create and revoke API keys.", no_args_is_help=True)
    keys.command("create")(create)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="key")


def create(
    principal: Annotated[str, typer.Argument(help="The name that its transactions are recorded under.")],
    tenant: Tenant = DEFAULT_TENANT,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="all (the default), standard (all but approving and overriding), transactions:approve, transactions:override, "
            "payloads (codec server); several may be given."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an API key. It is shown once: only its hash is stored."""
    from starter.administration import create_key  # noqa: PLC0415  the driver is loaded only where it is used

    scopes = tuple(scope or ("all",))
    key_id, key = asyncio.run(create_key(outside_or_stack(Settings()), tenant, principal, scopes))
    show({"key_id": key_id, "key": key, "tenant": tenant, "principal": principal}, as_json=as_json)


def revoke(key_id: Annotated[str, typer.Argument(help="The key's id, its middle part.")]) -> None:
    """Make an API key worthless at once."""
    from starter.administration import revoke_key  # noqa: PLC0415  the driver is loaded only where it is used

    asyncio.run(revoke_key(outside_or_stack(Settings()), key_id))
    typer.echo(f"revoked {key_id}", err=True)
