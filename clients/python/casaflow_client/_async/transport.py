"""Sends a request until there is an answer, or patience ends."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self

import httpx

from casaflow_client import requests
from casaflow_client._clock import async_sleep
from casaflow_client.errors import RateLimitedError, UnavailableError
from casaflow_client.requests import Answer, Body, Patience

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class AsyncTransport:
    """One API, with one key."""

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        patience: Patience | None = None,
        connections: int = 64,
        timeout_seconds: float = requests.REQUEST_TIMEOUT_SECONDS,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        """Prepare; nothing connects yet.

        Args:
            api_url: where the API is, such as ``https://bank.example/casaflow``.
            api_key: a key of ``casaflow key create``, or an access token of OAuth 2.
            patience: how long a request is repeated while the API is away; None: :class:`Patience` as it is by default.
            connections: open at most.
            timeout_seconds: for one attempt; longer than any wait that is asked for.
            http: used instead of a client made here, with proxies, certificates or a transport of its own; it is closed with this.

        Raises:
            InvalidArgumentError: no request can be made of this URL or key.
        """
        self._url = requests.checked_url(api_url).rstrip("/")
        self._headers = {"Authorization": f"Bearer {requests.checked_key(api_key)}"}
        self._patience = patience or Patience()
        self._http = http or httpx.AsyncClient(
            timeout=httpx.Timeout(timeout_seconds, connect=requests.CONNECT_TIMEOUT_SECONDS),
            limits=httpx.Limits(max_connections=connections, max_keepalive_connections=connections),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def _ask(
        self,
        method: str,
        path: str,
        kind: type[Answer],
        *,
        parameters: dict[str, Any] | None = None,
        body: Body | None = None,
        headers: dict[str, str] | None = None,
        once: bool = False,
        parts: Callable[[], Any] | None = None,
    ) -> Answer:
        """The answer to a request; `once`: it is not safe to repeat; `parts`: makes a body that is sent as it is read.

        Raises:
            ApiError: the API refused it.
            UnavailableError: nothing answered for as long as this client was to wait.
        """
        response = await self._answered(method, path, parameters=parameters, body=body, headers=headers, once=once, parts=parts)
        return requests.answer_of(response, kind)

    async def _answered(
        self,
        method: str,
        path: str,
        *,
        parameters: dict[str, Any] | None = None,
        body: Body | None = None,
        headers: dict[str, str] | None = None,
        once: bool = False,
        parts: Callable[[], Any] | None = None,
    ) -> httpx.Response:
        began, attempt = time.monotonic(), 0
        content = requests.body_of(body)
        while True:
            response: httpx.Response | None = None
            try:
                response = await self._http.request(
                    method,
                    self._url + path,
                    params=parameters,
                    json=content,
                    content=None if parts is None else parts(),
                    headers={**self._headers, **(headers or {})},
                )
            except httpx.TransportError as error:
                reason, asked = f"the API does not answer ({type(error).__name__})", None
            else:
                again = requests.failed(response)
                if again is None:
                    return response
                reason, asked = again
            if once:
                raise UnavailableError(reason)
            await self._pause(attempt, reason, asked, time.monotonic() - began, response)
            attempt += 1

    async def _pause(
        self, attempt: int, reason: str, asked: float | None, waited_seconds: float, refused: httpx.Response | None = None
    ) -> None:
        """Wait before the next attempt.

        Raises:
            RateLimitedError: patience ends at too many requests.
            UnavailableError: it ends.
        """
        pause = self._patience.pause_seconds(attempt, asked, waited_seconds)
        if pause is None:
            if refused is not None and refused.status_code == httpx.codes.TOO_MANY_REQUESTS:
                raise RateLimitedError(requests.problem_of(refused), refused.status_code)
            raise UnavailableError(reason)
        if self._patience.on_wait is not None:
            self._patience.on_wait(reason)
        await async_sleep(pause)
