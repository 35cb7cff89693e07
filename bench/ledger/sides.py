"""The sides that post legs from this process, each opened for one case and closed after it."""

from __future__ import annotations

from contextlib import asynccontextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from bench.ledger.batched_row import BatchedRow
from bench.ledger.loads import expect
from bench.ledger.one_by_one import OneByOne
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from ledger.postings import Posting

POOL_SIZE: Final = 16
"""Connections of casaflow and of the batched row; a worker's default."""
MOST_CONNECTIONS: Final = 64
"""Connections of the side that posts one by one: one for each leg in flight, up to this."""


class SideName(StrEnum):
    """What is compared."""

    CASAFLOW = "casaflow"
    BATCHED_ROW = "batched row"
    ONE_BY_ONE = "one by one"
    LOCKED_ROW = "locked row"
    """pgbench; it posts from processes of its own, see :mod:`bench.ledger.pgbench`."""


class Side(Protocol):
    """What posts legs."""

    async def post(self, posting: Posting) -> bool:
        """Book the leg or refuse it; whether it was posted."""
        ...

    async def close(self) -> None:
        """Wait for what runs, and close all connections."""
        ...


class Casaflow:
    """The ledger as a worker process has it."""

    def __init__(self, url: str) -> None:
        self._database = Database.open(url, pool_size=POOL_SIZE)
        self._ledger = PostgresLedger(self._database)

    async def post(self, posting: Posting) -> bool:
        """Book the leg or refuse it; whether it was posted."""
        return (await self._ledger.post(posting)).posted

    async def close(self) -> None:
        """Wait for what runs, and close all connections."""
        await self._ledger.drain()
        await self._database.close()


def _open(name: SideName, url: str, in_flight: int) -> Side:
    match name:
        case SideName.CASAFLOW:
            return Casaflow(url)
        case SideName.BATCHED_ROW:
            return BatchedRow(url, connections=POOL_SIZE)
        case SideName.ONE_BY_ONE:
            return OneByOne(url, connections=min(in_flight, MOST_CONNECTIONS))
        case SideName.LOCKED_ROW:
            message = "pgbench posts from processes of its own"
            raise ValueError(message)


@asynccontextmanager
async def opened(name: SideName, url: str, *, in_flight: int) -> AsyncIterator[Callable[[Posting], Awaitable[None]]]:
    """A side's way to post a leg, which raises :class:`bench.ledger.loads.WrongAnswerError` where the answer is wrong.

    Args:
        name: the side; not pgbench.
        url: the database.
        in_flight: legs at one time at most.
    """
    side = _open(name, url, in_flight)

    async def post(posting: Posting) -> None:
        expect(posting, posted=await side.post(posting))

    try:
        yield post
    finally:
        await side.close()
