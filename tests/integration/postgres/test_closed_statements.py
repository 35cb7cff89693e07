"""The statement group: its lines are the ledger's, and what it closes adds up, is numbered without a gap and never changes."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Sequence
from itertools import pairwise

import psycopg
import pytest

from infra.kafka.records import Partition
from infra.postgres.consumption import GroupStore
from infra.postgres.database import Database
from infra.postgres.replays import HeldKey, Replays
from infra.postgres.statement_closing import Closed, LedgerHorizon, StatementClosing
from infra.postgres.statement_lines import GroupStatements, StatementEffects
from infra.postgres.statements import PostgresStatements
from infra.postgres.stored_offsets import StoredOffsets
from infra.statement_closing import StatementCloser
from ledger.closings import ClosedStatement, StatementPeriod, period_start
from ledger.errors import NotFoundError
from ledger.events import TOPIC_BALANCE_UPDATED
from ledger.statements import StatementOrder, StatementRequest
from tests.integration.postgres.bank import Bank
from tests.integration.postgres.told import PLACE, read, stored_events, told

ZONE = "Europe/Prague"
START = ("", "")


@pytest.fixture
def store(database: Database) -> GroupStore:
    return GroupStore(database, StatementEffects(), consumer_group="statement")


@pytest.fixture
def statements(database: Database) -> GroupStatements:
    return GroupStatements(database)


def utc(month: int, day: int, hour: int = 12, minute: int = 0) -> dt.datetime:
    return dt.datetime(2026, month, day, hour, minute, tzinfo=dt.UTC)


async def close(database: Database, until: dt.datetime, period: StatementPeriod = StatementPeriod.MONTH) -> int:
    """Close all accounts."""
    closing, after, statements = StatementClosing(database), START, 0
    while True:
        step = await closing.close(after, until=until, period=period, time_zone=ZONE)
        assert isinstance(step, Closed)
        statements += step.statements
        if step.last is None:
            return statements
        after = step.last


async def closed(statements: GroupStatements, bank: Bank, account: str) -> list[ClosedStatement]:
    """The oldest first."""
    found = await statements.statements(bank.tenant, account, before=None, limit=100)
    return list(found.closed[::-1])


async def test_lines_are_those_of_the_ledger_whatever_order_their_events_come_in(
    bank: Bank, database: Database, store: GroupStore, statements: GroupStatements
) -> None:
    one, two = await bank.open(funds=50_000), await bank.open()
    for number in range(12):
        await bank.post_transfer(bank.transfer(one, two, 100 + number, reference=f"r{number}", remittance_information="ř \"'"))
        await bank.post(bank.withdrawal(two, 7))
    events = await stored_events(bank)
    shuffled = [*events, *events[:9]]
    random.Random(5).shuffle(shuffled)  # noqa: S311  a fixed order
    for begin in range(0, len(shuffled), 7):
        await read(store, shuffled[begin : begin + 7], place=Partition(TOPIC_BALANCE_UPDATED, begin % 3))
    for account in (one, two):
        ledger = await PostgresStatements(database).page(bank.tenant, StatementRequest(account_id=account, limit=500))
        everything = ClosedStatement(
            account_id=account, number=1, currency="EUR", since=utc(1, 1).replace(year=2000), until=utc(1, 1).replace(year=3000),
            opening_balance=0, credited=0, debited=0, closing_balance=0, lines=1, closed_at=utc(1, 1),
        )  # fmt: skip
        ours = await statements.lines(bank.tenant, everything, StatementRequest(account_id=account, limit=500))
        assert [line.model_copy(update={"settled": True}) for line in ledger.lines] == list(ours.lines)
        assert len(ours.lines) > 10
        current = (await statements.statements(bank.tenant, account, before=None, limit=1)).current
        assert (current.closing_balance, current.lines) == (ledger.closing_balance, len(ledger.lines))


async def test_each_month_with_lines_has_a_statement_that_goes_on_where_the_last_one_ended(
    bank: Bank, database: Database, store: GroupStore, statements: GroupStatements
) -> None:
    account, quiet, other = await bank.open(), await bank.open(), await bank.open()
    lines = [
        told(bank.tenant, account, "100.00", utc(1, 15)),
        # Prague's midnight is at 23:00 UTC in winter and 22:00 in summer: the first is January's, the others are of the month that begins.
        told(bank.tenant, account, "-30.00", utc(1, 31, 22, 59), version=1),
        told(bank.tenant, account, "5.00", utc(1, 31, 23)),
        told(bank.tenant, account, "0.50", utc(3, 31, 22)),
        told(bank.tenant, other, "1.00", utc(2, 2)),
    ]
    await read(store, lines)
    assert await close(database, utc(4, 30, 22)) == 4
    first, second, third = await closed(statements, bank, account)
    assert [one.number for one in (first, second, third)] == [1, 2, 3]
    assert (first.since, first.until) == (utc(12, 31, 23).replace(year=2025), utc(1, 31, 23))
    assert (first.opening_balance, first.credited, first.debited, first.closing_balance, first.lines) == (0, 10_000, 3_000, 7_000, 2)
    assert (second.since, second.until, second.closing_balance) == (first.until, utc(2, 28, 23), 7_500)
    # Nothing in March: the third one begins where the second one ended.
    assert (third.since, third.until, third.opening_balance, third.closing_balance) == (second.until, utc(4, 30, 22), 7_500, 7_550)
    assert [one.closing_balance for one in await closed(statements, bank, other)] == [100]
    assert await closed(statements, bank, quiet) == []
    # Again, and with lines of a period that has not ended.
    await read(store, [told(bank.tenant, account, "9.00", utc(5, 2))])
    assert await close(database, utc(4, 30, 22)) == 0
    assert await closed(statements, bank, account) == [first, second, third]
    found = (await statements.statements(bank.tenant, account, before=3, limit=1)).closed
    assert list(found) == [second]
    assert (await statements.statements(bank.tenant, account, before=3, limit=1)).more
    assert (await statements.statements(bank.tenant, account, before=None, limit=1)).current.closing_balance == 8_450


async def test_pages_of_a_closed_statement_run_from_its_opening_to_its_closing_balance(
    bank: Bank, database: Database, store: GroupStore, statements: GroupStatements
) -> None:
    account = await bank.open()
    instants = [utc(1, 1, 9), *(utc(2, 1 + number // 3, 9, 30) for number in range(25))]  # three at the same instant
    await read(store, [told(bank.tenant, account, f"{number + 1}.00", at) for number, at in enumerate(instants)])
    await close(database, utc(2, 28, 23))
    statement = await statements.closed(bank.tenant, account, 2)
    for order in StatementOrder:
        request = StatementRequest(account_id=account, since=statement.since, until=statement.until, order=order, limit=4)
        pages = [await statements.lines(bank.tenant, statement, request)]
        while pages[-1].next_cursor is not None:
            request = StatementRequest.parse(account, cursor=pages[-1].next_cursor, limit=4)
            pages.append(await statements.lines(bank.tenant, statement, request))
        chronological = pages if order is StatementOrder.OLDEST_FIRST else pages[::-1]
        assert chronological[0].opening_balance == statement.opening_balance
        assert chronological[-1].closing_balance == statement.closing_balance
        assert all(one.closing_balance == next_.opening_balance for one, next_ in pairwise(chronological))
        lines = [line for page in pages for line in page.lines]
        assert len(lines) == statement.lines == 25
        assert all(line.settled for line in lines)
        ordered = sorted(line.position for line in lines)
        assert [line.position for line in lines] == (ordered if order is StatementOrder.OLDEST_FIRST else ordered[::-1])
    with pytest.raises(NotFoundError):
        await statements.closed(bank.tenant, account, 3)


async def test_an_account_with_a_held_event_stays_open_until_it_is_replayed(
    bank: Bank, database: Database, store: GroupStore, statements: GroupStatements
) -> None:
    account, other = await bank.open(), await bank.open()
    bad = told(bank.tenant, account, "1.00", utc(1, 5))
    bad = bad.model_copy(update={"data": bad.data.replace('"value":"1.00"', '"value":"1.005"')})
    await read(store, [bad, told(bank.tenant, account, "2.00", utc(1, 6)), told(bank.tenant, other, "3.00", utc(1, 6))])
    assert await close(database, utc(1, 31, 23)) == 1
    assert not await StatementClosing(database).finish(utc(1, 31, 23), 1)
    assert await closed(statements, bank, account) == []
    replays = Replays(database, StatementEffects(), consumer_group="statement")
    await replays.skip(bad.event_id, by="olga", reason="no such amount")
    assert await replays.blocked() == [key for key in await replays.blocked() if key != HeldKey(PLACE.topic, bad.key)]
    assert await close(database, utc(1, 31, 23)) == 1
    assert [one.closing_balance for one in await closed(statements, bank, account)] == [200]


async def test_a_line_of_a_closed_period_is_held_and_changes_nothing(
    bank: Bank, database: Database, store: GroupStore, statements: GroupStatements
) -> None:
    account = await bank.open()
    await read(store, [told(bank.tenant, account, "2.00", utc(1, 6))])
    await close(database, utc(1, 31, 23))
    late = told(bank.tenant, account, "1.00", utc(1, 20))
    await read(store, [late])
    (held,) = [
        one for one in await Replays(database, StatementEffects(), consumer_group="statement").held() if one.event_id == late.event_id
    ]
    assert held.error is not None
    assert "statement 1, which is closed" in held.error
    assert [one.lines for one in await closed(statements, bank, account)] == [1]
    with pytest.raises(psycopg.errors.Error, match="insert"):
        await bank.select("UPDATE statement.closed SET lines = 2 RETURNING 1")


@pytest.mark.parametrize(
    ("period", "at", "start"),
    [
        (StatementPeriod.MONTH, utc(3, 1, 0), utc(2, 28, 23)),
        (StatementPeriod.MONTH, utc(2, 28, 22, 59), utc(1, 31, 23)),
        (StatementPeriod.DAY, utc(3, 29, 21, 59), utc(3, 28, 23)),  # the day that summer time begins
        (StatementPeriod.DAY, utc(3, 29, 22), utc(3, 29, 22)),
        (StatementPeriod.WEEK, utc(3, 4), utc(3, 1, 23)),
    ],
)
def test_a_period_begins_at_the_banks_midnight(period: StatementPeriod, at: dt.datetime, start: dt.datetime) -> None:
    from zoneinfo import ZoneInfo  # noqa: PLC0415  used here only

    assert period_start(period, at, ZoneInfo(ZONE)) == start


class Ends:
    """Offsets of a group as it gets on."""

    def __init__(self, *stored: int) -> None:
        self._stored = list(stored)

    async def stored(self) -> dict[Partition, int]:
        return {PLACE: self._stored.pop(0) if len(self._stored) > 1 else self._stored[0]}


@pytest.fixture
def kafka_ends_at_ten(monkeypatch: pytest.MonkeyPatch) -> None:
    async def end_offsets(_servers: str, _topics: Sequence[str]) -> dict[Partition, int]:
        await asyncio.sleep(0)
        return {PLACE: 10}

    monkeypatch.setattr("infra.statement_closing.end_offsets", end_offsets)
    monkeypatch.setattr("infra.statement_closing._ARRIVE_SECONDS", 0.2)
    monkeypatch.setattr("infra.statement_closing._POLL_SECONDS", 0.01)


@pytest.mark.usefixtures("kafka_ends_at_ten")
async def test_nothing_is_closed_before_it_is_certain_that_nothing_is_missing(
    bank: Bank, database: Database, store: GroupStore, statements: GroupStatements
) -> None:
    account = await bank.open()
    await bank.post(bank.deposit(account, 100))
    events = await stored_events(bank)
    await read(store, events)
    await bank.select("DELETE FROM statement.held_event RETURNING 1")  # of other tests, whose accounts would stay open
    tomorrow = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)

    def closer(*stored: int, now: dt.datetime = tomorrow) -> StatementCloser:
        offsets: StoredOffsets = Ends(*stored)  # type: ignore[assignment]  # its one method that matters here
        return StatementCloser(
            StatementClosing(database), LedgerHorizon(database), offsets,
            servers="", period=StatementPeriod.DAY, time_zone="UTC", now=lambda: now,
        )  # fmt: skip

    # The day has not ended on the ledger's own clock.
    assert await closer(10).run() is None
    yesterday = f"{dt.datetime.now(dt.UTC):%Y-%m-%d}"
    await bank.select("UPDATE event_outbox SET time = time - interval '1 day', published_at = NULL WHERE tenant = %(tenant)s RETURNING 1")
    today = dt.datetime.fromisoformat(f"{yesterday}T12:00:00+00:00")
    assert await closer(10, now=today).run() is None  # an event of yesterday is not published
    await bank.select("UPDATE event_outbox SET published_at = clock_timestamp() WHERE published_at IS NULL RETURNING 1")
    assert await closer(9, now=today).run() is None  # the group has not come to the topic's end
    await read(store, [told(bank.tenant, account, "4.00", today - dt.timedelta(days=1))])
    assert await closer(8, 9, 10, now=today).run()
    assert await closer(0, now=today).run() == 0  # closed once, and not looked for again
    assert [one.closing_balance for one in await closed(statements, bank, account)] == [400]
