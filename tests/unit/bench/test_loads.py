"""What the benchmark posts."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.ledger.loads import FUNDS, TOO_MUCH, Accounts, Loads, Mix, WrongAnswerError, account_id, expect
from bench.ledger.rows import BalanceRow, leg_rows


@pytest.mark.parametrize(
    ("mix", "debits", "refused"), [(Mix.CREDITS, 0, 0), (Mix.DEBITS, 100, 0), (Mix.HALF, 50, 0), (Mix.MOSTLY_REFUSED, 100, 90)]
)
def test_a_mix_is_what_its_name_says(mix: Mix, debits: int, refused: int) -> None:
    postings = Loads().postings(mix, Accounts.ONE, 100)
    assert sum(posting.is_debit for posting in postings) == debits
    assert sum(posting.amount.minor_units > FUNDS for posting in postings) == refused
    assert {posting.account_id for posting in postings} == {account_id(0)}
    assert len({posting.request.transaction_id for posting in postings}) == 100


def test_the_busiest_of_a_thousand_accounts_has_18_percent_of_the_load() -> None:
    counted = Counter(posting.account_id for posting in Loads().postings(Mix.CREDITS, Accounts.ZIPF, 5_000))
    assert counted.most_common(1)[0][0] == account_id(0)
    assert counted[account_id(0)] / 5_000 == pytest.approx(0.18, abs=0.02)
    assert len(counted) > 500


def test_an_even_load_has_no_busy_account() -> None:
    counted = Counter(posting.account_id for posting in Loads().postings(Mix.CREDITS, Accounts.EVEN, 5_000))
    assert counted.most_common(1)[0][1] < 25
    assert len(counted) > 900


def test_a_tpcb_transaction_moves_three_balances_by_the_same_amount_in_the_same_direction() -> None:
    for account, teller, branch in Loads().tpcb(20):
        assert account.account_id.startswith("bench-")
        assert teller.account_id.startswith("teller-")
        assert branch.account_id == "branch-0"
        assert len({(leg.is_debit, leg.amount.minor_units) for leg in (account, teller, branch)}) == 1


@pytest.mark.parametrize(("amount", "posted"), [(1, False), (TOO_MUCH, True)])
def test_a_wrong_answer_stops_the_run(amount: int, posted: bool) -> None:
    posting = Loads().posting(account_id(0), debit=True, amount=amount)
    expect(posting, posted=not posted)
    with pytest.raises(WrongAnswerError, match="bench-0"):
        expect(posting, posted=posted)


def test_the_balance_row_decides_by_the_same_rules() -> None:
    loads = Loads()
    row = BalanceRow(status="active", overdraft_limit=5, balance=10, version=3)
    assert row.decide(loads.posting("a", debit=True, amount=15)) is None
    assert (row.balance, row.version) == (-5, 4)
    refusal = row.decide(loads.posting("a", debit=True))
    assert refusal is not None
    assert refusal["code"] == "insufficient-funds"
    assert (row.balance, row.version) == (-5, 4)
    assert row.decide(loads.posting("a", debit=False)) is None
    assert (row.balance, row.version) == (-4, 4)
    assert BalanceRow(status="frozen", overdraft_limit=0, balance=10, version=0).decide(loads.posting("a", debit=False)) is not None


def test_a_refused_leg_has_no_entries_and_one_event() -> None:
    posting = Loads().posting("a", debit=True, amount=20)
    row = BalanceRow(status="active", overdraft_limit=0, balance=10, version=0)
    rows = leg_rows(posting, row.decide(posting), row)
    assert (rows.debit, rows.credit, rows.internal) == (None, None, None)
    assert [event["topic"] for event in rows.events] == ["accounting.transaction-finished"]
    assert (rows.transaction["status"], rows.decision["outcome"]) == ("rejected", "refused")


@pytest.mark.parametrize("debit", [True, False])
def test_a_posted_leg_and_its_internal_side_sum_to_zero(debit: bool) -> None:
    posting = Loads().posting("a", debit=debit, amount=7)
    row = BalanceRow(status="active", overdraft_limit=0, balance=10, version=0)
    rows = leg_rows(posting, row.decide(posting), row)
    assert rows.internal is not None
    assert (rows.credit is None, rows.debit is None) == (debit, not debit)
    assert rows.internal["amount"] == (7 if debit else -7)
    assert len(rows.events) == 2
