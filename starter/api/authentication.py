"""Who is asking: nobody comes in without a valid API key, except to ask for the process's health."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from starlette.datastructures import Headers

from infra.postgres.api_keys import PAYLOADS_SCOPE
from ledger.errors import UnavailableError
from starter.api import problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from starter.api.services import Services

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/problems", "/console"})
"""Whoever watches the process has no key. Everything else needs one, the OpenAPI document and unknown paths included."""
PUBLIC_PREFIXES: Final = ("/problems/", "/console/")
"""What the codes of problems mean is told to everybody, a browser without a key included; so is the console's page, which has no data."""


def is_public(path: str) -> bool:
    """Whether a path is answered without a key."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)


class Authentication:
    """Checks the key of every request before its path is looked up and its body is read, so that no endpoint can be forgotten.

    The principal is left in the request's state, where :data:`starter.api.services.Authenticated` finds it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI
        if scope["type"] != "http" or is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        key = _bearer_key(Headers(scope=scope))
        try:
            principal = await services.keys.authenticate(key) if key else None
        except UnavailableError as error:
            await problems.unavailable(error)(scope, receive, send)
            return
        if principal is None:
            detail = "send a valid API key as Authorization: Bearer" if key else "an API key is needed as Authorization: Bearer"
            challenge = {"WWW-Authenticate": 'Bearer realm="casaflow"'}
            await problems.problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", detail, headers=challenge)(scope, receive, send)
            return
        if set(principal.scopes) <= {PAYLOADS_SCOPE}:
            detail = f"the key {principal.key_id} is for the codec server, and opens nothing here"
            await problems.problem(HTTPStatus.FORBIDDEN, "forbidden", detail)(scope, receive, send)
            return
        scope.setdefault("state", {})["principal"] = principal
        structlog.contextvars.bind_contextvars(tenant=principal.tenant, principal=principal.name)
        await self._app(scope, receive, send)


def _bearer_key(headers: Headers) -> str | None:
    scheme, _, key = headers.get("Authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None
