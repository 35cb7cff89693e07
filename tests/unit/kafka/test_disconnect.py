"""A consumer that is stopped while the brokers are away: aiokafka lets the cancellation of its own fetches out of `stop()`."""

from __future__ import annotations

import asyncio

import pytest

from infra.kafka import consumer
from infra.kafka.connection import disconnect


class ClosedClient:
    closed = False

    async def close(self) -> None:
        self.closed = True


class FetchingConsumer:
    """Stops as aiokafka's does: cancels the fetches under way, and waits for each."""

    def __init__(self) -> None:
        self._client = ClosedClient()

    async def stop(self) -> None:
        fetch = asyncio.ensure_future(asyncio.sleep(600))
        await asyncio.sleep(0)
        fetch.cancel()
        await fetch


class StuckConsumer(FetchingConsumer):
    ended = False

    async def stop(self) -> None:
        try:
            await asyncio.sleep(600)
        finally:
            self.ended = True


async def test_the_cancellation_of_its_own_fetches_does_not_end_who_stops_it() -> None:
    fetching = FetchingConsumer()
    await disconnect(fetching)
    assert fetching._client.closed
    ended = asyncio.create_task(consumer._end(FetchingConsumer()))
    await asyncio.wait({ended})
    assert not ended.cancelled(), "a member of a group would end with it, for good and without a word"


async def test_one_that_does_not_stop_is_left_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumer, "_STOP_TIMEOUT_SECONDS", 0.01)
    stuck = StuckConsumer()
    await consumer._end(stuck)
    await asyncio.sleep(0)
    assert stuck.ended
