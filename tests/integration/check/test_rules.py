"""Every rule of `check` holds on a sound bank, and names the exact ids as soon as somebody tampers with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from infra.postgres.database import Database
from infra.postgres.event_rules import EVENT_RULES
from infra.postgres.ledger_rules import LEDGER_RULES
from infra.postgres.proof import PostgresProof
from ledger.ids import event_id
from tests.integration.check.conftest import CREDITS_TO_FOLD, Bookkeeper, SmallBank

A_DEBITS = 5


@dataclass
class Tampering:
    """What somebody does to the tables, and what `check` has to say of it."""

    truth: int
    says: str
    """A regular expression; ``{name}`` is replaced by the id of that transaction."""
    statement: str
    transaction: str = ""
    """Its id is the statement's parameter ``id``."""


TAMPERINGS = [
    Tampering(
        1,
        "all entries in EUR sum to 1 minor units",
        "UPDATE offline_entry SET amount = amount + 1 WHERE transaction_id = %(id)s",
        "deposit 3",
    ),
    Tampering(1, "{deposit 3}.*credit leg sums", "UPDATE offline_entry SET amount = amount + 1 WHERE transaction_id = %(id)s", "deposit 3"),
    Tampering(
        1,
        "{conversion}.*credit leg sums to 5 minor units of CZK",
        "UPDATE gl_entry SET amount = amount + 5 WHERE transaction_id = %(id)s AND currency = 'CZK'",
        "conversion",
    ),
    Tampering(1, "account A of tenant main: the view shows", "UPDATE online_balance SET folded = folded + 1 WHERE account_id = 'A'"),
    Tampering(1, "account A of tenant main: the view shows", "UPDATE online_balance SET debited = debited - 1 WHERE account_id = 'A'"),
    Tampering(
        1,
        "account X, which has no balance",
        "UPDATE offline_entry SET account_id = 'X' WHERE transaction_id = %(id)s AND leg = 'credit'",
        "transfer",
    ),
    Tampering(
        1,
        "{transfer} of tenant main is completed, and .* in transit",
        "UPDATE gl_entry SET account_id = 'cash' WHERE transaction_id = %(id)s AND leg = 'credit'",
        "transfer",
    ),
    Tampering(
        2,
        "{deposit 5}.*credit leg has 2 entries",
        "ALTER TABLE offline_entry DROP CONSTRAINT offline_entry_pkey;"
        "INSERT INTO offline_entry SELECT * FROM offline_entry WHERE transaction_id = '{id}'",
        "deposit 5",
    ),
    Tampering(2, "offline_entry_pkey.*is missing", "ALTER TABLE offline_entry DROP CONSTRAINT offline_entry_pkey"),
    Tampering(2, "online_entry_once.*is missing", "ALTER TABLE online_entry DROP CONSTRAINT online_entry_once"),
    Tampering(2, "{withdrawal}.*debit leg was decided as posted", "DELETE FROM online_entry WHERE transaction_id = %(id)s", "withdrawal"),
    Tampering(2, "{deposit 7}.*decided as nothing", "DELETE FROM decision WHERE transaction_id = %(id)s", "deposit 7"),
    Tampering(
        2,
        "{withdrawal}.*decided as posted over 999 EUR",
        "UPDATE decision SET amount = 999 WHERE transaction_id = %(id)s",
        "withdrawal",
    ),
    Tampering(2, "{deposit 8}.*never recorded", "DELETE FROM transaction WHERE transaction_id = %(id)s", "deposit 8"),
    Tampering(
        3,
        "debit 1 of account A.*{withdrawal}.*-1 minor units available",
        "ALTER TABLE online_entry DROP CONSTRAINT online_entry_never_overdrawn;"
        "UPDATE online_entry SET available_after = -1 WHERE transaction_id = '{id}'",
        "withdrawal",
    ),
    Tampering(
        3,
        "debit 2 of account A.*{second withdrawal}.*decided on",
        "UPDATE online_entry SET balance_after = balance_after + 1000000 WHERE transaction_id = %(id)s",
        "second withdrawal",
    ),
    Tampering(
        3,
        "debit 2 of account A.*{second withdrawal}.*decided on",
        "UPDATE online_entry SET balance_after = balance_after - 1000 WHERE transaction_id = %(id)s",
        "second withdrawal",
    ),
    Tampering(
        3, "account A.*debits up to version", "UPDATE online_entry SET version = 17 WHERE transaction_id = %(id)s", "second withdrawal"
    ),
    Tampering(3, "account A.*its online row says version 4", "UPDATE online_balance SET version = version - 1 WHERE account_id = 'A'"),
    Tampering(3, "account A.*folded up to", "UPDATE online_balance SET folded_until = '3' WHERE account_id = 'A'"),
    Tampering(
        6,
        "{transfer} of tenant main is completed, with these legs: debit posted$",
        "DELETE FROM decision WHERE transaction_id = %(id)s AND leg = 'credit'",
        "transfer",
    ),
    Tampering(
        6,
        "{withdrawal} of tenant main is rejected",
        "UPDATE transaction SET status = 'rejected' WHERE transaction_id = %(id)s",
        "withdrawal",
    ),
    Tampering(
        6, "{reversed} of tenant main is completed", "UPDATE transaction SET status = 'completed' WHERE transaction_id = %(id)s", "reversed"
    ),
    Tampering(
        6,
        "{reversed} of tenant main: 5000 EUR debited, 4000 EUR given back",
        "UPDATE decision SET amount = 4000 WHERE transaction_id = %(id)s AND leg = 'compensation'",
        "reversed",
    ),
]

_ORDER = """
    INSERT INTO standing_order (tenant, order_id, debtor, debtor_currency, creditor, creditor_currency, amount, currency,
                                schedule, on_refusal, fingerprint, created_by, created_at, status, version)
    VALUES ('main', '00000000-0000-4000-8000-000000000007', 'A', 'EUR', 'B', 'EUR', 3000, 'EUR',
            '{}', '{}', '', 'teller', now(), 'active', 1);
    INSERT INTO standing_order_run (tenant, order_id, due_date, attempt, transaction_id, started_at, outcome, finished_at)
    VALUES ('main', '00000000-0000-4000-8000-000000000007', '2026-01-02', 1, '{id}', now(), 'completed', now());
"""
"""A standing order whose one due date was carried out by a transaction."""
STANDING_ORDER_TAMPERINGS = [
    Tampering(
        6,
        "due date 2026-01-02 of standing order .*7, tenant main, attempt 1, is noted as rejected, .*{transfer} is completed$",
        "UPDATE standing_order_run SET outcome = 'rejected'",
        "transfer",
    ),
    Tampering(
        6,
        "is noted as completed, and its transaction .*8 is not there$",
        "UPDATE standing_order_run SET transaction_id = '00000000-0000-4000-8000-000000000008'",
        "transfer",
    ),
    Tampering(
        6,
        "is noted as under way, and its transaction {transfer} is completed$",
        "UPDATE standing_order_run SET outcome = NULL, finished_at = NULL;"
        "UPDATE transaction SET finished_at = now() - INTERVAL '10 minutes' WHERE transaction_id = '{id}'",
        "transfer",
    ),
    Tampering(
        6,
        "{transfer} moves 3000 EUR from A to B, the order says 3001 EUR from A to B$",
        "UPDATE standing_order SET amount = 3001",
        "transfer",
    ),
    Tampering(
        6,
        "{transfer} moves 3000 EUR from A to B, the order says 3000 EUR from A to F$",
        "UPDATE standing_order SET creditor = 'F'",
        "transfer",
    ),
    Tampering(
        6,
        "due date 2026-01-02 of standing order .*7, tenant main, has 2 completed attempts$",
        "INSERT INTO standing_order_run SELECT (jsonb_populate_record(r, jsonb_build_object('attempt', 2))).* FROM standing_order_run r",
        "transfer",
    ),
]

SAFEGUARD_TAMPERINGS = [
    Tampering(1, "casaflow_app may DELETE offline_entry$", "GRANT DELETE ON offline_entry TO casaflow_app"),
    Tampering(1, "casaflow_app may INSERT column xid of offline_entry$", "GRANT INSERT (xid) ON offline_entry TO casaflow_app"),
    Tampering(1, "casaflow_app may UPDATE column folded_until of online_balance$", "GRANT UPDATE ON online_balance TO PUBLIC"),
    Tampering(1, "casaflow_app may UPDATE column status of transaction$", "GRANT UPDATE ON transaction TO casaflow_app"),
    Tampering(1, "casaflow_app may TRUNCATE audit.record$", "GRANT TRUNCATE ON audit.record TO casaflow_app"),
    Tampering(1, r"fold_account\(.*may be called by casaflow_app", "GRANT EXECUTE ON FUNCTION fold_account TO casaflow_app"),
    Tampering(
        1, "casaflow_consumer may INSERT column payload of event_outbox$", "GRANT INSERT (payload) ON event_outbox TO casaflow_consumer"
    ),
    Tampering(1, "casaflow_relay may read transaction$", "GRANT SELECT (status) ON transaction TO casaflow_relay"),
    Tampering(1, r"record_legs\(.*as its owner for casaflow_consumer", "GRANT EXECUTE ON FUNCTION record_legs TO casaflow_consumer"),
    Tampering(1, r"record_legs\(.*for everybody", "GRANT EXECUTE ON FUNCTION record_legs TO PUBLIC"),
    Tampering(1, r"record_legs\(.*search_path of its caller", "ALTER FUNCTION record_legs RESET search_path"),
    Tampering(1, "may make objects beside the tables", "GRANT CREATE ON SCHEMA public TO casaflow_app"),
    Tampering(1, "transactions of any status", "ALTER TABLE transaction DISABLE ROW LEVEL SECURITY"),
    Tampering(1, "transactions of any status", "CREATE POLICY mine ON transaction FOR INSERT WITH CHECK (true)"),
    Tampering(1, "insert_only of offline_entry is missing or switched off", "ALTER TABLE offline_entry DISABLE TRIGGER insert_only"),
    Tampering(1, "insert_only of gl_entry is missing or switched off", "ALTER TABLE gl_entry ENABLE REPLICA TRIGGER insert_only"),
    Tampering(1, "never_unfold of online_balance is missing", "DROP TRIGGER never_unfold ON online_balance"),
    Tampering(
        1,
        "mine of online_entry is not one of casaflow's",
        "CREATE TRIGGER mine BEFORE INSERT ON online_entry FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    ),
    Tampering(3, "gl_entry_amount_check is missing", "ALTER TABLE gl_entry DROP CONSTRAINT gl_entry_amount_check"),
    Tampering(
        3,
        "online_balance_folded_check is .*not valid",
        "ALTER TABLE online_balance DROP CONSTRAINT online_balance_folded_check;"
        "ALTER TABLE online_balance ADD CONSTRAINT online_balance_folded_check CHECK (folded >= 0) NOT VALID -- {id}",
    ),
    Tampering(3, "belongs to the cluster 7, and this is", "UPDATE ledger_cluster SET system_identifier = 7"),
    Tampering(3, "the cluster nobody knows which", "DELETE FROM ledger_cluster"),
    Tampering(3, "the default of offline_entry.xid was changed", "ALTER TABLE offline_entry ALTER xid SET DEFAULT '3'"),
    Tampering(
        3,
        "{deposit 3}.*has the xid 999999999999, which this cluster has not given out",
        "UPDATE offline_entry SET xid = '999999999999' WHERE transaction_id = %(id)s",
        "deposit 3",
    ),
    Tampering(3, "account A.*folded to 999999999999, which", "UPDATE online_balance SET folded_until = '999999999999'"),
]
ROLE_TAMPERINGS = {
    "it may make roles": ("ALTER ROLE casaflow_app CREATEROLE", "ALTER ROLE casaflow_app NOCREATEROLE"),
    "it bypasses row-level security": ("ALTER ROLE casaflow_app BYPASSRLS", "ALTER ROLE casaflow_app NOBYPASSRLS"),
    "it may become the owner of the entries": ("GRANT casaflow TO casaflow_app", "REVOKE casaflow FROM casaflow_app"),
    "it may switch triggers off": (
        "GRANT SET ON PARAMETER session_replication_role TO casaflow_app",
        "REVOKE SET ON PARAMETER session_replication_role FROM casaflow_app",
    ),
    "is missing": ("ALTER ROLE casaflow_app RENAME TO casaflow_gone", "ALTER ROLE casaflow_gone RENAME TO casaflow_app"),
}
"""What somebody does to the cluster's role, and what takes it back."""

EVENT_TAMPERINGS = [
    Tampering(
        5,
        "{withdrawal}.*posted debit leg has 0 events",
        "DELETE FROM event_outbox WHERE transaction_id = %(id)s AND topic = 'casa.balance-updated'",
        "withdrawal",
    ),
    Tampering(
        5,
        "{rejected} of tenant main is rejected, and has the event none",
        "DELETE FROM event_outbox WHERE transaction_id = %(id)s",
        "rejected",
    ),
    Tampering(
        5,
        "{refused}.*has the event casaflow.accounting.transaction-completed.v1",
        "UPDATE event_outbox SET type = 'casaflow.accounting.transaction-completed.v1' WHERE transaction_id = %(id)s",
        "refused",
    ),
    Tampering(
        5,
        "{withdrawal}, tenant main, tells of nothing",
        "UPDATE decision SET outcome = 'refused', reason = '{}' WHERE transaction_id = %(id)s",
        "withdrawal",
    ),
    Tampering(
        5,
        "is stored 2 times",
        "INSERT INTO event_outbox SELECT (jsonb_populate_record(e, jsonb_build_object('created_at', now()))).* FROM event_outbox e"
        " WHERE transaction_id = %(id)s",
        "withdrawal",
    ),
    Tampering(
        5,
        "{transfer}, tenant main, stored at .*, is not published",
        "UPDATE event_outbox SET published_at = NULL WHERE transaction_id = %(id)s",
        "transfer",
    ),
    Tampering(
        5,
        "{transfer}, tenant main: published at .*not applied it",
        "DELETE FROM audit.record WHERE subject = CAST(%(id)s AS text)",
        "transfer",
    ),
    Tampering(
        5,
        "{transfer}, tenant main: published at .*other content",
        "UPDATE audit.record SET payload = '{}' WHERE subject = CAST(%(id)s AS text)",
        "transfer",
    ),
    Tampering(
        5,
        "applied what no leg has stored",
        "DELETE FROM event_outbox WHERE transaction_id = %(id)s",
        "withdrawal",
    ),
    Tampering(
        5,
        "record 9 of chain casa.balance-updated/0 .*does not follow",
        "UPDATE audit.record SET payload = payload || ' ' WHERE sequence = 9",
    ),
    Tampering(5, "record 10 of chain .*does not follow", "DELETE FROM audit.record WHERE sequence = 9"),
    Tampering(5, "chain .* ends with record", "DELETE FROM audit.record WHERE sequence = (SELECT max(sequence) FROM audit.record)"),
]


def _told(tampering: Tampering, bank: SmallBank, violations: list[str]) -> list[str]:
    pattern = re.sub(r"\{([^{}]+)\}", lambda found: bank.transactions[found[1]], tampering.says)
    return [violation for violation in violations if re.search(pattern, violation)]


def _tamper(tampering: Tampering, bank: SmallBank) -> None:
    identifier = bank.transactions.get(tampering.transaction, "")
    if "{id}" in tampering.statement:  # several statements take no parameters
        bank.tamper(tampering.statement.replace("{id}", identifier))
    else:
        bank.tamper(tampering.statement, **({"id": identifier} if identifier else {}))


async def test_a_sound_bank_breaks_no_rule_and_is_not_empty(bank: SmallBank, database: Database) -> None:
    proof = PostgresProof(database)
    ledger, events = await proof.ledger(), await proof.events(await proof.now(), ["audit"])
    assert {truth: found.shown for truth, found in ledger.violations.items()} == {1: [], 2: [], 3: [], 6: []}
    assert events.violations.shown == []
    assert ledger.statuses == {"completed": CREDITS_TO_FOLD + 4, "rejected": 2, "reversed": 1}
    assert ledger.counts["debits"] == A_DEBITS
    assert events.counts["events"] == events.counts["published"] == events.groups["audit"].applied > CREDITS_TO_FOLD * 2
    assert bank.row("SELECT folded FROM online_balance WHERE account_id = 'A'")["folded"] > 0


@pytest.mark.parametrize("tampering", [*TAMPERINGS, *SAFEGUARD_TAMPERINGS], ids=lambda tampering: tampering.says)
async def test_tampering_with_the_ledger_is_named(bank: SmallBank, database: Database, tampering: Tampering) -> None:
    _tamper(tampering, bank)
    found = (await PostgresProof(database).ledger()).violations[tampering.truth]
    assert _told(tampering, bank, found.shown), found.shown


async def test_a_due_date_that_is_noted_as_its_transaction_stands_breaks_no_rule(bank: SmallBank, database: Database) -> None:
    _note_a_due_date(bank)
    assert not any(found.total for found in (await PostgresProof(database).ledger()).violations.values())
    # The outcome is noted after the transaction has it, so it may be missing for a while.
    bank.tamper("UPDATE standing_order_run SET outcome = NULL, finished_at = NULL")
    assert not any(found.total for found in (await PostgresProof(database).ledger()).violations.values())


@pytest.mark.parametrize("tampering", STANDING_ORDER_TAMPERINGS, ids=lambda tampering: tampering.says)
async def test_a_due_date_that_is_not_noted_as_its_transaction_stands_is_named(
    bank: SmallBank, database: Database, tampering: Tampering
) -> None:
    _note_a_due_date(bank)
    _tamper(tampering, bank)
    found = (await PostgresProof(database).ledger()).violations[tampering.truth]
    assert _told(tampering, bank, found.shown), found.shown


def _note_a_due_date(bank: SmallBank) -> None:
    bank.tamper("UPDATE transaction SET finished_at = now() WHERE transaction_id = %(id)s", id=bank.transactions["transfer"])
    bank.tamper(_ORDER.replace("{id}", bank.transactions["transfer"]))


@pytest.mark.parametrize("says", ROLE_TAMPERINGS)
async def test_a_role_that_may_do_more_than_it_should_is_named(bank: SmallBank, database: Database, says: str) -> None:
    tampering, mending = ROLE_TAMPERINGS[says]
    bank.tamper(tampering)
    try:
        found = (await PostgresProof(database).ledger()).violations[1]
    finally:
        bank.tamper(mending)
    assert [text for text in found.shown if says in text], found.shown


@pytest.mark.parametrize("tampering", EVENT_TAMPERINGS, ids=lambda tampering: tampering.says)
async def test_tampering_with_the_events_is_named(bank: SmallBank, database: Database, tampering: Tampering) -> None:
    _tamper(tampering, bank)
    proof = PostgresProof(database)
    found = (await proof.events(await proof.now(), ["audit"])).violations
    assert _told(tampering, bank, found.shown), found.shown


async def test_a_transaction_between_its_legs_breaks_no_rule_and_is_listed_as_unfinished(
    bank: SmallBank, database: Database, keep: Bookkeeper
) -> None:
    await keep.begin("half", debtor="A", creditor="B", amount="5.00")
    proof = PostgresProof(database)
    ledger = await proof.ledger()
    assert not any(found.total for found in ledger.violations.values())
    assert ledger.unfinished == 1
    # However long it may wait between its legs, what is posted has to be told.
    assert bank.row("SELECT count(*) AS waiting FROM event_outbox WHERE published_at IS NULL")["waiting"] == 1
    (late,) = (await proof.events(await proof.now(), ["audit"])).violations.shown
    assert keep.transactions["half"] in late
    assert late.endswith("is not published")
    half, transfer = ("main", keep.transactions["half"]), ("main", bank.transactions["transfer"])
    assert [page async for page in proof.unfinished(at_once=2)] == [[half]]
    assert await proof.recorded([half, transfer, ("other", transfer[1])]) == {half: False, transfer: True}


async def test_unfinished_transactions_come_in_pages(bank: SmallBank, database: Database, keep: Bookkeeper) -> None:
    for number in range(5):
        await keep.begin(f"half {number}", debtor="A", creditor="B", amount="5.00")
    pages = [page async for page in PostgresProof(database).unfinished(at_once=2)]
    assert [len(page) for page in pages] == [2, 2, 1]
    begun = sorted(identifier for name, identifier in keep.transactions.items() if name.startswith("half"))
    assert [identifier for page in pages for _, identifier in page] == begun


async def test_an_event_stored_after_the_moment_in_question_may_still_wait(bank: SmallBank, database: Database, keep: Bookkeeper) -> None:
    proof = PostgresProof(database)
    until = await proof.now()
    await keep.carry_out("later", creditor="A")
    assert (await proof.events(until, ["audit"])).violations.shown == []
    late = (await proof.events(await proof.now(), ["audit"])).violations
    assert any(event_id("main", keep.transactions["later"], "casaflow.casa.credited.v1", "credit") in text for text in late.shown)


async def test_more_violations_than_are_listed_are_counted(bank: SmallBank, database: Database) -> None:
    bank.tamper("UPDATE event_outbox SET published_at = NULL")
    proof = PostgresProof(database)
    found = (await proof.events(await proof.now(), ["audit"])).violations
    assert (len(found.shown), found.total) == (100, bank.row("SELECT count(*) AS events FROM event_outbox")["events"])


def test_every_truth_that_tables_can_show_has_rules() -> None:
    assert {rule.truth for rule in (*LEDGER_RULES, *EVENT_RULES)} == {1, 2, 3, 5, 6}
    assert all(":until" not in rule.query.text for rule in LEDGER_RULES)
