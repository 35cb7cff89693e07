"""Who is asking: nobody comes in without a valid API key, or a token, except to ask for the process's health."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from starlette.datastructures import Headers

from infra.oauth.tokens import InvalidTokenError
from ledger.errors import UnavailableError
from ledger.scopes import SCOPES_OF_THE_API, granted
from starter.api import problems

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from ledger.principals import Principal
    from starter.api.services import Services

PUBLIC_PATHS: Final = frozenset({"/healthz", "/readyz", "/metrics", "/problems", "/console"})
"""Whoever watches the process has no key. Everything else needs one, the OpenAPI document and unknown paths included."""
_OF_A_KEY: Final = "casaflow_"
"""What each API key begins with, and no token."""
PUBLIC_PREFIXES: Final = ("/problems/", "/console/")
"""What the codes of problems mean is told to everybody, a browser without a key included; so is the console's page, which has no data."""


def is_public(path: str) -> bool:
    """Whether a path is answered without a key."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_PREFIXES)


class Authentication:
    """Checks the key, or the token, of every request before its path is looked up and its body is read: no endpoint can be forgotten.

    The principal is left in the request's state, where the types of :mod:`starter.api.services` find it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI
        if scope["type"] != "http" or is_public(scope["path"]):
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        credential = _bearer(Headers(scope=scope))
        try:
            principal = await _principal(credential, services) if credential else None
        except UnavailableError as error:
            await problems.unavailable(error)(scope, receive, send)
            return
        except InvalidTokenError as error:
            await _unauthenticated(f"the token opens nothing: {error}", given=True)(scope, receive, send)
            return
        if principal is None:
            detail = "send a valid API key as Authorization: Bearer" if credential else "an API key is needed as Authorization: Bearer"
            await _unauthenticated(detail, given=credential is not None)(scope, receive, send)
            return
        if not granted(principal.scopes) & SCOPES_OF_THE_API:
            detail = f"{principal.key_id} has no scope of the API, and opens nothing here"
            await problems.problem(HTTPStatus.FORBIDDEN, "forbidden", detail)(scope, receive, send)
            return
        client = scope.get("client")
        scope.setdefault("state", {})["principal"] = replace(principal, address=client[0] if client else None)
        structlog.contextvars.bind_contextvars(tenant=principal.tenant, principal=principal.name)
        await self._app(scope, receive, send)


async def _principal(credential: str, services: Services) -> Principal | None:
    """Whose key or token this is; None: it is a key, or looks like none of both, and is nobody's."""
    if credential.startswith(_OF_A_KEY) or not services.tokens:
        return await services.known_keys.authenticate(credential)
    return await services.tokens.authenticate(credential)


def _unauthenticated(detail: str, *, given: bool) -> Response:
    # RFC 6750, section 3: whoever sent nothing hears nothing of an error.
    challenge = f'Bearer realm="{problems.REALM}"' + (', error="invalid_token"' if given else "")
    return problems.problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", detail, headers={"WWW-Authenticate": challenge})


def _bearer(headers: Headers) -> str | None:
    scheme, _, credential = headers.get("Authorization", "").partition(" ")
    return credential.strip() or None if scheme.lower() == "bearer" else None
