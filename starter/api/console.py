"""The console: static files without data, for everybody who reaches the API. With the key that is typed in, the page asks the API for data.

See ``docs/decisions/0036-console.md``.
"""

from __future__ import annotations

import hashlib
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Final

from fastapi import APIRouter, Header, HTTPException, Response

router = APIRouter(include_in_schema=False)

_FOLDER: Final = Path(__file__).parent.parent / "console"
_MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_PAGE: Final = "index.html"

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing from elsewhere, nothing inline, nobody's frame; and no text ever becomes markup: where a browser knows trusted types, a script
that tried it would fail."""
_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


IfNoneMatch = Annotated[str | None, Header()]


@cache
def _files() -> dict[str, tuple[bytes, str, str]]:
    """Content, media type and entity tag of each file, by its path. Read once: a path that somebody asks for opens nothing."""
    found = {}
    for file in _FOLDER.rglob("*"):
        if file.suffix in _MEDIA_TYPES:
            content = file.read_bytes()
            tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[file.relative_to(_FOLDER).as_posix()] = (content, _MEDIA_TYPES[file.suffix], tag)
    return found


@router.get("/console")
async def page(if_none_match: IfNoneMatch = None) -> Response:
    """The page."""
    return _file(_PAGE, if_none_match)


@router.get("/console/{path:path}")
async def file(path: str, if_none_match: IfNoneMatch = None) -> Response:
    """What the page is made of."""
    return _file(path, if_none_match)


def _file(path: str, if_none_match: str | None) -> Response:
    found = _files().get(path)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "the console has no such file")
    content, media_type, tag = found
    headers = {**_HEADERS, "ETag": tag}
    if if_none_match == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type=media_type, headers=headers)
