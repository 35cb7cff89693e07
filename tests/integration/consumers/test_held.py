"""What a group can't handle stands aside with what comes behind it, until an operator has it replayed or skipped; nothing else waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.kafka.cloud_events import headers_of
from infra.kafka.dead_letters import DeadLetterRelay, dead_letter_topic
from infra.kafka.records import Partition, Record
from infra.kafka.topics import PARTITIONS
from infra.postgres.consumption import GroupStore
from infra.postgres.database import Database
from infra.postgres.replays import HeldKey, NotHeldError, Replays
from ledger.errors import LedgerIntegrityError
from ledger.events import Event
from tests.integration.consumers.conftest import administration, ends, event, member, send, send_raw, until
from tests.integration.consumers.effects import CREATE, Effects, effects, execute, held, select
from tests.stack_fixtures import RunningStack

TOPIC = "test.held"
PLACE = Partition(TOPIC, 0)


@pytest.fixture
def url(postgres_url: str) -> str:
    execute(
        postgres_url,
        CREATE,
        "TRUNCATE effect, mis.consumer_offset, mis.applied_event, mis.held_event",
    )
    return postgres_url


@pytest.fixture
def handler() -> Effects:
    return Effects()


@pytest.fixture
def store(url: str, database: Database, handler: Effects) -> GroupStore:
    return GroupStore(database, handler, consumer_group="test")


@pytest.fixture
def replays(url: str, database: Database, handler: Effects) -> Replays:
    return Replays(database, handler, consumer_group="test")


def record(sent: Event, offset: int) -> Record:
    return Record(offset=offset, key=sent.key.encode(), value=sent.data.encode(), headers=tuple(headers_of(sent)))


async def apply(store: GroupStore, *sent: Event, expected: int = 0, place: Partition = PLACE) -> int:
    """Have the group read events that stand on the partition from offset `expected` on."""
    if expected == 0:
        await store.next_offsets({place: 0})
    return await store.apply(place, [record(one, expected + number) for number, one in enumerate(sent)], expected=expected)


def events(*keys: str) -> list[Event]:
    return [event(TOPIC, number, key=f"main/{key}") for number, key in enumerate(keys)]


async def test_a_poisoned_event_stops_its_own_key_only(url: str, store: GroupStore, handler: Effects) -> None:
    a1, b1, a2, b2, a3 = sent = events("a", "b", "a", "b", "a")
    handler.poison = {a2.event_id}
    assert await apply(store, *sent) == 3
    assert {one[1] for one in effects(url)} == {a1.event_id, b1.event_id, b2.event_id}
    assert held(url) == [(a2.event_id, "failed"), (a3.event_id, "waiting")]


async def test_later_batches_of_the_key_wait_as_well(url: str, store: GroupStore, handler: Effects) -> None:
    a1, a2, b1 = events("a", "a", "b")
    handler.poison = {a1.event_id}
    await apply(store, a1)
    handler.poison = set()
    await apply(store, a2, b1, expected=1)
    assert [one[1] for one in effects(url)] == [b1.event_id]
    assert held(url) == [(a1.event_id, "failed"), (a2.event_id, "waiting")]


async def test_a_replay_applies_in_order_and_stops_at_what_fails_again(
    url: str, store: GroupStore, handler: Effects, replays: Replays
) -> None:
    sent = events("a", "a", "a", "a")
    handler.poison = {sent[0].event_id, sent[2].event_id}
    await apply(store, *sent)
    key = HeldKey(TOPIC, "main/a")
    assert await replays.blocked() == [key]
    first = await replays.replay(key, by="olga")
    assert (first.applied, first.waiting) == (0, 3)
    assert first.failed is not None
    assert first.failed.attempts == 2
    handler.poison = {sent[2].event_id}
    second = await replays.replay(key, by="olga")
    assert (second.applied, second.waiting) == (2, 1)
    assert second.failed is not None
    assert second.failed.event_id == sent[2].event_id
    assert held(url) == [(one.event_id, status) for one, status in zip(sent, ("applied", "applied", "failed", "waiting"), strict=True)]
    handler.poison = set()
    third = await replays.replay(key, by="olga")
    assert (third.applied, third.failed, third.waiting) == (2, None, 0)
    assert [one[1] for one in effects(url)] == [one.event_id for one in sent]
    assert await replays.blocked() == []
    assert select(url, "SELECT DISTINCT changed_by FROM mis.held_event") == [("olga",)]


async def test_a_skipped_event_is_recorded_and_never_applied(url: str, store: GroupStore, handler: Effects, replays: Replays) -> None:
    a1, a2 = events("a", "a")
    handler.poison = {a1.event_id}
    await apply(store, a1, a2)
    with pytest.raises(NotHeldError, match="waits behind another"):
        await replays.skip(a2.event_id, by="olga", reason="no")
    rest = await replays.skip(a1.event_id, by="olga", reason="its account was a test")
    assert rest is not None
    assert (rest.applied, rest.failed) == (1, None)
    handler.poison = set()
    assert await apply(store, a1, a2, expected=2) == 0  # read again, as after a rewind
    assert [one[1] for one in effects(url)] == [a2.event_id]
    found = select(url, "SELECT status, changed_by, reason FROM mis.held_event WHERE event_id = %s", a1.event_id)
    assert found == [("skipped", "olga", "its account was a test")]
    with pytest.raises(NotHeldError, match="is not held"):
        await replays.skip(a1.event_id, by="olga", reason="again")


async def test_what_the_database_refuses_of_a_value_is_poison(url: str, store: GroupStore) -> None:
    a1, b1 = event(TOPIC, key="main/a", data='{"number":1000000}'), event(TOPIC, key="main/b", data='{"number":1}')
    assert await apply(store, a1, b1) == 1
    ((status, error, error_type),) = select(url, "SELECT status, error, error_type FROM mis.held_event")
    assert (status, error_type) == ("failed", "CheckViolation")
    assert "effect_number_check" in error


async def test_what_is_wrong_with_the_tables_is_no_events_fault(url: str, store: GroupStore) -> None:
    execute(url, "ALTER TABLE effect RENAME TO elsewhere")
    try:
        with pytest.raises(LedgerIntegrityError):
            await apply(store, *events("a", "b"))
    finally:
        execute(url, "ALTER TABLE elsewhere RENAME TO effect")
    assert held(url) == []
    assert await apply(store, *events("a", "b")) == 2


async def test_an_unknown_type_waits_for_a_version_that_knows_it(url: str, store: GroupStore, handler: Effects, replays: Replays) -> None:
    unknown = event(TOPIC, key="main/a").model_copy(update={"type": "casaflow.casa.credited.v2"})
    of_no_concern = event(TOPIC, key="main/b").model_copy(update={"type": "casaflow.casa.hold-voided.v1"})
    await apply(store, unknown, of_no_concern)
    assert held(url) == [(unknown.event_id, "failed")]
    assert select(url, "SELECT CAST(event_id AS text) FROM mis.applied_event") == [(of_no_concern.event_id,)]
    handler.handled_types = frozenset({"casaflow.casa.credited.v2"})  # type: ignore[misc]  # as a new version would have it
    await replays.replay(HeldKey(TOPIC, "main/a"), by="olga")
    assert [one[1] for one in effects(url)] == [unknown.event_id]


async def test_what_is_no_event_is_held_once_and_blocks_nothing(url: str, store: GroupStore, replays: Replays) -> None:
    bad = Record(offset=0, key=b"main/a", value=b"{}", headers=())
    (good,) = events("a")
    await store.next_offsets({PLACE: 0})
    await store.apply(PLACE, [bad, record(good, 1)], expected=0)
    await store.offsets.rewind({PLACE: 0})
    await store.apply(PLACE, [bad, record(good, 1)], expected=0)
    assert held(url) == [(None, "unreadable")]
    assert [one[1] for one in effects(url)] == [good.event_id]
    assert select(url, "SELECT repeats FROM mis.consumer_offset") == [(1,)]
    (letter,) = await replays.held()
    assert await replays.skip(str(letter.position), by="olga", reason="somebody's test") is None
    assert await replays.held() == []


async def test_a_group_that_was_sent_back_applies_nothing_twice(url: str, store: GroupStore, handler: Effects) -> None:
    sent = events("a", "b", "a", "c")
    handler.poison = {sent[0].event_id}
    await apply(store, *sent)
    assert await store.offsets.rewind({PLACE: 0, Partition(TOPIC, 1): 0}) == {PLACE: 0}
    assert await store.offsets.rewind({PLACE: 3}) == {}  # never forward
    await store.apply(PLACE, [record(one, number) for number, one in enumerate(sent)], expected=0)
    assert sorted(one[1] for one in effects(url)) == sorted([sent[1].event_id, sent[3].event_id])
    assert held(url) == [(sent[0].event_id, "failed"), (sent[2].event_id, "waiting")]
    assert select(url, "SELECT repeats FROM mis.consumer_offset") == [(4,)]


KEYS = st.sampled_from("abc")
SELDOM = st.sampled_from([False, False, False, False, False, True])
READS = st.lists(st.tuples(KEYS, SELDOM), min_size=1, max_size=12)


@given(reads=st.lists(READS, min_size=1, max_size=4), again=st.lists(st.integers(0, 40), max_size=6))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_poison_in_any_batches_leaves_each_key_in_order(
    url: str, store: GroupStore, handler: Effects, replays: Replays, reads: list[list[tuple[str, bool]]], again: list[int]
) -> None:
    execute(url, "TRUNCATE effect, mis.consumer_offset, mis.applied_event, mis.held_event")
    sent: list[Event] = []
    offset = 0
    poison: set[str] = set()
    applied: dict[str, list[str]] = defaultdict(list)
    waiting: dict[str, list[str]] = defaultdict(list)
    for batch in reads:
        fresh = [event(TOPIC, len(sent) + number, key=f"main/{key}") for number, (key, _) in enumerate(batch)]
        poison |= {one.event_id for one, (_, bad) in zip(fresh, batch, strict=True) if bad}
        repeats = [sent[index] for index in again if index < len(sent)]
        sent += fresh
        handler.poison = poison
        await apply(store, *repeats, *fresh, *repeats[:1], expected=offset)
        offset += len(fresh) + len(repeats) + len(repeats[:1])
        for one in fresh:
            target = waiting if waiting[one.key] or one.event_id in poison else applied
            target[one.key].append(one.event_id)
    _is_as_predicted(url, applied, waiting)
    handler.poison = set()
    for blocked in await replays.blocked():
        await replays.replay(blocked, by="olga")
    for key, ids in waiting.items():
        applied[key] += ids
    _is_as_predicted(url, applied, {})


def _is_as_predicted(url: str, applied: dict[str, list[str]], waiting: dict[str, list[str]]) -> None:
    found = defaultdict(list)
    for key, event_id, _ in effects(url):
        found[key].append(event_id)
    assert found == {key: ids for key, ids in applied.items() if ids}
    open_ones = select(url, "SELECT CAST(event_id AS text) FROM mis.held_event WHERE status IN ('failed', 'waiting') ORDER BY position")
    assert sorted(event_id for (event_id,) in open_ones) == sorted(event_id for ids in waiting.values() for event_id in ids)


async def test_what_comes_while_its_key_is_replayed_waits_for_the_outcome(
    url: str, store: GroupStore, handler: Effects, replays: Replays
) -> None:
    a1, a2 = events("a", "a")
    handler.poison = {a1.event_id}
    await apply(store, a1)
    handler.poison = set()
    handler.gates[a1.event_id] = gate = asyncio.Event()
    replaying = asyncio.create_task(replays.replay(HeldKey(TOPIC, "main/a"), by="olga"))
    await handler.came(a1)
    reading = asyncio.create_task(apply(store, a2, expected=1))
    await until_waiting(url, "a member waits for the replay")
    gate.set()
    assert (await replaying).applied == await reading == 1
    assert [one[1] for one in effects(url)] == [a1.event_id, a2.event_id]
    assert held(url) == [(a1.event_id, "applied")]


async def test_a_replay_waits_for_what_is_being_put_behind_its_key(url: str, store: GroupStore, handler: Effects, replays: Replays) -> None:
    a1, a2, b1 = events("a", "a", "b")
    handler.poison = {a1.event_id}
    await apply(store, a1)
    handler.poison = set()
    handler.gates[b1.event_id] = gate = asyncio.Event()
    reading = asyncio.create_task(apply(store, a2, b1, expected=1))
    await handler.came(b1)
    replaying = asyncio.create_task(replays.replay(HeldKey(TOPIC, "main/a"), by="olga"))
    await until_waiting(url, "the replay waits for a member")
    gate.set()
    await reading
    assert (await replaying).applied == 2
    assert [one[1] for one in effects(url)] == [b1.event_id, a1.event_id, a2.event_id]


async def test_what_was_applied_before_its_key_was_blocked_does_not_wait(url: str, store: GroupStore, handler: Effects) -> None:
    a1, a2 = events("a", "a")
    handler.poison = {a2.event_id}
    await apply(store, a1, a2)
    await apply(store, a1, a2, expected=2)  # both again
    assert held(url) == [(a2.event_id, "failed")]


async def until_waiting(url: str, what: str) -> None:
    async def somebody_waits() -> bool:
        asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        return select(url, asked) == [(1,)]

    await until(somebody_waits, what)


# ---- with a broker ----


async def test_dead_letters_are_on_the_groups_topic_with_the_error(
    stack: RunningStack, url: str, database: Database, topic: str, group: str, handler: Effects
) -> None:
    bad, other = event(topic, key="main/a"), event(topic, key="main/b")
    handler.poison = {bad.event_id}
    store = GroupStore(database, handler, consumer_group=group)
    async with _telling(stack, group, store), member(stack, group, topic, store):
        await send(stack, [bad, other])
        await send_raw(stack, [(topic, b"main/c", b"no event", [])])
        letters = await _letters(stack, group, 2)
    by_key = {letter.key: letter for letter in letters}
    failed, unreadable = dict(by_key[b"main/a"].headers), dict(by_key[b"main/c"].headers)
    assert by_key[b"main/a"].value == bad.data.encode()
    assert failed["ce_id"] == bad.event_id.encode()
    assert failed["casaflow_dead_letter_error"] == f"{bad.event_id} is poison".encode()
    assert failed["casaflow_dead_letter_error_type"] == b"ValueError"
    assert failed["casaflow_dead_letter_topic"] == topic.encode()
    assert b"headers are missing" in unreadable["casaflow_dead_letter_error"]
    assert [one[1] for one in effects(url)] == [other.event_id]


async def test_members_notice_that_their_group_was_sent_back(
    stack: RunningStack, url: str, database: Database, topic: str, group: str, handler: Effects
) -> None:
    store = GroupStore(database, handler, consumer_group=group)
    sent = [event(topic, number) for number in range(30)]
    async with member(stack, group, topic, store):
        await send(stack, sent)

        async def at_the_end() -> bool:
            return await store.offsets.stored() == await ends(stack, topic)

        await until(at_the_end, "all is read")
        # As after a backup of the group's store: what it has forgotten it gets again, and what it knows has no second effect.
        execute(url, "DELETE FROM mis.applied_event WHERE event_id = (SELECT min(CAST(event_id AS text))::uuid FROM effect)")
        await store.offsets.rewind({Partition(topic, number): 0 for number in range(PARTITIONS)})
        await until(at_the_end, "all is read again")

        async def repeated() -> bool:
            return bool(sum(count for (count,) in select(url, "SELECT repeats FROM mis.consumer_offset")) == len(sent) - 1)

        await until(repeated, "repeats are counted")
    assert len(effects(url)) == len(sent) + 1


@contextlib.asynccontextmanager
async def _telling(stack: RunningStack, group: str, store: GroupStore) -> AsyncIterator[None]:
    telling = asyncio.create_task(DeadLetterRelay(stack.kafka_bootstrap_servers, group=group, held=store.held).keep_up())
    try:
        yield
    finally:
        telling.cancel()
        await asyncio.wait([telling])
        async with administration(stack) as admin:
            await admin.delete_topics([dead_letter_topic(group)])


async def _letters(stack: RunningStack, group: str, number: int) -> Sequence[Any]:
    topic = dead_letter_topic(group)
    async with administration(stack) as admin:

        async def is_there() -> bool:
            return bool(topic in await admin.list_topics())

        await until(is_there, "there is a topic of dead letters")
    consumer = AIOKafkaConsumer(bootstrap_servers=stack.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign([TopicPartition(topic, partition) for partition in range(PARTITIONS)])
    found: list[Any] = []
    try:

        async def all_there() -> bool:
            for batch in (await consumer.getmany(timeout_ms=200)).values():
                found.extend(batch)
            return len(found) >= number

        await until(all_there, f"{number} dead letters are there")
    finally:
        await consumer.stop()
    return found
