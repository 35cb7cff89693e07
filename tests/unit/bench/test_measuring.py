"""What the benchmark makes of its clocks."""

from __future__ import annotations

import asyncio
import gc

import pytest

from bench.ledger.measuring import closed_loop, frozen_garbage, items_for, medians, paced, percentile


@pytest.mark.parametrize(("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1)])
def test_a_percentile_is_a_value_that_occurred(percent: int, value: int) -> None:
    assert percentile(list(range(1, 101)), percent) == value


def test_the_highest_of_few_values_is_their_99th_percentile() -> None:
    assert percentile([1.0, 2.0, 30.0], 99) == 30.0


def test_no_value_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        percentile([], 50)


def test_a_median_is_taken_for_each_figure_by_itself() -> None:
    assert medians([{"a": 1.0, "b": 9.0}, {"a": 5.0, "b": 1.0}, {"a": 2.0, "b": 2.0}]) == {"a": 2.0, "b": 2.0}


def test_twice_what_the_warm_up_would_use_is_made_ahead() -> None:
    assert items_for(1_000.0, 1.5, 64) == 3_064


async def test_a_closed_loop_keeps_so_many_in_flight_and_takes_each_item_once() -> None:
    taken: list[int] = []
    running = most = 0

    async def work(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        taken.append(item)
        await asyncio.sleep(0)
        running -= 1

    run = await closed_loop(work, range(100), in_flight=7, seconds=60)
    assert sorted(taken) == list(range(100))
    assert most == 7
    assert len(run.latencies_ms) == 100
    assert run.latencies_ms == sorted(run.latencies_ms)


async def test_a_closed_loop_ends_with_its_time() -> None:
    async def work(_: int) -> None:
        await asyncio.sleep(0.01)

    run = await closed_loop(work, iter(int, 1), in_flight=2, seconds=0.05)
    assert 0 < len(run.latencies_ms) < 100


async def test_a_paced_call_that_had_to_wait_for_the_loop_counts_from_when_it_was_due() -> None:
    async def work(item: int) -> None:
        if item == 0:
            # Holds the loop up, so that the second call, due after 10 ms, starts late.
            import time  # noqa: PLC0415

            time.sleep(0.2)  # noqa: ASYNC251

    latencies = await paced(work, [0, 1], per_second=100)
    assert len(latencies) == 2
    assert min(latencies) > 150


def test_what_was_made_ahead_is_back_in_the_collector_s_sight_afterwards() -> None:
    before = gc.get_freeze_count()
    with frozen_garbage():
        assert gc.get_freeze_count() > before
    assert gc.get_freeze_count() == 0
