"""`casaflow events`, `audit` and `statements` as an operator runs them, on stores of the test's own."""

from __future__ import annotations

import datetime as dt
import getpass
import json
import os
import uuid
from pathlib import Path

import psycopg
import pytest

from infra.kafka.records import Partition
from infra.postgres.audit import AuditEffects
from infra.postgres.consumption import GroupStore
from infra.postgres.database import Database
from infra.postgres.statement_lines import StatementEffects
from infra.postgres.stored_offsets import StoredOffsets
from ledger.events import TOPIC_BALANCE_UPDATED
from tests.integration.api.bank import Bank
from tests.integration.api.closed import closed_statement
from tests.integration.cli.conftest import CommandLine
from tests.integration.postgres.told import PLACE, read, record_of_event, told
from tests.stack_fixtures import RunningStack

AT = dt.datetime(2026, 1, 5, 12, tzinfo=dt.UTC)


@pytest.fixture
def command(postgres_url: str, stack: RunningStack) -> CommandLine:
    """On a database of the test's own, and the stack's broker."""
    servers = {"CASAFLOW_POSTGRES_URL": postgres_url, "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": stack.kafka_bootstrap_servers}
    return CommandLine({**os.environ, **servers, "CASAFLOW_HOME": "/nonexistent"})


async def test_dead_letters_are_listed_replayed_and_skipped(command: CommandLine, postgres_url: str) -> None:
    tenant = f"bank-{uuid.uuid4().hex[:8]}"
    good, bad, later = told(tenant, "b", "1.00", AT), told(tenant, "a", "1.00", AT), told(tenant, "a", "2.00", AT)
    bad = bad.model_copy(update={"data": bad.data.replace('"value":"1.00"', '"value":"1.005"')})
    database = Database.open(postgres_url, pool_size=2)
    assert await read(GroupStore(database, StatementEffects(), consumer_group="statement"), [good, bad, later]) == 1
    await database.close()
    listed = await command.run("events", "dead-letters", "statement", "--json")
    assert (listed.code, [(one["event_id"], one["status"]) for one in listed.json]) == (
        1,
        [(bad.event_id, "failed"), (later.event_id, "waiting")],
    )
    assert "at most 2 decimals" in listed.json[0]["error"]
    again = await command.run("events", "replay", "statement", "--all")
    assert again.code == 1
    assert "0 events applied" in again.out
    assert f"event {bad.event_id} fails again, 1 wait behind it" in again.err
    waits = await command.run("events", "skip", "statement", later.event_id, "--reason", "why not")
    assert (waits.code, "waits behind another one of its key" in waits.err) == (2, True)
    one = await command.run("events", "replay", "statement", "--event", later.event_id, "--json")
    assert (one.code, one.json["applied"], one.json["failed"][0]["event_id"]) == (1, 0, bad.event_id)
    skipped = await command.run("events", "skip", "statement", bad.event_id, "--reason", "no such amount", "--json")
    assert (skipped.code, skipped.json) == (0, {"applied": 1, "failed": []})
    assert (await command.run("events", "dead-letters", "statement")).code == 0
    acts = [act for act in (await command.run("admin-log", "--json")).json if act["subject"] == "group statement"][:4]
    assert [(act["action"], act["detail"].get("event")) for act in reversed(acts)] == [
        ("events.replayed", None),
        ("events.skipped", later.event_id),  # refused; that it was tried is known
        ("events.replayed", None),
        ("events.skipped", bad.event_id),
    ]
    assert acts[0]["detail"]["reason"] == "no such amount"
    assert {(act["tenant"], act["by"], act["subject"]) for act in acts} == {(None, f"cli:{getpass.getuser()}", "group statement")}
    assert all(act["address"] for act in acts)
    with psycopg.connect(postgres_url) as connection:
        found = connection.execute("SELECT status, changed_by LIKE 'cli:%%', reason FROM statement.held_event ORDER BY position").fetchall()
    assert found == [("skipped", True, "no such amount"), ("applied", True, None)]


async def test_a_group_is_sent_back_to_an_offset_or_a_time(command: CommandLine, postgres_url: str) -> None:
    database = Database.open(postgres_url, pool_size=2)
    offsets = StoredOffsets(database, schema="statement", consumer_group="statement")
    far = 10_000_000
    places = {Partition(TOPIC_BALANCE_UPDATED, number): far for number in range(6)}
    await offsets.next_offsets(places)
    for place, stored in (await offsets.stored()).items():
        if stored != far:
            await offsets.move(place, expected=stored, to=far)
    moved = await command.run("events", "replay", "statement", "--from-offset", f"{TOPIC_BALANCE_UPDATED}/3/7", "--json")
    assert (moved.code, moved.json) == (0, {f"{TOPIC_BALANCE_UPDATED}/3": 7})
    again = await command.run("events", "replay", "statement", "--from-offset", f"{TOPIC_BALANCE_UPDATED}/3/8")
    assert "has nothing to read again" in again.out
    by_time = await command.run("events", "replay", "statement", "--from-time", "2020-01-01T00:00:00Z", "--json")
    assert by_time.code == 0
    assert all(offset == 0 for offset in by_time.json.values())  # of partitions that have records
    await database.close()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay", "statement"), "give one of --event, --all"),
        (("replay", "statement", "--all", "--from-time", "2026-01-01T00:00:00Z"), "give one of --event, --all"),
        (("replay", "nobody", "--all"), "GROUP must be one of"),
        (("replay", "statement", "--from-offset", "casa.balance-updated/x/1"), "--from-offset must be TOPIC/PARTITION/OFFSET"),
        (("replay", "statement", "--from-offset", "accounting.transaction-finished/0/1"), "with a topic that the group reads"),
        (("replay", "statement", "--from-time", "yesterday"), "--from-time must be an instant"),
        (("replay", "statement", "--from-transaction", str(uuid.UUID(int=7))), "no event of transaction"),
        (("replay", "statement", "--event", str(uuid.UUID(int=7))), "is not held"),
        (("skip", "statement", "abc", "--reason", "x"), "event must be a UUID"),
        (("dead-letters", "audit"), "must be a group that can hold events"),
    ],
)
async def test_what_can_not_be_done_is_refused_with_the_rule(command: CommandLine, arguments: tuple[str, ...], said: str) -> None:
    ended = await command.run("events", *arguments)
    assert (ended.code, said in " ".join(ended.err.split())) == (2, True), ended.err


async def test_the_lag_of_each_group_is_told(command: CommandLine) -> None:
    ended = await command.run("events", "lag", "--json")
    assert ended.code == 0
    assert {"audit", "statement"} <= set(ended.json)
    assert all(group["records"] >= 0 for group in ended.json.values())
    assert (await command.run("events", "lag")).code == 0


async def test_audit_verify_names_what_was_changed_and_heads_show_a_chain_that_was_cut(
    command: CommandLine, postgres_url: str, tmp_path: Path
) -> None:
    events = [told("main", "a", f"{number}.00", AT) for number in range(1, 5)]
    database = Database.open(postgres_url, pool_size=2)
    audit = AuditEffects(database)
    await audit.next_offsets({PLACE: 0})
    await audit.apply(PLACE, [record_of_event(one, number) for number, one in enumerate(events)], expected=0)
    await database.close()
    sound = await command.run("audit", "verify", "--json")
    assert (sound.code, sound.json["records"], sound.json["total"]) == (0, 4, 0)
    heads = tmp_path / "heads.json"
    heads.write_text((await command.run("audit", "heads")).out)
    exported = [json.loads(line) for line in (await command.run("audit", "export")).out.splitlines()]
    assert [(one["event_id"], one["payload"]) for one in exported] == [(one.event_id, one.data) for one in events]
    assert (await command.run("audit", "export", "--tenant", "other")).out == ""
    assert (await command.run("audit", "export", "--to", "2026-01-01T00:00:00Z")).out == ""
    _tamper(postgres_url, "UPDATE audit.record SET payload = payload || ' ' WHERE sequence = 2")
    changed = await command.run("audit", "verify")
    assert changed.code == 1
    assert f"record 2 of chain {PLACE} (event {events[1].event_id}) does not follow" in changed.err
    _tamper(
        postgres_url,
        "UPDATE audit.record SET payload = rtrim(payload) WHERE sequence = 2",
        "DELETE FROM audit.record WHERE sequence = 4",
        "UPDATE audit.chain c SET sequence = 3, hash = (SELECT hash FROM audit.record r WHERE r.chain = c.chain AND r.sequence = 3)",
    )
    assert (await command.run("audit", "verify")).code == 0  # nothing in the database tells of it any more
    cut = await command.run("audit", "verify", "--against", str(heads))
    assert (cut.code, f"record 4 of chain {PLACE} had the hash" in cut.err, "is missing" in cut.err) == (1, True, True)
    heads.write_text("[{}]")
    assert "--against must be a file that" in " ".join((await command.run("audit", "verify", "--against", str(heads))).err.split())


def _tamper(url: str, *statements: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement.encode())


async def test_statements_are_shown_as_a_table(cli: CommandLine, bank: Bank, stack: RunningStack) -> None:
    account = await bank.open("EUR")
    with closed_statement(stack, bank.tenant, account):
        listed = await cli.run("statements", account)
        shown = await cli.run("statements", account, "1")
        as_json = await cli.run("statements", account, "1", "--json")
    assert listed.code == 0, listed.err
    assert "2026-01-01 00:00" in listed.out
    assert "not closed" in listed.out
    assert "Statement 1, 2026-01-01 00:00 to 2026-02-01 00:00 UTC, 3 lines." in shown.out
    assert "Opening balance 0.00, closing balance 3.03 EUR." in shown.out
    assert as_json.json["statement"]["closing_balance"] == "3.03"
    assert (await cli.run("statements", account, "2")).code == 2
