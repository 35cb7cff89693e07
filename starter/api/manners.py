"""What all requests and answers have in common: an id, headers that make browsers careful, and bounds of size and time."""

from __future__ import annotations

import asyncio
import re
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from starlette.datastructures import Headers, MutableHeaders

from starter.api import problems
from starter.api.media_types import preferred

if TYPE_CHECKING:
    from fastapi.responses import Response
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_URL_BYTES: Final = 8 * 1024
MAX_HEADERS_BYTES: Final = 32 * 1024
_JSON: Final = "application/json"
_OTHER_FORMS: Final = re.compile(
    r"/v1/(?:accounts/[^/]+/statements?(?:/.*)?|files(?:/.*)?|events|event-types/.*)|/problems(?:/.*)?|/metrics", re.ASCII
)
"""Paths that answer in other forms than JSON, and look at ``Accept`` themselves where they have a choice."""
_AS_LONG_AS_IT_TAKES: Final = re.compile(r"/v1/files", re.ASCII)
"""A file is uploaded for as long as it takes."""
_REQUEST_ID: Final = re.compile(r"[\x21-\x7e]{1,128}", re.ASCII)
_CAREFUL: Final = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""Unless an answer has its own."""
_ONLY_BY_TLS: Final = {"Strict-Transport-Security": "max-age=31536000; includeSubDomains"}


class Identified:
    """Gives each request an id, in the answer and on its log lines: the caller's own where ``Request-Id`` has one. And careful headers."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("Request-Id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        structlog.contextvars.bind_contextvars(request_id=request_id)
        added = {**_CAREFUL, **(_ONLY_BY_TLS if scope.get("scheme") == "https" else {})}

        async def adding(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Request-Id"] = request_id
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, adding)


class Bounded:
    """Refuses what is too long before anything is read of it, and gives up on what takes too long."""

    def __init__(self, app: ASGIApp, *, timeout_seconds: float) -> None:
        self._app = app
        self._timeout_seconds = timeout_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refused = _refused(scope)
        if refused is not None:
            await refused(scope, receive, send)
            return
        begun = False
        hurried = not _AS_LONG_AS_IT_TAKES.fullmatch(scope["path"])

        async def noting(message: Message) -> None:
            nonlocal begun
            if not begun:
                begun = True
                limit.reschedule(None)  # a stream goes on for as long as it likes
            await send(message)

        try:
            async with asyncio.timeout(self._timeout_seconds if hurried else None) as limit:
                await self._app(scope, receive, noting)
        except TimeoutError:
            if begun or not limit.expired():
                raise
            detail = f"there was no answer within {self._timeout_seconds:g} s. Send the same request again: nothing is done twice."
            headers = {"Retry-After": str(problems.RETRY_AFTER_SECONDS)}
            await problems.problem(HTTPStatus.GATEWAY_TIMEOUT, "timed-out", detail, headers=headers)(scope, receive, send)


def _refused(scope: Scope) -> Response | None:
    if len(scope["raw_path"]) + len(scope["query_string"]) > MAX_URL_BYTES:
        return problems.problem(HTTPStatus.REQUEST_URI_TOO_LONG, "uri-too-long", f"the URL is longer than {MAX_URL_BYTES} bytes")
    if sum(len(name) + len(value) for name, value in scope["headers"]) > MAX_HEADERS_BYTES:
        detail = f"the headers are larger than {MAX_HEADERS_BYTES} bytes"
        return problems.problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers-too-large", detail)
    accept = Headers(scope=scope).get("Accept")
    if not _OTHER_FORMS.fullmatch(scope["path"]) and preferred(accept, (_JSON,)) is None:
        return problems.problem(HTTPStatus.NOT_ACCEPTABLE, "not-acceptable", f"this endpoint answers with {_JSON}")
    return None
