"""What somebody changes in the statement group's store is named by `casaflow check`."""

from __future__ import annotations

import datetime as dt

import pytest

from infra.postgres.consumption import GroupStore
from infra.postgres.database import Database
from infra.postgres.group_rules import GROUP_RULES
from infra.postgres.statement_closing import StatementClosing
from infra.postgres.statement_lines import StatementEffects
from ledger.closings import StatementPeriod
from tests.integration.postgres.bank import Bank, connected
from tests.integration.postgres.told import read, stored_events

_OWN_LINES = "(SELECT event_id FROM statement.line WHERE account_id = %(account)s)"
_AGAIN = """
    INSERT INTO statement.line
    SELECT tenant, account_id, booked_at + interval '1 s', transaction_id, leg, event_id, currency, direction, amount, value_date, version,
           counterparty, reference, remittance_information
      FROM statement.line WHERE account_id = %(account)s AND direction = 'debit'
"""
_NO_ENTRY = """
    INSERT INTO statement.line (tenant, account_id, booked_at, transaction_id, leg, event_id, currency, direction, amount, value_date)
    SELECT tenant, account_id, now(), transaction_id, 'credit', gen_random_uuid(), 'EUR', 'credit', 5, now()
      FROM statement.line WHERE account_id = %(account)s AND direction = 'debit'
"""
TAMPERED = {
    "amount": ("UPDATE statement.line SET amount = amount + 1 WHERE account_id = %(account)s AND version IS NULL", "says otherwise"),
    "missing": ("DELETE FROM statement.line WHERE account_id = %(account)s AND version = 1", "has no line of it"),
    "twice": (_AGAIN, "is 2 lines of group statement"),
    "no entry": (_NO_ENTRY, "says otherwise"),
    "sum": ("UPDATE statement.closed SET credited = 1, debited = 1, closing_balance = 0 WHERE account_id = %(account)s", "its lines say"),
    "number": ("UPDATE statement.closed SET number = 7 WHERE account_id = %(account)s", "does not follow"),
    "unapplied": (f"DELETE FROM statement.applied_event WHERE event_id IN {_OWN_LINES}", "has not applied it"),  # noqa: S608
    "unstored": (f"DELETE FROM event_outbox WHERE event_id IN {_OWN_LINES}", "applied what no leg has stored"),  # noqa: S608
}


@pytest.mark.parametrize("how", TAMPERED)
async def test_check_names_what_somebody_changed_in_the_groups_store(how: str, bank: Bank, database: Database) -> None:
    account = await bank.open(funds=10_000)
    await bank.post(bank.withdrawal(account, 300))
    await read(GroupStore(database, StatementEffects(), consumer_group="statement"), await stored_events(bank))
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=40)
    await StatementClosing(database).close(("", ""), until=later, period=StatementPeriod.MONTH, time_zone="UTC")
    await bank.select("UPDATE event_outbox SET published_at = clock_timestamp() WHERE tenant = %(tenant)s RETURNING 1")
    before = await _violations(bank)
    statement, said = TAMPERED[how]
    async with bank.rows.transaction():
        await bank.rows.execute("SET LOCAL session_replication_role = replica")
        await bank.rows.execute(statement.encode(), {"account": account})
    found = await _violations(bank) - before
    assert any(said in text for text in found), found


async def _violations(bank: Bank) -> set[str]:
    found = set()
    async with connected(bank.url, autocommit=True) as connection:
        for rule in GROUP_RULES["statement"]:
            query = str(rule.query).replace(":until", "clock_timestamp()")
            found |= {row["violation"] for row in await (await connection.execute(query.encode())).fetchall()}
    return found
