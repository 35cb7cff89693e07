"""Watches what the API is asked: a line in the log and a figure for each request, whoever answered it."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog

from infra.metrics import HttpMetrics
from starter.api.authentication import is_public

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = structlog.get_logger(__name__)
_metrics: Final = HttpMetrics()
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_NO_ANSWER: Final = 499
"""As nginx has it: whoever asked went away before the answer began."""


class Watch:
    """Stands before everything else, so that refused requests count too.

    What an endpoint binds to its log lines (tenant, transaction id) is on the request's own line as well.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, began = _NO_ANSWER, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            with _metrics.in_flight.track_inprogress():
                await self._app(scope, receive, noting)
        except Exception:
            # Answered by what stands before this, with 500.
            status = HTTPStatus.INTERNAL_SERVER_ERROR.value
            raise
        finally:
            seconds = time.perf_counter() - began
            route, method = _route(scope), scope["method"] if scope["method"] in _METHODS else "other"
            _metrics.answered(method=method, route=route, status=status, seconds=seconds)
            if not is_public(scope["path"]):
                _log.info("api.answered", method=method, route=route, status=status, seconds=round(seconds, 4))


def _route(scope: Scope) -> str:
    """The path with its parameters' names; one word for all that lead nowhere, and for whoever was turned away before."""
    path: str = getattr(scope.get("route"), "path", "")
    return path or "none"
