"""A transaction that waits needs no worker, and whichever runs when the wait is over carries it on."""

from __future__ import annotations

import datetime as dt
import os
import signal
import uuid
from pathlib import Path
from typing import Any

import pytest

from infra.postgres.database import Database
from infra.postgres.transactions import PostgresTransactions
from infra.settings import Settings
from ledger.approvals import ApprovalAsked, ApprovalStage
from ledger.commands import APPROVE
from ledger.errors import UnavailableError
from ledger.ids import workflow_id
from ledger.refusals import RefusalCode
from ledger.requests import TransactionRequest
from ledger.results import TransactionResult, TransactionStatus, WaitingKind
from starter import commands
from starter.commands import Commands
from starter.submit import Submission, TemporalConnection
from tests.integration.faults.bank import Bank, Handle
from tests.integration.faults.worker_process import worker_process
from tests.unit.ledger.builders import request
from tests.workflow.conftest import eventually
from workflows.transaction import TransactionWorkflow

SECRET = "s" * 32


@pytest.fixture(autouse=True)
def _secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """The workers of these tests obey what :func:`_commands` signs."""
    monkeypatch.setenv("CASAFLOW_COMMAND_SECRETS", SECRET)


def _commands(settings: Settings, database: Database) -> Commands:
    return Commands(TemporalConnection(settings), PostgresTransactions(database), [SECRET.encode()])


async def _start(bank: Bank, **fields: Any) -> tuple[TransactionRequest, Handle]:
    asked = request(
        tenant=bank.tenant, transaction_id=str(uuid.uuid4()), debtor="E1", creditor="E2", submitted_at=dt.datetime.now(dt.UTC), **fields
    )
    await bank.starter.submit(asked, wait_seconds=0)
    return asked, bank.client.get_workflow_handle_for(TransactionWorkflow.run, workflow_id(asked.tenant, asked.transaction_id))


async def _shown(bank: Bank, asked: TransactionRequest) -> Submission:
    return await bank.starter.look_up(asked.tenant, asked.transaction_id)


async def _until_it_waits(bank: Bank, asked: TransactionRequest) -> Submission:
    async def waiting() -> Submission | None:
        found = await _shown(bank, asked)
        return found if found.result.waiting_for is not None else None

    found = await eventually(waiting, seconds=180)
    assert isinstance(found, Submission)
    return found


async def _approve(giving: Commands, asked: TransactionRequest) -> None:
    await giving.send(APPROVE, tenant=asked.tenant, transaction_id=asked.transaction_id, by="colleague", reason=None, wait_seconds=60)


async def _taken(giving: Commands, asked: TransactionRequest) -> bool:
    """Approve, as one does who is told that no worker is there yet."""
    try:
        await _approve(giving, asked)
    except UnavailableError:
        return False
    return True


@pytest.mark.parametrize("before", [ApprovalStage.POSTING, pytest.param(ApprovalStage.CREDIT, marks=pytest.mark.slow)])
async def test_a_wait_outlives_a_killed_worker_and_the_next_one_takes_the_approval(
    bank: Bank, settings: Settings, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: ApprovalStage
) -> None:
    with worker_process(settings, tmp_path) as worker:
        asked, handle = await _start(bank, approval_asked=ApprovalAsked(before=before))
        waiting = await _until_it_waits(bank, asked)
        os.kill(worker.pid, signal.SIGKILL)
    # Nobody runs now, and everybody is still told what is waited for, and what was asked.
    found = await _shown(bank, asked)
    assert found == waiting
    assert found.request is not None
    assert found.request.amount == asked.amount
    assert len(found.result.legs) == (before is ApprovalStage.CREDIT)
    giving = _commands(settings, database)
    monkeypatch.setattr(commands, "ACCEPTED_WITHIN", dt.timedelta(seconds=2))
    with pytest.raises(UnavailableError, match="no worker took the command"):
        await _approve(giving, asked)
    with worker_process(settings, tmp_path):
        await eventually(lambda: _taken(giving, asked), seconds=240)
        assert (await handle.result()).status is TransactionStatus.COMPLETED
    rows = bank.rows("SELECT leg FROM decision WHERE tenant = %(tenant)s ORDER BY leg")
    assert [row["leg"] for row in rows] == ["credit", "debit"]


@pytest.mark.slow
async def test_a_wait_that_ends_while_no_worker_runs_is_ended_by_the_next_one(bank: Bank, settings: Settings, tmp_path: Path) -> None:
    with worker_process(settings, tmp_path) as worker:
        asked, handle = await _start(bank, approval_asked=ApprovalAsked(expires_in_seconds=30, before=ApprovalStage.CREDIT))
        waiting = await _until_it_waits(bank, asked)
        os.kill(worker.pid, signal.SIGKILL)
    assert waiting.result.waiting_for is not None
    assert waiting.result.waiting_for.what is WaitingKind.APPROVAL
    expires_at = waiting.result.waiting_for.until
    await eventually(lambda: dt.datetime.now(dt.UTC) > expires_at, seconds=120)
    with worker_process(settings, tmp_path):
        result: TransactionResult = await handle.result()
    assert (result.status, result.reason and result.reason.code) == (TransactionStatus.REVERSED, RefusalCode.APPROVAL_EXPIRED)
    bank.assert_money_is_neither_lost_nor_made()
