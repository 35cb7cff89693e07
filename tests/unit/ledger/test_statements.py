"""Statements: what may be asked, cursors that survive being handed out, and the running balance."""

from __future__ import annotations

import base64
import datetime as dt
import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import InvalidInputError
from ledger.statements import (
    EntryDirection,
    LinePosition,
    StatementEntry,
    StatementOrder,
    StatementRequest,
    parse_instant,
    statement_page,
)

OLDEST, NEWEST = StatementOrder.OLDEST_FIRST, StatementOrder.NEWEST_FIRST
NOON = dt.datetime(2026, 3, 2, 12, tzinfo=dt.UTC)
INSTANTS = st.datetimes(timezones=st.just(dt.UTC))
POSITIONS = st.builds(LinePosition, INSTANTS, st.uuids().map(str), st.sampled_from(["credit", "debit", "compensation", "fee-1"]))


def _entry(amount: int, posted_at: dt.datetime = NOON) -> StatementEntry:
    return StatementEntry(
        posted_at=posted_at,
        transaction_id=str(uuid.uuid4()),
        leg="credit" if amount > 0 else "debit",
        direction=EntryDirection.CREDIT if amount > 0 else EntryDirection.DEBIT,
        amount=abs(amount),
        value_date=posted_at.date(),
        version=None,
        counterparty=None,
        reference=None,
        remittance_information=None,
    )


def _written(content: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(content, separators=(",", ":")).encode()).decode().rstrip("=")


# ---- what is asked ----


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-02T12:00:00Z", NOON),
        ("2026-03-02t12:00:00z", NOON),
        ("2026-03-02T13:00:00+01:00", NOON),
        ("2026-03-02T07:30:00.000001-04:30", NOON + dt.timedelta(microseconds=1)),
        ("2026-03-02T12:00:00.5Z", NOON + dt.timedelta(milliseconds=500)),
        ("0001-01-01T00:00:00Z", dt.datetime.min.replace(tzinfo=dt.UTC)),
        ("9999-12-31T23:59:59.999999Z", dt.datetime.max.replace(tzinfo=dt.UTC)),
    ],
)
def test_an_instant_is_read_as_utc(text: str, instant: dt.datetime) -> None:
    assert parse_instant(text, field="at") == instant
    assert parse_instant(text, field="at").tzinfo is dt.UTC


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2026-03-02", "2026-03-02T12:00:00", "2026-03-02 12:00:00Z", "2026-03-02T12:00Z", "2026-03-02T13:00:00 01:00",
        "2026-03-02T12:00:00.0000001Z", "2026-02-30T12:00:00Z", "2026-03-02T25:00:00Z", "2026-03-02T12:00:00+25:00", "1767225600",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "٢٠٢٦-03-02T12:00:00Z", "2026-03-02T12:00:00Z\n", "-infinity",
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_field_value_and_rule(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_instant(text, field="from")
    assert (caught.value.field, caught.value.value) == ("from", text)
    assert "RFC 3339" in caught.value.rule


@pytest.mark.parametrize("limit", [0, -1, 501, 10**9])
def test_a_limit_outside_its_bounds_is_refused(limit: int) -> None:
    with pytest.raises(InvalidInputError) as caught:
        StatementRequest.parse("a", limit=limit)
    assert (caught.value.field, caught.value.value) == ("limit", limit)


def test_a_range_that_ends_before_it_begins_is_refused_and_an_empty_one_is_not() -> None:
    with pytest.raises(InvalidInputError) as caught:
        StatementRequest.parse("a", since="2026-03-02T12:00:00Z", until="2026-03-02T11:59:59.999999Z")
    assert caught.value.field == "to"
    empty = StatementRequest.parse("a", since="2026-03-02T12:00:00Z", until="2026-03-02T13:00:00+01:00")
    assert (empty.since, empty.until) == (NOON, NOON)


@given(since=st.none() | INSTANTS, until=st.none() | INSTANTS, positions=st.lists(POSITIONS, max_size=20), after=st.none() | POSITIONS)
def test_bounds_let_through_what_is_in_the_range_and_behind_the_cursor(
    since: dt.datetime | None, until: dt.datetime | None, positions: list[LinePosition], after: LinePosition | None
) -> None:
    for order in StatementOrder:
        request = StatementRequest(account_id="a", order=order, since=since, until=until, after=after)
        for position in [*positions, *([after] if after else [])]:
            inside = (since is None or position.posted_at >= since) and (until is None or position.posted_at < until)
            behind = after is None or (position > after if order is OLDEST else position < after)
            within = (request.lower is None or position > request.lower) and (request.upper is None or position < request.upper)
            assert within == (inside and behind)


# ---- cursors ----


@given(since=st.none() | INSTANTS, until=st.none() | INSTANTS, position=POSITIONS, order=st.sampled_from(StatementOrder))
def test_a_cursor_brings_back_range_order_and_position(
    since: dt.datetime | None, until: dt.datetime | None, position: LinePosition, order: StatementOrder
) -> None:
    asked = StatementRequest(account_id="DE02-1", order=order, since=since, until=until)
    found = StatementRequest.parse("DE02-1", cursor=asked.cursor_after(position), limit=7)
    assert found == asked.model_copy(update={"after": position, "limit": 7})


def test_the_longest_cursor_that_can_be_handed_out_is_taken_back() -> None:
    latest = dt.datetime.max.replace(tzinfo=dt.UTC)
    asked = StatementRequest(account_id="A" * 34, order=NEWEST, since=latest, until=latest)
    position = LinePosition(latest, str(uuid.UUID(int=2**128 - 1)), "l" * 64)
    assert StatementRequest.parse("A" * 34, cursor=asked.cursor_after(position)).after == position


_GOOD: list[Any] = ["a", "oldest-first", None, None, 1, "00000000-0000-0000-0000-000000000001", "credit"]


@pytest.mark.parametrize(
    "cursor",
    [
        "", "x", "====", "a b", "a" * 601, "é", "null", _written(None), _written({}), _written([]), _written(_GOOD[:-1]),
        _written([*_GOOD, 1]),
        *(
            _written([*_GOOD[:place], wrong, *_GOOD[place + 1 :]])
            for place, wrong in [
                (0, "b"), (0, 7), (0, None), (1, "sideways"), (1, None), (2, "1"), (2, 1.5), (2, True), (3, 10**30), (4, None),
                (4, -(10**30)), (4, 1.0), (4, True), (5, "1"), (5, 5), (5, "00000000000000000000000000000001"), (6, 3), (6, None),
                (6, "a\u0000"), (6, "\ud800"),
            ]
        ),
        _written(_GOOD) + "=", base64.urlsafe_b64encode(json.dumps(_GOOD).encode()).decode().rstrip("="),
        base64.urlsafe_b64encode(b"[" * 400).decode().rstrip("="), base64.urlsafe_b64encode(b"\xff\xfe").decode().rstrip("="),
    ],
)  # fmt: skip
def test_what_is_no_cursor_of_the_account_is_refused(cursor: str) -> None:
    assert StatementRequest.parse("a", cursor=_written(_GOOD)).after is not None
    with pytest.raises(InvalidInputError) as caught:
        StatementRequest.parse("a", cursor=cursor)
    assert (caught.value.field, caught.value.value) == ("cursor", cursor)


@given(text=st.text(max_size=60) | st.text("ABCabc019-_", max_size=60))
def test_no_text_makes_reading_a_cursor_fail_otherwise(text: str) -> None:
    with pytest.raises(InvalidInputError):
        StatementRequest.parse("a", cursor=text)


def test_a_cursor_goes_with_the_range_and_order_it_was_made_for_or_alone() -> None:
    asked = StatementRequest.parse("a", since="2026-03-02T12:00:00Z", order=NEWEST)
    cursor = asked.cursor_after(LinePosition(NOON, str(uuid.uuid4()), "credit"))
    same = StatementRequest.parse("a", cursor=cursor, since="2026-03-02T13:00:00+01:00", order=NEWEST)
    assert same == StatementRequest.parse("a", cursor=cursor)
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("from", {"since": "2026-03-02T12:00:01Z"}),
        ("to", {"until": "2026-03-02T12:00:00Z"}),
        ("order", {"order": OLDEST}),
    ]
    for field, change in wrong:
        with pytest.raises(InvalidInputError) as caught:
            StatementRequest.parse("a", cursor=cursor, **change)
        assert (caught.value.field, caught.value.value) == (field, *change.values())


# ---- running balance ----


@given(amounts=st.lists(st.integers(-(10**15), 10**15).filter(bool), max_size=30), opening=st.integers(-(10**38), 10**38))
def test_opening_balance_and_lines_make_the_closing_balance_in_both_orders(amounts: list[int], opening: int) -> None:
    entries = [_entry(amount, NOON + dt.timedelta(seconds=number)) for number, amount in enumerate(amounts)]
    sums = [opening + sum(amounts[: number + 1]) for number in range(len(amounts))]
    for order in StatementOrder:
        shown = entries if order is OLDEST else entries[::-1]
        request = StatementRequest(account_id="a", order=order)
        page = statement_page(request, shown, currency="EUR", opening_balance=opening, settled_until=NOON, more=False)
        assert [line.balance_after for line in page.lines] == (sums if order is OLDEST else sums[::-1])
        assert (page.opening_balance, page.closing_balance) == (opening, opening + sum(amounts))
        assert [line.position for line in page.lines] == [entry.position for entry in shown]


def test_lines_before_the_boundary_are_settled_and_those_on_it_are_not() -> None:
    entries = [_entry(1, NOON - dt.timedelta(microseconds=1)), _entry(1, NOON), _entry(1, NOON + dt.timedelta(microseconds=1))]
    request = StatementRequest(account_id="a")
    for boundary, settled in ((NOON, [True, False, False]), (None, [False] * 3)):
        page = statement_page(request, entries, currency="EUR", opening_balance=0, settled_until=boundary, more=False)
        assert [line.settled for line in page.lines] == settled


def test_only_a_page_with_more_behind_it_has_a_cursor_and_it_is_its_last_line() -> None:
    entries = [_entry(1, NOON - dt.timedelta(seconds=1)), _entry(2)]
    for order in StatementOrder:
        request = StatementRequest(account_id="a", order=order)
        shown = entries if order is OLDEST else entries[::-1]
        last, more = (
            statement_page(request, shown, currency="EUR", opening_balance=0, settled_until=None, more=more) for more in (False, True)
        )
        assert last.next_cursor is None
        assert more.next_cursor is not None
        assert StatementRequest.parse("a", cursor=more.next_cursor).after == shown[-1].position
