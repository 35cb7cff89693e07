"""What the body of a request must be, whatever the endpoint: not too large, and JSON in the strict sense."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.datastructures import Headers

from ledger.errors import InvalidInputError
from starter.api import problems

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 512 * 1024
"""The largest valid transaction has some 330 kB: 27,000 characters of metadata, each written as two escapes of six bytes."""
STREAMED: Final = frozenset({"/v1/files"})
"""Paths whose endpoint reads the body as it arrives, and has a bound of its own for it."""
MAX_DEPTH: Final = 32
"""Of arrays and objects within each other; no endpoint takes more than six."""
_TOO_DEEP: Final = f"must not be nested more than {MAX_DEPTH} deep"
_JSON_IS_UTF_8: Final = "must be JSON in UTF-8"


class BodyGate:
    """Refuses bodies above :data:`MAX_BODY_BYTES` while they arrive, whatever length they announce, and JSON that means two things."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  ASGI
        if scope["type"] != "http" or scope["path"] in STREAMED:
            await self._app(scope, receive, send)
            return
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
            if size > MAX_BODY_BYTES:
                detail = f"the body is larger than {MAX_BODY_BYTES} bytes"
                response = problems.problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request-too-large", detail)
                await response(scope, receive, send)
                return
        body = b"".join(chunks)
        if body and not _is_json(Headers(scope=scope)):
            detail = "a body must come as application/json"
            await problems.problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", detail)(scope, receive, send)
            return
        if body:
            try:
                check_json(body)
            except InvalidInputError as error:
                await problems.invalid(error)(scope, receive, send)
                return
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


def _is_json(headers: Headers) -> bool:
    media_type = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or media_type.endswith("+json")


def check_json(body: bytes) -> None:
    """Refuse what Python's parser lets pass but other parsers read differently, or not at all.

    Source: RFC 8259 (no NaN, no infinity, UTF-8), and RFC 7493, section 2.3 (each name once): of two amounts, which one is meant?

    Raises:
        InvalidInputError: the body is no such JSON.
    """
    try:
        content = json.loads(body.decode("utf-8"), object_pairs_hook=_each_name_once, parse_constant=_refuse, parse_float=_finite)
        if body.count(b"[") + body.count(b"{") > MAX_DEPTH:
            _check_depth(content)
    except UnicodeDecodeError as error:
        rule = f"{_JSON_IS_UTF_8}; byte {error.start} is not"
    except json.JSONDecodeError as error:
        rule = f"must be JSON; at character {error.pos}: {error.msg}"
    except RecursionError:
        rule = _TOO_DEEP
    except ValueError as error:
        rule = str(error) if isinstance(error, _AmbiguousError) else "must not have numbers of that length"
    else:
        return
    raise InvalidInputError(field="body", value=body[:80].decode("utf-8", "replace"), rule=rule)


class _AmbiguousError(ValueError):
    """The body means two things, or nothing that JSON can say."""


def _each_name_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if not name.isprintable():
            message = f"must have printable names; {name[:80]!r} is none"
            raise _AmbiguousError(message)
        if name in found:
            message = f"must have each name once; {name[:80]!r} is there twice"
            raise _AmbiguousError(message)
        found[name] = value
    return found


def _check_depth(content: object) -> None:
    level = [content]
    for _ in range(MAX_DEPTH + 1):
        inner = [list(each.values()) if isinstance(each, dict) else each for each in level if isinstance(each, dict | list)]
        if not inner:
            return
        level = [value for values in inner for value in values]
    raise _AmbiguousError(_TOO_DEEP)


def _refuse(constant: str) -> None:
    message = f"must be JSON, which has no {constant}"
    raise _AmbiguousError(message)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        message = "must not have numbers of that size"
        raise _AmbiguousError(message)
    return number
