"""What a document shows stands for what a command prints on another day and machine, and for nothing else."""

from __future__ import annotations

import pytest

from tests.docs.printed import is_shown

UUID, OTHER = "504b029e-e534-4eb5-9c36-dea7124a1b0f", "6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11"


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("completed\n", "completed\n\n"),
        (f"id {UUID}", f"id  {OTHER}"),
        ("at 2026-11-29T03:02:11.5Z on 2026-11-29", "at 2027-01-01T00:00:00Z on 2027-01-02"),
        ("took … s", "took 12.5 s"),
        ("first\n…\nlast", "first\nlast"),
        ("first\n…\nlast", "first\n2\n3\nlast"),
    ],
)
def test_what_differs_from_day_to_day_is_left_out(shown: str, printed: str) -> None:
    assert is_shown(shown, printed)


@pytest.mark.parametrize(
    ("shown", "printed"),
    [
        ("completed", "rejected"),
        ("12.50", "12x50"),
        (f"id {UUID}", "id 7"),
        ("at 2026-11-29T03:02:11Z", "at noon"),
        ("a … c", "a b d"),
        ("took … s", "took\n5 s"),
        ("first\nlast", "first\n2\nlast"),
        ("one", "one\ntwo"),
    ],
)
def test_all_else_has_to_be_there(shown: str, printed: str) -> None:
    assert not is_shown(shown, printed)
