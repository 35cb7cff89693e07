"""A document whose lines don't add up never comes to its end."""

from __future__ import annotations

import datetime as dt

import pytest

from ledger.documents import BrokenDocumentError, DocumentLine, proven, proven_sums
from tests.unit.documents.periods import arriving, period


async def test_lines_that_follow_from_one_another_are_handed_on() -> None:
    document, lines = period([5, -3, 7], opening_balance=-2)
    assert [line async for line in proven(document, arriving(lines))] == lines


def _changed(line: DocumentLine, **fields: object) -> DocumentLine:
    return line.model_copy(update={"entry": line.entry.model_copy(update=fields)})


async def test_a_line_too_many_or_too_few_or_with_another_amount_or_balance_or_not_settled_ends_it() -> None:
    document, lines = period([5, -3, 7])
    wrong = {
        "one is missing": [*lines[:1], *lines[2:]],
        "the last is missing": lines[:2],
        "one is there twice": [*lines, lines[2]],
        "another order": [lines[1], lines[0], lines[2]],
        "another amount": [lines[0], _changed(lines[1], amount=4), lines[2]],
        "another balance": [lines[0], _changed(lines[1], balance_after=3), lines[2]],
        "not settled": [*lines[:2], _changed(lines[2], settled=False)],
    }
    for found in wrong.values():
        with pytest.raises(BrokenDocumentError):
            [line async for line in proven(document, arriving(found))]


async def test_lines_that_are_missing_at_the_end_are_missed_though_they_sum_to_nothing() -> None:
    document, lines = period([5, 3, -3])
    with pytest.raises(BrokenDocumentError):
        [line async for line in proven(document, arriving(lines[:1]))]


def test_sums_that_do_not_fit_the_balances_make_no_document() -> None:
    document, _ = period([5, -3, 7])
    assert proven_sums(document) is document
    with pytest.raises(BrokenDocumentError, match=f"{dt.date(2026, 1, 1)}"):
        proven_sums(document.model_copy(update={"credited": document.credited + 1}))
