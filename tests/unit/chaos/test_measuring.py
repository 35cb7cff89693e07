"""Pauses, as they are computed of when transactions were submitted and finished."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from starter.chaos.measuring import BIN_SECONDS, Span, between, first_finish, longest_gap, slowest, timeline

FINISHES = [1.0, 2.0, 2.5, 7.0, 7.25, 9.0]


@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (3.0, 8.0, 4.5),  # the gap from 2.5 to 7 began before the fault
        (2.5, 8.0, 4.5),
        (7.1, 8.9, 1.65),  # from 7.25 up to the end, in which nothing more came
        (9.0, 12.0, 3.0),  # nothing after the fault
        (0.0, 0.5, 0.5),  # nothing before it either
        (0.0, 9.0, 4.5),
    ],
)
def test_the_longest_gap_is_the_longest_time_without_a_finish_that_touches_the_window(begin: float, end: float, expected: float) -> None:
    assert longest_gap(FINISHES, begin=begin, end=end) == pytest.approx(expected)


@given(
    st.lists(st.floats(min_value=0, max_value=60), max_size=40),
    st.floats(min_value=0, max_value=30),
    st.floats(min_value=0.1, max_value=30),
)
def test_no_gap_is_longer_than_the_longest(finishes: list[float], begin: float, length: float) -> None:
    finishes.sort()
    end = begin + length
    longest = longest_gap(finishes, begin=begin, end=end)
    # Every finish in the window is at most that far from the one before it, wherever that lies.
    for earlier, later in pairwise(finishes):
        if begin < later <= end:
            assert later - earlier <= longest
    quiet = [finish for finish in finishes if finish <= end]
    assert end - (quiet[-1] if quiet else begin) <= longest + 1e-9


def test_the_first_finish_is_of_what_was_submitted_after_the_fault_and_not_of_what_was_under_way() -> None:
    spans = [Span(4.9, 5.2), Span(5.5, None), Span(5.6, 9.0), Span(7.0, 8.5)]
    assert first_finish(spans, after=5.0) == pytest.approx(3.5)
    assert first_finish(spans[:2], after=5.0) is None


def test_the_slowest_is_of_those_that_were_under_way_in_the_window() -> None:
    spans = [Span(0.0, 4.0), Span(4.5, 5.5), Span(6.0, 8.0), Span(10.0, 30.0), Span(6.0, None)]
    assert slowest(spans, begin=5.0, end=9.0) == pytest.approx(2.0)
    assert slowest(spans, begin=3.0, end=9.0) == pytest.approx(4.0)
    assert slowest(spans, begin=40.0, end=50.0) is None


def test_the_timeline_counts_each_finish_once() -> None:
    assert timeline([0.0, 0.1, 0.25, 1.0]) == [2, 1, 0, 0, 1]
    assert timeline([]) == []
    assert sum(timeline(FINISHES)) == len(FINISHES)
    assert len(timeline(FINISHES)) == int(9.0 / BIN_SECONDS) + 1


def test_a_window_has_its_begin_and_not_its_end() -> None:
    assert between(FINISHES, begin=2.0, end=7.0) == 2
