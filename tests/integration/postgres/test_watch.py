"""What the ledger tells whoever watches it, counted on a real PostgreSQL."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from infra.ledger_watch import LedgerWatch
from infra.metrics import LedgerMetrics
from infra.postgres.ledger import PostgresLedger
from infra.postgres.maintenance import FOLD_FROM, PostgresMaintenance
from ledger.refusals import Refusal, RefusalCode
from ledger.results import Rejection
from tests.integration.postgres.bank import Bank


class Figures:
    """The metrics of one ledger, and no other's."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.watch = LedgerWatch(LedgerMetrics(self.registry))

    def __call__(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"casaflow_ledger_{name}", labels) or 0.0


@pytest.fixture
def figures() -> Figures:
    return Figures()


@pytest.fixture
def watched(bank: Bank, figures: Figures) -> PostgresLedger:
    return PostgresLedger(bank.database, figures.watch)


async def test_postings_that_went_together_are_one_batch_of_so_many(bank: Bank, watched: PostgresLedger, figures: Figures) -> None:
    account = await bank.open()
    await asyncio.gather(*(watched.post(bank.deposit(account, 5)) for _ in range(20)))
    assert figures("batch_postings_sum", side="credit") == figures("batch_legs_sum", side="credit") == 20
    batches = figures("batch_postings_count", side="credit")
    assert 1 <= batches < 20
    assert figures("batch_duration_seconds_count", side="credit") == figures("batch_wait_seconds_count", side="credit") == batches
    assert figures("batch_duration_seconds_sum", side="credit") > 0
    assert figures("batch_postings_count", side="debit") == 0


async def test_the_wait_is_that_of_the_posting_that_came_first(bank: Bank, watched: PostgresLedger, figures: Figures) -> None:
    account = await bank.open(funds=1_000)
    async with bank.in_flight(bank.withdrawal(account, 1)):
        # The first two batches of the lane wait in the database, so what comes after them waits in the queue.
        waiting = [asyncio.create_task(watched.post(bank.withdrawal(account, 1)))]
        await bank.until_blocked()
        waiting += [asyncio.create_task(watched.post(bank.withdrawal(account, 1))) for _ in range(6)]
        await asyncio.sleep(0.05)  # what the figure must not be below
    await asyncio.gather(*waiting)
    assert figures("batch_wait_seconds_sum", side="debit") >= 0.05
    assert figures("batch_postings_sum", side="debit") == 7


async def test_refusals_are_counted_by_reason_and_postings_that_went_well_are_not(
    bank: Bank, watched: PostgresLedger, figures: Figures
) -> None:
    account = await bank.open(funds=100)
    for amount in (60, 60, 70, 40):
        await watched.post(bank.withdrawal(account, amount))
    assert figures("refusals_total", reason="insufficient-funds") == 2
    rejected = bank.deposit(account, 5).request
    await watched.reject(Rejection(request=rejected, refusal=Refusal(code=RefusalCode.CANCELLED, detail="by the test")))
    assert figures("refusals_total", reason="cancelled") == 1


async def test_a_repeat_that_meets_the_first_is_counted(bank: Bank, watched: PostgresLedger, figures: Figures) -> None:
    posting = bank.deposit(await bank.open(), 5)
    answers = await asyncio.gather(*(watched.post(posting) for _ in range(4)))
    assert len(set(answers)) == 1
    assert figures("repeats_total") == 3
    assert figures("batch_postings_sum", side="credit") == 1


async def test_a_batch_that_another_process_overtook_is_counted(bank: Bank, watched: PostgresLedger, figures: Figures) -> None:
    posting = bank.deposit(await bank.open(), 5)
    first = await bank.post(posting)
    assert figures("overtaken_batches_total") == 0
    assert await watched.post(posting) == first
    assert figures("overtaken_batches_total") == 1


async def test_a_posting_that_fails_is_counted_as_an_error_and_not_as_a_refusal(
    bank: Bank, watched: PostgresLedger, figures: Figures
) -> None:
    with pytest.raises(Exception, match="nowhere"):
        await watched.post(bank.deposit("nowhere", 5))
    assert figures("posting_errors_total") == 1
    assert not any(sample.value for family in figures.registry.collect() if "refusals" in family.name for sample in family.samples)


async def test_the_credits_of_a_fold_are_counted(bank: Bank, watched: PostgresLedger, figures: Figures) -> None:
    account = await bank.open()
    await asyncio.gather(*(watched.post(bank.deposit(account, 1)) for _ in range(FOLD_FROM + 7)))
    await PostgresMaintenance(bank.database, figures.watch).run()
    assert figures("fold_credits_sum") >= FOLD_FROM
    assert figures("fold_credits_count") >= 1
