"""Every code that the API may answer with has its page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import starter.api
from ledger import errors, keys
from starter.api.media_types import preferred
from starter.api.problem_codes import PROBLEM_PAGES, example_of

_NOT_ANSWERED = {"error", "ledger-integrity"}
"""The base class's, and what is answered as a defect."""


def _subclasses(kind: type[errors.CasaflowError]) -> set[type[errors.CasaflowError]]:
    return {kind}.union(*(_subclasses(each) for each in kind.__subclasses__()))


def test_every_code_of_an_error_has_a_page() -> None:
    codes = {kind.code for kind in _subclasses(errors.CasaflowError) if kind.__module__ in {errors.__name__, keys.__name__}}
    assert len(codes) > 20
    assert codes - _NOT_ANSWERED <= PROBLEM_PAGES.keys()


def test_every_code_that_the_api_writes_has_a_page() -> None:
    folder = Path(starter.api.__file__).parent
    sources = [path.read_text() for path in folder.glob("*.py")]
    written = {code for source in sources for code in re.findall(r"HTTPStatus\.[A-Z_]+[,:]\s*\"([a-z]+(?:-[a-z]+)*)\"", source)}
    assert {"unauthenticated", "request-too-large", "not-found", "internal-error"} <= written
    assert written <= PROBLEM_PAGES.keys()


@pytest.mark.parametrize("code", PROBLEM_PAGES)
def test_page_says_what_it_means_and_what_to_do(code: str) -> None:
    page = PROBLEM_PAGES[code]
    assert page.title
    assert page.meaning.endswith(".")
    assert page.what_to_do.endswith(".")
    assert example_of(code)["status"] == page.status


@pytest.mark.parametrize(
    ("accept", "wanted"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/html", "text/html"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json;q=0.5, text/*", "text/html"),
        ("TEXT/HTML;q=0, */*", "application/json"),
        ("image/png", None),
        ("text/html;q=0", None),
        ("text/html;q=nonsense", "text/html"),
    ],
)
def test_accept_chooses_the_form(accept: str | None, wanted: str | None) -> None:
    assert preferred(accept, ("application/json", "text/html")) == wanted
