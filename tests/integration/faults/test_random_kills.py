"""Transactions while a random process of the stack is killed every two seconds, and the supervisor starts it again."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

import pytest
from casaflow_client import AsyncClient, Patience

from tests.integration.stack.conftest import Home, home_of_its_own
from tests.workflow.conftest import eventually

EVERY_SECONDS: Final = 2.0
IN_FLIGHT: Final = 32
PATIENCE_SECONDS: Final = 1_800.0
"""For the end of a transaction that lost a worker again and again: each lost workflow task costs ten seconds, or twenty."""
FINAL: Final = frozenset({"completed", "rejected", "reversed"})
ACCOUNTS: Final = 12
"""In EUR; the first one is the busy account. As many again are in CZK."""


@dataclass
class Killer:
    """Who kills, and what it has killed."""

    home: Home
    chance: random.Random
    killed: list[tuple[float, str]] = field(default_factory=list)
    """Seconds since the begin, and the part."""

    async def kill_for(self, seconds: float) -> None:
        """Kill one of the processes that live, every two seconds."""
        begin = time.monotonic()
        while (elapsed := time.monotonic() - begin) < seconds:
            pids = self._pids()
            if pids:
                part = self.chance.choice(sorted(pids))
                try:
                    os.kill(pids[part], signal.SIGKILL)
                    self.killed.append((elapsed, part))
                except ProcessLookupError:
                    pass  # it was being replaced in this moment
            await asyncio.sleep(EVERY_SECONDS)

    def _pids(self) -> dict[str, int]:
        try:
            return self.home.pids()
        except ValueError:
            return {}  # the supervisor writes the file in this moment


@dataclass
class Load:
    """What is submitted, and how each ended."""

    prefix: str
    bodies: list[dict[str, Any]] = field(default_factory=list)
    expected_status: list[str] = field(default_factory=list)
    answers: dict[str, dict[str, Any]] = field(default_factory=dict)
    """The first final answer by transaction id."""
    waits: Counter[str] = field(default_factory=Counter)
    """Why a request had to be repeated."""
    balances: Counter[str] = field(default_factory=Counter)
    """Of the accounts in EUR, in cents, once all is done."""

    @property
    def frozen(self) -> str:
        return f"{self.prefix}-frozen"

    def euro(self, number: int) -> str:
        return f"{self.prefix}-eur-{number % ACCOUNTS}"

    def koruna(self, number: int) -> str:
        return f"{self.prefix}-czk-{number % ACCOUNTS}"

    def add(self, number: int) -> None:
        """Deposits, withdrawals, transfers, conversions, and what is refused."""
        cents = 100 + number
        debtor, creditor, status = (
            (None, self.euro(0), "completed"),
            (self.euro(number), None, "completed"),
            (self.euro(number), self.euro(number + 1), "completed"),
            (self.koruna(number), self.koruna(number + 5), "completed"),
            (None, self.euro(number), "completed"),
            (self.koruna(number), f"{self.prefix}-usd", "completed"),
            (self.euro(0), self.euro(number + 3), "completed"),
            (self.euro(number), self.frozen, "rejected"),
        )[number % 8]
        currency = "CZK" if debtor is not None and "-czk-" in debtor else "EUR"
        body = {"transaction_id": str(uuid.uuid4()), "debtor": debtor, "creditor": creditor, "currency": currency}
        self.bodies.append({**{name: value for name, value in body.items() if value is not None}, "amount": f"{Decimal(cents) / 100:.2f}"})
        self.expected_status.append(status)
        if status == "completed" and currency == "EUR":
            for account, sign in ((debtor, -1), (creditor, 1)):
                if account is not None:
                    self.balances[account] += sign * cents

    async def open_accounts(self, client: AsyncClient) -> None:
        overdraft = {"overdraft_limit": "1000000.00"}
        names = [(self.euro(number), "EUR") for number in range(ACCOUNTS)] + [(self.koruna(number), "CZK") for number in range(ACCOUNTS)]
        for account_id, currency in [*names, (f"{self.prefix}-usd", "USD"), (self.frozen, "EUR")]:
            await client.open_account({"account_id": account_id, "currency": currency, **overdraft})
        await client.freeze(self.frozen)

    async def submit_all(self, client: AsyncClient) -> None:
        """Submit everything, and follow each until it has ended."""
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def follow(body: dict[str, Any]) -> None:
            async with slots:
                answer = (await client.submit(body, wait_seconds=2)).content
            # Without a slot: who waits for a worker that was killed holds nobody up.
            while answer["status"] not in FINAL:
                await asyncio.sleep(1)
                async with slots:
                    answer = (await client.transaction(body["transaction_id"])).content
            self.answers[body["transaction_id"]] = answer

        async with asyncio.TaskGroup() as all_of_them:
            for body in self.bodies:
                all_of_them.create_task(follow(body))

    async def submit_again(self, client: AsyncClient) -> list[tuple[dict[str, Any], bool]]:
        """The answers to the same ids with the same content, and whether they were known."""
        slots = asyncio.Semaphore(IN_FLIGHT)

        async def submit(body: dict[str, Any]) -> tuple[dict[str, Any], bool]:
            async with slots:
                answer = await client.submit(body, wait_seconds=30)
                return answer.content, answer.http_status == HTTPStatus.OK

        return await asyncio.gather(*(submit(body) for body in self.bodies))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A stack of its own, which no other test uses."""
    with home_of_its_own(tmp_path_factory.mktemp("killed")) as home:
        yield home


@asynccontextmanager
async def _client(home: Home, load: Load) -> AsyncIterator[AsyncClient]:
    stack = home.stack()
    async with AsyncClient(
        stack["api"], stack["api_key"], patience=Patience(seconds=None, on_wait=lambda why: load.waits.update([why]))
    ) as client:
        yield client


@pytest.mark.parametrize(
    ("transactions", "seconds"), [pytest.param(150, 12.0, marks=pytest.mark.slow), pytest.param(2_000, 60.0, marks=pytest.mark.slow)]
)
async def test_transactions_end_right_while_a_random_process_is_killed_every_two_seconds(
    home: Home, capsys: pytest.CaptureFixture[str], transactions: int, seconds: float
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    killer, load = Killer(home, random.Random(seed)), Load(f"k{uuid.uuid4().hex[:8]}")  # noqa: S311  not for secrets
    for number in range(transactions):
        load.add(number)
    async with _client(home, load) as client:
        await load.open_accounts(client)
        begin = time.monotonic()
        async with asyncio.timeout(seconds + PATIENCE_SECONDS), asyncio.TaskGroup() as both:
            both.create_task(killer.kill_for(seconds))
            both.create_task(load.submit_all(client))
        ended_after = time.monotonic() - begin
        await eventually(home.is_healthy, seconds=PATIENCE_SECONDS)
        _report(capsys, killer, load, seed=seed, ended_after=ended_after)

        assert [load.answers[body["transaction_id"]]["status"] for body in load.bodies] == load.expected_status
        for repeat, known in await load.submit_again(client):
            assert known
            assert repeat == load.answers[repeat["transaction_id"]]
        found = {account: (await client.balance(account)).ledger for account in load.balances}
        assert found == {account: f"{Decimal(cents) / 100:.2f}" for account, cents in load.balances.items()}
    checked = await asyncio.to_thread(home.casaflow, "check")
    assert checked.returncode == 0, f"{checked.stdout}\n{checked.stderr}"


def _report(capsys: pytest.CaptureFixture[str], killer: Killer, load: Load, *, seed: int, ended_after: float) -> None:
    """The figures are for whoever reads the run: nothing fails on them."""
    counts = Counter(part for _, part in killer.killed)
    with capsys.disabled():
        print(  # noqa: T201  see above
            f"\n{len(load.bodies)} transactions, all final {ended_after:.0f} s after the first; {len(killer.killed)} processes killed "
            f"(seed {seed}): {', '.join(f'{count} x {part}' for part, count in counts.most_common())}; "
            f"outcomes {dict(Counter(answer['status'] for answer in load.answers.values()))}; "
            f"requests repeated by the client {sum(load.waits.values())}"
        )
