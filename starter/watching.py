"""Watching events over the HTTP API: reads a stream of server-sent events, and comes back behind the last one where it breaks."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httpx

from starter.client import ApiError, ApiUnavailableError, content_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping

ENDED: Final = "casaflow.stream.ended"
_AGAIN_SECONDS: Final = 1.0
_MAY_PASS: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


@dataclass(frozen=True)
class Sent:
    """An event as it was sent."""

    identifier: str
    """Behind it another stream goes on."""
    type: str
    data: str


async def parsed(lines: AsyncIterator[str]) -> AsyncGenerator[Sent]:
    """The entries of a stream, those included that only say a position: their data is empty."""
    identifier, fields = "", dict[str, str]()
    async for line in lines:
        name, _, value = line.partition(":")
        if line and name:
            fields[name] = value.removeprefix(" ")
        elif not line and fields:
            identifier = fields.get("id", identifier)
            yield Sent(identifier, fields.get("event", ""), fields.get("data", ""))
            fields = {}


async def watch(
    http: httpx.AsyncClient, query: Mapping[str, str], *, after: str | None = None, on_wait: Callable[[str], None]
) -> AsyncGenerator[Sent]:
    """The events of the ledger, without an end.

    Args:
        http: the API, with a key.
        query: as the endpoint takes it.
        after: the id behind which to begin; None: now.
        on_wait: called with the reason each time the stream is begun again.

    Raises:
        ApiError: the API refuses the stream, and would again.
        ApiUnavailableError: it was away when the first stream was to begin.
    """
    begun = False
    while True:
        try:
            headers = {"Last-Event-ID": after} if after else {}
            async with http.stream("GET", "/v1/events", params=query, headers=headers) as response:
                if not response.is_success:
                    await response.aread()
                    error = ApiError(content_of(response), response.status_code)
                    if not begun or response.status_code not in _MAY_PASS:
                        raise error
                    reason = error.detail
                else:
                    begun, reason = True, "the stream has ended"
                    async for sent in parsed(response.aiter_lines()):
                        after = sent.identifier or after
                        if sent.type == ENDED:
                            reason = sent.data
                        elif sent.data:
                            yield sent
        except httpx.TransportError as error:
            reason = f"the API does not answer ({type(error).__name__})"
            if not begun:
                raise ApiUnavailableError(reason) from error
        on_wait(reason)
        await asyncio.sleep(_AGAIN_SECONDS)
