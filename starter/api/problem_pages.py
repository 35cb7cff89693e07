"""The pages that the ``type`` of a problem leads to (RFC 9457, section 3.1.1)."""

from __future__ import annotations

import html
import json

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from ledger.errors import NotFoundError
from starter.api.answers import answer
from starter.api.media_types import preferred
from starter.api.problem_codes import PROBLEM_PAGES, example_of, problem_type

router = APIRouter(prefix="/problems", tags=["problems"])


def _content(code: str) -> dict[str, object]:
    page = PROBLEM_PAGES[code]
    return {
        "type": problem_type(code),
        "code": code,
        "title": page.title,
        "status": page.status.value,
        "meaning": page.meaning,
        "what_to_do": page.what_to_do,
        "example": example_of(code),
    }


@router.get(
    "", response_class=JSONResponse, responses={200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "The list."}}
)
async def list_problems(request: Request) -> Response:
    """All codes of problems, with what each one means. Public; as HTML for a browser."""
    if preferred(request.headers.get("Accept"), ("application/json", "text/html")) == "text/html":
        items = "".join(
            f'<li><a href="{problem_type(code)}"><code>{code}</code></a> ({page.status.value}): {_html(page.title)}</li>'
            for code, page in PROBLEM_PAGES.items()
        )
        return _page("Problems", f"<ul>{items}</ul>")
    return JSONResponse({"problems": [_content(code) for code in PROBLEM_PAGES]})


@router.get(
    "/{code}",
    response_class=JSONResponse,
    responses={
        **answer(404, "There is no such code."),
        200: {"content": {"text/html": {"schema": {"type": "string"}}}, "description": "The page."},
    },
)
async def read_problem(code: str, request: Request) -> Response:
    """What a code means, and what to do about it. Public; as HTML for a browser. It is where the `type` of a problem leads."""
    page = PROBLEM_PAGES.get(code)
    if page is None:
        raise NotFoundError(kind="problem", identifier=code)
    if preferred(request.headers.get("Accept"), ("application/json", "text/html")) == "text/html":
        body = (
            f"<p><code>{code}</code>, status {page.status.value}</p><h2>What it means</h2><p>{_html(page.meaning)}</p>"
            f"<h2>What to do</h2><p>{_html(page.what_to_do)}</p><h2>Example</h2>"
            f"<pre>{html.escape(json.dumps(example_of(code), indent=2, ensure_ascii=False))}</pre>"
            '<p><a href="/problems">All problems</a></p>'
        )
        return _page(page.title, body)
    return JSONResponse(_content(code))


def _html(text: str) -> str:
    """Text with backticks around what is code, as HTML."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if number % 2 else part for number, part in enumerate(parts))


def _page(title: str, body: str) -> HTMLResponse:
    return HTMLResponse(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)} - casaflow</title></head><body><main><h1>{html.escape(title)}</h1>{body}</main></body></html>"
    )
