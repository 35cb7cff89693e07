"""PostgreSQL or Kafka refuses, hangs, comes back, while transactions run: each is completed once, and no money is lost or made."""

from __future__ import annotations

import asyncio

import pytest

from ledger.results import TransactionStatus
from tests.integration.faults.bank import Bank, Call, Handle, Topics, calls_of, fallen_back, results, timed_out_tasks
from tests.integration.faults.conftest import Parts
from tests.workflow.conftest import eventually

pytestmark = pytest.mark.filterwarnings("ignore:Cannot find activity to cancel:UserWarning")
"""The SDK warns when a time-out and an activity's end cross. As an error, which warnings are in tests, that would end the worker."""

BEFORE, DURING, AFTER = 14, 14, 7
COMES_AND_GOES = (
    ("postgres", "refuses", 1.0),
    ("kafka", "hangs", 3.0),
    ("postgres", "loses answers", 0.5),
    ("kafka", "refuses", 2.0),
    ("postgres", "hangs", 6.0),
)
"""Part, fault, and for how many seconds."""


async def _ordinary_activity_waits(handles: list[Handle], activity: str) -> bool:
    for handle in handles:
        if any(not call.locally and call.activity == activity for call in await calls_of(handle)):
            return True
    return False


async def _assert_nothing_is_wrong(bank: Bank, topics: Topics, handles: list[Handle], *, tasks_in_time: bool = True) -> None:
    await results(handles)
    bank.assert_each_transaction_completed_once()
    bank.assert_money_is_neither_lost_nor_made()
    if tasks_in_time:
        assert sum(await asyncio.gather(*(timed_out_tasks(handle) for handle in handles))) == 0
    events = bank.events()
    assert len(events) == bank.expected_events()
    assert await topics.until(set(events)) == {event_id: {payload} for event_id, payload in events.items()}
    await eventually(lambda: bank.unpublished() == 0, seconds=60)


async def _break(parts: Parts, part: str, fault: str) -> None:
    proxy = parts.postgres if part == "postgres" else parts.kafka
    if fault == "refuses":
        await proxy.refuse()
    elif fault == "hangs":
        await proxy.hang()
    else:
        parts.postgres.swallow_answers()


async def _mend(parts: Parts, fault: str) -> None:
    if fault == "loses answers":
        await parts.postgres.refuse()  # the held back answers are gone with their connections
    await parts.postgres.accept()
    await parts.kafka.accept()


@pytest.mark.parametrize("fault", ["refuses", *(pytest.param(fault, marks=pytest.mark.slow) for fault in ("hangs", "loses answers"))])
async def test_while_postgres_is_away_ordinary_activities_take_over_and_each_transaction_is_completed_once(
    bank: Bank, parts: Parts, topics: Topics, fault: str
) -> None:
    before = await bank.submit(BEFORE)
    await eventually(bank.finished, seconds=30)
    await _break(parts, "postgres", fault)
    during = await bank.submit(DURING)
    await eventually(lambda: _ordinary_activity_waits(during, "casa.post"), seconds=60)
    await _mend(parts, fault)
    after = await bank.submit(AFTER)
    await _assert_nothing_is_wrong(bank, topics, [*before, *during, *after])
    assert (await fallen_back([*before, *during, *after]))["casa.post"] >= 1
    assert any([Call("casa.post", locally=True) in await calls_of(handle) for handle in after]), "local attempts never came back"


@pytest.mark.parametrize("fault", [pytest.param("refuses", marks=pytest.mark.slow), "hangs"])
async def test_while_kafka_is_away_money_and_answers_are_not_delayed_and_every_event_arrives_in_the_end(
    bank: Bank, parts: Parts, topics: Topics, fault: str
) -> None:
    before = await bank.submit(BEFORE)
    await eventually(bank.finished, seconds=30)
    await _break(parts, "kafka", fault)
    during = await bank.submit(DURING)
    answers = await asyncio.gather(*(bank.starter.submit(asked, wait_seconds=60) for asked in bank.submitted[-DURING:]))
    assert {answer.result.status for answer in answers} == {TransactionStatus.COMPLETED}
    bank.assert_each_transaction_completed_once()
    bank.assert_money_is_neither_lost_nor_made()
    assert bank.unpublished() > 0
    await eventually(lambda: _ordinary_activity_waits(during, "notification.publish"), seconds=60)
    await _mend(parts, fault)
    after = await bank.submit(AFTER)
    await _assert_nothing_is_wrong(bank, topics, [*before, *during, *after])
    assert set(await fallen_back([*before, *during])) == {"notification.publish"}


async def test_both_away_at_once_only_delays(bank: Bank, parts: Parts, topics: Topics) -> None:
    await _break(parts, "kafka", "hangs")
    await _break(parts, "postgres", "refuses")
    during = await bank.submit(DURING)
    await eventually(lambda: _ordinary_activity_waits(during, "casa.post"), seconds=60)
    assert await bank.finished() == 0
    await parts.postgres.accept()
    await eventually(lambda: _all_finished(bank), seconds=60)
    assert bank.unpublished() > 0
    await parts.kafka.accept()
    await _assert_nothing_is_wrong(bank, topics, during)


async def _all_finished(bank: Bank) -> bool:
    return await bank.finished() == len(bank.submitted)


@pytest.mark.slow
@pytest.mark.parametrize(("part", "seconds"), [("postgres", 25), ("kafka", 45)])
async def test_a_part_that_hangs_longer_than_every_attempt_only_delays(
    bank: Bank, parts: Parts, topics: Topics, part: str, seconds: float
) -> None:
    # Longer than an ordinary attempt, than a database operation before it is cut off, than a producer before it is replaced.
    before = await bank.submit(BEFORE)
    await eventually(bank.finished, seconds=30)
    await _break(parts, part, "hangs")
    during = await bank.submit(DURING)
    await asyncio.sleep(seconds)
    await _mend(parts, "hangs")
    after = await bank.submit(AFTER)
    # In one of ten runs two workflow tasks began as PostgreSQL came back, did not end in time, and went well the second time.
    await _assert_nothing_is_wrong(bank, topics, [*before, *during, *after], tasks_in_time=False)


@pytest.mark.slow
async def test_parts_that_come_and_go_only_delay(bank: Bank, parts: Parts, topics: Topics) -> None:
    handles: list[Handle] = []
    for part, fault, seconds in COMES_AND_GOES * 2:
        handles += await bank.submit(AFTER)
        await _break(parts, part, fault)
        handles += await bank.submit(AFTER)
        await asyncio.sleep(seconds)
        await _mend(parts, fault)
    await _assert_nothing_is_wrong(bank, topics, handles)
    assert await fallen_back(handles)
