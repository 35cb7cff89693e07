"""Races and outages of starting and looking up transactions that a real server shows too rarely to be tested there."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from types import SimpleNamespace
from typing import Any, Literal, cast

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from infra.postgres.transactions import PostgresTransactions
from infra.settings import Settings
from ledger import visibility
from ledger.errors import UnavailableError
from ledger.money import Money
from ledger.requests import AccountRef, TransactionRequest
from ledger.results import TransactionRecord, TransactionResult, TransactionStatus
from starter import submit
from starter.submit import TemporalConnection, TransactionStarter

SETTINGS = Settings(temporal_address="127.0.0.1:1")


async def test_all_who_wait_for_temporal_share_one_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts: list[asyncio.Future[Any]] = []

    async def connect(_settings: Settings) -> Any:
        attempts.append(asyncio.get_running_loop().create_future())
        return await attempts[-1]

    monkeypatch.setattr(submit, "connect", connect)
    connection = TemporalConnection(SETTINGS)
    waiting = [asyncio.create_task(connection.client()) for _ in range(5)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting[0].cancel()  # a caller that gives up doesn't take the others' attempt along
    attempts[0].set_exception(UnavailableError(part="temporal", detail="away"))
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert all(isinstance(result, UnavailableError) for result in results[1:])
    assert len(attempts) == 1
    again = asyncio.create_task(connection.client())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    made = cast("Client", object())
    attempts[1].set_result(made)
    assert await again is made
    assert await connection.client() is made
    assert len(attempts) == 2


def _record() -> TransactionRecord:
    request = TransactionRequest(
        tenant="main",
        transaction_id=str(uuid.uuid4()),
        creditor=AccountRef(account_id="A1", currency="EUR"),
        amount=Money(minor_units=100, currency="EUR"),
        submitted_by="teller",
        submitted_at=dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    )
    result = TransactionResult(transaction_id=request.transaction_id, status=TransactionStatus.COMPLETED)
    return TransactionRecord(request=request, fingerprint=request.fingerprint, result=result)


def _starter(rows: list[TransactionRecord | None], status: WorkflowExecutionStatus, shown: str = "processing") -> TransactionStarter:
    """The row is looked for in turn with these outcomes; Temporal says that the workflow has this status, and shows the transaction's."""
    found = iter(rows)
    attributes = TypedSearchAttributes([SearchAttributePair(SearchAttributeKey.for_keyword(visibility.STATUS), shown)])

    async def get(_tenant: str, _transaction_id: str) -> TransactionRecord | None:
        return next(found)

    async def describe(**_options: object) -> Any:
        return SimpleNamespace(status=status, typed_search_attributes=attributes)

    async def client() -> Any:
        return SimpleNamespace(get_workflow_handle=lambda _identifier: SimpleNamespace(describe=describe))

    transactions = cast("PostgresTransactions", SimpleNamespace(get=get))
    return TransactionStarter(cast("TemporalConnection", SimpleNamespace(client=client)), transactions, task_queue="q")


async def test_transaction_that_ends_during_the_look_up_is_not_taken_for_a_parked_one() -> None:
    record = _record()
    found = await _starter([None, record], WorkflowExecutionStatus.COMPLETED).look_up("main", record.request.transaction_id)
    assert (found.result, found.request) == (record.result, record.request)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (WorkflowExecutionStatus.RUNNING, TransactionStatus.PROCESSING),
        (WorkflowExecutionStatus.TERMINATED, TransactionStatus.PARKED),
        (WorkflowExecutionStatus.FAILED, TransactionStatus.PARKED),
    ],
)
async def test_transaction_without_a_row_stands_as_its_workflow_does(status: WorkflowExecutionStatus, expected: TransactionStatus) -> None:
    found = await _starter([None, None], status).look_up("main", str(uuid.uuid4()))
    assert (found.result.status, found.request) == (expected, None)


async def test_a_running_workflow_that_stands_parked_is_shown_so() -> None:
    found = await _starter([None, None], WorkflowExecutionStatus.RUNNING, shown="parked").look_up("main", str(uuid.uuid4()))
    assert found.result.status is TransactionStatus.PARKED


@pytest.mark.parametrize(("transfers", "linked"), [("linked", True), ("saga", False)])
async def test_plain_transfers_are_posted_as_the_setting_says(transfers: Literal["linked", "saga"], linked: bool) -> None:
    started: list[TransactionRequest] = []

    async def start_workflow(_run: object, request: TransactionRequest, **_options: object) -> Any:
        started.append(request)

    async def get(_tenant: str, _transaction_id: str) -> None:
        return None

    async def client() -> Any:
        return SimpleNamespace(start_workflow=start_workflow)

    transactions = cast("PostgresTransactions", SimpleNamespace(get=get))
    temporal = cast("TemporalConnection", SimpleNamespace(client=client))
    starter = TransactionStarter(temporal, transactions, task_queue="q", transfers=transfers)
    deposit = _record().request
    transfer = deposit.model_copy(update={"debtor": AccountRef(account_id="A2", currency="EUR")})
    for asked in (deposit, transfer):
        await starter.submit(asked, wait_seconds=0)
    assert [request.linked for request in started] == [False, linked]
