"""The files of the console: public, without data, nothing inline, nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from pathlib import Path

import httpx
import pytest

from tests.integration.api.bank import assert_problem
from tests.stack_fixtures import RunningStack

FOLDER = Path(__file__).parents[2] / "starter" / "console"
FILES = sorted(file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*") if file.is_file())


@pytest.fixture
async def anyone(stack: RunningStack) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=stack.api, timeout=60, trust_env=False) as opened:
        yield opened


async def test_every_file_is_served_without_a_key_under_a_policy_that_allows_nothing_inline(anyone: httpx.AsyncClient) -> None:
    for path in ["/console", *(f"/console/{file}" for file in FILES)]:
        answer = await anyone.get(path)
        assert answer.status_code == 200, path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        again = await anyone.get(path, headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["nothing.js", "../cli/main.py", "%2e%2e/cli/main.py", "..%2fcli%2fmain.py", "views/", "", "/etc/passwd"])
async def test_no_other_file_is_served(anyone: httpx.AsyncClient, path: str) -> None:
    answer = await anyone.get(f"/console/{path}")
    if answer.status_code == 401:  # what leads out of the folder is no public path any more
        return
    assert_problem(answer, 404, "not-found")


class _Inline(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self._in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = {name for name, _ in attrs}
        self._in_script = tag == "script"
        if tag == "style" or (tag == "script" and "src" not in names):
            self.found.append(tag)
        self.found += [name for name in names if name.startswith("on") or name == "style"]

    def handle_data(self, data: str) -> None:
        if self._in_script and data.strip():
            self.found.append(data)

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002  as HTMLParser has it
        self._in_script = False


def test_nothing_is_inline_and_nothing_comes_from_elsewhere() -> None:
    page = (FOLDER / "index.html").read_text()
    parser = _Inline()
    parser.feed(page)
    assert parser.found == []
    for file in FILES:
        text = (FOLDER / file).read_text()
        addresses = set(re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z.]+[^\s\"'`]*", text))
        assert addresses <= {"http://www.w3.org/2000/svg"}, file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function", text), file
