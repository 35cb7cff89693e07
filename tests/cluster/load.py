"""A bounded load through both APIs by a client as it should be: every transaction has an id of the client's, and is sent again with it."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import httpx

TELLERS: Final = 6
_BETWEEN_SECONDS: Final = 0.15
"""Between two transactions of one teller: the load is there to see whether work goes on, not to see how much."""
_ATTEMPT_SECONDS: Final = 12.0
_WAIT_SECONDS: Final = 8
_PAUSE_SECONDS: Final = 0.2
_END_SECONDS: Final = 120.0
"""How long the last transactions may take."""
_FINAL: Final = frozenset({"completed", "rejected", "reversed"})
_OPENING: Final = Decimal("1000.00")


@dataclass(frozen=True)
class Done:
    """A transaction whose outcome the client was told."""

    submitted: float
    """Seconds of the monotonic clock, as below: when it was sent for the first time."""
    told: float
    status: str
    attempts: int


@dataclass
class Load:
    """What was sent, and what was answered."""

    urls: list[str]
    key: str
    accounts: list[str]
    sent: dict[str, dict[str, str]] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    """Attempts that had to be made again, by reason."""
    _stop: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Load until this is left; then every transaction is brought to its end."""
        headers = {"Authorization": f"Bearer {self.key}"}
        async with httpx.AsyncClient(timeout=_ATTEMPT_SECONDS, trust_env=False, headers=headers) as client:
            await self._open_accounts(client)
            tellers = [asyncio.create_task(self._teller(client, number)) for number in range(TELLERS)]
            try:
                yield
            finally:
                self._stop.set()
                _, left = await asyncio.wait(tellers, timeout=_END_SECONDS)
                for teller in left:
                    teller.cancel()
                # What a teller could not bring to its end is among what was sent, and not among what is done.
                raised = await asyncio.gather(*tellers, return_exceptions=True)
                assert not [error for error in raised if isinstance(error, Exception)], raised

    async def _open_accounts(self, client: httpx.AsyncClient) -> None:
        for account in self.accounts:
            opening = {"account_id": account, "currency": "EUR"}
            while await self._attempt(client, f"{self.urls[0]}/v1/accounts", opening) != "active":  # noqa: ASYNC110  it tells nobody
                await asyncio.sleep(_PAUSE_SECONDS)
            await self._bring_about(client, {"creditor": account, "amount": str(_OPENING)}, 0)

    async def _teller(self, client: httpx.AsyncClient, number: int) -> None:
        random_ = random.Random(number)  # noqa: S311  the same load each time
        for turn in itertools.count(number):
            if self._stop.is_set():
                return
            debtor, creditor = random_.sample(self.accounts, 2)
            parties = ({"creditor": creditor}, {"debtor": debtor}, {"debtor": debtor, "creditor": creditor})[turn % 3]
            amount = Decimal(random_.randint(1, 3000)) / 100
            await self._bring_about(client, {**parties, "amount": f"{amount:.2f}"}, turn)
            await asyncio.sleep(_BETWEEN_SECONDS)

    async def _bring_about(self, client: httpx.AsyncClient, order: dict[str, str], turn: int) -> None:
        """Send it until its outcome is known, to one API after the other."""
        transaction_id = str(uuid.uuid4())
        body = {**order, "currency": "EUR", "transaction_id": transaction_id}
        self.sent[transaction_id] = body
        submitted = time.monotonic()
        for attempt in itertools.count(1):
            status = await self._attempt(client, f"{self.urls[(turn + attempt) % len(self.urls)]}/v1/transactions", body)
            if status in _FINAL:
                self.done[transaction_id] = Done(submitted, time.monotonic(), status, attempt)
                return
            self.refused[status] += 1
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _attempt(self, client: httpx.AsyncClient, url: str, body: dict[str, str]) -> str:
        try:
            answer = await client.post(url, json=body, headers={"Prefer": f"wait={_WAIT_SECONDS}"})
        except httpx.HTTPError as error:
            return type(error).__name__
        if answer.status_code in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT}:
            return f"{answer.status_code} {answer.json().get('code')}"
        assert answer.is_success, f"{answer.status_code} {answer.text}"
        content: dict[str, Any] = answer.json()
        return str(content["status"])

    def balances(self) -> dict[str, Decimal]:
        """What each account must have, from what the client was told alone."""
        balances = dict.fromkeys(self.accounts, Decimal(0))
        for transaction_id, done in self.done.items():
            body = self.sent[transaction_id]
            if done.status == "completed":
                for side, sign in (("debtor", -1), ("creditor", 1)):
                    if side in body:
                        balances[body[side]] += sign * Decimal(body["amount"])
        return balances
