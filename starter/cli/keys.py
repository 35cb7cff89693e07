"""`casaflow key`: list, show, create, rotate and revoke API keys; `casaflow admin-log`: who did what."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from infra.settings import DEFAULT_TENANT
from ledger.errors import InvalidInputError
from ledger.keys import DEFAULT_OVERLAP, ApiKey, check_expiry, check_holder, check_overlap, parse_duration
from ledger.scopes import Scope, parse_scopes
from ledger.statements import parse_instant
from starter.cli.access import Json, operator, show
from starter.cli.reports import console
from starter.group_stores import on_stores

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from infra.postgres.api_keys import PostgresApiKeys
    from ledger.keys import MadeKey

Answer = TypeVar("Answer")

_MOST_SHOWN: Final = 1_000
Tenant = Annotated[str, typer.Option(help="The tenant that the key belongs to.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", help="Of this tenant only; unless given, of all.")]
KeyId = Annotated[str, typer.Argument(help="The key's id, its middle part.")]
ExpiresIn = Annotated[str | None, typer.Option(help="How long the key is valid, such as 90d or 12h; unless given, until it is revoked.")]
ExpiresAt = Annotated[str | None, typer.Option(help="The instant at which it expires (RFC 3339), instead.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    keys = typer.Typer(help="List, create, rotate and revoke API keys.", no_args_is_help=True)
    keys.command("list")(list_keys)
    keys.command("show")(show_key)
    keys.command("create")(create)
    keys.command("rotate")(rotate)
    keys.command("revoke")(revoke)
    app.add_typer(keys, name="key")
    app.command("admin-log")(admin_log)


def list_keys(tenant: OneTenant = None, as_json: Json = False) -> None:
    """List API keys, the newest first, without what is secret."""
    keys = _on_keys(lambda table: table.page(tenant, after=None, at_most=_MOST_SHOWN))
    if as_json:
        typer.echo(json.dumps([_in_json(key) for key in keys]))
        return
    rows = [
        (key.key_id, key.tenant, key.principal, " ".join(key.scopes), _state(key), _minute(key.expires_at), _minute(key.last_used_at))
        for key in keys
    ]
    _print_table(("key", "tenant", "principal", "scopes", "state", "expires", "last used"), rows)


def show_key(key_id: KeyId, as_json: Json = False) -> None:
    """Show an API key, without what is secret."""
    show(_in_json(_on_keys(lambda table: table.get(key_id))), as_json=as_json)


def create(
    principal: Annotated[str, typer.Argument(help="The name that its transactions are recorded under.")],
    tenant: Tenant = DEFAULT_TENANT,
    scope: Annotated[
        list[str] | None, typer.Option(help=f"What it may do: {', '.join(Scope)}. Several may be given; all unless any is.")
    ] = None,
    expires_in: ExpiresIn = None,
    expires_at: ExpiresAt = None,
    as_json: Json = False,
) -> None:
    """Create an API key. It is shown once: only its hash is stored."""
    check_holder(tenant, principal)
    scopes = parse_scopes(scope or [Scope.ALL], field="scope")
    until = _expiry(expires_in, expires_at)
    made = _on_keys(lambda table: table.create(tenant, principal, scopes, expires_at=until, actor=operator()))
    _show_made(made, as_json=as_json)


def rotate(
    key_id: KeyId,
    overlap: Annotated[str | None, typer.Option(help="How long the old key stays valid, such as 24h, which it is unless given.")] = None,
    expires_in: ExpiresIn = None,
    expires_at: ExpiresAt = None,
    as_json: Json = False,
) -> None:
    """Make a new key for the same principal, with the same scopes. The old one ends after the overlap."""
    both = parse_duration(overlap, field="--overlap") if overlap is not None else DEFAULT_OVERLAP
    check_overlap(both, field="--overlap")
    until = _expiry(expires_in, expires_at)
    made = _on_keys(lambda table: table.rotate(key_id, overlap=both, expires_at=until, actor=operator()))
    _show_made(made, as_json=as_json)


def revoke(key_id: KeyId, as_json: Json = False) -> None:
    """Make an API key worthless: at once, where it isn't in use, and within CASAFLOW_KEY_CACHE_SECONDS everywhere."""
    key = _on_keys(lambda table: table.revoke(key_id, actor=operator()))
    if as_json:
        show(_in_json(key), as_json=True)
    else:
        typer.echo(f"revoked {key_id}", err=True)


def admin_log(
    tenant: OneTenant = None,
    limit: Annotated[int, typer.Option(min=1, max=_MOST_SHOWN, help="Acts at most, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """Show administrative acts, the newest first: who did what to which key, account, transaction or server, when, and from where."""
    from infra.postgres.administrative_acts import PostgresAdministrativeActs  # noqa: PLC0415  the driver is loaded only where it is used

    acts = on_stores(lambda _, database: PostgresAdministrativeActs(database).page(tenant, after=None, at_most=limit))
    if as_json:
        typer.echo(json.dumps([act.model_dump(mode="json") for act in acts]))
        return
    rows = [(f"{act.at:%Y-%m-%d %H:%M:%S}", act.tenant, act.by, act.key_id, act.address, act.action, act.subject) for act in acts]
    _print_table(("at", "tenant", "by", "key", "from", "action", "of"), rows)


def _expiry(expires_in: str | None, expires_at: str | None) -> dt.datetime | None:
    if expires_in is not None and expires_at is not None:
        raise InvalidInputError(field="--expires-at", value=expires_at, rule="must not be given together with --expires-in")
    now = dt.datetime.now(dt.UTC)
    if expires_in is not None:
        found = now + parse_duration(expires_in, field="--expires-in")
        check_expiry(found, now=now, field="--expires-in")
        return found
    found_at = parse_instant(expires_at, field="--expires-at") if expires_at is not None else None
    check_expiry(found_at, now=now, field="--expires-at")
    return found_at


def _show_made(made: MadeKey, *, as_json: bool) -> None:
    key = _on_keys(lambda table: table.get(made.key_id))
    whose = {"tenant": key.tenant, "principal": key.principal, "scopes": list(key.scopes), "expires_at": _in_json(key)["expires_at"]}
    show({"key_id": made.key_id, "key": made.plaintext, **whose}, as_json=as_json)


def _in_json(key: ApiKey) -> dict[str, Any]:
    return {**key.model_dump(mode="json"), "state": _state(key)}


def _state(key: ApiKey) -> str:
    return key.state(dt.datetime.now(dt.UTC))


def _minute(at: dt.datetime | None) -> str | None:
    return None if at is None else f"{at:%Y-%m-%d %H:%M}"


def _print_table(names: Sequence[str], rows: Sequence[Sequence[str | None]]) -> None:
    from rich.table import Table  # noqa: PLC0415  tables are loaded only where they are shown
    from rich.text import Text  # noqa: PLC0415

    table = Table(*names, box=None, header_style="bold", pad_edge=False)
    for row in rows:
        table.add_row(*(Text(value or "-") for value in row))  # what somebody is called is text, never markup
    console().print(table)


def _on_keys(work: Callable[[PostgresApiKeys], Awaitable[Answer]]) -> Answer:
    from infra.postgres.api_keys import PostgresApiKeys  # noqa: PLC0415  the driver is loaded only where it is used

    return on_stores(lambda _, database: work(PostgresApiKeys(database)))
