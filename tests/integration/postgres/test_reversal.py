"""Reversals on a real PostgreSQL: a transaction is taken back as a whole or in parts, never more than it was, whoever asks at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest

from infra.postgres.ledger import PostgresLedger
from ledger.accounts import AccountStatus
from ledger.money import Money
from ledger.rates import convert
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import AccountRef, Override, TransactionRequest
from ledger.results import Rejection, TransactionResult, TransactionStatus
from tests.integration.postgres.bank import Bank, new_id
from tests.integration.postgres.linked import assert_nothing_is_wrong, euro, post, shares_of
from tests.unit.ledger.builders import rate

COMPLETED, REJECTED = TransactionStatus.COMPLETED, TransactionStatus.REJECTED
OVERRIDE = Override(by="operator", reason="sent to the wrong account")


def back(original: TransactionRequest, amount: int | None = None, **fields: Any) -> TransactionRequest:
    """The request that takes `amount` minor units of the original back; all of it unless given."""
    swapped = {
        "transaction_id": new_id(),
        "debtor": original.creditor,
        "creditor": original.debtor,
        "amount": Money(minor_units=amount or original.amount.minor_units, currency=original.amount.currency),
        "fee": None,
        "balancing": False,
        "reverses": original.transaction_id,
    }
    return TransactionRequest(**{**dict(original), **swapped, **fields})


async def transferred(bank: Bank, amount: int = 100, **fields: Any) -> TransactionRequest:
    """A transfer between two new accounts of which the debtor had 1,000; posted leg by leg, as the workflow posts a plain one."""
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    request = bank.request(debtor=debtor, creditor=creditor, amount=amount, **fields)
    legs = await bank.post_transfer(bank.first(request))
    assert [leg.posted for leg in legs] == [True, True]
    return request


async def balances(bank: Bank, original: TransactionRequest) -> tuple[int, ...]:
    sides = [side.account_id for side in (original.debtor, original.creditor) if side is not None]
    return tuple([(await bank.balance(account)).ledger for account in sides])


async def reversed_amounts(bank: Bank, transaction_id: str) -> tuple[int, dict[str, int]]:
    """What is marked as taken back: of the transaction, and of each of its legs."""
    whole = await bank.value(
        "SELECT reversed_amount FROM transaction WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=transaction_id
    )
    legs = await bank.select("SELECT leg, reversed FROM decision WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=transaction_id)
    return whole, {row["leg"]: row["reversed"] for row in legs}


def refused_for(result: TransactionResult) -> RefusalCode:
    assert result.status is REJECTED
    assert result.reason is not None
    return result.reason.code


async def test_a_transfer_is_taken_back_as_a_whole_and_stays_completed(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    reversal = back(original)
    result = await post(ledger, reversal)
    assert (result.status, result.reason) == (COMPLETED, None)
    assert [(leg.leg, leg.amount.minor_units) for leg in result.legs] == [("debit", 100), ("credit", 100)]
    assert await balances(bank, original) == (1_000, 0)
    record = await bank.transactions.get(bank.tenant, original.transaction_id)
    assert record is not None
    assert (record.result.status, record.reversed_amount) == (COMPLETED, 100)
    assert await reversed_amounts(bank, original.transaction_id) == (100, {"debit": 100, "credit": 100})
    assert refused_for(await post(ledger, back(original, 1))) is RefusalCode.REVERSAL_EXCEEDS_ORIGINAL
    assert await balances(bank, original) == (1_000, 0)
    await assert_nothing_is_wrong(bank)


async def test_parts_are_taken_back_up_to_the_total_and_not_one_minor_unit_more(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    for part, left in ((30, 70), (69, 1)):
        assert (await post(ledger, back(original, part))).status is COMPLETED
        result = await post(ledger, back(original, left + 1))
        assert refused_for(result) is RefusalCode.REVERSAL_EXCEEDS_ORIGINAL
        assert result.reason is not None
        assert f"{euro(left)} are left to reverse" in result.reason.detail
    assert (await post(ledger, back(original, 1))).status is COMPLETED
    assert await balances(bank, original) == (1_000, 0)
    assert await reversed_amounts(bank, original.transaction_id) == (100, {"debit": 100, "credit": 100})
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("side", ["creditor", "debtor"])
async def test_deposits_and_withdrawals_are_taken_back_over_the_account_that_settled_them(
    bank: Bank, ledger: PostgresLedger, side: str
) -> None:
    account = await bank.open(funds=500)
    original = bank.request(**{side: account}, amount=100, settlement="clearing")
    assert (await bank.post(bank.first(original))).posted
    assert (await post(ledger, back(original, 40))).status is COMPLETED
    assert (await bank.balance(account)).ledger == (560 if side == "creditor" else 440)
    left = await bank.value("SELECT sum(amount) FROM gl_entry WHERE tenant = %(tenant)s AND account_id = 'clearing'")
    assert left == (-60 if side == "creditor" else 60)
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("part", [30, 7])
async def test_reversals_at_once_never_take_back_more_than_the_original(bank: Bank, shared: bool, part: int) -> None:
    """From one ledger they meet in batches, from several they race for the original's row."""
    original = await transferred(bank, 100)
    creditor = original.creditor
    assert creditor is not None
    await bank.post(bank.deposit(creditor.account_id, 10_000))
    taken = await _reversed_by_many(bank, original, part, shared=shared)
    assert await balances(bank, original) == (900 + taken, 10_100 - taken)
    assert await reversed_amounts(bank, original.transaction_id) == (taken, {"debit": taken, "credit": taken})
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("shared", [True, False])
async def test_reversals_at_once_that_only_credit_never_give_back_more_than_was_withdrawn(bank: Bank, shared: bool) -> None:
    """No account's row is locked for a credit, so only the original's own lock stands between them."""
    account = await bank.open(funds=1_000)
    original = bank.request(debtor=account, amount=100)
    await bank.post(bank.first(original))
    taken = await _reversed_by_many(bank, original, 30, shared=shared)
    assert await balances(bank, original) == (900 + taken,)
    assert await reversed_amounts(bank, original.transaction_id) == (taken, {"debit": taken})
    await assert_nothing_is_wrong(bank)


async def _reversed_by_many(bank: Bank, original: TransactionRequest, part: int, *, shared: bool) -> int:
    """Ask 24 times at once for a part of 100 minor units; as many as fit are granted, and every other is refused for its reason."""
    one = bank.ledger
    ledgers = [one if shared else PostgresLedger(bank.database) for _ in range(24)]
    results = await asyncio.gather(*(post(source, back(original, part)) for source in ledgers))
    outcomes = Counter(result.status for result in results)
    assert outcomes == {COMPLETED: 100 // part, REJECTED: 24 - 100 // part}
    assert {result.reason.code for result in results if result.reason} == {RefusalCode.REVERSAL_EXCEEDS_ORIGINAL}
    taken = 100 // part * part
    assert refused_for(await post(one, back(original, 100 - taken + 1))) is RefusalCode.REVERSAL_EXCEEDS_ORIGINAL
    return taken


async def test_taking_a_credit_back_is_a_debit_and_needs_the_money(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    assert original.creditor is not None
    creditor = original.creditor.account_id
    await bank.post(bank.withdrawal(creditor, 30))
    result = await post(ledger, back(original))
    assert refused_for(result) is RefusalCode.INSUFFICIENT_FUNDS
    assert [(leg.leg, leg.account_id) for leg in result.legs] == [("debit", creditor)]
    assert await balances(bank, original) == (900, 70)
    assert await reversed_amounts(bank, original.transaction_id) == (0, {"debit": 0, "credit": 0})
    assert (await post(ledger, back(original, 70))).status is COMPLETED


async def test_an_override_takes_a_credit_back_below_zero_and_stands_on_the_entry(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    assert original.creditor is not None
    creditor = original.creditor.account_id
    await bank.post(bank.withdrawal(creditor, 30))
    result = await post(ledger, back(original, override=OVERRIDE))
    assert result.status is COMPLETED
    debit, credit = result.legs
    assert (debit.available_after, debit.override, credit.override) == (-30, OVERRIDE, None)
    (entry,) = await bank.select(
        "SELECT available_after, override FROM online_entry WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=result.transaction_id
    )
    assert entry == {"available_after": -30, "override": OVERRIDE.model_dump()}
    assert (await bank.balance(creditor)).available == -30
    assert refused_for(await post(ledger, bank.request(debtor=creditor, amount=1, fee=euro(1)))) is RefusalCode.INSUFFICIENT_FUNDS
    await assert_nothing_is_wrong(bank)


async def test_no_override_takes_back_from_a_frozen_account(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    assert original.creditor is not None
    await bank.rows.execute(
        "UPDATE account SET status = %s WHERE tenant = %s AND account_id = %s",
        (AccountStatus.FROZEN, bank.tenant, original.creditor.account_id),
    )
    assert refused_for(await post(ledger, back(original, override=OVERRIDE))) is RefusalCode.ACCOUNT_FROZEN
    assert await reversed_amounts(bank, original.transaction_id) == (0, {"debit": 0, "credit": 0})


@pytest.mark.parametrize("parts", [(1_234,), (1, 2, 1_231), (617, 617), tuple([100] * 12 + [34])])
@pytest.mark.parametrize("foreign", ["debtor", "creditor"])
async def test_a_conversion_is_taken_back_exactly_in_both_currencies_whatever_the_parts(
    bank: Bank, ledger: PostgresLedger, foreign: str, parts: tuple[int, ...]
) -> None:
    accounts = {"debtor": await bank.open(funds=2_000), "creditor": await bank.open(currency="CZK")}
    if foreign == "debtor":
        accounts = {"debtor": await bank.open(funds=100_000, currency="CZK"), "creditor": await bank.open()}
    before = tuple([(await bank.balance(account)).ledger for account in accounts.values()])
    amount = Money(minor_units=1_234, currency="EUR")
    conversion = convert(amount, rate("EUR", "CZK", "24.51537"))
    original = bank.request(**accounts, amount=1).model_copy(update={"amount": amount})
    await bank.post_transfer(bank.first(original, conversion=conversion), conversion=conversion)
    assert await balances(bank, original) != before
    for part in parts:
        result = await post(ledger, back(original, part))
        assert (result.status, result.conversion) == (COMPLETED, None)
    assert await balances(bank, original) == before
    positions = await bank.select(
        "SELECT currency, sum(amount) AS amount FROM gl_entry WHERE tenant = %(tenant)s AND account_id IN ('fx-position', 'transit')"
        " GROUP BY currency"
    )
    assert all(row["amount"] == 0 for row in positions)
    legs = {"debit": conversion.target, "credit": amount} if foreign == "debtor" else {"debit": amount, "credit": conversion.target}
    assert await reversed_amounts(bank, original.transaction_id) == (1_234, {leg: money.minor_units for leg, money in legs.items()})
    assert refused_for(await post(ledger, back(original, 1))) is RefusalCode.REVERSAL_EXCEEDS_ORIGINAL
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("side", ["creditor", "debtor"])
async def test_a_converted_deposit_or_withdrawal_is_taken_back_exactly(bank: Bank, ledger: PostgresLedger, side: str) -> None:
    account = await bank.open(funds=100_000, currency="CZK")
    amount = Money(minor_units=333, currency="EUR")
    conversion = convert(amount, rate("EUR", "CZK", "24.51537"))
    original = bank.request(**{side: account}, amount=1).model_copy(update={"amount": amount})
    await bank.post(bank.first(original, conversion=conversion))
    for part in (111, 1, 221):
        assert (await post(ledger, back(original, part))).status is COMPLETED
    assert (await bank.balance(account)).ledger == 100_000
    left = await bank.select(
        "SELECT account_id, currency FROM gl_entry g JOIN transaction t USING (tenant, transaction_id)"
        " WHERE tenant = %(tenant)s AND (t.reverses IS NOT NULL OR t.transaction_id = %(id)s)"
        " GROUP BY 1, 2 HAVING sum(g.amount) <> 0",
        id=original.transaction_id,
    )
    assert left == []
    await assert_nothing_is_wrong(bank)


async def test_a_part_that_is_nothing_in_the_other_currency_is_refused(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=100_000, currency="JPY"), await bank.open(currency="USD")
    original = bank.request(debtor=debtor, creditor=creditor, amount=1_000)
    conversion = convert(original.amount, rate("JPY", "USD", "0.0061"))
    await bank.post_transfer(bank.first(original, conversion=conversion), conversion=conversion)
    assert (await bank.balance(creditor)).ledger == 610
    await bank.post(bank.withdrawal(debtor, 99_000))
    assert (await post(ledger, back(original, 1))).status is COMPLETED  # 0.61 of a cent is a cent, the next one adds 0.22 to it
    assert refused_for(await post(ledger, back(original, 1))) is RefusalCode.CONVERSION_ROUNDS_TO_ZERO
    assert await balances(bank, original) == (1, 609)


async def test_a_reversal_can_not_be_reversed(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    reversal = back(original)
    await post(ledger, reversal)
    assert refused_for(await post(ledger, back(reversal, reverses=reversal.transaction_id))) is RefusalCode.NOT_REVERSIBLE
    assert await balances(bank, original) == (1_000, 0)


async def test_what_has_not_completed_or_is_not_known_can_not_be_reversed(bank: Bank, ledger: PostgresLedger) -> None:
    rejected, cancelled, processing, compensated, unknown = [
        bank.request(debtor=await bank.open(funds=100), creditor=await bank.open(), amount=amount) for amount in (101, 50, 50, 50, 50)
    ]
    await bank.post_transfer(bank.first(rejected))
    await ledger.reject(Rejection(request=cancelled, refusal=Refusal(code=RefusalCode.CANCELLED, detail="cancelled")))
    assert (await bank.post(bank.first(processing))).posted
    assert compensated.creditor is not None
    await bank.rows.execute(
        "UPDATE account SET status = 'frozen' WHERE tenant = %s AND account_id = %s", (bank.tenant, compensated.creditor.account_id)
    )
    await bank.post_transfer(bank.first(compensated))
    await bank.rows.execute(
        "UPDATE account SET status = 'active' WHERE tenant = %s AND account_id = %s", (bank.tenant, compensated.creditor.account_id)
    )
    for original in (rejected, cancelled, processing, compensated, unknown):
        assert original.creditor is not None
        await bank.post(bank.deposit(original.creditor.account_id, 500))
        assert refused_for(await post(ledger, back(original))) is RefusalCode.NOT_REVERSIBLE
        assert (await bank.balance(original.creditor.account_id)).ledger == 500


async def test_a_reversal_that_leaves_out_a_side_is_refused(bank: Bank, ledger: PostgresLedger) -> None:
    """Or money would come from the bank that the creditor keeps."""
    original = await transferred(bank)
    for sides in ({"debtor": None}, {"creditor": None}, {"debtor": AccountRef(account_id=await bank.open(funds=500), currency="EUR")}):
        assert refused_for(await post(ledger, back(original, **sides))) is RefusalCode.NOT_REVERSIBLE
    assert await balances(bank, original) == (900, 100)
    # So is one whose legs come one by one, which no workflow posts.
    assert not (await bank.post(bank.first(back(original)))).posted


async def test_the_fee_is_kept(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    original = bank.request(debtor=debtor, creditor=creditor, amount=100, fee=euro(5))
    await post(ledger, original)
    result = await post(ledger, back(original))
    assert [leg.leg for leg in result.legs] == ["debit", "credit"]
    assert await balances(bank, original) == (995, 0)
    assert await reversed_amounts(bank, original.transaction_id) == (100, {"debit": 100, "credit": 100, "fee": 0})
    await assert_nothing_is_wrong(bank)


async def test_of_a_balancing_transfer_what_was_taken_can_be_reversed_and_not_what_was_asked(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=60), await bank.open()
    original = bank.request(debtor=debtor, creditor=creditor, amount=100, balancing=True)
    await post(ledger, original)
    assert refused_for(await post(ledger, back(original, 61))) is RefusalCode.REVERSAL_EXCEEDS_ORIGINAL
    assert [leg.amount.minor_units for leg in (await post(ledger, back(original, 45))).legs] == [45, 45]
    assert (await post(ledger, back(original, 15))).status is COMPLETED
    assert await balances(bank, original) == (60, 0)
    assert await reversed_amounts(bank, original.transaction_id) == (60, {"debit": 60, "credit": 60})
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("payer", ["debtor", "bank"])
async def test_a_transaction_with_several_creditors_is_reversed_as_a_whole(bank: Bank, ledger: PostgresLedger, payer: str) -> None:
    debtor = AccountRef(account_id=await bank.open(funds=100), currency="EUR") if payer == "debtor" else None
    one, other = await bank.open(), await bank.open()
    shares = shares_of({one: 30, other: 70})
    template = bank.request(creditor=one, amount=100)
    original = TransactionRequest(**{**dict(template), "debtor": debtor, "creditor": None, "shares": shares})
    assert (await post(ledger, original)).status is COMPLETED
    assert refused_for(await post(ledger, back(original, 30, debtor=shares[0].account, shares=()))) is RefusalCode.NOT_REVERSIBLE
    part = back(original, 50, debtor=None, shares=shares_of({one: 15, other: 35}))
    assert refused_for(await post(ledger, part)) is RefusalCode.NOT_REVERSIBLE
    whole = back(original, debtor=None, shares=shares)
    result = await post(ledger, whole)
    assert (result.status, result.reason) == (COMPLETED, None)
    assert [(leg.leg, leg.account_id) for leg in result.legs][:2] == [("debit", one), ("debit", other)]
    assert [(await bank.balance(account)).ledger for account in (one, other)] == [0, 0]
    record = await bank.transactions.get(bank.tenant, whole.transaction_id)
    assert record is not None
    assert record.result == result
    if debtor is not None:
        assert (await bank.balance(debtor.account_id)).ledger == 100
    assert refused_for(await post(ledger, back(original, debtor=None, shares=shares))) is RefusalCode.REVERSAL_EXCEEDS_ORIGINAL
    await assert_nothing_is_wrong(bank)


async def test_a_dormant_account_gives_back_and_its_limits_do_not_count(bank: Bank, ledger: PostgresLedger) -> None:
    """Both are about what the customer does; the reversal is the bank's."""
    original = await transferred(bank)
    assert original.creditor is not None
    await bank.rows.execute(
        "UPDATE account SET status = 'dormant', transaction_limit = 1, daily_limit = 1, monthly_limit = 1"
        " WHERE tenant = %s AND account_id = %s",
        (bank.tenant, original.creditor.account_id),
    )
    assert (await post(ledger, back(original))).status is COMPLETED
    # Nor does it use up what the customer may spend today.
    await bank.rows.execute(
        "UPDATE account SET status = 'active', daily_limit = 5, monthly_limit = 5, transaction_limit = NULL"
        " WHERE tenant = %s AND account_id = %s",
        (bank.tenant, original.creditor.account_id),
    )
    await bank.post(bank.deposit(original.creditor.account_id, 10))
    assert (await bank.post(bank.withdrawal(original.creditor.account_id, 5))).posted
    assert not (await bank.post(bank.withdrawal(original.creditor.account_id, 1))).posted


async def test_repeats_of_a_reversal_take_back_once(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    reversal = back(original, 40)
    results = await asyncio.gather(*(post(source, reversal) for source in [ledger] * 4 + [PostgresLedger(bank.database) for _ in range(4)]))
    assert results == [results[0]] * 8
    assert await reversed_amounts(bank, original.transaction_id) == (40, {"debit": 40, "credit": 40})
    assert await balances(bank, original) == (940, 60)


async def test_an_id_of_another_tenant_is_not_reversed(bank: Bank, ledger: PostgresLedger) -> None:
    original = await transferred(bank)
    foreign = back(original).model_copy(update={"tenant": f"{bank.tenant}-other"})
    for side in (original.debtor, original.creditor):
        assert side is not None
        await bank.rows.execute(
            "INSERT INTO account (tenant, account_id, currency, kind) VALUES (%s, %s, 'EUR', 'current')", (foreign.tenant, side.account_id)
        )
        await bank.rows.execute("INSERT INTO online_balance (tenant, account_id) VALUES (%s, %s)", (foreign.tenant, side.account_id))
    assert refused_for(await post(ledger, foreign)) is RefusalCode.NOT_REVERSIBLE
    assert await reversed_amounts(bank, original.transaction_id) == (0, {"debit": 0, "credit": 0})


def test_rates_of_these_tests_round() -> None:
    """Without a residual the conversions above would prove little."""
    assert convert(Money(minor_units=1_234, currency="EUR"), rate("EUR", "CZK", "24.51537")).residual != Decimal(0)
