"""How commands reach the HTTP API and the servers, and how they show what came of it."""

from __future__ import annotations

import asyncio
import getpass
import json
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
from casaflow_client import AsyncClient, Patience
from casaflow_client import UnavailableError as ApiUnavailableError

from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.errors import InvalidInputError, UnavailableError
from ledger.principals import Actor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from casaflow_client.answers import Model

EXIT_NOT_PROVEN: Final = 1
EXIT_BAD_INPUT: Final = 2
EXIT_UNAVAILABLE: Final = 3
API_WAIT_SECONDS: Final = 30
"""How long a command lets the API wait for a transaction's final answer."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
ApiUrl = Annotated[str | None, typer.Option(envvar="CASAFLOW_API_URL", help="The API; unless given, that of the stack in $CASAFLOW_HOME.")]
ApiKey = Annotated[str | None, typer.Option(envvar="CASAFLOW_API_KEY", help="The API's key; unless given, that of the stack.")]


def api_client(url: str | None, key: str | None, *, connections: int = 8, on_wait: Callable[[str], None] | None = None) -> AsyncClient:
    """The client of the API that the options, or the stack in ``$CASAFLOW_HOME``, name. With `on_wait` it waits while the API is away.

    Raises:
        ApiUnavailableError: neither names one.
    """
    if url is None or key is None:
        home = Settings().home
        info = read_stack_info(home)
        if info is None:
            message = f"nothing runs in {home.absolute()}: start it with `casaflow up --detach`, or give --api-url and --api-key"
            raise ApiUnavailableError(message)
        url, key = url or info.api, key or info.api_key
    patience = Patience(seconds=0 if on_wait is None else None, on_wait=on_wait)
    return AsyncClient(url, key, connections=connections, patience=patience)


def ask(url: str | None, key: str | None, work: Callable[[AsyncClient], Awaitable[Model]]) -> dict[str, Any]:
    """What the API says, as it says it, when `work` asks it by the client that :func:`api_client` finds."""

    async def with_client() -> dict[str, Any]:
        async with api_client(url, key) as client:
            return (await work(client)).content

    return asyncio.run(with_client())


def show(content: dict[str, Any], *, as_json: bool) -> None:
    """Print an answer: as JSON, or a line for each of its names, and for each item of a list."""
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    width = max(len(name) for name in content)
    for name, value in content.items():
        items = value if isinstance(value, list) and value else [value]
        for number, item in enumerate(items):
            typer.echo(f"{(name if number == 0 else '').ljust(width)}  {_in_words(item)}")


def _in_words(value: Any) -> str:  # noqa: ANN401  whatever JSON holds
    """In one line what stands in an answer; of what has names, those that say something. A reason is its code and its sentence."""
    if isinstance(value, dict) and set(value) == {"code", "detail"}:
        return f"{value['code']}: {value['detail']}"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_in_words(each)}" for name, each in value.items() if each is not None) or "-"
    if isinstance(value, list):
        return "; ".join(_in_words(each) for each in value) or "-"
    return "-" if value is None else str(value)


def operator() -> Actor:
    """Who is at the keyboard, as far as the system knows."""
    return Actor(tenant=None, name=f"cli:{getpass.getuser()}", key_id=None, address=socket.gethostname())


def given(**options: Any) -> dict[str, Any]:  # noqa: ANN401  whatever options hold
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None}


def json_object(name: str, *, field: str) -> dict[str, Any]:
    """The JSON object in a file; - is standard input.

    Raises:
        InvalidInputError: there is none; `field` is the option that named it.
    """
    try:
        content = json.loads(sys.stdin.read() if name == "-" else Path(name).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidInputError(field=field, value=name, rule=f"must be a file with JSON in it ({error})") from error
    if not isinstance(content, dict):
        raise InvalidInputError(field=field, value=name, rule="must hold a JSON object")
    return content


def present(content: dict[str, Any]) -> dict[str, Any]:
    """Without what an answer doesn't use."""
    return {name: value for name, value in content.items() if value not in (None, [], {}, False)}


def outside_or_stack(settings: Settings) -> Settings:
    """The settings, with the servers of the running stack where the environment names none.

    Raises:
        UnavailableError: a server is named by neither.
    """
    info = read_stack_info(settings.home)
    found = {
        "postgres_url": info.postgres_dsn if info else None,
        "temporal_address": info.temporal_address if info else None,
        "kafka_bootstrap_servers": info.kafka_bootstrap_servers if info else None,
    }
    given = {name: value for name in found if (value := getattr(settings, name)) is not None}
    missing = [name for name in found if name not in given and found[name] is None]
    if missing:
        detail = f"nothing runs in {settings.home.absolute()}, and CASAFLOW_{missing[0].upper()} is not set"
        raise UnavailableError(part=missing[0].partition("_")[0], detail=detail)
    return Settings(**{**settings.model_dump(), **found, **given})
