"""What is measured. Each case runs once in each round, on that round's copy of the prepared database."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

import psycopg

from bench.ledger import pgbench
from bench.ledger.loads import STORM_ACCOUNT, TENANT, Accounts, Loads, Mix, account_id
from bench.ledger.measuring import MILLISECONDS, closed_loop, frozen_garbage, items_for, paced, percentile, timed_ms, warm_up, warmed_up
from bench.ledger.preparing import CREDITS_BEFORE, credited_account_id
from bench.ledger.sides import SideName, opened
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ledger.postings import Posting

Figures = dict[str, float]
"""Figures by name; the name ends with the unit."""

IN_FLIGHT: Final = (1, 16, 64, 256)
PGBENCH_CLIENTS: Final = (1, 16, 64)

STORM_IN_FLIGHT: Final = 64
CREDITS_PER_SECOND: Final = 200.0
"""Pace of the credits whose latency is taken; far below what any side can do."""
DEBITS_AFTER: Final = 100
"""Debits that follow the first one after very many credits."""
BALANCE_READS: Final = 100
UNFOLDED_READS: Final = 3
COMMITS: Final = 100


@dataclass(frozen=True)
class Round:
    """What a case needs."""

    url: str
    """The round's database."""
    seconds: float
    """Of each measurement."""
    loads: Loads


class Case(Protocol):
    """One measurement, or several that belong together."""

    @property
    def name(self) -> str:
        """What ``--only`` looks for."""
        ...

    @property
    def quick(self) -> bool:
        """Whether ``--quick`` runs it: a ratio needs it."""
        ...

    async def run(self, now: Round) -> dict[str, Figures]:
        """Figures, by what they are of."""
        ...


@dataclass(frozen=True)
class Throughput:
    """Legs of one side, one mix, so many in flight, as fast as they go."""

    side: SideName
    mix: Mix
    accounts: Accounts
    in_flight: int
    quick: bool = False

    @property
    def name(self) -> str:
        """As in the table and in the JSON."""
        return f"{self.side}: {self.mix}, {self.accounts}, {self.in_flight} in flight"

    async def run(self, now: Round) -> dict[str, Figures]:
        """Rate and latencies."""
        if self.side is SideName.LOCKED_ROW:
            figures = await asyncio.to_thread(pgbench.locked_row, now.url, self.accounts, clients=self.in_flight, seconds=now.seconds)
            return {self.name: figures}
        async with opened(self.side, now.url, in_flight=self.in_flight) as post:
            run = await warmed_up(
                post, lambda count: now.loads.postings(self.mix, self.accounts, count), in_flight=self.in_flight, seconds=now.seconds
            )
        return {self.name: run.figures()}


@dataclass(frozen=True)
class Tpcb:
    """TPC-B style: one amount on an account, a teller and the one branch, which is the hot one.

    pgbench does it in one database transaction with four rows; casaflow as three legs on three accounts, each with all its rows, posted at
    once, and counts it when all three are. Casaflow has 1,000 accounts here, pgbench 100,000: neither has a hot one among them.
    """

    side: SideName
    in_flight: int
    quick: bool = False

    @property
    def name(self) -> str:
        """As in the table and in the JSON."""
        who = "pgbench" if self.side is SideName.LOCKED_ROW else self.side
        return f"{who}: TPC-B, {self.in_flight} in flight"

    async def run(self, now: Round) -> dict[str, Figures]:
        """Rate of whole transactions, and latencies."""
        if self.side is SideName.LOCKED_ROW:
            return {self.name: await asyncio.to_thread(pgbench.tpcb, now.url, clients=self.in_flight, seconds=now.seconds)}
        async with opened(self.side, now.url, in_flight=self.in_flight) as post:

            async def post_all(legs: tuple[Posting, ...]) -> None:
                await asyncio.gather(*(post(leg) for leg in legs))

            run = await warmed_up(post_all, now.loads.tpcb, in_flight=self.in_flight, seconds=now.seconds)
        return {self.name: run.figures("transactions_per_second")}


@dataclass(frozen=True)
class Storm:
    """Latency of credits at a steady pace: alone, during a debit storm on another account, and during one on theirs.

    The storm is 64 debits in flight, as fast as they go. Its two places alternate (other, own, own, other), so that what drifts meanwhile
    touches both alike. A credit's latency counts from the moment at which it was due.
    """

    side: SideName
    quick: bool = False

    @property
    def name(self) -> str:
        """What ``--only`` looks for."""
        return f"{self.side}: credit latency in a storm"

    async def run(self, now: Round) -> dict[str, Figures]:
        """Median and 99th percentile of the credits, and the storm's rate."""
        latencies: dict[str, list[float]] = {"alone": [], "other account": [], "own account": []}
        storms: dict[str, list[float]] = {place: [] for place in latencies}
        async with opened(self.side, now.url, in_flight=STORM_IN_FLIGHT) as post:
            await warm_up(post, lambda count: now.loads.postings(Mix.CREDITS, Accounts.ONE, count), in_flight=STORM_IN_FLIGHT)
            rate = await warm_up(post, lambda count: _storm(now, STORM_ACCOUNT, count), in_flight=STORM_IN_FLIGHT)
            for place in ("alone", "other account", "own account", "own account", "other account"):
                stormy = None if place == "alone" else 0 if place == "own account" else STORM_ACCOUNT
                took, storm_rate = await _credits_meanwhile(now, post, stormy, rate)
                latencies[place] += took
                storms[place].append(storm_rate)
        return {
            storm_figure(self.side, place): {
                "p50_ms": percentile(sorted(took), 50),
                "p99_ms": percentile(sorted(took), 99),
                "storm_legs_per_second": statistics.mean(storms[place]),
            }
            for place, took in latencies.items()
        }


def storm_figure(side: SideName, place: str) -> str:
    """The name of the figures of one place of a storm."""
    return (
        f"{side}: a credit alone" if place == "alone" else f"{side}: a credit, debit storm on its {place}".replace("its other", "another")
    )


def _storm(now: Round, number: int, count: int) -> list[Posting]:
    return [now.loads.posting(account_id(number), debit=True) for _ in range(count)]


async def _credits_meanwhile(
    now: Round, post: Callable[[Posting], Awaitable[None]], stormy: int | None, rate: float
) -> tuple[list[float], float]:
    """Latencies of the credits, and the rate of the debits meanwhile (0 without a storm)."""
    seconds = 2 * now.seconds
    paced_credits = [now.loads.posting(account_id(0), debit=False) for _ in range(max(1, round(CREDITS_PER_SECOND * seconds)))]
    debits = [] if stormy is None else _storm(now, stormy, items_for(rate, seconds, STORM_IN_FLIGHT))
    with frozen_garbage():
        async with asyncio.TaskGroup() as both:
            storm = both.create_task(closed_loop(post, debits, in_flight=STORM_IN_FLIGHT, seconds=seconds))
            credit = both.create_task(paced(post, paced_credits, per_second=CREDITS_PER_SECOND))
    return credit.result(), storm.result().per_second if debits else 0.0


@dataclass(frozen=True)
class AfterCredits:
    """A debit, and a look at the balance, on accounts with 10^3, 10^5 and 10^6 credits and no debit before.

    Nothing was folded when the first look and the first debit come; that debit folds, and is told apart from those after it. The accounts
    take turns, debit by debit, so that what drifts meanwhile touches all alike.
    """

    quick: bool = True
    name: str = f"{SideName.CASAFLOW}: after many credits"

    async def run(self, now: Round) -> dict[str, Figures]:
        """Latencies of the first debit, of those after it, and of reading the balance before and after it."""
        figures: dict[str, Figures] = {after_figure(count): {} for count in CREDITS_BEFORE}
        database = Database.open(now.url, pool_size=1)
        accounts = PostgresAccounts(database)
        debits: dict[int, list[float]] = {count: [] for count in CREDITS_BEFORE}
        try:
            async with opened(SideName.CASAFLOW, now.url, in_flight=1) as post:
                # Connections, plans and caches of the code belong to no account.
                await warm_up(post, lambda count: now.loads.postings(Mix.DEBITS, Accounts.ZIPF, count), in_flight=1)
                for _ in range(BALANCE_READS // 10):
                    await accounts.balance(TENANT, account_id(0))
                for count in CREDITS_BEFORE:
                    reads = [await _read_ms(accounts, count) for _ in range(UNFOLDED_READS)]
                    figures[after_figure(count)]["balance_before_any_debit_ms"] = statistics.median(reads)
                for count in CREDITS_BEFORE:
                    figures[after_figure(count)]["first_debit_ms"] = await _debit_ms(now, post, count)
                for turn in range(DEBITS_AFTER):
                    for count in _in_turn(turn):
                        debits[count].append(await _debit_ms(now, post, count))
            reads_of: dict[int, list[float]] = {count: [] for count in CREDITS_BEFORE}
            for turn in range(BALANCE_READS):
                for count in _in_turn(turn):
                    reads_of[count].append(await _read_ms(accounts, count))
        finally:
            await database.close()
        for count in CREDITS_BEFORE:
            first = figures[after_figure(count)]["first_debit_ms"]
            figures[after_figure(count)] |= {
                "debit_ms": statistics.median(debits[count]),
                "mean_debit_with_first_ms": statistics.mean([first, *debits[count]]),
                "balance_ms": statistics.median(reads_of[count]),
            }
        return figures


def after_figure(credits_before: int) -> str:
    """The name of the figures of one account."""
    return f"{SideName.CASAFLOW}: after {credits_before:,} credits"


def _in_turn(turn: int) -> tuple[int, ...]:
    """The accounts, another one first each time: whoever follows a pause, or another one's work, is not always the same."""
    first = turn % len(CREDITS_BEFORE)
    return (*CREDITS_BEFORE[first:], *CREDITS_BEFORE[:first])


async def _read_ms(accounts: PostgresAccounts, credits_before: int) -> float:
    return await timed_ms(lambda: accounts.balance(TENANT, credited_account_id(credits_before)))


async def _debit_ms(now: Round, post: Callable[[Posting], Awaitable[None]], credits_before: int) -> float:
    posting = now.loads.posting(credited_account_id(credits_before), debit=True)
    return await timed_ms(lambda: post(posting))


@dataclass(frozen=True)
class CommitWait:
    """What a commit waits for the disk: one row changed and committed, with ``synchronous_commit`` on, less the same with it off.

    The server's disk can't be reached from outside it, so this stands for one fsync: the same WAL record is written either way, and only
    the first waits until it is flushed.
    """

    quick: bool = True
    name: str = "one fsync"

    async def run(self, now: Round) -> dict[str, Figures]:
        """Medians over alternating commits."""
        return {self.name: await asyncio.to_thread(_commit_wait, now.url)}


def _commit_wait(url: str) -> Figures:
    took: dict[str, list[float]] = {"on": [], "off": []}
    with psycopg.connect(url, autocommit=True) as connection:
        for _ in range(COMMITS):
            for waits, times in took.items():
                connection.execute("SELECT set_config('synchronous_commit', %s, false)", [waits])
                started = time.perf_counter()
                connection.execute("UPDATE commit_probe SET number = number + 1")
                times.append((time.perf_counter() - started) * MILLISECONDS)
    on, off = statistics.median(took["on"]), statistics.median(took["off"])
    return {"fsync_ms": on - off, "commit_ms": on, "commit_without_wait_ms": off}


def _throughputs() -> list[Throughput]:
    cases = [
        Throughput(SideName.CASAFLOW, mix, accounts, in_flight, quick=_is_for_a_ratio(mix, accounts, in_flight))
        for mix in Mix
        for accounts in (Accounts.ONE, Accounts.ZIPF)
        for in_flight in IN_FLIGHT
    ]
    cases += [
        Throughput(SideName.CASAFLOW, mix, Accounts.EVEN, 256, quick=_is_for_a_ratio(mix, Accounts.EVEN, 256))
        for mix in (Mix.CREDITS, Mix.DEBITS)
    ]
    cases += [Throughput(SideName.BATCHED_ROW, mix, Accounts.ONE, in_flight) for mix in Mix for in_flight in (64, 256)]
    cases += [Throughput(SideName.BATCHED_ROW, mix, Accounts.ZIPF, 256) for mix in (Mix.CREDITS, Mix.DEBITS)]
    cases += [Throughput(SideName.BATCHED_ROW, Mix.DEBITS, Accounts.ONE, in_flight) for in_flight in (1, 16)]
    cases += [Throughput(SideName.ONE_BY_ONE, Mix.DEBITS, Accounts.ONE, in_flight, quick=in_flight == 1) for in_flight in (1, 16, 64)]
    cases += [Throughput(SideName.ONE_BY_ONE, mix, Accounts.ONE, 16) for mix in Mix if mix is not Mix.DEBITS]
    cases += [Throughput(SideName.ONE_BY_ONE, Mix.DEBITS, Accounts.ZIPF, 16), Throughput(SideName.ONE_BY_ONE, Mix.CREDITS, Accounts.ONE, 1)]
    cases += [
        Throughput(SideName.LOCKED_ROW, Mix.DEBITS, accounts, clients, quick=accounts is Accounts.ONE)
        for accounts in Accounts
        for clients in PGBENCH_CLIENTS
    ]
    return cases


def _is_for_a_ratio(mix: Mix, accounts: Accounts, in_flight: int) -> bool:
    if mix is Mix.DEBITS:
        return accounts is Accounts.ONE and in_flight in {1, 64, 256}
    return mix is Mix.CREDITS and in_flight == max(IN_FLIGHT)


CASES: Final[tuple[Case, ...]] = (
    CommitWait(),
    *_throughputs(),
    *(Tpcb(side, in_flight) for side in (SideName.LOCKED_ROW, SideName.CASAFLOW) for in_flight in PGBENCH_CLIENTS),
    Storm(SideName.CASAFLOW, quick=True),
    Storm(SideName.BATCHED_ROW),
    AfterCredits(),
)
