"""How commands reach the HTTP API, and how they show what it answers."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from infra.settings import Settings
from infra.stack.control import read_stack_info
from starter.client import ApiClient, ApiUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

Answer = TypeVar("Answer")

ApiUrl = Annotated[str | None, typer.Option(envvar="CASAFLOW_API_URL", help="The API; unless given, that of the stack in $CASAFLOW_HOME.")]
ApiKey = Annotated[str | None, typer.Option(envvar="CASAFLOW_API_KEY", help="Its key; unless given, that of the stack.")]


def api_client(url: str | None, key: str | None, *, connections: int = 8, on_wait: Callable[[str], None] | None = None) -> ApiClient:
    """The client of the API that the options, or the stack in ``$CASAFLOW_HOME``, name.

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
    return ApiClient(url, key, connections=connections, on_wait=on_wait)


def ask(url: str | None, key: str | None, work: Callable[[ApiClient], Awaitable[Answer]]) -> Answer:
    """Do `work` with a client of the API that :func:`api_client` finds."""

    async def with_client() -> Answer:
        async with api_client(url, key) as client:
            return await work(client)

    return asyncio.run(with_client())


def show(content: dict[str, Any], *, as_json: bool) -> None:
    """Print an answer: as JSON, or a line for each of its names."""
    if as_json:
        typer.echo(json.dumps(content, indent=1))
        return
    width = max(len(name) for name in content)
    for name, value in content.items():
        typer.echo(f"{name.ljust(width)}  {'-' if value is None else value}")
