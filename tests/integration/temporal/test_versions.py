"""A worker's version goes away: what it had begun is found, reported, and carried on by the version that is current."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from functools import partial
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.common import AutoUpgradeVersioningOverride

from infra.settings import Settings
from infra.temporal.client import connect
from infra.temporal.deployment import WorkerDeployment, deployment_config
from ledger.commands import RETRY
from ledger.errors import UnavailableError
from ledger.results import TransactionStatus
from ledger.settlements import SweepOrder, SweepReport
from tests.integration.defects import credits_are_refused
from tests.integration.faults.bank import Bank, Handle
from tests.integration.temporal.conftest import MakeWorker, OpenBank
from tests.stack_fixtures import RunningStack, run_casaflow
from tests.workflow.conftest import eventually
from tests.workflow.operators import command
from workflows.sweep import SweepWorkflow
from workflows.transaction import TransactionWorkflow

PATIENCE_SECONDS = 60


async def _parked(bank: Bank, stack: RunningStack, **fields: Any) -> Handle:
    """A transfer whose debit is posted, and that no retry can bring on."""
    with credits_are_refused(stack, "tenant", bank.tenant):
        handle: Handle = await bank._start(debtor="E1", creditor="E2", amount="3.07", **fields)
        await eventually(lambda: _is_parked(handle), seconds=PATIENCE_SECONDS)
    return handle


async def _is_parked(handle: Handle) -> bool:
    return (await handle.query(TransactionWorkflow.current)).status is TransactionStatus.PARKED


def _deployment(client: Client, settings: Settings) -> WorkerDeployment:
    assert settings.worker_deployment is not None
    return WorkerDeployment(client, settings.worker_deployment, settings.task_queue)


@pytest.fixture
async def bank(open_bank_with: OpenBank, settings: Settings) -> Bank:
    opened: Bank = await open_bank_with(settings)
    return opened


@pytest.fixture
async def deployment(settings: Settings) -> WorkerDeployment:
    return _deployment(await connect(settings), settings)


async def test_a_parked_transaction_whose_version_went_away_goes_on_with_the_current_one(
    bank: Bank, deployment: WorkerDeployment, stack: RunningStack, make_worker: MakeWorker
) -> None:
    async with await make_worker(bank, worker_build_id="A"):
        await deployment.set_current("A", within_seconds=PATIENCE_SECONDS)
        handle = await _parked(bank, stack)
        assert await deployment.polling() == {"A"}
    async with await make_worker(bank, worker_build_id="B"):
        await deployment.set_current("B", within_seconds=PATIENCE_SECONDS)
        await eventually(lambda: _left(deployment, [(handle.id, "A")]), seconds=PATIENCE_SECONDS)
        # Its workers are gone, which the server learns by their silence only; whoever has stopped them knows.
        assert (await deployment.move_left()).served == {"A": 1}
        moves = await deployment.move_left(also_served=True)
        assert [(run.workflow_id, run.build_id) for run in moves.moved] == [(handle.id, "A")]
        await command(handle, RETRY)
        assert (await handle.result()).status is TransactionStatus.COMPLETED
        await eventually(lambda: _left(deployment, []), seconds=PATIENCE_SECONDS)
    bank.assert_each_transaction_completed_once()
    bank.assert_money_is_neither_lost_nor_made()


async def test_many_who_promote_at_once_wait_until_the_server_takes_it(
    bank: Bank, deployment: WorkerDeployment, make_worker: MakeWorker
) -> None:
    async with await make_worker(bank, worker_build_id="A"):
        await deployment.set_current("A", within_seconds=PATIENCE_SECONDS)
        await asyncio.gather(*(deployment.set_current("A", within_seconds=PATIENCE_SECONDS) for _ in range(60)))
        assert await deployment.current() == "A"


async def test_the_sweep_moves_what_nobody_serves_so_many_at_once_and_leaves_what_somebody_serves(
    bank: Bank, deployment: WorkerDeployment, stack: RunningStack, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with await make_worker(bank, worker_build_id="A"):
        await deployment.set_current("A", within_seconds=PATIENCE_SECONDS)
        left = [await _parked(bank, stack) for _ in range(2)]
    async with await make_worker(bank, worker_build_id="B"):
        await deployment.set_current("B", within_seconds=PATIENCE_SECONDS)
        await eventually(lambda: _are_left(deployment, left), seconds=PATIENCE_SECONDS)
        # The last poll of A is not a minute and a half ago, so it counts as served.
        assert (await _swept(bank, moves_at_most=1)).moved == ()
        monkeypatch.setattr("infra.temporal.deployment._SILENT_AFTER", dt.timedelta())
        moved: list[str] = []
        for _ in left:
            report = await _swept(bank, moves_at_most=1)
            assert [run.build_id for run in report.moved] == ["A"]
            assert report.more
            moved += [run.workflow_id for run in report.moved]
            still = [handle for handle in left if handle.id not in moved]
            await eventually(partial(_are_left, deployment, still), seconds=PATIENCE_SECONDS)
        assert set(moved) == {handle.id for handle in left}
        for handle in left:
            await command(handle, RETRY)
            assert (await handle.result()).status is TransactionStatus.COMPLETED
    bank.assert_each_transaction_completed_once()


async def _swept(bank: Bank, *, moves_at_most: int) -> SweepReport:
    client = await connect(bank.settings)
    return await client.execute_workflow(
        SweepWorkflow.run,
        SweepOrder(older_than_seconds=3600, moves_at_most=moves_at_most),
        id=f"sweep-{uuid.uuid4()}",
        task_queue=bank.settings.task_queue,
    )


async def _are_left(deployment: WorkerDeployment, expected: list[Handle]) -> bool:
    return {run.workflow_id for run in await deployment.left()} == {handle.id for handle in expected}


async def _left(deployment: WorkerDeployment, expected: list[tuple[str, str]]) -> bool:
    return [(run.workflow_id, run.build_id) for run in await deployment.left()] == expected


async def test_a_transaction_stays_with_the_version_that_began_it_while_that_one_has_workers(
    bank: Bank, deployment: WorkerDeployment, stack: RunningStack, make_worker: MakeWorker
) -> None:
    async with await make_worker(bank, worker_build_id="A"):
        await deployment.set_current("A", within_seconds=PATIENCE_SECONDS)
        handle = await _parked(bank, stack)
        async with await make_worker(bank, worker_build_id="B"):
            await deployment.set_current("B", within_seconds=PATIENCE_SECONDS)
            moves = await deployment.move_left()
            assert (moves.moved, dict(moves.served)) == ((), {"A": 1})
            await command(handle, RETRY)
            assert (await handle.result()).status is TransactionStatus.COMPLETED
            assert await _versions(handle) == {"A"}
            (later,) = await bank.submit(1)
            assert (await later.result()).status is TransactionStatus.COMPLETED
            assert await _versions(later) == {"B"}


async def _versions(handle: Handle) -> set[str]:
    """The build ids of the workers that completed the workflow's tasks."""
    events = (await handle.fetch_history()).events
    completed = [event.workflow_task_completed_event_attributes for event in events]
    return {attributes.deployment_version.build_id for attributes in completed if attributes.deployment_version.build_id}


async def test_one_that_was_started_to_wait_goes_on_with_a_new_version_unasked(
    bank: Bank, deployment: WorkerDeployment, stack: RunningStack, make_worker: MakeWorker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The same override that `workflows.versioning` gives to an approval and to a date ahead; here it parks, which takes no colleague.
    monkeypatch.setattr("starter.submit.versioning_override", lambda _request: AutoUpgradeVersioningOverride())
    async with await make_worker(bank, worker_build_id="A"):
        await deployment.set_current("A", within_seconds=PATIENCE_SECONDS)
        handle = await _parked(bank, stack)
    async with await make_worker(bank, worker_build_id="B"):
        await deployment.set_current("B", within_seconds=PATIENCE_SECONDS)
        assert await deployment.left() == []
        await command(handle, RETRY)
        assert (await handle.result()).status is TransactionStatus.COMPLETED


async def test_a_version_that_no_worker_polls_for_does_not_become_current(
    bank: Bank, deployment: WorkerDeployment, make_worker: MakeWorker
) -> None:
    with pytest.raises(UnavailableError, match="worker is not available: version A of evolving-"):
        await deployment.set_current("A", within_seconds=1)
    async with await make_worker(bank, worker_build_id="A"):
        await deployment.set_current("A", within_seconds=PATIENCE_SECONDS)
        with pytest.raises(UnavailableError, match="can't be the current one after 1 s"):
            await deployment.set_current("B", within_seconds=1)
    assert await deployment.current() == "A"


async def test_the_command_promotes_reports_and_moves(
    bank: Bank, deployment: WorkerDeployment, stack: RunningStack, make_worker: MakeWorker
) -> None:
    settings = bank.settings
    environment = {
        **stack.environment(),
        "CASAFLOW_TEMPORAL_ADDRESS": stack.temporal_address,
        "CASAFLOW_TASK_QUEUE": settings.task_queue,
        "CASAFLOW_WORKER_DEPLOYMENT": str(settings.worker_deployment),
    }

    async def promote(*arguments: str) -> tuple[int, str]:
        import asyncio  # noqa: PLC0415

        done = await asyncio.to_thread(run_casaflow, "promote", *arguments, environment=environment, timeout_seconds=120)
        return done.returncode, done.stdout + done.stderr

    async with await make_worker(bank, worker_build_id="A"):
        assert await promote("A") == (0, "current version: A\n")
        handle = await _parked(bank, stack)
    async with await make_worker(bank, worker_build_id="B"):
        assert await promote("B") == (0, "current version: B\n1 runs stay with version A, whose workers still poll\n")
        assert await promote("B", "--move-all") == (0, f"current version: B\nmoved {handle.id}, of version A\n")
        await command(handle, RETRY)
        assert (await handle.result()).status is TransactionStatus.COMPLETED
        code, shown = await promote("--report")
        assert (code, shown.splitlines()[:1]) == (0, ["current version: B"]), shown
    code, shown = await promote("C", "--within", "0.5")
    assert code == 3
    assert "version C of evolving-" in shown


def test_workers_have_no_version_unless_a_deployment_is_named() -> None:
    assert deployment_config(Settings(worker_deployment=None)) is None
