"""Group commit: while one database transaction is in flight, what arrives waits in memory and goes together in the next.

There is no timer. A lane that is idle begins at once, so a lone caller pays nothing; under load a batch is whatever arrived meanwhile.
Where the next batch begins beside the one before, it is up to half of all that the lane has in hand: callers who get their answers
together come again together, and one batch of them all would let Python and PostgreSQL take turns instead of working side by side.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")


MIN_HALF: Final = 32
"""Up to so many items go in one batch, whatever is under way: halves of less cost more in round trips than they save."""


class Lane(Generic[Item, Answer]):
    """Batches in the order of arrival, one after the other; the next one may begin while the one before it is being committed."""

    def __init__(
        self,
        run: Callable[[Sequence[Item], Callable[[], None]], Awaitable[Sequence[Answer | Exception]]],
        *,
        max_batch: int,
        max_waiting: int,
        weight: Callable[[Item], int] = lambda _: 1,
        halves: bool = False,
    ) -> None:
        """Take what carries a batch out.

        Args:
            run: carries a batch out, and gives an answer or an error for each item, in the order of the items. What it raises goes to all.
                It gets the items, and a function that it may call once the next batch may begin beside it.
            max_batch: what the weights of items that go together sum to at most; an item that is heavier goes alone.
            max_waiting: items that wait at most; who comes later waits before the queue.
            weight: of an item; 1 unless given.
            halves: leave half of what is in hand to the next batch, which pays where that one begins beside this one, and only there.
        """
        self._run = run
        self._weight = weight
        self._halves = halves
        self._max_batch = max_batch
        self._room = asyncio.Semaphore(max_waiting)
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that wait for a batch; those of the batch in flight don't count."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Answer:
        """Carry an item out in the next batch, and return its answer, or raise its error.

        A caller that is cancelled leaves its item where it is: others may go with it, and whether it was carried out is then unknown.
        """
        async with self._room:
            answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
            # Nobody may be waiting any more when an error arrives.
            answer.add_done_callback(_retrieve)
            self._waiting.append((item, answer))
            if self._worker is None:
                self._worker = asyncio.create_task(self._work())
            return await answer

    async def drain(self) -> None:
        """Return once nothing waits and nothing is in flight."""
        while self._worker is not None:
            await asyncio.wait([self._worker])

    async def _work(self) -> None:
        before: asyncio.Task[None] | None = None
        size = 0
        try:
            while self._waiting:
                items = self._next_batch(under_way=0 if before is None or before.done() else size)
                size = len(items)
                next_may_begin = asyncio.Event()
                batch = asyncio.create_task(self._carry_out(items, next_may_begin.set))
                await next_may_begin.wait()
                # Two at a time, no more: what arrives meanwhile is to go together.
                if before is not None:
                    await asyncio.wait([before])
                before = batch
                if not self._waiting:
                    await asyncio.wait([before])
        finally:
            self._worker = None

    def _next_batch(self, *, under_way: int) -> Sequence[tuple[Item, asyncio.Future[Answer]]]:
        most = max(MIN_HALF, (len(self._waiting) + under_way + 1) // 2) if self._halves else self._max_batch
        batch = [self._waiting.popleft()]
        room = self._max_batch - self._weight(batch[0][0])
        while self._waiting and len(batch) < most and (room := room - self._weight(self._waiting[0][0])) >= 0:
            batch.append(self._waiting.popleft())
        return batch

    async def _carry_out(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]], let_next_begin: Callable[[], None]) -> None:
        try:
            answers = await self._run([item for item, _ in batch], let_next_begin)
            outcomes = list(zip(batch, answers, strict=True))
        except Exception as error:  # noqa: BLE001  every waiter gets it, whatever it is
            outcomes = [(waiter, error) for waiter in batch]
        finally:
            let_next_begin()
        for (_, future), outcome in outcomes:
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


def _retrieve(answer: asyncio.Future[Answer]) -> None:
    if not answer.cancelled():
        answer.exception()
