"""The page of the codes of problems."""

from __future__ import annotations

import json
from typing import Final

from starter.api.problem_codes import PROBLEM_PAGES, example_of
from tests.contract.reference.markdown import code, page, table

_INTRODUCTION: Final = """\
An error of the [HTTP API](api/README.md) is an `application/problem+json` of RFC 9457. `code` is stable, and what programs should look
at; `detail` is for people, and may be worded otherwise tomorrow; `errors`, where there are some, name each field with the value that came
and the rule that it breaks. A running API serves each of these sections at the problem's `type`: `/problems/CODE`.

What a bank refuses for its own reasons (no funds, a frozen account) is no problem but a transaction's final result: see
[refusals](refusals.md)."""


def text() -> str:
    """The page."""
    by_status = sorted(PROBLEM_PAGES.items(), key=lambda item: item[1].status.value)
    listed = table(
        ("status", "code", "meaning"),
        ((str(problem.status.value), f"[{code(name)}](#{name})", problem.title) for name, problem in by_status),
    )
    return page("Problems", _INTRODUCTION, listed, *(_section(name) for name, _ in by_status))


def _section(name: str) -> str:
    problem = PROBLEM_PAGES[name]
    example = json.dumps(example_of(name), indent=2, ensure_ascii=False)
    return (
        f"## {name}\n\n**{problem.status.value} {problem.status.phrase}.** {problem.meaning}\n\n"
        f"*What to do.* {problem.what_to_do}\n\n```json\n{example}\n```"
    )
