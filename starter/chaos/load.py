"""The load: transactions among accounts of its own at a constant rate, each repeated with its id until its outcome is known."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from casaflow_client import ApiError, AsyncClient, Patience, UnavailableError

from starter.chaos.measuring import Span

if TYPE_CHECKING:
    import random
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from starter.chaos.system import System

Answer = TypeVar("Answer")

FINAL: Final = frozenset({"completed", "rejected", "reversed"})
CURRENCY: Final = "EUR"
ACCOUNTS: Final = 8
"""The first one is the busy account: half of all transactions touch it."""
MOST_IN_FLIGHT: Final = 256
"""No more is submitted while so many are under way, so that an outage leaves a bounded backlog."""
_WAIT_SECONDS: Final = 5
"""How long one request waits for its outcome before it asks again."""
_ATTEMPT_SECONDS: Final = 12.0
"""After which one attempt is given up: longer than it waits, and short enough that a frozen API is noticed."""
_PAUSES: Final = Patience(seconds=None)
"""How the pauses between attempts grow: as in any client of ours."""
_LONGEST_PAUSE_SECONDS: Final = 1.0
_FUNDS_CENTS: Final = 100_000
_TOO_MUCH_CENTS: Final = 10**9
"""A withdrawal of this is refused."""


@dataclass
class Submitted:
    """One transaction of the load."""

    body: dict[str, Any]
    cents: int
    submitted_at: float
    """Seconds since the load began, as all times here."""
    finished_at: float | None = None
    answer: dict[str, Any] | None = None
    """The first final one."""
    refusal: str | None = None
    """Why the API refused it for good, which it has no reason to."""

    @property
    def transaction_id(self) -> str:
        """Its id, made here."""
        return str(self.body["transaction_id"])

    @property
    def span(self) -> Span:
        """When it began and ended."""
        return Span(self.submitted_at, self.finished_at)


class Apis:
    """All APIs of the system as one: what one of them doesn't answer, the next one is asked."""

    def __init__(self, system: System, *, on_error: Callable[[str], None]) -> None:
        """Take the system, and what is called with the reason each time an attempt fails."""
        self._clients = [
            # Attempts are repeated here, so that another API may be asked.
            AsyncClient(url, system.api_key, connections=MOST_IN_FLIGHT, patience=Patience(seconds=0), timeout_seconds=_ATTEMPT_SECONDS)
            for url in system.apis
        ]
        self._on_error = on_error
        self._turn = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for client in self._clients:
            await client.aclose()

    async def ask(self, work: Callable[[AsyncClient], Awaitable[Answer]]) -> Answer:
        """The answer to a request that is safe to repeat, however long that takes.

        Raises:
            ApiError: an API refused it for good.
        """
        self._turn += 1
        turn, attempt = self._turn, 0
        while True:
            try:
                return await work(self._clients[(turn + attempt) % len(self._clients)])
            except UnavailableError as error:
                reason = str(error)
            except ApiError as error:
                if error.is_bad_input:
                    raise
                reason = f"{error.status} {error.code}"
            self._on_error(reason)
            pause = _PAUSES.pause_seconds(attempt, None, 0.0) or 0.0
            attempt += 1
            await asyncio.sleep(min(pause, _LONGEST_PAUSE_SECONDS))


@dataclass
class Load:
    """What is submitted, what came of it, and what the client saw meanwhile."""

    system: System
    chance: random.Random
    per_second: float
    on_finished: Callable[[], None]
    prefix: str = field(default_factory=lambda: f"chaos-{uuid.uuid4().hex[:8]}")
    submitted: list[Submitted] = field(default_factory=list)
    finishes: list[float] = field(default_factory=list)
    """When each outcome came, in this order."""
    errors: list[tuple[float, str]] = field(default_factory=list)
    """Attempts that failed, and why."""
    _begin: float = field(default_factory=time.monotonic)
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MOST_IN_FLIGHT))

    @property
    def now(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self._begin

    @property
    def accounts(self) -> list[str]:
        """Its own accounts."""
        return [self._account(number) for number in range(ACCOUNTS)]

    @property
    def under_way(self) -> int:
        """Transactions without an outcome."""
        return sum(1 for each in self.submitted if each.answer is None and each.refusal is None)

    def apis(self) -> Apis:
        """The APIs, with their failures counted here."""
        return Apis(self.system, on_error=lambda reason: self.errors.append((self.now, reason)))

    def errors_between(self, begin: float, end: float) -> dict[str, int]:
        """How often each reason for a failed attempt was seen."""
        return dict(Counter(reason for at, reason in self.errors if begin <= at < end).most_common())

    async def open_accounts(self, apis: Apis) -> None:
        """Open the accounts, and pay in so much that most debits are accepted."""
        for account in self.accounts:
            await apis.ask(lambda client, account=account: client.open_account({"account_id": account, "currency": CURRENCY}))  # type: ignore[misc]
        await asyncio.gather(*(self._follow(apis, self._order({"creditor": account}, _FUNDS_CENTS)) for account in self.accounts))

    async def run(self, apis: Apis) -> None:
        """Submit at the rate until :meth:`stop`, then wait for what is under way; cancel it to wait no longer."""
        async with asyncio.TaskGroup() as following:
            number, due = 0, self.now
            while not self._stopping.is_set():
                await self._slots.acquire()
                following.create_task(self._follow_in_slot(apis, self._order(*self._shape(number))))
                number += 1
                # After a time without room it goes on at its rate: what was not submitted then is not submitted at once now.
                due = max(due + 1 / self.per_second, self.now)
                try:
                    async with asyncio.timeout(due - self.now):
                        await self._stopping.wait()
                except TimeoutError:
                    continue

    def stop(self) -> None:
        """Submit nothing more."""
        self._stopping.set()

    def _account(self, number: int) -> str:
        return f"{self.prefix}-{number % ACCOUNTS}"

    def _shape(self, number: int) -> tuple[dict[str, str], int]:
        """Deposits, withdrawals and transfers in turn, over all accounts; one in ten is refused for lack of money."""
        busy, one, other = self._account(0), self._account(1 + number % (ACCOUNTS - 1)), self._account(1 + (number + 3) % (ACCOUNTS - 1))
        cents = self.chance.randint(1, 999)
        shapes: Sequence[tuple[dict[str, str], int]] = (
            ({"creditor": busy}, cents),
            ({"debtor": one}, cents),
            ({"debtor": one, "creditor": other}, cents),
            ({"creditor": one}, cents),
            ({"debtor": busy, "creditor": one}, cents),
            ({"debtor": busy}, cents),
            ({"debtor": one, "creditor": other}, cents),
            ({"debtor": one, "creditor": busy}, cents),
            ({"creditor": busy}, cents),
            ({"debtor": one}, _TOO_MUCH_CENTS),
        )
        return shapes[number % len(shapes)]

    def _order(self, sides: dict[str, str], cents: int) -> Submitted:
        body = {"transaction_id": str(uuid.uuid4()), **sides, "amount": f"{Decimal(cents) / 100:.2f}", "currency": CURRENCY}
        order = Submitted(body=body, cents=cents, submitted_at=self.now)
        self.submitted.append(order)
        return order

    async def _follow_in_slot(self, apis: Apis, order: Submitted) -> None:
        try:
            await self._follow(apis, order)
        finally:
            self._slots.release()

    async def _follow(self, apis: Apis, order: Submitted) -> None:
        """Submit, and submit again, until the outcome is final."""
        while True:
            try:
                answer = await apis.ask(lambda client: client.submit(order.body, wait_seconds=_WAIT_SECONDS))
            except ApiError as error:
                order.refusal = f"{error.status} {error.code}: {error.detail}"
                return
            if answer.content["status"] in FINAL:
                order.answer, order.finished_at = answer.content, self.now
                self.finishes.append(order.finished_at)
                self.on_finished()
                return
            if answer.content["status"] != "processing":
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)  # parked: only somebody else moves it on

    async def submit_again(self, apis: Apis, *, at_once: int) -> list[tuple[Submitted, dict[str, Any] | None]]:
        """What the same ids with the same content are answered; None where the id was not known, or was refused."""
        slots = asyncio.Semaphore(at_once)

        async def again(order: Submitted) -> tuple[Submitted, dict[str, Any] | None]:
            async with slots:
                try:
                    answer = await apis.ask(lambda client: client.submit(order.body, wait_seconds=_WAIT_SECONDS))
                except ApiError as error:
                    return order, {"refused": f"{error.status} {error.code}"}
                return order, answer.content if answer.http_status == HTTPStatus.OK else None

        return await asyncio.gather(*(again(order) for order in self.submitted if order.answer is not None))
