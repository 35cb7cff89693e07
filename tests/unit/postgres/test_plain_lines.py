"""What is written of a plain line by hand is what the rules and the models write, to the byte."""

from __future__ import annotations

import datetime as dt
import json
import uuid
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from infra.postgres.plain_lines import FileTexts, PlainLine
from infra.postgres.posting import SIMPLY_POSTED, Bundle, _Batch, _Opened, _Records
from ledger.accounts import AccountState, AccountStatus

_TEXTS = st.none() | st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12)
_SIDES = [("A1", "A2"), ("A2", "A1"), ("A1", "M"), ("M", "A2"), (None, "A1"), ("A2", None), ("A1", "gone")]
_AT = dt.datetime(2026, 3, 2, 10, 0, 0, 999_998, tzinfo=dt.UTC)
_MICROSECONDS = st.sampled_from([0, 1, 500, 120_000, 999_999])


@st.composite
def _rows(draw: st.DrawFn) -> tuple[Any, ...]:
    debtor, creditor = draw(
        st.sampled_from([("A1", "A2"), ("A2", "A1"), ("A1", "M"), ("M", "A2"), (None, "A1"), ("A2", None), ("A1", "gone")])
    )
    return (
        str(uuid.UUID(int=draw(st.integers(1, 2**128 - 1)))), debtor, creditor, draw(st.integers(1, 60)), "EUR",
        draw(st.sampled_from(["cash", "clearing"])), draw(_TEXTS), draw(_TEXTS), draw(st.none() | st.dates()),
        draw(st.dictionaries(st.sampled_from(["b", "a", 'quo"te']), _TEXTS.map(lambda text: text or "x"), max_size=3)),
    )  # fmt: skip


def _opened() -> _Opened:
    plain = AccountState(account_id="A1", currency="EUR", status=AccountStatus.ACTIVE, version=4, ledger=90, held=5, overdraft_limit=7)
    limited = plain._replace(account_id="A2", held=0, daily_limit=80)
    capped = plain._replace(account_id="M", ledger=50, maximum_balance=120)
    states = {("t", state.account_id): state for state in (plain, limited, capped)}
    return _Opened(states=states, at=_AT, looked_up=False)


def _written(bundles: Sequence[PlainLine | Bundle]) -> tuple[list[Any], list[_Records]]:
    batch = _Batch(_opened())
    answers = [batch.answer(place, bundle) for place, bundle in enumerate(bundles)]
    return answers, [records for records, _ in batch.chunks()]


def _comparable(records: _Records) -> dict[str, Any]:
    fields = dict(vars(records))
    # The request is stored as jsonb, where the order of names is nobody's.
    fields["transactions"] = [(*row[:6], json.loads(row[6]), *row[7:]) for row in sorted(records.transactions)]
    return fields


@settings(max_examples=60)
@given(st.lists(_rows(), min_size=1, max_size=8, unique_by=lambda row: row[0]), _MICROSECONDS)
def test_lines_are_written_as_the_rules_write_them(rows: list[tuple[Any, ...]], microsecond: int) -> None:
    submitted_at = dt.datetime(2026, 3, 1, 9, 30, 15, microsecond, tzinfo=dt.UTC)
    lines = [PlainLine(FileTexts.of("t", 'te"ller', submitted_at, dt.date(2026, 3, 2)), row) for row in rows]
    requests = [line.request() for line in lines]
    bundles = [Bundle(request, line.legs(request), linked=request.linked) for line, request in zip(lines, requests, strict=True)]
    answers, by_hand = _written(lines)
    expected, by_rule = _written(bundles)
    assert [_comparable(records) for records in by_hand] == [_comparable(records) for records in by_rule]
    for answer, right in zip(answers, expected, strict=True):
        # Only what is simply posted is answered so; refusals and errors are the rules' own.
        posted = getattr(right, "status", getattr(right, "outcome", None)) in {"completed", "posted"}
        assert answer is SIMPLY_POSTED if posted else repr(answer) == repr(right)
