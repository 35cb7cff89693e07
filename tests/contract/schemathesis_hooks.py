"""What schemathesis checks besides its own: what fits the schemas is refused as bad input only for a rule that no schema can say."""

from __future__ import annotations

import re
from typing import Any

import schemathesis

_CODES = {"unknown-account", "unknown-currency", "idempotency-key-conflict"}
"""What they say depends on what is recorded, or on a list of a standard's own."""
_BEYOND = (
    "must be next_cursor of",
    "must be .*(?:time zone|IANA name)",
    "must be in the future",
    "must be today",
    "must be some of .*, each once",
    "must be (?:after|before|later|left out|given|another|greater than zero|the currency|the debtor's|the account's currency)",
    "must not be (?:before|given|after)",
    "must be what",
    "at most .* decimals|decimals",
    "must be an account in",
    "must be an instant",  # a day or an hour that the calendar doesn't have
    "must be a (?:date|calendar)",
    "or creditor must be given",
    "must have printable|must be .* printable characters",
    "must be (?:a URL|a plain e-mail address)",
    "must be from|must lie|at most|must be 10",
)
_RULES = re.compile("|".join(_BEYOND))


@schemathesis.check
def refused_for_a_rule_beyond_the_schema(
    ctx: schemathesis.CheckContext, response: schemathesis.Response, case: schemathesis.Case[Any]
) -> None:
    if response.status_code != 422 or case.meta is None or not case.meta.generation.mode.is_positive:
        return
    problem: dict[str, Any] = response.json()
    rules = [error["rule"] for error in problem.get("errors", [])]
    assert problem["code"] in _CODES or (rules and all(_RULES.search(rule) for rule in rules)), problem
