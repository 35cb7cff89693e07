"""The group mis on real servers: whatever becomes of its members, its totals are what the ledger's tables say."""

from __future__ import annotations

import asyncio
import datetime as dt
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from infra.kafka.publisher import KafkaPublisher
from infra.kafka.received import ReceivedEvent
from infra.postgres.consumption import GroupStore
from infra.postgres.database import Database
from infra.postgres.mis import MisEffects, PostgresMis
from infra.postgres.mis_rules import MIS_RULES
from infra.postgres.privileges import APPLICATION_ROLE
from infra.postgres.replays import Replays
from ledger.charts import ENTRY_DIMENSIONS, TRANSACTION_DIMENSIONS, ChartRequest, Interval
from ledger.errors import InvalidInputError
from ledger.events import Event
from tests.integration.consumers.conftest import administration, ends, member, rows, send, until
from tests.integration.postgres.bank import Bank, connected
from tests.integration.postgres.test_storm_of_all_kinds import Storm
from tests.stack_fixtures import RunningStack

_MEMBER = Path(__file__).with_name("mis_process.py")
_OPERATIONS = 150


@pytest.fixture
async def database(postgres_url: str) -> AsyncIterator[Database]:
    """As production runs: by the role that may add to totals, and can't take them away."""
    database = Database.open(postgres_url, pool_size=16, role=APPLICATION_ROLE)
    yield database
    await database.close()


@pytest.fixture
async def bank(postgres_url: str, database: Database) -> AsyncIterator[Bank]:
    async with connected(postgres_url, autocommit=True) as connection:
        yield Bank(url=postgres_url, database=database, rows=connection)


@pytest.fixture
async def events(bank: Bank, postgres_url: str) -> list[Event]:
    """Those of operations of every kind, and of amounts in all bands and with any number of decimals."""
    storm = Storm(bank, seed=30)
    for _ in range(6):
        await storm.open()
    for _ in range(_OPERATIONS):
        await storm.one()
    for currency in ("JPY", "BHD", "CLF"):
        account = await bank.open(currency=currency, overdraft_limit=10**9)
        amounts = [amount for exponent in range(1, 11) for amount in (10**exponent - 1, 10**exponent)]
        await asyncio.gather(*(bank.post(bank.deposit(account, amount)) for amount in amounts))
        await asyncio.gather(*(bank.post(bank.withdrawal(account, amount)) for amount in amounts))
    return stored_events(postgres_url)


def stored_events(url: str) -> list[Event]:
    columns = "CAST(event_id AS text) AS event_id, topic, key, type, source, subject, time, payload AS data"
    return [Event.model_validate(row) for row in rows(url, f"SELECT {columns} FROM event_outbox ORDER BY created_at, position")]  # noqa: S608


async def publish(stack: RunningStack, topic: str, events: Sequence[Event]) -> None:
    """Publish as workflows do, on the test's own topic."""
    publisher = KafkaPublisher(stack.kafka_bootstrap_servers)
    try:
        await publisher.publish([event.model_copy(update={"topic": topic}) for event in events])
    finally:
        await publisher.stop()


def violations(url: str) -> list[str]:
    with psycopg.connect(url, autocommit=True) as connection:
        return [str(row[0]) for rule in MIS_RULES for row in connection.execute(str(rule.query).encode()).fetchall()]


def counted(url: str) -> tuple[int, int]:
    """All transactions and entries that the totals hold."""
    (found,) = rows(
        url,
        "SELECT (SELECT coalesce(sum(transactions), 0) FROM mis.transaction_total) AS transactions,"
        " (SELECT coalesce(sum(entries), 0) FROM mis.entry_total) AS entries",
    )
    return int(found["transactions"]), int(found["entries"])


def told_by_ledger(url: str) -> tuple[int, int]:
    (found,) = rows(
        url,
        "SELECT (SELECT count(*) FROM transaction WHERE finished_at IS NOT NULL) AS transactions,"
        " (SELECT count(*) FROM offline_entry) + (SELECT count(*) FROM online_entry) AS entries",
    )
    return int(found["transactions"]), int(found["entries"])


def sums_told_by_ledger(url: str) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Entries by currency and leg, past the rules that are under test."""
    found = rows(
        url,
        "SELECT currency, leg, count(*) AS entries, sum(amount) AS amount FROM"
        " (SELECT currency, leg, amount FROM offline_entry UNION ALL SELECT currency, leg, amount FROM online_entry) AS e GROUP BY 1, 2",
    )
    return {(row["currency"], row["leg"]): (row["entries"], int(row["amount"])) for row in found}


_WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


async def _shared_by(stack: RunningStack, group: str, members: int) -> bool:
    async with administration(stack) as admin:
        (response,) = await admin.describe_consumer_groups([group])
    # One tuple for each group: error code, group, state, protocol type, protocol, members.
    return any(described[2] == "Stable" and len(described[5]) == members for described in response.groups)


async def until_applied(stack: RunningStack, url: str, group: str, topic: str) -> None:
    last = {str(partition): offset for partition, offset in (await ends(stack, topic)).items()}
    query = "SELECT topic || '/' || partition AS place, next_offset FROM mis.consumer_offset WHERE consumer_group = %s"

    async def all_applied() -> bool:
        return {row["place"]: row["next_offset"] for row in rows(url, query, group)} == last

    await until(all_applied, f"group {group} is at {last}")


def a_store(database: Database, group: str) -> GroupStore:
    return GroupStore(database, MisEffects(), consumer_group=group)


@contextmanager
def process(stack: RunningStack, group: str, topic: str, url: str) -> Any:
    command = [sys.executable, str(_MEMBER), stack.kafka_bootstrap_servers, group, topic, url]
    running = subprocess.Popen(command, cwd=Path(__file__).parents[3])
    try:
        yield running
    finally:
        running.kill()
        running.wait()


@pytest.mark.slow
async def test_totals_are_the_ledgers_though_events_come_again_and_members_are_killed(
    stack: RunningStack, postgres_url: str, database: Database, events: list[Event], topic: str, group: str
) -> None:
    async def applied() -> int:
        return int(rows(postgres_url, "SELECT count(*) AS events FROM mis.applied_event")[0]["events"])

    half = len(events) // 2
    with ExitStack() as running:
        members = [running.enter_context(process(stack, group, topic, postgres_url)) for _ in range(3)]
        await until(lambda: _shared_by(stack, group, len(members)), "all members have partitions")
        with psycopg.connect(postgres_url) as holder:
            # All are stopped in the middle of a batch: offset and ids are written, nothing is added, nothing is committed.
            holder.execute("LOCK TABLE mis.transaction_total, mis.entry_total IN EXCLUSIVE MODE")
            await publish(stack, topic, events[:half])

            async def in_the_middle() -> bool:
                assert all(one.poll() is None for one in members)
                return len(rows(postgres_url, _WAITING)) == len(members)

            await until(in_the_middle, "all members are in the middle of a batch")
            for one in members[:2]:
                one.kill()
            holder.rollback()
            assert violations(postgres_url) == []

        async def goes_on() -> bool:
            return await applied() > 0

        await until(goes_on, "the last member goes on")
        await publish(stack, topic, events[half:])
        members[2].kill()
        assert violations(postgres_url) == [], "exact at any time, not only when all is applied"
    # All of it comes again, a part of it on another partition, to be added up by two members.
    await publish(stack, topic, events)
    await send(stack, [event.model_copy(update={"topic": topic}) for event in events[::3]], partition=2)
    async with member(stack, group, topic, a_store(database, group)), member(stack, group, topic, a_store(database, group)):
        await until_applied(stack, postgres_url, group, topic)
    assert await applied() == len(events)
    assert rows(postgres_url, "SELECT sum(repeats) AS repeats FROM mis.consumer_offset")[0]["repeats"] >= len(events)
    assert rows(postgres_url, "SELECT * FROM mis.held_event") == []
    assert counted(postgres_url) == told_by_ledger(postgres_url)
    found = rows(postgres_url, "SELECT currency, leg, sum(entries) AS entries, sum(amount) AS amount FROM mis.entry_total GROUP BY 1, 2")
    assert {(row["currency"], row["leg"]): (int(row["entries"]), int(row["amount"])) for row in found} == sums_told_by_ledger(postgres_url)
    assert violations(postgres_url) == []
    kinds = rows(postgres_url, "SELECT DISTINCT outcome FROM mis.transaction_total")
    assert {row["outcome"] for row in kinds} == {"completed", "rejected", "reversed"}
    assert {row["leg"] for row in found} == {"credit", "debit", "fee", "compensation"}
    bands = rows(postgres_url, "SELECT DISTINCT band FROM mis.entry_total")
    assert len(bands) == 6
    deadlocks = rows(postgres_url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks[0]["deadlocks"] == 0
    _assert_tampering_is_named(postgres_url)
    await _assert_charts_sum_up(database, postgres_url)


_TAMPERINGS = {
    "UPDATE mis.transaction_total SET transactions = transactions + 1": r"counts \d+ transactions",
    "UPDATE mis.transaction_total SET amount = amount + 1": r"counts \d+ transactions",
    "UPDATE mis.transaction_total SET hour = hour - interval '1 hour'": "hour .* transactions",
    "DELETE FROM mis.transaction_total": "counts 0 transactions over 0 minor units",
    "UPDATE mis.entry_total SET entries = entries + 1": r"counts \d+ entries",
    "UPDATE mis.entry_total SET amount = amount - 1": r"counts \d+ entries",
    "UPDATE mis.entry_total SET balance_band = 'overdrawn!'": "overdrawn!: group mis counts",
    "DELETE FROM mis.entry_total": "counts 0 entries over 0 minor units",
    "DELETE FROM mis.applied_event": "the ledger",
    "UPDATE mis.applied_event SET event_id = gen_random_uuid()": "the ledger",
}


def _assert_tampering_is_named(url: str) -> None:
    for statement, says in _TAMPERINGS.items():
        table = statement.split()[1] if statement.startswith("UPDATE") else statement.split()[2]
        what = (
            "event_id IN (SELECT event_id FROM event_outbox WHERE type NOT LIKE '%%hold%%')" if "applied_event" in table else "amount > 1"
        )
        with psycopg.connect(url) as connection:
            changed = connection.execute(f"{statement} WHERE ctid = (SELECT ctid FROM {table} WHERE {what} LIMIT 1)".encode())  # noqa: S608  constants
            assert changed.rowcount == 1
            found = [str(row[0]) for rule in MIS_RULES for row in connection.execute(str(rule.query).encode()).fetchall()]
            assert any(re.search(says, line) for line in found), (statement, found)
            connection.rollback()


async def _assert_charts_sum_up(database: Database, url: str) -> None:
    """However a chart is cut, it shows what all totals sum to."""
    mis, (tenant,) = PostgresMis(database), (row["tenant"] for row in rows(url, "SELECT DISTINCT tenant FROM mis.entry_total"))
    now = dt.datetime.now(dt.UTC)
    for zone in ("UTC", "America/New_York", "Pacific/Auckland"):
        for per in Interval:
            for by in ("", "currency", "currency,kind,outcome,reason,band"):
                request = _request(per, by, TRANSACTION_DIMENSIONS, zone, now)
                chart = await mis.transactions(tenant, request)
                assert sum(row.number for row in chart) == counted(url)[0]
                assert all((row.amount is not None) == ("currency" in by) for row in chart)
                assert [row.at for row in chart] == sorted(row.at for row in chart)
                assert all(row.at.minute == 0 and (per is Interval.HOUR or row.at.hour == 0) for row in chart)
            chart = await mis.entries(tenant, _request(per, "currency,direction", ENTRY_DIMENSIONS, zone, now))
            told = sums_told_by_ledger(url)
            sums: dict[tuple[str, str], tuple[int, int]] = {}
            for (currency, leg), (number, amount) in told.items():
                key = currency, "debit" if leg in {"debit", "fee"} else "credit"
                before = sums.get(key, (0, 0))
                sums[key] = before[0] + number, before[1] + amount
            found: dict[tuple[str, str], tuple[int, int]] = {}
            for row in chart:
                assert row.amount is not None
                place = row.amount.currency, row.dimensions["direction"]
                before = found.get(place, (0, 0))
                found[place] = before[0] + row.number, before[1] + row.amount.minor_units
            assert found == sums
    assert await mis.transactions("somebody else", _request(Interval.DAY, "", TRANSACTION_DIMENSIONS, "UTC", now)) == []


def _request(per: Interval, by: str, dimensions: tuple[str, ...], zone: str, now: dt.datetime) -> ChartRequest:
    return ChartRequest.parse(since=None, until=None, per=per, by=by, dimensions=dimensions, time_zone=ZoneInfo(zone), now=now)


async def test_what_an_operator_skips_is_no_difference_and_what_no_leg_has_posted_is_one(
    stack: RunningStack, postgres_url: str, database: Database, bank: Bank, topic: str, group: str
) -> None:
    account = await bank.open(funds=700)
    (credited,) = (event for event in stored_events(postgres_url) if event.key == f"{bank.tenant}/{account}")
    broken = credited.model_copy(update={"data": credited.data.replace('"value":"7.00"', '"value":"7.0"')})
    await send(stack, [event.model_copy(update={"topic": topic}) for event in (broken, credited)], partition=1)
    store = a_store(database, group)
    async with member(stack, group, topic, store):
        await until_applied(stack, postgres_url, group, topic)
    assert [row["error_type"] for row in rows(postgres_url, "SELECT * FROM mis.held_event")] == ["InvalidInputError"]
    counted_before, before = counted(postgres_url), violations(postgres_url)
    await Replays(database, MisEffects(), consumer_group=group).skip(credited.event_id, by="olga", reason="it says 7.0")
    assert (counted(postgres_url), violations(postgres_url)) == (counted_before, before)
    forged = credited.model_copy(update={"event_id": "5fbb44b0-46b5-4d6d-a9c6-6a4a4b1f5f11", "topic": topic})
    await send(stack, [forged], partition=1)
    async with member(stack, group, topic, store):
        await until_applied(stack, postgres_url, group, topic)
    more = set(violations(postgres_url)) - set(before)
    assert len(more) == 1  # that no leg has stored it is every group's rule, and not looked at here
    assert any("counts 1 entries over 700 minor units, the ledger 0 over 0" in line for line in more)


async def test_members_that_add_to_the_same_rows_never_wait_for_each_other_in_a_circle(
    postgres_url: str, database: Database, bank: Bank
) -> None:
    await bank.open(funds=700)
    (template,) = (event for event in stored_events(postgres_url) if event.key.startswith(bank.tenant) and "transaction" in event.type)
    events = [_received(template, f"crowd-{number:03}") for number in range(200)]
    effects = MisEffects()
    for _ in range(10):
        # Whoever gives way in a deadlock raises BusyError.
        batches = (events, events[::-1], events[100:] + events[:100], events[::3] + events[1::3] + events[2::3])
        await asyncio.gather(*(database.run(partial(effects.apply, events=batch)) for batch in batches))
    (found,) = rows(postgres_url, "SELECT min(transactions), max(transactions) FROM mis.transaction_total WHERE tenant LIKE 'crowd-%%'")
    assert (found["min"], found["max"]) == (40, 40)
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DELETE FROM mis.transaction_total WHERE tenant LIKE 'crowd-%'")


def _received(event: Event, tenant: str) -> ReceivedEvent:
    own = event.key.partition("/")[0]
    return ReceivedEvent(
        event_id=event.event_id,
        type=event.type,
        source=event.source,
        subject=event.subject,
        time=event.time,
        topic=event.topic,
        partition=0,
        offset=0,
        key=event.key.replace(own, tenant),
        data=event.data.replace(f'"tenant":"{own}"', f'"tenant":"{tenant}"'),
    )


async def test_a_chart_with_too_many_rows_is_refused(postgres_url: str, database: Database) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO mis.transaction_total SELECT 'crowded', date_trunc('hour', now()), 'EUR', 'deposit', 'rejected', n::text, '0-100',"
            " 1, 1 FROM generate_series(1, 10001) AS n"
        )
    now = dt.datetime.now(dt.UTC)
    with pytest.raises(InvalidInputError, match="by must be fewer dimensions"):
        await PostgresMis(database).transactions("crowded", _request(Interval.HOUR, "reason", TRANSACTION_DIMENSIONS, "UTC", now))
    (row,) = await PostgresMis(database).transactions("crowded", _request(Interval.HOUR, "", TRANSACTION_DIMENSIONS, "UTC", now))
    assert row.number == 10_001
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute("DELETE FROM mis.transaction_total WHERE tenant = 'crowded'")
