"""A load that goes on through an upgrade: callers that repeat a transaction at the next address until they have its outcome."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field

import httpx

ACCOUNTS = tuple(f"U{number}" for number in range(8))
_CALLERS = 8
_REQUEST_SECONDS = 40
_PAUSE_SECONDS = 0.05


@dataclass
class Phase:
    """What was seen while the system was in one state."""

    name: str
    began: float
    outcomes: int = 0
    slowest: float = 0.0
    """Seconds, from the first attempt to the outcome."""
    attempts_that_failed: Counter[str] = field(default_factory=Counter)
    """Attempts that another one followed, by what they met."""
    finished_at: list[float] = field(default_factory=list)


class Load:
    """Transfers between eight accounts, by eight callers at once, through whichever address answers."""

    def __init__(self, addresses: list[str], key: str) -> None:
        self.addresses = addresses
        """In use; changed while it runs."""
        self.outcomes: dict[str, str] = {}
        """Of each transaction that was submitted: its status, or how it was refused."""
        self.phases = [Phase("before", time.monotonic())]
        self._headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=20"}
        self._stopping = asyncio.Event()
        self._turn = itertools.count()
        self._callers: list[asyncio.Task[None]] = []

    def begin(self, name: str) -> None:
        """What is seen from now on is of another state."""
        self.phases.append(Phase(name, time.monotonic()))

    @property
    def phase(self) -> Phase:
        return self.phases[-1]

    def start(self) -> None:
        self._callers = [asyncio.create_task(self._call(number)) for number in range(_CALLERS)]

    async def stop(self) -> None:
        """Submit nothing more, and wait for the outcomes of what was submitted."""
        self._stopping.set()
        await asyncio.gather(*self._callers)

    async def until(self, outcomes: int) -> None:
        """Wait until this phase has so many outcomes."""
        phase = self.phase
        async with asyncio.timeout(120):
            while phase.outcomes < outcomes:
                for caller in self._callers:
                    if caller.done():
                        caller.result()
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _call(self, number: int) -> None:
        limits = httpx.Timeout(_REQUEST_SECONDS, connect=2)
        async with httpx.AsyncClient(headers=self._headers, timeout=limits, trust_env=False) as client:
            while not self._stopping.is_set():
                debtor, creditor = ACCOUNTS[number], ACCOUNTS[(number + 1) % len(ACCOUNTS)]
                body = {"transaction_id": str(uuid.uuid4()), "debtor": debtor, "creditor": creditor, "amount": "0.01", "currency": "EUR"}
                await self._until_final(client, body)

    async def _until_final(self, client: httpx.AsyncClient, body: dict[str, str]) -> None:
        identifier, began = body["transaction_id"], time.monotonic()
        self.outcomes[identifier] = "unknown"
        while True:
            address = self.addresses[next(self._turn) % len(self.addresses)]
            try:
                answer = await client.post(f"{address}/v1/transactions", json=body)
            except httpx.HTTPError as error:
                self.phase.attempts_that_failed[type(error).__name__] += 1
            else:
                if answer.status_code in {httpx.codes.OK, httpx.codes.CREATED}:
                    self.outcomes[identifier] = answer.json()["status"]
                    break
                if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE:
                    self.phase.attempts_that_failed[f"503 {answer.json()['code']}"] += 1
                elif answer.status_code != httpx.codes.ACCEPTED:
                    self.outcomes[identifier] = f"{answer.status_code} {answer.text[:200]}"
                    break
                else:
                    self.phase.attempts_that_failed["202, asked again"] += 1
            await asyncio.sleep(_PAUSE_SECONDS)
        now, phase = time.monotonic(), self.phase
        phase.outcomes += 1
        phase.slowest = max(phase.slowest, now - began)
        phase.finished_at.append(now)

    def report(self) -> str:
        """A line for each phase: how long it was, what came of it, and the longest time without any outcome."""
        ends = [phase.began for phase in self.phases[1:]] + [max(self.phases[-1].finished_at, default=self.phases[-1].began)]
        lines = [f"{'state':<44}{'seconds':>8}{'outcomes':>9}{'longest pause':>14}{'slowest':>9}  attempts that were repeated"]
        last = self.phases[0].began
        for phase, end in zip(self.phases, ends, strict=True):
            pauses = [later - earlier for earlier, later in itertools.pairwise([last, *phase.finished_at])]
            last = phase.finished_at[-1] if phase.finished_at else last
            met = ", ".join(f"{count} x {what}" for what, count in phase.attempts_that_failed.items()) or "-"
            numbers = f"{end - phase.began:>8.1f}{phase.outcomes:>9}{max(pauses, default=0.0):>12.2f} s{phase.slowest:>7.2f} s"
            lines.append(f"{phase.name:<44}{numbers}  {met}")
        return "\n".join(lines)


def open_accounts(url: str, key: str) -> None:
    """Open the accounts of the load, with enough on each."""
    headers = {"Authorization": f"Bearer {key}", "Prefer": "wait=30"}
    with httpx.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        for account in ACCOUNTS:
            opened = client.post("/v1/accounts", json={"account_id": account, "currency": "EUR"})
            assert opened.is_success, opened.text
            paid = client.post("/v1/transactions", json={"creditor": account, "amount": "100.00", "currency": "EUR"})
            assert paid.json()["status"] == "completed", paid.text
