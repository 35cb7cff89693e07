"""Linked legs on a real PostgreSQL: all of a transaction's legs are posted, or none, whatever refuses one of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import psycopg
import pytest
from psycopg import sql

from infra.postgres.ledger import PostgresLedger
from ledger.accounts import AccountStatus
from ledger.errors import BusyError, TransactionConflictError, UnknownAccountError
from ledger.postings import credit_posting
from ledger.rates import convert
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import MAX_SHARES, AccountRef, TransactionRequest
from ledger.results import Rejection, TransactionResult, TransactionStatus
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank, new_id
from tests.integration.postgres.linked import assert_nothing_is_wrong, euro, post, shares_of
from tests.unit.ledger.builders import rate

COMPLETED, REJECTED = TransactionStatus.COMPLETED, TransactionStatus.REJECTED
TABLES = ("transaction", "decision", "offline_entry", "online_entry", "gl_entry", "event_outbox", "hold", "account")


async def snapshot(bank: Bank) -> dict[str, list[dict[str, Any]]]:
    """All rows of the bank, balances included."""
    found = {}
    for table in (*TABLES, "online_balance"):
        query = sql.SQL("SELECT * FROM {} t WHERE tenant = %(tenant)s ORDER BY CAST(t AS text)").format(sql.Identifier(table))
        found[table] = await (await bank.rows.execute(query, {"tenant": bank.tenant})).fetchall()
    return found


async def balances(bank: Bank, *accounts: str) -> tuple[int, ...]:
    return tuple([(await bank.balance(account)).ledger for account in accounts])


async def gl(bank: Bank, transaction_id: str) -> Counter[tuple[str, str]]:
    """What a transaction left on each internal account, per currency; zeros are left out."""
    rows = await bank.select(
        "SELECT account_id, currency, sum(amount) AS amount FROM gl_entry WHERE tenant = %(tenant)s AND transaction_id = %(id)s"
        " GROUP BY 1, 2 HAVING sum(amount) <> 0",
        id=transaction_id,
    )
    return Counter({(row["account_id"], row["currency"]): int(row["amount"]) for row in rows})


async def set_status(bank: Bank, account_id: str, status: AccountStatus) -> None:
    await bank.rows.execute("UPDATE account SET status = %s WHERE tenant = %s AND account_id = %s", (status, bank.tenant, account_id))


async def test_a_linked_transfer_posts_both_legs_in_one_database_transaction(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    request = bank.request(debtor=debtor, creditor=creditor, amount=300, fee=euro(5))
    result = await post(ledger, request)
    assert (result.status, result.reason) == (COMPLETED, None)
    assert [(leg.leg, leg.account_id, leg.amount.minor_units) for leg in result.legs] == [
        ("debit", debtor, 300),
        ("fee", debtor, 5),
        ("credit", creditor, 300),
    ]
    assert [leg.available_after for leg in result.legs] == [700, 695, None]
    assert await balances(bank, debtor, creditor) == (695, 300)
    assert await gl(bank, result.transaction_id) == Counter({("fees", "EUR"): 5})
    writers = await bank.value(
        "SELECT count(DISTINCT CAST(xmin AS text)) FROM decision WHERE tenant = %(tenant)s AND transaction_id = %(id)s",
        id=result.transaction_id,
    )
    assert writers == 1
    record = await bank.transactions.get(bank.tenant, result.transaction_id)
    assert record is not None
    assert (record.result, record.request) == (result, request)
    assert [event.type.split(".")[2] for event in await bank.outbox.unpublished(bank.tenant, result.transaction_id)] == [
        "debited",
        "debited",
        "credited",
        "transaction-completed",
    ]
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize(
    ("amount", "fee", "statuses", "code", "leg"),
    [
        (1_001, None, {}, RefusalCode.INSUFFICIENT_FUNDS, "debit"),
        (1_000, 1, {}, RefusalCode.INSUFFICIENT_FUNDS, "fee"),
        (10, 1, {"creditor": AccountStatus.CREDIT_FROZEN}, RefusalCode.ACCOUNT_CREDIT_FROZEN, "credit"),
        (10, 1, {"debtor": AccountStatus.DEBIT_FROZEN}, RefusalCode.ACCOUNT_DEBIT_FROZEN, "debit"),
        (1_001, 1, {"creditor": AccountStatus.FROZEN}, RefusalCode.INSUFFICIENT_FUNDS, "debit"),
    ],
)
async def test_one_refused_leg_leaves_every_table_as_it_was_but_for_the_outcome(
    bank: Bank,
    ledger: PostgresLedger,
    amount: int,
    fee: int | None,
    statuses: dict[str, AccountStatus],
    code: RefusalCode,
    leg: str,
) -> None:
    accounts = {"debtor": await bank.open(funds=1_000), "creditor": await bank.open()}
    for side, status in statuses.items():
        await set_status(bank, accounts[side], status)
    before = await snapshot(bank)
    result = await post(ledger, bank.request(**accounts, amount=amount, fee=euro(fee) if fee else None))
    assert result.status is REJECTED
    assert result.reason is not None
    assert (result.reason.code, result.reason.account_id) == (code, accounts["creditor" if leg == "credit" else "debtor"])
    assert [(decision.leg, decision.posted, decision.refusal) for decision in result.legs] == [(leg, False, result.reason)]
    after = await snapshot(bank)
    new = {table: [row for row in after[table] if row not in before[table]] for table in after}
    assert {table: len(rows) for table, rows in new.items() if rows} == {"transaction": 1, "decision": 1, "event_outbox": 1}
    assert {table: rows for table, rows in before.items() if [row for row in rows if row not in after[table]]} == {}
    assert (new["transaction"][0]["status"], new["event_outbox"][0]["type"]) == (
        "rejected",
        "casaflow.accounting.transaction-rejected.v1",
    )
    assert new["decision"][0]["leg"] == leg


async def test_one_refused_creditor_of_many_refuses_all(bank: Bank, ledger: PostgresLedger) -> None:
    debtor = await bank.open(funds=1_000)
    creditors = [await bank.open() for _ in range(5)]
    await set_status(bank, creditors[3], AccountStatus.FROZEN)
    result = await post(ledger, bank.request(debtor=debtor, amount=500, shares=shares_of(dict.fromkeys(creditors, 100))))
    assert result.reason is not None
    assert (result.status, result.reason.code, result.reason.account_id) == (REJECTED, RefusalCode.ACCOUNT_FROZEN, creditors[3])
    assert await balances(bank, debtor, *creditors) == (1_000, 0, 0, 0, 0, 0)
    assert await bank.count("gl_entry", result.transaction_id) == 0


@pytest.mark.parametrize("payer", ["debtor", "bank"])
async def test_one_debit_is_shared_by_as_many_creditors_as_a_transaction_may_have(bank: Bank, ledger: PostgresLedger, payer: str) -> None:
    debtor = await bank.open(funds=100_000) if payer == "debtor" else None
    amounts = {await bank.open(): number for number in range(1, MAX_SHARES + 1)}
    total = sum(amounts.values())
    template = bank.request(creditor=next(iter(amounts)), amount=total)
    request = TransactionRequest(
        **{
            **dict(template),
            "creditor": None,
            "debtor": AccountRef(account_id=debtor, currency="EUR") if debtor else None,
            "shares": shares_of(amounts),
        }
    )
    result = await post(ledger, request)
    assert (result.status, result.reason) == (COMPLETED, None)
    assert [leg.account_id for leg in result.legs if leg.leg == "credit"] == list(amounts)
    assert await balances(bank, *amounts) == tuple(amounts.values())
    assert await gl(bank, result.transaction_id) == (Counter() if debtor else Counter({("cash", "EUR"): -total}))
    record = await bank.transactions.get(bank.tenant, result.transaction_id)
    assert record is not None
    assert record.result == result
    events = await bank.outbox.unpublished(bank.tenant, result.transaction_id)
    assert len({event.event_id for event in events}) == len(result.legs) + 1
    if debtor:
        assert await balances(bank, debtor) == (100_000 - total,)
    await assert_nothing_is_wrong(bank)


async def test_an_account_that_nobody_knows_writes_nothing(bank: Bank, ledger: PostgresLedger) -> None:
    debtor = await bank.open(funds=100)
    request = bank.request(debtor=debtor, amount=20, shares=shares_of({await bank.open(): 10, "nobody": 10}))
    with pytest.raises(UnknownAccountError) as unknown:
        await post(ledger, request)
    assert (unknown.value.field, unknown.value.account_id) == ("creditor", "nobody")
    assert await bank.nothing_is_written_of(request.transaction_id)


@pytest.mark.parametrize(
    ("funds", "minimum", "asked", "taken"), [(1_000, 0, 300, 300), (1_000, 0, 3_000, 1_000), (1_000, 400, 3_000, 600), (1, 0, 2, 1)]
)
@pytest.mark.parametrize("has_creditor", [True, False])
async def test_a_balancing_amount_takes_what_is_there_up_to_what_was_asked(
    bank: Bank, ledger: PostgresLedger, has_creditor: bool, funds: int, minimum: int, asked: int, taken: int
) -> None:
    debtor, creditor = await bank.open(funds=funds), await bank.open()
    await bank.rows.execute("UPDATE account SET minimum_balance = %s WHERE tenant = %s AND account_id = %s", (minimum, bank.tenant, debtor))
    request = bank.request(debtor=debtor, creditor=creditor if has_creditor else None, amount=asked, balancing=True)
    result = await post(ledger, request)
    assert (result.status, result.reason) == (COMPLETED, None)
    assert {leg.amount.minor_units for leg in result.legs} == {taken}
    assert await balances(bank, debtor, creditor) == (funds - taken, taken if has_creditor else 0)
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize("funds", [0, 400])
async def test_a_balancing_amount_takes_nothing_where_nothing_is_there(bank: Bank, ledger: PostgresLedger, funds: int) -> None:
    debtor, creditor = await bank.open(funds=funds), await bank.open()
    await bank.rows.execute("UPDATE account SET minimum_balance = 400 WHERE tenant = %s AND account_id = %s", (bank.tenant, debtor))
    result = await post(ledger, bank.request(debtor=debtor, creditor=creditor, amount=300, balancing=True))
    assert result.reason is not None
    assert (result.status, result.reason.code) == (
        REJECTED,
        RefusalCode.MINIMUM_BALANCE if funds else RefusalCode.INSUFFICIENT_FUNDS,
    )
    assert await balances(bank, debtor, creditor) == (funds, 0)
    assert await bank.count("gl_entry", result.transaction_id) == 0


async def test_balancing_amounts_that_arrive_together_empty_the_account_once(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    requests = [bank.request(debtor=debtor, creditor=creditor, amount=300, balancing=True) for _ in range(8)]
    results = await asyncio.gather(*(post(ledger, request) for request in requests))
    assert [result.legs[0].amount.minor_units for result in results if result.status is COMPLETED] == [300, 300, 300, 100]
    assert await balances(bank, debtor, creditor) == (0, 1_000)
    await assert_nothing_is_wrong(bank)


async def test_a_linked_transfer_across_currencies_books_each_account_in_its_own(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open(currency="CZK")
    request = bank.request(debtor=debtor, creditor=creditor, amount=200, fee=euro(3))
    conversion = convert(request.amount, rate("EUR", "CZK", "24.515"))
    result = await post(ledger, request, conversion=conversion)
    assert result.conversion == conversion
    assert await balances(bank, debtor, creditor) == (797, 4_903)
    assert await gl(bank, result.transaction_id) == Counter(
        {("fees", "EUR"): 3, ("fx-position", "EUR"): 200, ("fx-position", "CZK"): -4_903}
    )
    await assert_nothing_is_wrong(bank)


async def test_linked_legs_go_in_one_batch_with_other_legs_and_are_decided_on_what_those_left(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    async with bank.in_flight(bank.withdrawal(debtor, 1)):  # whatever comes now goes together afterwards
        first = asyncio.create_task(ledger.post(bank.withdrawal(debtor, 1)))
        await bank.until_blocked()
        before = asyncio.create_task(ledger.post(bank.withdrawal(debtor, 500)))
        pairs = [bank.request(debtor=debtor, creditor=creditor, amount=amount, fee=euro(fee)) for amount, fee in ((400, 8), (90, 1))]
        together = [asyncio.create_task(post(ledger, pair)) for pair in pairs]
        after = asyncio.create_task(ledger.post(bank.withdrawal(debtor, 90)))
        await asyncio.sleep(0)
    await first
    plain, linked, refused, last = await before, await together[0], await together[1], await after
    assert (plain.posted, linked.status, last.posted) == (True, COMPLETED, True)
    assert (refused.status, refused.legs[0].leg) == (REJECTED, "fee")
    assert [plain.version, *(leg.version for leg in linked.legs), last.version] == [3, 4, 5, None, 6]
    assert await balances(bank, debtor, creditor) == (0, 400)
    writers = await bank.value("SELECT count(DISTINCT CAST(xmin AS text)) FROM online_entry WHERE tenant = %(tenant)s AND version > 2")
    assert writers == 1
    await assert_nothing_is_wrong(bank)


async def test_a_linked_transfer_beside_a_bad_one_is_posted(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    good = [bank.request(debtor=debtor, creditor=creditor, amount=10, fee=euro(1)) for _ in range(4)]
    bad = bank.request(debtor=debtor, creditor="nobody", amount=10, fee=euro(1))
    answers = await asyncio.gather(*(post(ledger, request) for request in (*good[:2], bad, *good[2:])), return_exceptions=True)
    assert isinstance(answers[2], UnknownAccountError)
    assert await balances(bank, debtor, creditor) == (956, 40)


async def test_a_repeat_gets_the_stored_result_and_moves_nothing(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    for amount in (100, 10_000):
        request = bank.request(debtor=debtor, creditor=creditor, amount=amount, fee=euro(1))
        first = await post(ledger, request)
        await bank.post(bank.deposit(debtor, 20_000))
        results = await asyncio.gather(*(post(source, request) for source in (ledger, ledger, PostgresLedger(bank.database))))
        assert results == [first] * 3
        await bank.post(bank.withdrawal(debtor, 20_000))
    assert await balances(bank, debtor, creditor) == (899, 100)


async def test_the_same_id_with_another_fee_is_a_conflict(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    transaction_id = new_id()
    requests = [bank.request(debtor=debtor, creditor=creditor, amount=100, fee=euro(fee), transaction_id=transaction_id) for fee in (1, 2)]
    answers = await asyncio.gather(*(post(ledger, request) for request in requests), return_exceptions=True)
    assert isinstance(answers[0], TransactionResult)
    assert isinstance(answers[1], TransactionConflictError)
    with pytest.raises(TransactionConflictError):
        await post(ledger, requests[1])
    assert await balances(bank, debtor, creditor) == (899, 100)


async def test_a_transaction_that_was_rejected_before_stays_so(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    request = bank.request(debtor=debtor, creditor=creditor, amount=100, fee=euro(1))
    rejected = await ledger.reject(Rejection(request=request, refusal=Refusal(code=RefusalCode.CANCELLED, detail="cancelled")))
    assert await post(ledger, request) == rejected
    assert await balances(bank, debtor, creditor) == (1_000, 0)


async def test_legs_that_were_posted_one_by_one_before_are_answered_as_they_stand(bank: Bank, ledger: PostgresLedger) -> None:
    debtor, creditor = await bank.open(funds=1_000), await bank.open()
    request = bank.request(debtor=debtor, creditor=creditor, amount=100, metadata={"a": "b"})
    await ledger.post(bank.first(request))
    result = await post(ledger, request)
    assert (result.status, [leg.leg for leg in result.legs]) == (TransactionStatus.PROCESSING, ["debit"])
    assert await balances(bank, debtor, creditor) == (900, 0)


async def _transfers_both_ways(bank: Bank, *, seconds: float) -> Counter[str]:
    """Linked transfers among few accounts, in every direction, from several ledgers; many at once, so that a batch has several debtors."""
    accounts = [await bank.open(funds=10_000) for _ in range(4)]
    found: Counter[str] = Counter()
    ends = asyncio.get_running_loop().time() + seconds

    async def work(seed: int, ledger: PostgresLedger) -> None:
        chance = random.Random(seed)  # noqa: S311  a seed makes it repeatable
        while asyncio.get_running_loop().time() < ends:
            debtor, *others = chance.sample(accounts, chance.choice([2, 2, 3]))
            amount = chance.randint(1, 4_000)
            if len(others) == 1:
                request = bank.request(debtor=debtor, creditor=others[0], amount=amount, fee=euro(1))
            else:
                request = bank.request(debtor=debtor, amount=2 * amount, shares=shares_of(dict.fromkeys(others, amount)))
            try:
                found[(await post(ledger, request)).status.value] += 1
            except BusyError:
                found["busy"] += 1

    before = await _deadlocks(bank)
    ledgers = [PostgresLedger(bank.database) for _ in range(6)]
    await asyncio.gather(*(work(seed, ledgers[seed % 6]) for seed in range(36)))
    async with asyncio.timeout(PATIENCE_SECONDS):
        await bank.rows.execute("SELECT pg_stat_force_next_flush()")
    found["deadlocks"] += await _deadlocks(bank) - before
    fees = await bank.value("SELECT coalesce(sum(amount), 0) FROM gl_entry WHERE tenant = %(tenant)s AND account_id = 'fees'")
    assert sum(await balances(bank, *accounts)) == 40_000 - fees
    await assert_nothing_is_wrong(bank)
    return found


async def _deadlocks(bank: Bank) -> int:
    return int(await bank.value("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"))


@pytest.mark.parametrize("seconds", [4, pytest.param(60, marks=pytest.mark.slow)])
async def test_transfers_in_both_directions_from_many_connections_never_wait_for_each_other_in_a_circle(bank: Bank, seconds: int) -> None:
    found = await _transfers_both_ways(bank, seconds=seconds)
    print(f"linked transfers: {dict(found)}")  # noqa: T201  shows that it was no idle test
    assert (found["deadlocks"], found["busy"]) == (0, 0)
    assert found["completed"] > 10
    assert found["rejected"] > 0


async def test_a_batch_locks_its_debtors_in_order_whatever_the_order_of_its_requests(bank: Bank, ledger: PostgresLedger) -> None:
    """A reversal of a transaction with several creditors debits several accounts: the first in order is waited for with nothing held."""
    first, second, other = "acc-a", "acc-b", await bank.open(funds=100)
    for account in (second, first):
        await bank.open(account, funds=100)
    paid = bank.request(debtor=other, amount=20, shares=shares_of({second: 10, first: 10}))
    assert (await post(ledger, paid)).status is COMPLETED
    back = bank.request(creditor=other, amount=20, shares=shares_of({second: 10, first: 10}), reverses=paid.transaction_id)
    async with bank.in_flight(bank.withdrawal(first, 1)):
        waiting = asyncio.create_task(post(ledger, back))
        await bank.until_blocked()
        # The second account's row is free: whoever waits for the first holds nothing behind it.
        async with await psycopg.AsyncConnection.connect(bank.url, autocommit=True) as connection:
            row = await connection.execute(
                "SELECT 1 FROM online_balance WHERE tenant = %s AND account_id = %s FOR UPDATE NOWAIT", (bank.tenant, second)
            )
            assert await row.fetchone() == (1,)
    assert (await waiting).status is COMPLETED
    assert await balances(bank, first, second, other) == (99, 100, 100)


async def test_the_credit_leg_of_a_balancing_transfer_brings_what_its_debit_leg_took(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=100), await bank.open()
    debit = bank.transfer(debtor, creditor, 500, balancing=True)
    debited = await bank.post(debit)
    assert debited.amount.minor_units == 100
    credited = await bank.post(credit_posting(debit, debited, conversion=None))
    assert credited.amount.minor_units == 100
    await assert_nothing_is_wrong(bank)
