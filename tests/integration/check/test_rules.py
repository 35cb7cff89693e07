"""Every rule of `check` holds on a sound bank, and names the exact ids as soon as somebody tampers with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pytest

from infra.postgres.database import Database
from infra.postgres.proof import EVENT_RULES, LEDGER_RULES, PostgresProof
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
    ledger, events = await proof.ledger(), await proof.events(await proof.now())
    assert {truth: found.shown for truth, found in ledger.violations.items()} == {1: [], 2: [], 3: [], 6: []}
    assert events.violations.shown == []
    assert ledger.statuses == {"completed": CREDITS_TO_FOLD + 4, "rejected": 2, "reversed": 1}
    assert ledger.counts["debits"] == A_DEBITS
    assert events.counts["events"] == events.counts["published"] == events.counts["applied"] > CREDITS_TO_FOLD * 2
    assert bank.row("SELECT folded FROM online_balance WHERE account_id = 'A'")["folded"] > 0


@pytest.mark.parametrize("tampering", TAMPERINGS, ids=lambda tampering: tampering.says)
async def test_tampering_with_the_ledger_is_named(bank: SmallBank, database: Database, tampering: Tampering) -> None:
    _tamper(tampering, bank)
    found = (await PostgresProof(database).ledger()).violations[tampering.truth]
    assert _told(tampering, bank, found.shown), found.shown


@pytest.mark.parametrize("tampering", EVENT_TAMPERINGS, ids=lambda tampering: tampering.says)
async def test_tampering_with_the_events_is_named(bank: SmallBank, database: Database, tampering: Tampering) -> None:
    _tamper(tampering, bank)
    proof = PostgresProof(database)
    found = (await proof.events(await proof.now())).violations
    assert _told(tampering, bank, found.shown), found.shown


async def test_a_transaction_between_its_legs_breaks_no_rule_and_is_listed_as_unfinished(
    bank: SmallBank, database: Database, keep: Bookkeeper
) -> None:
    await keep.begin("half", debtor="A", creditor="B", amount="5.00")
    proof = PostgresProof(database)
    ledger = await proof.ledger()
    assert not any(found.total for found in ledger.violations.values())
    assert ledger.unfinished == {("main", keep.transactions["half"])}
    assert await proof.finished(ledger.unfinished | {("main", bank.transactions["transfer"])}) == {("main", bank.transactions["transfer"])}


async def test_an_event_stored_after_the_moment_in_question_may_still_wait(bank: SmallBank, database: Database, keep: Bookkeeper) -> None:
    proof = PostgresProof(database)
    until = await proof.now()
    await keep.carry_out("later", creditor="A")
    assert (await proof.events(until)).violations.shown == []
    late = (await proof.events(await proof.now())).violations
    assert any(event_id("main", keep.transactions["later"], "casaflow.casa.credited.v1", "credit") in text for text in late.shown)


async def test_more_violations_than_are_listed_are_counted(bank: SmallBank, database: Database) -> None:
    bank.tamper("UPDATE event_outbox SET published_at = NULL")
    proof = PostgresProof(database)
    found = (await proof.events(await proof.now())).violations
    assert (len(found.shown), found.total) == (100, bank.row("SELECT count(*) AS events FROM event_outbox")["events"])


def test_every_truth_that_tables_can_show_has_rules() -> None:
    assert {rule.truth for rule in (*LEDGER_RULES, *EVENT_RULES)} == {1, 2, 3, 5, 6}
    assert all(":until" not in rule.query.text for rule in LEDGER_RULES)
