"""A rule that the tables obey, and the query that finds what breaks it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import TextClause

SHOWN_VIOLATIONS: Final = 100
"""Violations of one rule that are listed; more are counted."""


@dataclass(frozen=True)
class Rule:
    """A rule that the tables obey."""

    truth: int
    """Which of the design's six truths it is a part of."""
    query: TextClause
    """A row for each violation, up to :data:`SHOWN_VIOLATIONS`: its text, and how many there are. May use the parameter ``until``."""


def rule(truth: int, query: str) -> Rule:
    """A rule by a query with one text column. However much is wrong, the server counts it and this process holds little of it."""
    counted = f"SELECT violation, count(*) OVER () AS total FROM ({query}\n) AS violations (violation) LIMIT {SHOWN_VIOLATIONS}"  # noqa: S608
    return Rule(truth=truth, query=text(counted))
