"""Kafka is killed under load, and stays away: transactions go on, and afterwards each group has each event once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
from casaflow_client import AsyncClient

from infra.stack.model import Health
from tests.integration.consumers.conftest import broken_chains, rows
from tests.integration.consumers.stores import GROUPS, differences
from tests.integration.stack.conftest import Home, call, kill, wait_until

CALLERS = 4
ACCOUNTS = ("away-1", "away-2")
ANSWER_SECONDS = 60


@dataclass
class Load:
    """Transactions without end, by several callers; what came of each."""

    answered_at: list[float] = field(default_factory=list)
    others: list[dict[str, object]] = field(default_factory=list)
    """Answers other than `completed`."""
    ends: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, http: AsyncClient, number: int) -> None:
        side = "debtor" if number % 2 else "creditor"
        while not self.ends.is_set():
            for account in ACCOUNTS:
                body = {side: account, "amount": "1.00", "currency": "EUR"}
                answer = (await http.submit(body, wait_seconds=ANSWER_SECONDS)).content
                if answer["status"] != "completed":
                    self.others.append(answer)
                self.answered_at.append(time.monotonic())

    def answered_between(self, since: float, until: float) -> int:
        return sum(since < at < until for at in self.answered_at)


@contextmanager
def _without_kafka(home: Home) -> Iterator[None]:
    """It is killed, and can't be started, since where its log should be is a folder."""
    log = home.places.log_file("kafka")
    kept = log.with_name("kafka.kept")
    log.rename(kept)
    log.mkdir()
    try:
        kill(home.pids()["kafka"])
        wait_until(lambda: home.part("kafka").health is Health.FAILED, "Kafka is away")
        yield
    finally:
        log.rmdir()
        kept.rename(log)


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [pytest.param(5, id="a moment"), pytest.param(60, id="a minute")])
async def test_transactions_go_on_and_no_event_is_missing_or_applied_twice(second: Home, seconds: float) -> None:
    stack = second.stack()
    for account in ACCOUNTS:
        call(stack, "POST", "/v1/accounts", {"account_id": account, "currency": "EUR"})
        call(stack, "POST", "/v1/transactions", {"creditor": account, "amount": "1000000.00", "currency": "EUR"})
    load = Load()
    async with AsyncClient(stack["api"], stack["api_key"]) as http, asyncio.TaskGroup() as callers:
        for number in range(CALLERS):
            callers.create_task(load.call(http, number))
        with _without_kafka(second):
            gone = time.monotonic()
            await asyncio.sleep(seconds)
            back = time.monotonic()
            waiting = _unpublished(stack["postgres_dsn"])
        await asyncio.to_thread(wait_until, second.is_healthy, "Kafka is back")
        load.ends.set()
    answered = load.answered_between(gone, back)
    print(f"{answered} transactions in {seconds} s without Kafka, {len(load.answered_at)} in all; {waiting} events waited")  # noqa: T201
    assert load.others == []
    assert answered >= seconds
    assert waiting >= answered

    url = stack["postgres_dsn"]
    wait_until(lambda: _unpublished(url) == 0, "the outbox is empty")
    # Nobody here wants to be told anything: that each event has come to the group notification, too, is for `check` to say.
    for group in (group for name, group in GROUPS.items() if name != "notification"):
        wait_until(lambda group=group: differences(url, group) == [], f"{group.name} has everything")  # type: ignore[misc]
    assert broken_chains(url) == []
    assert _out_of_order(url) == []
    proven = second.casaflow("check")
    assert proven.returncode == 0, f"{proven.stdout}\n{proven.stderr}"


def _unpublished(url: str) -> int:
    return int(rows(url, "SELECT count(*) AS number FROM event_outbox WHERE published_at IS NULL")[0]["number"])


def _out_of_order(url: str) -> list[object]:
    """Debits in statements whose version doesn't follow that of the one booked before."""
    query = """
        SELECT * FROM (
            SELECT account_id, version, row_number() OVER (PARTITION BY tenant, account_id ORDER BY booked_at, version) AS expected
              FROM statement.line WHERE direction = 'debit') AS debits
         WHERE version <> expected
    """
    assert rows(url, "SELECT count(*) AS number FROM statement.line WHERE direction = 'debit'")[0]["number"] > 0
    return list(rows(url, query))
