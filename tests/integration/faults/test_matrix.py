"""Each step of a transaction with each fault, as `matrix.py` lists them: real processes, real signals, and the right end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from infra.postgres.database import Database
from tests.integration.faults import matrix
from tests.integration.faults.bank import Bank, Topics
from tests.integration.faults.trial import DEADLINE_PATIENCE_SECONDS, PATIENCE_SECONDS, POSTING_STEPS, Bench, Trial
from tests.integration.forking import Forker
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually

CELLS = [
    pytest.param(step, fault, end, id=f"{step}, {fault}: {end}", marks=() if (step, fault) in matrix.IN_THE_FAST_SET else pytest.mark.slow)
    for step, fault, end in matrix.cells()
]
APPROVALS = frozenset({matrix.APPROVAL, matrix.APPROVAL_OF_CREDIT})
STANDS_STILL: dict[str, Callable[[Trial], Callable[[], Awaitable[bool]]]] = {
    matrix.PARKED: lambda trial: trial.is_parked,
    matrix.APPROVAL: lambda trial: trial.is_waiting,
    matrix.APPROVAL_OF_CREDIT: lambda trial: trial.is_waiting,
    matrix.DATE: lambda trial: trial.is_waiting,
}
"""Steps that need no gate, and how one sees that they are reached."""
SERVERS = {
    matrix.POSTGRES_BEFORE: "postgres",
    matrix.POSTGRES_DURING: "postgres",
    matrix.KAFKA: "kafka",
    matrix.TEMPORAL: "temporal",
}


@pytest.fixture(scope="module")
def workers() -> Iterator[Forker]:
    with Forker("worker") as forker:
        yield forker


@pytest.fixture
def bench(stack: RunningStack, bank: Bank, database: Database, workers: Forker, tmp_path: Path) -> Bench:
    return Bench(stack, bank, database, workers, tmp_path)


def test_every_step_has_an_end_or_a_reason_for_every_fault_and_every_fault_is_in_the_fast_set() -> None:
    assert {len(ends) for ends in matrix.MATRIX.values()} == {len(matrix.FAULTS)}
    assert {fault for _, fault in matrix.IN_THE_FAST_SET} == set(matrix.FAULTS)
    assert {(step, fault) for step, fault, _ in matrix.cells()} >= matrix.IN_THE_FAST_SET


@pytest.mark.parametrize(("step", "fault", "end"), CELLS)
async def test_a_transaction_ends_as_the_matrix_says_and_check_is_green(
    bench: Bench, topics: Topics, step: str, fault: str, end: str
) -> None:
    async with bench.trial_of(step) as trial:
        first, _, last = end.rpartition(", then ")
        if fault in {matrix.PASSING, matrix.FOR_GOOD}:
            await _meet_an_exception(trial, fault, first)
        else:
            await _come_to(trial, step, fault)
            await _inflict(trial, fault)
        if step in APPROVALS and end == matrix.COMPLETED:
            await eventually(trial.is_waiting, seconds=PATIENCE_SECONDS)
            await trial.approve()
        if first == "parked":
            await eventually(trial.is_parked, seconds=PATIENCE_SECONDS)
            await trial.mend_and_retry()
        await eventually(trial.has_ended, seconds=DEADLINE_PATIENCE_SECONDS if step == matrix.RATE else PATIENCE_SECONDS)
        await trial.assert_it_ended(last, topics)


async def _come_to(trial: Trial, step: str, fault: str) -> None:
    if step in STANDS_STILL:
        await trial.submit()
        await eventually(STANDS_STILL[step](trial), seconds=PATIENCE_SECONDS)
        return
    trial.catch(fault)
    await trial.submit()
    await eventually(trial.gate.caught.is_set, seconds=PATIENCE_SECONDS)
    trial.assert_caught_at(fault)


async def _inflict(trial: Trial, fault: str) -> None:
    if fault in {matrix.BEFORE, matrix.DURING, matrix.AFTER}:
        await trial.kill_worker()
        await trial.start_worker()
    elif fault in SERVERS:
        await trial.kill_server(SERVERS[fault])
    elif fault == matrix.CANCEL:
        await trial.cancel()
        if trial.step == matrix.RATE:
            # Nothing is posted while the rate isn't there, so the cancel counts.
            await eventually(trial.has_ended, seconds=PATIENCE_SECONDS)
        trial.gate.open()
    elif fault == matrix.TERMINATE:
        before = trial.decided_legs()
        await trial.handle.terminate(reason="a fault")
        if trial.step == matrix.RATE:
            # Only now the worker gets its rate: what it then posts comes too late.
            await trial.sweep()
            await eventually(trial.has_ended, seconds=PATIENCE_SECONDS)
        trial.gate.open()
        if trial.step in POSTING_STEPS:
            # The worker has it in hand, and finishes it; else the sweep could be faster, and reject it, which is as right.
            await eventually(lambda: trial.decided_legs() > before, seconds=PATIENCE_SECONDS)
        await trial.sweep()
    elif fault == matrix.TERMINATE_AND_KILL:
        await trial.handle.terminate(reason="a fault")
        await trial.kill_worker()
        await trial.start_worker()
        await trial.sweep()
    else:
        await trial.reset()
        trial.gate.open()


async def _meet_an_exception(trial: Trial, fault: str, first: str) -> None:
    await trial.raise_in_the_activity(for_good=fault == matrix.FOR_GOOD)
    await trial.submit()
    if fault == matrix.PASSING:
        await eventually(trial.is_tried_again, seconds=PATIENCE_SECONDS)
        await trial.mend()
    elif first == "failed":
        await eventually(trial.has_failed, seconds=PATIENCE_SECONDS)
        await trial.mend()
        await trial.sweep()
