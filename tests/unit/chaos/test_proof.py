"""What is found when an outcome, a repeat, an entry or a balance is not as it has to be; each names the exact id."""

from __future__ import annotations

from typing import Any

from starter.chaos.load import Submitted
from starter.chaos.proof import (
    balances_are_those_of_the_outcomes,
    entries_are_those_of_the_outcomes,
    outcomes_are_final,
    repeats_are_answered_alike,
)


def order(identifier: str, status: str | None, *, cents: int = 100, **sides: str) -> Submitted:
    answer = {"transaction_id": identifier, "status": status} if status is not None else None
    return Submitted(body={"transaction_id": identifier, **sides}, cents=cents, submitted_at=0.0, answer=answer)


SUBMITTED = [
    order("t1", "completed", cents=1_000, creditor="A"),
    order("t2", "completed", cents=300, debtor="A", creditor="B"),
    order("t3", "rejected", cents=10**9, debtor="B"),
]
ENTRIES: dict[str, list[tuple[str, str, int]]] = {"A": [("t1", "credit", 1_000), ("t2", "debit", 300)], "B": [("t2", "credit", 300)]}


def test_what_has_no_outcome_or_was_refused_is_named() -> None:
    assert outcomes_are_final(SUBMITTED).proven
    refused = order("t5", None)
    refused.refusal = "404 unknown-account: there is none"
    found = outcomes_are_final([*SUBMITTED, order("t4", None), refused])
    assert found.offending == ("transaction t4 has no outcome", "transaction t5 was refused: 404 unknown-account: there is none")
    assert found.counted == "5 submitted: 2 completed, 1 rejected, 0 reversed"


def test_a_repeat_that_is_answered_otherwise_is_named() -> None:
    first: dict[str, Any] = {"status": "completed", "legs": [1]}
    assert repeats_are_answered_alike([("t1", first, dict(first))]).proven
    found = repeats_are_answered_alike([("t1", first, {"status": "rejected", "legs": []}), ("t2", first, first), ("t3", first, None)])
    assert found.offending == (
        "transaction t1 was completed, and the same again is answered with another legs, status",
        "transaction t3 was completed, and the same again is not known",
    )


def test_an_entry_that_is_missing_or_too_many_is_named() -> None:
    assert entries_are_those_of_the_outcomes(SUBMITTED, ENTRIES).proven
    twice = [*ENTRIES["B"], ("t2", "credit", 300), ("t3", "debit", 5)]
    found = entries_are_those_of_the_outcomes(SUBMITTED, {"A": ENTRIES["A"][:1], "B": twice})
    assert found.offending == (
        "transaction t2 has no debit of 300 minor units on account A",
        "transaction t2 has a credit of 300 minor units too many on account B",
        "transaction t3 has a debit of 5 minor units too many on account B",
    )


def test_a_balance_is_the_sum_of_what_completed_transactions_say() -> None:
    assert balances_are_those_of_the_outcomes(SUBMITTED, {"A": 700, "B": 300}).proven
    found = balances_are_those_of_the_outcomes(SUBMITTED, {"A": 700, "B": 299})
    assert found.offending == ("account B has a balance of 299 minor units, and its transactions say 300",)
