"""Each kind of transaction, and each way in which it may end when all parts answer."""

from __future__ import annotations

import uuid
from decimal import Decimal

import pytest

from ledger import visibility
from ledger.accounts import AccountStatus
from ledger.decisions import LegName
from ledger.refusals import RefusalCode
from ledger.results import TransactionStatus
from tests.workflow.conftest import Bank, search_attribute

COMPLETED, REJECTED, REVERSED = TransactionStatus.COMPLETED, TransactionStatus.REJECTED, TransactionStatus.REVERSED


async def test_deposit_credits_the_creditor_without_asking_for_a_rate(bank: Bank) -> None:
    result = await bank.carry_out(creditor="B")
    assert result.status is COMPLETED
    assert [leg.leg for leg in result.legs] == [LegName.CREDIT]
    assert bank.balance("B") == 1250
    assert bank.rates.calls == 0
    assert bank.publisher.types(result.transaction_id) == ["casa.credited", "accounting.transaction-completed"]


async def test_withdrawal_debits_the_debtor(bank: Bank) -> None:
    result = await bank.carry_out(debtor="A")
    assert result.status is COMPLETED
    assert [leg.leg for leg in result.legs] == [LegName.DEBIT]
    assert bank.balance("A") == 8750
    assert bank.publisher.types(result.transaction_id) == ["casa.debited", "accounting.transaction-completed"]


async def test_transfer_moves_the_amount_and_publishes_both_legs(bank: Bank) -> None:
    result = await bank.carry_out(debtor="A", creditor="B")
    assert result.status is COMPLETED
    assert [leg.leg for leg in result.legs] == [LegName.DEBIT, LegName.CREDIT]
    assert (bank.balance("A"), bank.balance("B")) == (8750, 1250)
    assert bank.publisher.types(result.transaction_id) == ["casa.debited", "casa.credited", "accounting.transaction-completed"]


@pytest.mark.parametrize(
    ("fields", "balances"),
    [
        ({"creditor": "B:CZK"}, (10_000, 30_625)),
        ({"debtor": "A:CZK", "amount": "2"}, (5_100, 0)),
        ({"debtor": "A", "creditor": "B:CZK"}, (8_750, 30_625)),
        ({"debtor": "A:CZK", "creditor": "B", "amount": "2"}, (5_100, 200)),
    ],
)
async def test_the_account_with_the_other_currency_is_booked_at_the_rate(
    bank: Bank, fields: dict[str, str], balances: tuple[int, int]
) -> None:
    result = await bank.carry_out(**fields)
    assert result.status is COMPLETED
    assert (bank.balance("A"), bank.balance("B")) == balances
    assert result.conversion is not None
    assert result.conversion.rate.rate == Decimal("24.5")
    assert bank.rates.calls == 1


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"debtor": "A", "amount": "100.01"}, AccountStatus.ACTIVE, RefusalCode.INSUFFICIENT_FUNDS),
        ({"debtor": "A", "creditor": "B", "amount": "100.01"}, AccountStatus.ACTIVE, RefusalCode.INSUFFICIENT_FUNDS),
        ({"debtor": "A"}, AccountStatus.CLOSED, RefusalCode.ACCOUNT_CLOSED),
        ({"debtor": "A"}, AccountStatus.FROZEN, RefusalCode.ACCOUNT_FROZEN),
        ({"debtor": "A"}, AccountStatus.DEBIT_FROZEN, RefusalCode.ACCOUNT_DEBIT_FROZEN),
        ({"debtor": "A"}, AccountStatus.DORMANT, RefusalCode.ACCOUNT_DORMANT),
        ({"creditor": "A"}, AccountStatus.CLOSED, RefusalCode.ACCOUNT_CLOSED),
        ({"creditor": "A"}, AccountStatus.CREDIT_FROZEN, RefusalCode.ACCOUNT_CREDIT_FROZEN),
    ],
)
async def test_a_refused_first_leg_rejects_the_transaction(
    bank: Bank, fields: dict[str, str], status: AccountStatus, code: RefusalCode
) -> None:
    bank.ledger.open("A", balance=10_000, status=status)
    result = await bank.carry_out(**fields)
    assert result.status is REJECTED
    assert result.reason is not None
    assert result.reason.code is code
    assert (bank.balance("A"), bank.balance("B")) == (10_000, 0)
    assert bank.publisher.types(result.transaction_id) == ["accounting.transaction-rejected"]


async def test_a_pair_without_a_rate_is_rejected_and_recorded(bank: Bank) -> None:
    result = await bank.carry_out(debtor="A", creditor="B:XPF")
    assert result.reason is not None
    assert result.reason.code is RefusalCode.RATE_UNAVAILABLE
    assert bank.ledger.results[result.transaction_id] == result
    assert bank.publisher.types(result.transaction_id) == ["accounting.transaction-rejected"]


@pytest.mark.parametrize(("age_days", "status"), [(7, COMPLETED), (8, REJECTED)])
async def test_a_rate_may_be_as_old_as_configured_and_no_older(bank: Bank, age_days: int, status: TransactionStatus) -> None:
    bank.rates.age_days = age_days
    result = await bank.carry_out(creditor="B:CZK")
    assert result.status is status
    assert result.reason is None or result.reason.code is RefusalCode.RATE_TOO_OLD


@pytest.mark.parametrize(
    ("currency", "amount", "creditor", "code"),
    [
        ("JPY", "1", "B:KWD", RefusalCode.CONVERSION_ROUNDS_TO_ZERO),
        ("EUR", "9999999999999.00", "B:CZK", RefusalCode.CONVERSION_TOO_LARGE),
    ],
)
async def test_a_conversion_that_cannot_be_booked_is_refused_before_the_first_leg(
    bank: Bank, currency: str, amount: str, creditor: str, code: RefusalCode
) -> None:
    bank.rates.per_euro["KWD"] = Decimal("0.001")
    result = await bank.carry_out(debtor="A", creditor=creditor, currency=currency, amount=amount)
    assert result.reason is not None
    assert result.reason.code is code
    assert bank.ledger.calls["debit"] == 0


@pytest.mark.parametrize("fields", [{"debtor": "A", "creditor": "B"}, {"debtor": "A:CZK", "creditor": "B"}])
async def test_a_refused_credit_gives_the_debtor_back_exactly_what_was_taken(bank: Bank, fields: dict[str, str]) -> None:
    bank.ledger.open("B", status=AccountStatus.CLOSED)
    result = await bank.carry_out(**fields, amount="2")
    assert result.status is REVERSED
    assert result.reason is not None
    assert (result.reason.code, result.reason.account_id) == (RefusalCode.ACCOUNT_CLOSED, "B")
    assert [leg.leg for leg in result.legs] == [LegName.DEBIT, LegName.CREDIT, LegName.COMPENSATION]
    assert (bank.balance("A"), bank.balance("B")) == (10_000, 0)
    expected = ["casa.debited", "casa.credited", "accounting.transaction-reversed"]
    assert bank.publisher.types(result.transaction_id) == expected


async def test_a_rerun_at_another_rate_gives_back_what_was_taken_and_not_what_it_would_take_now(bank: Bank) -> None:
    bank.ledger.open("B", status=AccountStatus.CLOSED)
    transaction_id = str(uuid.uuid4())
    bank.ledger.gates[LegName.CREDIT].clear()
    first = await bank.start(debtor="A:CZK", creditor="B", amount="2", transaction_id=transaction_id)
    await bank.ledger.entered[LegName.CREDIT].wait()
    await first.terminate()
    bank.ledger.open_gates()
    bank.rates.per_euro["CZK"] = Decimal(30)
    result = await bank.carry_out(debtor="A:CZK", creditor="B", amount="2", transaction_id=transaction_id)
    assert result.status is REVERSED
    assert bank.balance("A") == 10_000


async def test_operators_find_status_and_reason_as_search_attributes(bank: Bank) -> None:
    bank.ledger.open("B", status=AccountStatus.CLOSED)
    completed, reversed_ = await bank.start(debtor="A"), await bank.start(debtor="A", creditor="B")
    await completed.result()
    await reversed_.result()
    assert await search_attribute(completed, visibility.STATUS) == "completed"
    assert await search_attribute(completed, visibility.REASON) is None
    assert await search_attribute(reversed_, visibility.STATUS) == "reversed"
    assert await search_attribute(reversed_, visibility.REASON) == "account-closed"
