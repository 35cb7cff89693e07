"""What no workflow publishes, a relay does: once, whoever else is at work, and only what has waited long enough."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest
from sqlalchemy import event as sqlalchemy_event

from infra.postgres import outbox as outbox_module
from infra.postgres.database import Database
from infra.postgres.outbox import RELAYED_AT_ONCE, SHARES, PostgresOutbox
from infra.relay import EventRelay
from ledger.errors import UnavailableError
from ledger.events import Event
from tests.integration.postgres.bank import Bank
from tests.integration.postgres.proxy import PostgresProxy
from tests.workflow.conftest import eventually

_UNPUBLISHED = "SELECT CAST(event_id AS text) AS event_id FROM event_outbox WHERE published_at IS NULL AND tenant = %(tenant)s"


class Broker:
    """Takes events, or says that it is away."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.is_away = False
        self.batches: list[int] = []

    async def publish(self, events: Sequence[Event]) -> None:
        if self.is_away:
            raise UnavailableError(part="kafka", detail="it is away")
        await asyncio.sleep(0)
        self.batches.append(len(events))
        self.events += events

    def ids(self, tenant: str) -> Counter[str]:
        return Counter(event.event_id for event in self.events if event.source.endswith(tenant))


@pytest.fixture
def broker() -> Broker:
    return Broker()


async def _deposits(bank: Bank, number: int) -> set[str]:
    accounts = [await bank.open() for _ in range(min(number, 10))]
    await asyncio.gather(*(bank.post(bank.deposit(accounts[n % len(accounts)], 5)) for n in range(number)))
    return {row["event_id"] for row in await bank.select(_UNPUBLISHED)}


async def test_what_waits_is_published_and_marked(bank: Bank, broker: Broker) -> None:
    waiting = await _deposits(bank, 3)
    assert await EventRelay(bank.outbox, broker, after_seconds=0).run() >= len(waiting) == 6
    assert broker.ids(bank.tenant) == dict.fromkeys(waiting, 1)
    assert await bank.select(_UNPUBLISHED) == []
    assert await EventRelay(bank.outbox, broker, after_seconds=0).run() == 0


async def test_what_its_workflow_may_still_publish_is_left_to_it(bank: Bank, broker: Broker) -> None:
    waiting = await _deposits(bank, 2)
    await EventRelay(bank.outbox, broker, after_seconds=3600).run()
    assert broker.ids(bank.tenant) == {}
    assert {row["event_id"] for row in await bank.select(_UNPUBLISHED)} == waiting


async def test_of_a_share_only_what_has_waited_too_long_is_taken(bank: Bank, broker: Broker) -> None:
    await _deposits(bank, 2)
    assert await bank.outbox.overdue_shares(older_than=dt.timedelta(hours=1)) == []
    taken = [await bank.outbox.relay([share], older_than=dt.timedelta(hours=1), publish=broker.publish) for share in range(SHARES)]
    assert sum(taken) == 0
    assert broker.ids(bank.tenant) == {}


async def test_what_this_process_has_published_and_not_marked_yet_its_relay_leaves_alone(
    bank: Bank, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_GATHER_SECONDS", 3600)
    deposit = bank.deposit(await bank.open(), 5)
    await bank.post(deposit)
    outbox = bank.outbox
    outbox.note_published(await outbox.unpublished(bank.tenant, deposit.request.transaction_id))
    await EventRelay(outbox, broker, after_seconds=0).run()
    assert broker.ids(bank.tenant) == {}
    await outbox.drain()
    assert await _nothing_waits(bank)


async def test_while_the_broker_is_away_nothing_is_marked_and_afterwards_nothing_is_missing(bank: Bank, broker: Broker) -> None:
    waiting = await _deposits(bank, 3)
    broker.is_away = True
    with pytest.raises(UnavailableError):
        await EventRelay(bank.outbox, broker, after_seconds=0).run()
    assert {row["event_id"] for row in await bank.select(_UNPUBLISHED)} == waiting
    broker.is_away = False
    await EventRelay(bank.outbox, broker, after_seconds=0).run()
    assert broker.ids(bank.tenant) == dict.fromkeys(waiting, 1)


async def test_several_relays_at_once_publish_each_event_once(bank: Bank, broker: Broker) -> None:
    waiting = await _deposits(bank, 150)
    relays = [EventRelay(PostgresOutbox(bank.database), broker, after_seconds=0) for _ in range(4)]
    while await bank.select(_UNPUBLISHED):
        await asyncio.gather(*(relay.run() for relay in relays))
    assert broker.ids(bank.tenant) == dict.fromkeys(waiting, 1)


async def test_a_share_that_another_relay_works_on_is_left_alone_until_that_one_is_over(bank: Bank, broker: Broker) -> None:
    waiting = await _deposits(bank, 1)
    began, may_end = asyncio.Event(), asyncio.Event()

    async def slowly(events: Sequence[Event]) -> None:
        began.set()
        await may_end.wait()
        await broker.publish(events)

    now = dt.timedelta(0)
    (share, *_) = await bank.outbox.overdue_shares(older_than=now)
    working = asyncio.create_task(bank.outbox.relay([share], older_than=now, publish=slowly))
    await began.wait()
    assert await bank.outbox.relay([share], older_than=now, publish=broker.publish) == 0
    may_end.set()
    assert await working > 0
    assert await bank.outbox.relay([share], older_than=now, publish=broker.publish) == 0
    await EventRelay(bank.outbox, broker, after_seconds=0).run()
    assert broker.ids(bank.tenant) == dict.fromkeys(waiting, 1)


async def test_a_long_backlog_goes_in_bounded_batches_the_oldest_of_each_first(
    bank: Bank, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "RELAYED_AT_ONCE", 7)
    monkeypatch.setattr("infra.relay.RELAYED_AT_ONCE", 7)
    account = await bank.open()
    for _ in range(20):
        await bank.post(bank.deposit(account, 5))
    waiting = {row["event_id"] for row in await bank.select(_UNPUBLISHED)}
    await EventRelay(bank.outbox, broker, after_seconds=0).run()
    assert broker.ids(bank.tenant) == dict.fromkeys(waiting, 1)
    assert max(broker.batches) == 7
    assert RELAYED_AT_ONCE == 1_000


def test_every_key_has_a_share() -> None:
    assert SHARES & (SHARES - 1) == 0


async def test_the_backlog_is_counted_with_the_age_of_the_oldest(bank: Bank, broker: Broker) -> None:
    await EventRelay(bank.outbox, broker, after_seconds=0).run()
    assert await bank.outbox.backlog() == outbox_module.Backlog(events=0, oldest_seconds=0.0)
    await _deposits(bank, 2)
    await asyncio.sleep(0.1)
    backlog = await bank.outbox.backlog()
    assert backlog.events == 4
    assert 0.1 <= backlog.oldest_seconds < 60


async def test_what_workflows_published_is_marked_soon_in_one_statement(bank: Bank) -> None:
    await _deposits(bank, 20)
    outbox = bank.outbox
    statements: list[str] = []
    engine = bank.database._engine.sync_engine
    sqlalchemy_event.listen(engine, "before_cursor_execute", lambda *of: statements.append(of[2]))
    ids = {
        row["transaction_id"]
        for row in await bank.select("SELECT CAST(transaction_id AS text) AS transaction_id FROM event_outbox WHERE tenant = %(tenant)s")
    }
    for transaction_id in ids:
        outbox.note_published(await outbox.unpublished(bank.tenant, transaction_id))
    # Published is published, marked or not.
    assert [await outbox.unpublished(bank.tenant, transaction_id) for transaction_id in ids] == [()] * 20
    await eventually(lambda: _nothing_waits(bank))
    assert sum("published_at = clock_timestamp()" in statement for statement in statements) == 1


async def test_what_is_noted_while_marks_are_on_their_way_is_marked_with_the_next(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    account = await bank.open()
    first, second = bank.deposit(account, 5), bank.deposit(account, 6)
    for deposit in (first, second):
        await bank.post(deposit)
    outbox = bank.outbox
    events = [await outbox.unpublished(bank.tenant, deposit.request.transaction_id) for deposit in (first, second)]
    run_statement = bank.database.run_statement
    marked = 0

    async def run_and_note(work: Callable[[Any], Awaitable[Any]]) -> Any:
        nonlocal marked
        marked += 1
        if marked == 1:
            outbox.note_published(events[1])
        return await run_statement(work)

    monkeypatch.setattr(bank.database, "run_statement", run_and_note)
    outbox.note_published(events[0])
    await eventually(lambda: _nothing_waits(bank))
    assert marked == 2


async def test_before_its_database_is_closed_what_is_noted_is_marked(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_GATHER_SECONDS", 3600)
    deposit = bank.deposit(await bank.open(), 5)
    await bank.post(deposit)
    database = Database.open(bank.url, pool_size=1)
    outbox = PostgresOutbox(database)
    outbox.note_published(await outbox.unpublished(bank.tenant, deposit.request.transaction_id))
    await database.close()
    assert await _nothing_waits(bank)


async def test_at_the_end_what_is_noted_is_marked_at_once(bank: Bank, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_GATHER_SECONDS", 3600)
    account = await bank.open()
    deposit = bank.deposit(account, 5)
    await bank.post(deposit)
    outbox = bank.outbox
    outbox.note_published(await outbox.unpublished(bank.tenant, deposit.request.transaction_id))
    assert not await _nothing_waits(bank)
    await outbox.drain()
    assert await _nothing_waits(bank)
    await outbox.drain()


async def test_what_can_not_be_marked_now_is_marked_once_the_database_answers(
    bank: Bank, proxy: PostgresProxy, faulty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "_PAUSE_SECONDS", 0.05)
    account = await bank.open()
    deposit = bank.deposit(account, 5)
    await bank.post(deposit)
    outbox = PostgresOutbox(faulty)
    events = await outbox.unpublished(bank.tenant, deposit.request.transaction_id)
    await proxy.refuse()
    outbox.note_published(events)
    await asyncio.sleep(0.4)
    assert not await _nothing_waits(bank)
    # Without a database, who waits for the end waits for one attempt.
    await asyncio.wait_for(outbox.drain(), timeout=10)
    await proxy.accept()
    outbox.note_published(events)
    await eventually(lambda: _nothing_waits(bank))


async def _nothing_waits(bank: Bank) -> bool:
    return not await bank.select(_UNPUBLISHED)


class Refusing(Broker):
    """Takes all events but those of one key."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self._key = key

    async def publish(self, events: Sequence[Event]) -> None:
        if any(event.key == self._key for event in events):
            raise UnavailableError(part="kafka", detail="it does not take this one")
        await super().publish(events)


async def test_a_share_that_can_not_be_published_keeps_no_other_from_it(bank: Bank) -> None:
    await _deposits(bank, 40)
    first, *others = await bank.outbox.overdue_shares(older_than=dt.timedelta(0))
    assert others
    (row,) = await bank.select(
        "SELECT key FROM event_outbox WHERE published_at IS NULL AND hashtext(key) & 15 = %(share)s LIMIT 1", share=first
    )
    relay = EventRelay(bank.outbox, Refusing(row["key"]), after_seconds=0)
    for _ in range(200):
        with contextlib.suppress(UnavailableError):
            await relay.run()
        if await bank.outbox.overdue_shares(older_than=dt.timedelta(0)) == [first]:
            return
    pytest.fail("other shares wait for the one that is refused")
