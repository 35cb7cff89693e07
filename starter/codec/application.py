"""Temporal's remote codec protocol over HTTP: `/encode` and `/decode`, for holders of an API key with the scope `payloads`.

The protocol: a JSON body that is the protobuf message `Payloads`, the answer likewise; only the end of the path counts; the namespace is in
the header `X-Namespace`. See docs/decisions/0019.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

import structlog
from google.protobuf.json_format import MessageToJson, Parse, ParseError
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from temporalio.api.common.v1 import Payloads

from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from infra.temporal.access import payload_keys
from infra.temporal.encryption import EncryptingCodec, UndecryptablePayloadError
from ledger.errors import InvalidInputError, UnavailableError
from ledger.scopes import Scope
from starter.api.problems import problem, unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from starlette.requests import Request

    from infra.settings import Settings
    from ledger.principals import Principal

_log = structlog.get_logger("codec")

COOKIE: Final = "casaflow_codec"
_SESSION_SECONDS: Final = 8 * 3600
"""A working day; then the key has to be given again. A revoked key is worthless at once."""
_LONGEST_BODY: Final = 16 * 1024 * 1024
"""Bytes. A page of a history is at most 4 MiB, a third more in base64."""
_LONGEST_FORM: Final = 1024
_ALLOWED_HEADERS: Final = "authorization, content-type, x-namespace"

_PAGE: Final = """<!doctype html><html lang="en"><meta charset="utf-8"><title>casaflow codec</title>
<body style="font-family: system-ui; max-width: 40rem; margin: 4rem auto">
<h1>casaflow codec</h1><p>{words}</p>
<form method="post" action="/session"><label>API key with the scope <code>payloads</code><br>
<input type="password" name="key" size="70" autocomplete="off" required></label> <button>Let this browser read payloads</button></form>
<p>Then set this address as the codec endpoint in Temporal's Web UI, with "Include cross-origin credentials" on.</p></body></html>"""


def create_codec_app(settings: Settings) -> Starlette:
    """The application; its database is opened when it starts, and closed when it ends.

    Raises:
        InvalidInputError: there are no keys to decode with, or an origin is none.
        UnavailableError: the settings name no database.
    """
    keys = payload_keys(settings)
    if keys is None:
        rule = "must be set: without keys nothing is encrypted, and there is nothing to decode"
        raise InvalidInputError(field="CASAFLOW_PAYLOAD_KEYS", value=None, rule=rule)
    if settings.postgres_url is None:
        raise UnavailableError(part="postgres", detail="CASAFLOW_POSTGRES_URL is not set")
    origins = allowed_origins(settings.codec_origins)
    url = settings.postgres_url.get_secret_value()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        database = Database.open(url, pool_size=4, role=settings.postgres_role)
        app.state.keys = PostgresApiKeys(database)
        try:
            yield
        finally:
            await database.close()

    server = _CodecServer(EncryptingCodec(keys), namespace=settings.temporal_namespace, origins=origins)
    routes = [
        Route("/healthz", _alive, methods=["GET"]),
        Route("/", server.page, methods=["GET"]),
        Route("/session", server.open_session, methods=["POST"]),
        Route("/{path:path}", server.code, methods=["POST", "OPTIONS"]),
    ]
    return Starlette(routes=routes, lifespan=lifespan)


def allowed_origins(text: str) -> frozenset[str]:
    """The origins whose pages may ask, from the comma-separated setting.

    Raises:
        InvalidInputError: one isn't ``scheme://host[:port]``; a `*` is none, since it would let every page of the web ask.
    """
    origins = [origin.strip().rstrip("/") for origin in text.split(",") if origin.strip()]
    for origin in origins:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.hostname or "*" in origin or origin != f"{parts.scheme}://{parts.netloc}":
            rule = "must be origins of Temporal's Web UI, such as https://temporal.bank.example, with commas between them"
            raise InvalidInputError(field="CASAFLOW_CODEC_ORIGINS", value=origin, rule=rule)
    return frozenset(origins)


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok")


class _CodecServer:
    """Answers each request; who asks is looked up each time, so that a revoked key ends at once."""

    def __init__(self, codec: EncryptingCodec, *, namespace: str, origins: frozenset[str]) -> None:
        self._work: dict[str, Callable[[Payloads], Awaitable[None]]] = {"encode": codec.encode_wrapper, "decode": codec.decode_wrapper}
        self._namespace = namespace
        self._origins = origins

    async def page(self, _request: Request) -> Response:
        """Where an operator gives his browser the key."""
        return _page("Payloads are encrypted. This server decodes them for those who may see them.")

    async def open_session(self, request: Request) -> Response:
        """Keep the key in a cookie that no script can read, and that no page of another site can make the browser send."""
        origin = request.headers.get("Origin")
        if origin is not None and origin != f"{request.url.scheme}://{request.url.netloc}":
            return problem(HTTPStatus.FORBIDDEN, "forbidden-origin", f"the form is this server's own, and not of {origin}")
        key = await _posted_key(request)
        try:
            principal = await _authenticated(request, key)
        except UnavailableError as error:
            return unavailable(error)
        if principal is None or Scope.PAYLOADS not in principal.scopes:
            return _page("This is no valid API key with the scope `payloads`.", status=HTTPStatus.UNAUTHORIZED)
        answer = RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)
        secure = request.url.scheme == "https"
        answer.set_cookie(COOKIE, key, max_age=_SESSION_SECONDS, httponly=True, samesite="strict", secure=secure)
        return answer

    async def code(self, request: Request) -> Response:
        """Encode or decode, for a page of an allowed origin, or for a program, which names none."""
        origin = request.headers.get("Origin")
        if origin is not None and origin not in self._origins:
            # Without CORS headers the browser keeps the answer from the page, and there is nothing in it anyway.
            return problem(HTTPStatus.FORBIDDEN, "forbidden-origin", f"pages of {origin} may not ask")
        answer = Response(status_code=HTTPStatus.NO_CONTENT) if request.method == "OPTIONS" else await self._coded(request)
        answer.headers["Vary"] = "Origin"
        answer.headers["Cache-Control"] = "no-store"
        if origin is not None:
            answer.headers["Access-Control-Allow-Origin"] = origin
            answer.headers["Access-Control-Allow-Credentials"] = "true"
            answer.headers["Access-Control-Allow-Headers"] = _ALLOWED_HEADERS
            answer.headers["Access-Control-Allow-Methods"] = "POST"
            answer.headers["Access-Control-Max-Age"] = "600"
        return answer

    async def _coded(self, request: Request) -> Response:
        what = request.url.path.rpartition("/")[2]
        work = self._work.get(what)
        if work is None:
            return problem(HTTPStatus.NOT_FOUND, "not-found", "a path ends in /encode or /decode")
        try:
            principal = await _authenticated(request, _bearer(request) or request.cookies.get(COOKIE, ""))
        except UnavailableError as error:
            return unavailable(error)
        if (refusal := self._refusal(request, principal)) is not None:
            return refusal
        payloads = await _payloads(request)
        if isinstance(payloads, Response):
            return payloads
        try:
            await work(payloads)
        except UndecryptablePayloadError as error:
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, error.code, str(error))
        _log.info(f"codec.{what}", principal=principal.name if principal else None, payloads=len(payloads.payloads))
        return Response(MessageToJson(payloads), media_type="application/json")

    def _refusal(self, request: Request, principal: Principal | None) -> Response | None:
        if principal is None:
            challenge = {"WWW-Authenticate": 'Bearer realm="casaflow codec"'}
            detail = "send an API key as Authorization: Bearer, or open this server's first page"
            return problem(HTTPStatus.UNAUTHORIZED, "unauthenticated", detail, headers=challenge)
        if Scope.PAYLOADS not in principal.scopes:
            detail = f"the key {principal.key_id} has no scope `{Scope.PAYLOADS}`, which shows the payloads of all tenants"
            return problem(HTTPStatus.FORBIDDEN, "forbidden", detail)
        namespace = request.headers.get("X-Namespace", self._namespace)
        if namespace != self._namespace:
            return problem(HTTPStatus.NOT_FOUND, "not-found", f"this server has no keys of the namespace {namespace}")
        return None


async def _authenticated(request: Request, key: str) -> Principal | None:
    keys: PostgresApiKeys = request.app.state.keys
    return await keys.authenticate(key) if key else None


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    return key.strip() or None if scheme.lower() == "bearer" else None


async def _posted_key(request: Request) -> str:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            return ""
    return parse_qs(body.decode("ascii", errors="replace")).get("key", [""])[0].strip()


async def _payloads(request: Request) -> Payloads | Response:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_BODY:
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too-large", f"a body has at most {_LONGEST_BODY} bytes")
    try:
        return Parse(bytes(body), Payloads())
    except (ParseError, UnicodeDecodeError, RecursionError) as error:
        return problem(HTTPStatus.BAD_REQUEST, "malformed", f"the body must be Payloads in protobuf's JSON: {error}")


def _page(words: str, *, status: HTTPStatus = HTTPStatus.OK) -> Response:
    headers = {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"}
    return HTMLResponse(_PAGE.format(words=words), status_code=status, headers=headers)
