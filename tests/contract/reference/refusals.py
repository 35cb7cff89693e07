"""The page of business refusals."""

from __future__ import annotations

from typing import Final

from ledger.refusals import PRECEDENCE, RefusalCode
from tests.contract.reference.docstrings import member_texts
from tests.contract.reference.markdown import code, page, table

_INTRODUCTION: Final = """\
Why a transaction ends as `rejected` or `reversed`, or a hold as `refused`: `reason.code` of an answer, of an event, and of a line of a
payment file. A refusal is final under its id: the same request again gets the same answer, whatever has changed since. To try again, use
another id.

Where several reasons hold at once, the first of this list is the answer; of legs that are posted together the first that is refused gives
it, in the order debit, fee, credits. Why in this order: [0011](../decisions/0011-rules-and-holds.md)."""


def text() -> str:
    """The page."""
    meanings = member_texts(RefusalCode)
    rows = ((str(number), code(refusal.value), meanings[refusal.name]) for number, refusal in enumerate(PRECEDENCE, start=1))
    return page("Refusals", _INTRODUCTION, table(("order", "code", "meaning"), rows))
