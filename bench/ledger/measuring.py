"""Clocks: closed loops that count, paced calls that are timed, and what is made of both. Times are milliseconds, rates per second."""

from __future__ import annotations

import asyncio
import gc
import math
import statistics
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

Item = TypeVar("Item")

WARM_UP_SECONDS: Final = 0.3
_WARM_UP_ITEMS: Final = 500
_MOST_ITEMS: Final = 100_000
MILLISECONDS: Final = 1_000.0


@dataclass(frozen=True)
class Run:
    """What a closed loop did."""

    per_second: float
    latencies_ms: list[float]
    """Of each item, from its start to its answer, sorted."""

    def figures(self, rate_name: str = "legs_per_second") -> dict[str, float]:
        """Rate, median and 99th percentile, by name."""
        return {
            rate_name: self.per_second,
            "p50_ms": percentile(self.latencies_ms, 50),
            "p99_ms": percentile(self.latencies_ms, 99),
        }


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile of sorted values: the least of them that `percent` of all are not above.

    Raises:
        ValueError: there are no values.
    """
    if not ordered:
        message = "nothing was measured"
        raise ValueError(message)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


@contextmanager
def frozen_garbage() -> Iterator[None]:
    """Keep what was made ahead out of the garbage collector's sight. It runs as always, but only over what the measured code makes."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


async def closed_loop(work: Callable[[Item], Awaitable[object]], items: Iterable[Item], *, in_flight: int, seconds: float) -> Run:
    """Have `in_flight` callers take items one after the other until the time is up, or the items are used up."""
    remaining = iter(items)
    latencies: list[float] = []
    deadline = time.perf_counter() + seconds

    async def caller() -> None:
        while (started := time.perf_counter()) < deadline:
            item = next(remaining, None)
            if item is None:
                return
            await work(item)
            latencies.append((time.perf_counter() - started) * MILLISECONDS)

    started = time.perf_counter()
    async with asyncio.TaskGroup() as callers:
        for _ in range(in_flight):
            callers.create_task(caller())
    elapsed = time.perf_counter() - started
    return Run(len(latencies) / elapsed, sorted(latencies))


async def warmed_up(
    work: Callable[[Item], Awaitable[object]], prepare: Callable[[int], Sequence[Item]], *, in_flight: int, seconds: float
) -> Run:
    """Measure a closed loop after one that isn't counted, which opens connections and tells how many items to make ahead.

    Args:
        work: carries one item out.
        prepare: makes so many items, off the clock.
        in_flight: callers at one time.
        seconds: of the measured loop.
    """
    with frozen_garbage():
        rate = await warm_up(work, prepare, in_flight=in_flight)
    items = prepare(items_for(rate, seconds, in_flight))
    with frozen_garbage():
        return await closed_loop(work, items, in_flight=in_flight, seconds=seconds)


async def warm_up(work: Callable[[Item], Awaitable[object]], prepare: Callable[[int], Sequence[Item]], *, in_flight: int) -> float:
    """The rate of a short loop, which nobody reports."""
    items = prepare(max(_WARM_UP_ITEMS, 4 * in_flight))
    return (await closed_loop(work, items, in_flight=in_flight, seconds=WARM_UP_SECONDS)).per_second


def items_for(per_second: float, seconds: float, in_flight: int) -> int:
    """As many as twice the rate of the warm-up would use up."""
    return min(_MOST_ITEMS, math.ceil(2 * per_second * seconds) + in_flight)


async def paced(work: Callable[[Item], Awaitable[object]], items: Sequence[Item], *, per_second: float) -> list[float]:
    """Start items at a fixed pace, whatever the answers do; how long each took from the moment at which it was due, unsorted."""
    latencies: list[float] = []

    async def timed(item: Item, due: float) -> None:
        await work(item)
        latencies.append((time.perf_counter() - due) * MILLISECONDS)

    first = time.perf_counter()
    async with asyncio.TaskGroup() as calls:
        for number, item in enumerate(items):
            due = first + number / per_second
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            calls.create_task(timed(item, due))
    return latencies


async def timed_ms(call: Callable[[], Awaitable[object]]) -> float:
    """How long one call takes."""
    started = time.perf_counter()
    await call()
    return (time.perf_counter() - started) * MILLISECONDS


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {name: statistics.median(figures[name] for figures in rounds) for name in rounds[0]}
