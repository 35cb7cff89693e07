"""Posting many transactions: each account's in order, different accounts at once, a bounded number in flight."""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from casaflow_client import ApiError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from casaflow_client import AsyncClient

WAIT_SECONDS: Final = 30
"""How long one request waits for its outcome before it asks again."""
WINDOW_PER_SLOT: Final = 25
"""Transactions read ahead for each one in flight: an account with many in a row must not keep the others from being read."""
_LATENCIES_KEPT: Final = 200_000


@dataclass(frozen=True)
class Order:
    """One transaction to post."""

    body: dict[str, Any]
    accounts: tuple[str, ...]
    """Accounts whose order it must keep."""
    label: str
    """What it is called in a complaint: ``line 17``."""


class OrderConflictError(Exception):
    """The API refused a transaction for good, as a conflict or as bad input."""

    def __init__(self, order: Order, refusal: ApiError) -> None:
        self.order = order
        self.refusal = refusal
        super().__init__(f"{order.label}: {refusal}")


@dataclass
class Tally:
    """What became of the transactions."""

    statuses: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    repeated: int = 0
    """Answered from the record: posted by an earlier run."""
    latencies_ms: list[float] = field(default_factory=list)
    """Of those that this run started, from request to outcome."""
    seconds: float = 0.0
    examples: dict[str, str] = field(default_factory=dict)
    """One transaction id for each status."""

    @property
    def total(self) -> int:
        """Transactions with an outcome."""
        return sum(self.statuses.values())

    @property
    def per_second(self) -> float:
        """Outcomes per second."""
        return self.total / self.seconds if self.seconds else 0.0

    def percentile_ms(self, percent: int) -> float | None:
        """A percentile of the latency (nearest rank); None when this run started none."""
        return percentile(self.latencies_ms, percent)

    def add(self, transaction: dict[str, Any], *, repeated: bool, milliseconds: float) -> None:
        """Count one outcome."""
        status = str(transaction["status"])
        self.statuses[status] += 1
        self.examples.setdefault(status, str(transaction["transaction_id"]))
        if transaction.get("reason"):
            self.reasons[str(transaction["reason"]["code"])] += 1
        if repeated:
            self.repeated += 1
        elif len(self.latencies_ms) < _LATENCIES_KEPT:
            self.latencies_ms.append(milliseconds)

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "transactions": self.total,
            "statuses": dict(self.statuses),
            "reasons": dict(self.reasons),
            "already_posted": self.repeated,
            "seconds": round(self.seconds, 3),
            "per_second": round(self.per_second, 1),
            "latency_ms": {"p50": self.percentile_ms(50), "p99": self.percentile_ms(99)},
        }


def percentile(values: Sequence[float], percent: int) -> float | None:
    """A percentile (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)] if ordered else None


async def post_all(client: AsyncClient, orders: Iterable[Order], *, in_flight: int, tally: Tally, on_done: Callable[[], None]) -> None:
    """Post transactions, and wait until each has its outcome.

    Args:
        client: of the API; it waits while the API is away.
        orders: read as they are needed, never all at once.
        in_flight: requests at one time.
        tally: filled as outcomes arrive, and still true when this is interrupted.
        on_done: called after each outcome.

    Raises:
        OrderConflictError: the API refused one for good. All before it have their outcomes, and some after it that were in flight.
        CasaflowError: one could not be sent.
    """
    run = _Run(client, in_flight, tally, on_done)
    started = time.monotonic()
    try:
        for order in orders:
            if not await run.begin(order):
                break
        await run.end()
    except Exception:
        # The orders broke off; an earlier one that went wrong is the news.
        await run.end()
        if run.failure is None:
            raise
    except asyncio.CancelledError:
        # Somebody pressed Ctrl-C: what was sent is waited for, so that the tally is true.
        run.stop()
        await run.end()
        raise
    finally:
        tally.seconds += time.monotonic() - started
    if run.failure is not None:
        raise run.failure


class _Run:
    """The transactions in flight, and for each account the last one that was begun."""

    def __init__(self, client: AsyncClient, in_flight: int, tally: Tally, on_done: Callable[[], None]) -> None:
        self._client = client
        self._tally = tally
        self._on_done = on_done
        self._slots = asyncio.Semaphore(in_flight)
        self._window = asyncio.Semaphore(in_flight * WINDOW_PER_SLOT)
        self._last_of_account: dict[str, asyncio.Task[None]] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._begun = 0
        self._ends_before: float = math.inf
        """Orders from this number on are not sent any more."""
        self.failure: Exception | None = None
        """What went wrong with the first order, by their order, that could not be posted."""

    async def begin(self, order: Order) -> bool:
        """Begin an order once there is room; False when an earlier one went wrong."""
        await self._window.acquire()
        if self._ends_before < math.inf:
            return False
        number = self._begun
        self._begun += 1
        before = [self._last_of_account[account] for account in order.accounts if account in self._last_of_account]
        task = asyncio.create_task(self._post_in_turn(number, order, before))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        for account in order.accounts:
            self._last_of_account[account] = task
        return True

    def stop(self) -> None:
        """Send nothing more; what was sent goes on."""
        self._ends_before = -1

    async def end(self) -> None:
        """Wait for what was begun."""
        if self._running:
            await asyncio.wait(self._running)

    async def _post_in_turn(self, number: int, order: Order, before: list[asyncio.Task[None]]) -> None:
        try:
            if before:
                await asyncio.wait(before)
            async with self._slots:
                if number >= self._ends_before:
                    return
                await _post(self._client, order, self._tally)
            self._on_done()
        except ApiError as error:
            self._fail(number, OrderConflictError(order, error))
        except Exception as error:  # noqa: BLE001  raised again by post_all; a line that is lost in silence would be worse
            self._fail(number, error)
        finally:
            self._window.release()

    def _fail(self, number: int, failure: Exception) -> None:
        """Send none of the later orders; the earlier ones still get their outcomes."""
        if number < self._ends_before:
            self._ends_before = number
            self.failure = failure


async def _post(client: AsyncClient, order: Order, tally: Tally) -> None:
    """Submit, and ask again until the outcome is final or an operator has to act; the id makes asking again safe."""
    started = time.monotonic()
    repeated: bool | None = None
    while True:
        answer = await client.submit(order.body, wait_seconds=WAIT_SECONDS)
        transaction = answer.content
        repeated = answer.http_status == HTTPStatus.OK if repeated is None else repeated
        if transaction["status"] != "processing":
            tally.add(transaction, repeated=repeated, milliseconds=(time.monotonic() - started) * 1000)
            return
