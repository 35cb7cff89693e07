from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.database import Database
from ledger.accounts import AccountStatus
from ledger.decisions import LegName, Outcome
from ledger.errors import LedgerIntegrityError, UnknownAccountError
from ledger.events import CREDITED_V1, DEBITED_V1
from ledger.money import Money
from ledger.postings import credit_posting
from ledger.rates import Conversion, convert
from ledger.refusals import RefusalCode
from ledger.results import TransactionStatus
from tests.integration.postgres.bank import ALL_ENTRIES, BOOKING_DATE, SUBMITTED_AT, Bank, leg_sums
from tests.unit.ledger.builders import rate

COMPLETED = "casaflow.accounting.transaction-completed.v1"
REJECTED = "casaflow.accounting.transaction-rejected.v1"
REVERSED = "casaflow.accounting.transaction-reversed.v1"


async def _assert_zero_sums(bank: Bank, *, transit: bool = True) -> None:
    entries = await bank.select(ALL_ENTRIES)
    assert entries
    assert set(leg_sums(entries).values()) == {0}
    if transit:
        left = await bank.select(
            "SELECT currency, sum(amount) AS left FROM gl_entry WHERE tenant = %(tenant)s AND account_id = 'transit' GROUP BY currency"
        )
        assert all(row["left"] == 0 for row in left)


async def _gl(bank: Bank, transaction_id: str) -> list[tuple[Any, ...]]:
    rows = await bank.select(
        "SELECT leg, account_id, currency, amount, customer_account_id FROM gl_entry"
        " WHERE tenant = %(tenant)s AND transaction_id = %(id)s ORDER BY leg DESC, account_id, currency",
        id=transaction_id,
    )
    return [tuple(row.values()) for row in rows]


async def _event_types(bank: Bank, transaction_id: str) -> list[str]:
    return [event.type for event in await bank.outbox.unpublished(bank.tenant, transaction_id)]


async def _transaction(bank: Bank, transaction_id: str) -> dict[str, Any]:
    (row,) = await bank.select("SELECT * FROM transaction WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=transaction_id)
    return row


async def test_a_deposit_is_an_insert_on_the_offline_side_with_its_gl_side_its_row_and_its_events(bank: Bank) -> None:
    account = await bank.open()
    posting = bank.deposit(account, 1250, reference="invoice 7", metadata={"channel": "branch"})
    transaction_id = posting.request.transaction_id

    decision = await bank.post(posting)

    assert decision.outcome is Outcome.POSTED
    assert (decision.version, decision.ledger_after, decision.available_after) == (None, None, None)
    row = await _transaction(bank, transaction_id)
    assert (row["status"], row["kind"], row["debtor"], row["creditor"]) == ("completed", "deposit", None, account)
    assert (row["fingerprint"], row["submitted_by"], row["submitted_at"]) == (posting.request.fingerprint, "teller", SUBMITTED_AT)
    assert row["finished_at"] == decision.decided_at
    assert row["request"]["reference"] == "invoice 7"
    (entry,) = await bank.select("SELECT * FROM offline_entry WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=transaction_id)
    assert (entry["account_id"], entry["amount"], entry["currency"], entry["leg"]) == (account, 1250, "EUR", "credit")
    assert (entry["value_date"], entry["posted_at"]) == (BOOKING_DATE, decision.decided_at)
    assert await bank.count("online_entry", transaction_id) == 0
    assert await _gl(bank, transaction_id) == [("credit", "cash", "EUR", -1250, account)]
    online = await bank.select("SELECT debited, version FROM online_balance WHERE tenant = %(tenant)s")
    assert online == [{"debited": 0, "version": 0}]
    assert await _event_types(bank, transaction_id) == [CREDITED_V1, COMPLETED]
    await _assert_zero_sums(bank)
    balance = await bank.balance(account)
    assert (balance.offline, balance.online, balance.ledger, balance.held, balance.available) == (1250, 0, 1250, 0, 1250)


async def test_a_withdrawal_takes_the_next_version_and_carries_the_balances_after_it(bank: Bank) -> None:
    account = await bank.open(funds=1000, overdraft_limit=500)
    posting = bank.withdrawal(account, 1200, settlement="clearing")
    transaction_id = posting.request.transaction_id

    decision = await bank.post(posting)

    assert (decision.version, decision.ledger_after, decision.available_after) == (1, -200, 300)
    (entry,) = await bank.select("SELECT * FROM online_entry WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=transaction_id)
    assert (entry["version"], entry["amount"], entry["balance_after"], entry["available_after"]) == (1, 1200, -200, 300)
    assert (entry["posted_at"], entry["override"]) == (decision.decided_at, None)
    assert await bank.count("offline_entry", transaction_id) == 0
    assert await _gl(bank, transaction_id) == [("debit", "clearing", "EUR", 1200, account)]
    (online,) = await bank.select("SELECT debited, version FROM online_balance WHERE tenant = %(tenant)s")
    assert (online["debited"], online["version"]) == (1200, 1)
    debited, completed = await bank.outbox.unpublished(bank.tenant, transaction_id)
    assert (debited.type, debited.key, completed.type) == (DEBITED_V1, f"{bank.tenant}/{account}", COMPLETED)
    data = json.loads(debited.data)
    assert (data["version"], data["ledger_balance_after"]["value"], data["available_balance_after"]["value"]) == (1, "-2.00", "3.00")
    await _assert_zero_sums(bank)
    balance = await bank.balance(account)
    assert (balance.offline, balance.online, balance.ledger, balance.available) == (1000, 1200, -200, 300)


async def test_a_refused_withdrawal_writes_its_decision_and_the_rejected_event_and_no_entry(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    posting = bank.withdrawal(account, 1001)
    transaction_id = posting.request.transaction_id

    decision = await bank.post(posting)

    assert decision.outcome is Outcome.REFUSED
    assert decision.refusal is not None
    assert decision.refusal.code is RefusalCode.INSUFFICIENT_FUNDS
    assert [await bank.count(table, transaction_id) for table in ("offline_entry", "online_entry", "gl_entry")] == [0, 0, 0]
    (stored,) = await bank.select("SELECT * FROM decision WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=transaction_id)
    assert (stored["outcome"], stored["reason"]["code"], stored["amount"]) == ("refused", "insufficient-funds", 1001)
    row = await _transaction(bank, transaction_id)
    assert (row["status"], row["reason"]["code"], row["finished_at"]) == ("rejected", "insufficient-funds", decision.decided_at)
    assert await _event_types(bank, transaction_id) == [REJECTED]
    assert (await bank.balance(account)).ledger == 1000


async def test_a_debit_may_take_the_last_cent_and_not_one_more(bank: Bank) -> None:
    account = await bank.open(funds=1000, overdraft_limit=500)
    assert not (await bank.post(bank.withdrawal(account, 1501))).posted
    last = await bank.post(bank.withdrawal(account, 1500))
    assert (last.version, last.ledger_after, last.available_after) == (1, -500, 0)
    assert not (await bank.post(bank.withdrawal(account, 1))).posted


async def test_a_transfer_passes_through_transit_leg_by_leg(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    debit = bank.transfer(debtor, creditor, 400)
    transaction_id = debit.request.transaction_id

    debited = await bank.post(debit)

    assert (await _transaction(bank, transaction_id))["status"] == "processing"
    assert await _gl(bank, transaction_id) == [("debit", "transit", "EUR", 400, debtor)]
    assert await _event_types(bank, transaction_id) == [DEBITED_V1]
    await _assert_zero_sums(bank, transit=False)

    credited = await bank.post(credit_posting(debit, debited, conversion=None))

    row = await _transaction(bank, transaction_id)
    assert (row["status"], row["kind"], row["finished_at"]) == ("completed", "transfer", credited.decided_at)
    assert await _gl(bank, transaction_id) == [("debit", "transit", "EUR", 400, debtor), ("credit", "transit", "EUR", -400, creditor)]
    assert await _event_types(bank, transaction_id) == [DEBITED_V1, CREDITED_V1, COMPLETED]
    await _assert_zero_sums(bank)
    assert ((await bank.balance(debtor)).ledger, (await bank.balance(creditor)).ledger) == (600, 400)
    record = await bank.transactions.get(bank.tenant, transaction_id)
    assert record is not None
    assert (record.request, record.fingerprint) == (debit.request, debit.request.fingerprint)
    assert (record.result.status, record.result.legs) == (TransactionStatus.COMPLETED, (debited, credited))


def _crown_conversion(euro_cents: int) -> Conversion:
    return convert(Money(minor_units=euro_cents, currency="EUR"), rate("EUR", "CZK", "24.317"))


async def test_a_transfer_across_currencies_sums_to_zero_in_each_of_them_and_passes_through_the_fx_position(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open(currency="CZK")
    conversion = _crown_conversion(333)
    crowns = conversion.target.minor_units
    debit = bank.transfer(debtor, creditor, 333)
    transaction_id = debit.request.transaction_id

    debited, credited = await bank.post_transfer(debit, conversion=conversion)

    assert (debited.amount.minor_units, credited.amount.minor_units, credited.conversion) == (333, crowns, conversion)
    assert await _gl(bank, transaction_id) == [
        ("debit", "transit", "EUR", 333, debtor),
        ("credit", "fx-position", "CZK", -crowns, creditor),
        ("credit", "fx-position", "EUR", 333, creditor),
        ("credit", "transit", "EUR", -333, creditor),
    ]
    await _assert_zero_sums(bank)
    assert ((await bank.balance(debtor)).ledger, (await bank.balance(creditor)).ledger) == (667, crowns)
    stored_rate = (await _transaction(bank, transaction_id))["rate"]
    assert Decimal(stored_rate["rate"]["rate"]) == Decimal("24.317")
    record = await bank.transactions.get(bank.tenant, transaction_id)
    assert record is not None
    assert record.result.conversion == conversion


async def test_a_refused_credit_is_compensated_to_the_cent_and_ends_as_reversed(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    await bank.close(creditor)
    debit = bank.transfer(debtor, creditor, 400)
    transaction_id = debit.request.transaction_id

    debited, refused, compensated = await bank.post_transfer(debit)

    assert [leg.outcome for leg in (debited, refused, compensated)] == [Outcome.POSTED, Outcome.REFUSED, Outcome.POSTED]
    assert (compensated.leg, compensated.account_id, compensated.amount) == (LegName.COMPENSATION, debtor, debited.amount)
    row = await _transaction(bank, transaction_id)
    assert (row["status"], row["reason"]["code"], row["finished_at"]) == ("reversed", "account-closed", compensated.decided_at)
    (entry,) = await bank.select("SELECT * FROM offline_entry WHERE tenant = %(tenant)s AND transaction_id = %(id)s", id=transaction_id)
    assert (entry["leg"], entry["amount"], entry["account_id"]) == ("compensation", 400, debtor)
    assert await _event_types(bank, transaction_id) == [DEBITED_V1, CREDITED_V1, REVERSED]
    await _assert_zero_sums(bank)
    assert ((await bank.balance(debtor)).ledger, (await bank.balance(creditor)).ledger) == (1000, 0)
    record = await bank.transactions.get(bank.tenant, transaction_id)
    assert record is not None
    assert record.result.legs == (debited, refused, compensated)


async def test_a_transaction_that_waits_for_its_compensation_says_why_and_at_which_rate(bank: Bank) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open(currency="CZK")
    await bank.close(creditor)
    conversion = _crown_conversion(333)
    debit = bank.transfer(debtor, creditor, 333)
    debited = await bank.post(debit)
    refused = await bank.post(credit_posting(debit, debited, conversion=conversion))
    assert not refused.posted

    row = await _transaction(bank, debit.request.transaction_id)

    assert (row["status"], row["finished_at"], row["reason"]["code"]) == ("processing", None, "account-closed")
    assert Decimal(row["rate"]["rate"]["rate"]) == Decimal("24.317")


@pytest.mark.parametrize("status", [AccountStatus.FROZEN, AccountStatus.CREDIT_FROZEN, AccountStatus.DEBIT_FROZEN, AccountStatus.DORMANT])
async def test_a_compensation_ignores_the_status_that_refuses_other_legs(bank: Bank, status: AccountStatus) -> None:
    debtor, creditor = await bank.open(funds=1000), await bank.open()
    await bank.close(creditor)
    debit = bank.transfer(debtor, creditor, 400)
    debited = await bank.post(debit)
    await bank.set_status(debtor, status)
    _, refused, compensated = await bank.post_transfer(debit)
    assert (debited.posted, refused.posted, compensated.posted) == (True, False, True)
    assert (await bank.balance(debtor)).ledger == 1000


async def test_the_events_are_stored_in_the_database_transaction_of_their_leg(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    for posting in (bank.deposit(account, 5), bank.withdrawal(account, 7)):
        async with bank.in_flight(posting) as decision:
            assert decision.posted
            assert await bank.nothing_is_written_of(posting.request.transaction_id)
        xmins = await bank.select(
            "SELECT CAST(xmin AS text) FROM event_outbox WHERE tenant = %(tenant)s AND transaction_id = %(id)s"
            " UNION ALL SELECT CAST(xmin AS text) FROM decision WHERE tenant = %(tenant)s AND transaction_id = %(id)s"
            " UNION ALL SELECT CAST(xmin AS text) FROM gl_entry WHERE tenant = %(tenant)s AND transaction_id = %(id)s"
            " UNION ALL SELECT CAST(xmin AS text) FROM transaction WHERE tenant = %(tenant)s AND transaction_id = %(id)s",
            id=posting.request.transaction_id,
        )
        assert len(xmins) == 5
        assert len({row["xmin"] for row in xmins}) == 1


async def test_a_leg_whose_event_cannot_be_stored_is_not_posted(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    posting = bank.withdrawal(account, 300)
    await bank.rows.execute("ALTER TABLE event_outbox ADD CONSTRAINT refuse_all CHECK (false) NOT VALID")
    try:
        with pytest.raises(LedgerIntegrityError):
            await bank.post(posting)
    finally:
        await bank.rows.execute("ALTER TABLE event_outbox DROP CONSTRAINT refuse_all")
    assert await bank.nothing_is_written_of(posting.request.transaction_id)
    assert (await bank.balance(account)).ledger == 1000
    assert (await bank.post(posting)).version == 1


async def test_a_leg_of_an_unknown_account_writes_nothing(bank: Bank) -> None:
    for posting, side in ((bank.deposit("nobody", 5), "creditor"), (bank.withdrawal("nobody", 5), "debtor")):
        with pytest.raises(UnknownAccountError) as raised:
            await bank.post(posting)
        assert (raised.value.field, raised.value.account_id) == (side, "nobody")
        assert await bank.nothing_is_written_of(posting.request.transaction_id)


async def test_an_account_of_another_tenant_is_unknown(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    other = Bank(url=bank.url, database=bank.database, rows=bank.rows)
    with pytest.raises(UnknownAccountError):
        await other.post(other.withdrawal(account, 5))
    await other.open(account, funds=10)
    assert ((await bank.balance(account)).ledger, (await other.balance(account)).ledger) == (1000, 10)


async def test_amounts_of_ten_to_the_fifteen_and_sums_far_above_it_are_exact(bank: Bank) -> None:
    largest = 10**15
    account = await bank.open()
    for _ in range(20):
        assert (await bank.post(bank.deposit(account, largest))).posted
    debit = await bank.post(bank.withdrawal(account, largest - 1))
    assert debit.ledger_after == 19 * largest + 1
    assert await bank.post(bank.withdrawal(account, 1)) == await _last_debit(bank, account)
    assert (await bank.balance(account)).ledger == 19 * largest


async def _last_debit(bank: Bank, account: str) -> Any:
    (row,) = await bank.select(
        "SELECT CAST(transaction_id AS text) AS id FROM online_entry WHERE tenant = %(tenant)s AND account_id = %(account)s"
        " ORDER BY version DESC LIMIT 1",
        account=account,
    )
    record = await bank.transactions.get(bank.tenant, row["id"])
    assert record is not None
    return record.result.legs[0]


async def test_posting_is_read_committed_whatever_the_servers_default_is(bank: Bank) -> None:
    async def isolation(connection: AsyncConnection) -> str:
        return str((await connection.execute(text("SHOW transaction_isolation"))).scalar_one())

    database = Database.open(f"{bank.url}?options=-c%20default_transaction_isolation%3Dserializable", pool_size=1)
    try:
        assert await database.run(isolation) == "read committed"
    finally:
        await database.close()
