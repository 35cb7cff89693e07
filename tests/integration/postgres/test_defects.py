"""Defects that aren't mended yet. Each test is strict: whoever mends one takes its mark away, and moves it where it belongs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ledger.decisions import Decision
from ledger.errors import BusyError
from ledger.postings import Posting, credit_posting
from tests.integration.postgres.bank import Bank
from tests.integration.postgres.linked import assert_nothing_is_wrong


@pytest.mark.xfail(reason="the credit leg looks for a debit leg in its own bundle", strict=True)
async def test_the_credit_leg_of_a_balancing_transfer_brings_what_its_debit_leg_took(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=100), await bank.open()
    debit = bank.transfer(debtor, creditor, 500, balancing=True)
    debited = await bank.post(debit)
    assert debited.amount.minor_units == 100
    credited = await bank.post(credit_posting(debit, debited, conversion=None))
    assert credited.amount.minor_units == 100
    await assert_nothing_is_wrong(bank)


@pytest.mark.xfail(reason="only what the database refuses goes again by halves", strict=True)
@pytest.mark.parametrize("what", ["a value with the separator", "a leg that makes the rules raise"])
async def test_a_leg_that_can_not_even_be_decided_fails_alone(bank: Bank, what: str) -> None:
    account = await bank.open(funds=100)
    good = [bank.deposit(account, 1) for _ in range(10)]
    bad = bank.deposit(account, 1, submitted_by="te\x1fller")
    if what == "a leg that makes the rules raise":
        debit = bank.transfer(account, await bank.open(), 500, balancing=True)
        bad = credit_posting(debit, await bank.post(debit), conversion=None)
        good = [bank.deposit(account, 1) for _ in range(10)]
    answers = await _together(bank, [*good[:5], bad, *good[5:]])
    assert all(isinstance(answer, Decision) and answer.posted for answer in [*answers[:5], *answers[6:]]), answers


@pytest.mark.xfail(reason="a batch inserts its transactions chunk by chunk, so they are sorted within a chunk only", strict=True)
async def test_two_ledgers_that_post_the_same_credits_in_opposite_order_never_wait_in_a_circle(
    bank: Bank, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an outage, when a batch whose outcome is unknown is posted again, while it is still on its way."""
    gave_way = []

    def busy(**why: str) -> BusyError:
        gave_way.append(why["detail"])
        return BusyError(**why)

    monkeypatch.setattr("infra.postgres.database.BusyError", busy)
    account = await bank.open()
    for _ in range(4):
        credits_at_once = [bank.deposit(account, 1) for _ in range(250)]
        one, other = await asyncio.gather(_together(bank, credits_at_once), _together(bank, credits_at_once[::-1]))
        assert one == other[::-1]
    assert gave_way == []


async def _together(bank: Bank, postings: Sequence[Posting]) -> list[Decision | BaseException]:
    ledger = bank.ledger
    return await asyncio.gather(*(ledger.post(posting) for posting in postings), return_exceptions=True)
