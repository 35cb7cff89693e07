"""Lanes of group commit, on a batch runner that a test holds back: what goes together, in which order, and who gets which answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from infra.postgres.group_commit import MIN_HALF, Lane


class BadItemError(Exception):
    pass


@dataclass
class Runner:
    """Answers each item with its double; a batch waits until the test lets it go."""

    batches: list[list[int]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fails_with: Exception | None = None
    lets_next_begin: bool = False

    async def run(self, items: Sequence[int], let_next_begin: Callable[[], None]) -> Sequence[int | Exception]:
        self.batches.append(list(items))
        if self.lets_next_begin:
            let_next_begin()
        await self.gate.wait()
        if self.fails_with is not None:
            raise self.fails_with
        return [BadItemError(item) if item < 0 else item * 2 for item in items]


@pytest.fixture
def runner() -> Runner:
    return Runner()


def _lane(runner: Runner, *, max_batch: int = 10, max_waiting: int = 100, halves: bool = False) -> Lane[int, int]:
    return Lane(runner.run, max_batch=max_batch, max_waiting=max_waiting, halves=halves)


async def _submitted(lane: Lane[int, int], items: Sequence[int]) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(lane.submit(item)) for item in items]
    for _ in range(10):
        await asyncio.sleep(0)
    return tasks


async def test_a_lone_item_goes_at_once(runner: Runner) -> None:
    runner.gate.set()
    assert await _lane(runner).submit(4) == 8
    assert runner.batches == [[4]]


async def test_what_arrives_while_a_batch_is_in_flight_goes_together_in_the_next_in_order(runner: Runner) -> None:
    lane = _lane(runner)
    first = await _submitted(lane, [1])
    others = await _submitted(lane, [2, 3, 4])
    assert runner.batches == [[1]]
    runner.gate.set()
    assert await asyncio.gather(*first, *others) == [2, 4, 6, 8]
    assert runner.batches == [[1], [2, 3, 4]]


async def test_the_next_batch_begins_beside_one_that_lets_it_and_no_third_one_does(runner: Runner) -> None:
    runner.lets_next_begin = True
    lane = _lane(runner, max_batch=1)
    tasks = await _submitted(lane, [1, 2, 3])
    assert runner.batches == [[1], [2]]
    runner.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]
    assert runner.batches == [[1], [2], [3]]


async def test_a_batch_takes_half_of_what_the_lane_has_in_hand_so_that_the_next_one_has_something_to_begin_with(runner: Runner) -> None:
    runner.lets_next_begin = True
    lane = _lane(runner, max_batch=200, halves=True)
    tasks = await _submitted(lane, range(100))
    assert [len(batch) for batch in runner.batches] == [50, 50]
    runner.gate.set()
    assert await asyncio.gather(*tasks) == [item * 2 for item in range(100)]


async def test_a_batch_that_has_ended_is_not_in_hand_any_more(runner: Runner) -> None:
    runner.lets_next_begin = True
    lane = _lane(runner, max_batch=200, max_waiting=300, halves=True)
    first = await _submitted(lane, range(100))
    others = await _submitted(lane, range(100))
    runner.gate.set()
    await asyncio.gather(*first, *others)
    assert [len(batch) for batch in runner.batches][:3] == [50, 50, 50]


async def test_where_batches_follow_one_after_the_other_each_takes_all_that_waits(runner: Runner) -> None:
    runner.gate.set()
    await asyncio.gather(*await _submitted(_lane(runner, max_batch=200), range(100)))
    assert [len(batch) for batch in runner.batches] == [100]


async def test_a_batch_is_not_halved_below_what_two_round_trips_are_worth(runner: Runner) -> None:
    lane = _lane(runner, max_batch=200, halves=True)
    runner.gate.set()
    await asyncio.gather(*await _submitted(lane, range(MIN_HALF)))
    assert [len(batch) for batch in runner.batches] == [MIN_HALF]


async def test_heavy_items_fill_a_batch_sooner_and_one_that_is_too_heavy_goes_alone(runner: Runner) -> None:
    lane = Lane(runner.run, max_batch=10, max_waiting=100, weight=lambda item: item)
    tasks = await _submitted(lane, [1, 4, 6, 5, 20, 1])
    runner.gate.set()
    await asyncio.gather(*tasks)
    assert runner.batches == [[1, 4], [6], [5], [20], [1]]


async def test_a_batch_is_no_larger_than_allowed(runner: Runner) -> None:
    lane = _lane(runner, max_batch=2)
    tasks = await _submitted(lane, [1, 2, 3, 4, 5])
    runner.gate.set()
    await asyncio.gather(*tasks)
    assert runner.batches == [[1, 2], [3, 4], [5]]


async def test_a_bad_item_fails_alone(runner: Runner) -> None:
    runner.gate.set()
    tasks = await _submitted(_lane(runner), [1, -2, 3])
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert (answers[0], answers[2]) == (2, 6)
    assert isinstance(answers[1], BadItemError)


async def test_what_a_batch_raises_goes_to_each_of_its_items_and_the_lane_goes_on(runner: Runner) -> None:
    lane = _lane(runner)
    runner.fails_with = ConnectionError("gone")
    failed = await _submitted(lane, [1, 2])
    runner.gate.set()
    answers = await asyncio.gather(*failed, return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    runner.fails_with = None
    assert await lane.submit(3) == 6


async def test_a_cancelled_caller_changes_nothing_for_the_others(runner: Runner) -> None:
    lane = _lane(runner)
    await _submitted(lane, [1])
    cancelled, other = await _submitted(lane, [2, 3])
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    runner.gate.set()
    assert await other == 6
    assert runner.batches == [[1], [2, 3]]


async def test_who_comes_when_the_queue_is_full_waits_before_it(runner: Runner) -> None:
    lane = _lane(runner, max_batch=2, max_waiting=3)
    tasks = await _submitted(lane, range(1, 11))
    assert lane.waiting <= 3
    runner.gate.set()
    assert await asyncio.gather(*tasks) == [2 * number for number in range(1, 11)]


async def test_draining_waits_for_everything_that_was_submitted(runner: Runner) -> None:
    lane = _lane(runner, max_batch=1)
    tasks = await _submitted(lane, [1, 2])
    draining = asyncio.create_task(lane.drain())
    for _ in range(3):
        await asyncio.sleep(0)
    assert not draining.done()
    runner.gate.set()
    await draining
    assert runner.batches == [[1], [2]]
    assert await asyncio.gather(*tasks) == [2, 4]
