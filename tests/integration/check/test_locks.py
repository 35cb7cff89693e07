"""The probe of truth 4: silent on a sound bank, and loud as soon as a lock appears that must not be."""

from __future__ import annotations

from infra.postgres.database import Database
from infra.postgres.lock_probe import probe_locks
from tests.integration.check.conftest import SmallBank

LOCKING_TRIGGER = """
CREATE FUNCTION lock_the_row() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM 1 FROM {table} WHERE account_id = NEW.account_id FOR UPDATE;
    RETURN NEW;
END $$;
CREATE TRIGGER lock_the_row BEFORE INSERT ON offline_entry FOR EACH ROW EXECUTE FUNCTION lock_the_row();
"""


def _add_trigger(bank: SmallBank, table: str) -> None:
    bank.tamper(LOCKING_TRIGGER.replace("{table}", table))


async def test_postings_side_by_side_wait_for_nobody_and_leave_nothing(bank: SmallBank, database: Database) -> None:
    counts = (
        "SELECT (SELECT count(*) FROM transaction) AS t, (SELECT count(*) FROM decision) AS d, (SELECT count(*) FROM event_outbox) AS e"
    )
    before = bank.row(counts), bank.row("SELECT version, debited FROM online_balance WHERE account_id = 'A'")
    probed = await probe_locks(database)
    assert probed.account == "main/A"
    assert probed.waits == ()
    assert (bank.row(counts), bank.row("SELECT version, debited FROM online_balance WHERE account_id = 'A'")) == before


async def test_a_credit_that_locks_the_online_row_is_found(bank: SmallBank, database: Database) -> None:
    _add_trigger(bank, "online_balance")
    waits = (await probe_locks(database)).waits
    assert any("a credit waited for a debit" in wait and "account A of tenant main" in wait for wait in waits)
    assert any("a debit waited for a credit" in wait for wait in waits)


async def test_a_credit_that_locks_the_account_row_is_found(bank: SmallBank, database: Database) -> None:
    _add_trigger(bank, "account")
    waits = (await probe_locks(database)).waits
    assert waits == ("account A of tenant main: a credit waited for a credit or a debit that was not committed yet",)


async def test_without_an_account_there_is_nothing_to_try(bank: SmallBank, database: Database) -> None:
    bank.tamper("UPDATE account SET status = 'frozen'")
    assert (await probe_locks(database)).account == ""
