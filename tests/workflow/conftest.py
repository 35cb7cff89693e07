"""A server that skips time, and a worker on it whose ports are fakes."""

from __future__ import annotations

import asyncio
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from inspect import isawaitable
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.client import Client, WorkflowHandle
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.casa import CasaActivities
from activities.exchange_rate import ExchangeRateActivities
from activities.notification import NotificationActivities
from infra.temporal.search_attributes import TYPES
from ledger.ids import workflow_id
from ledger.requests import TransactionRequest
from ledger.results import TransactionResult
from tests.unit.ledger.builders import request
from tests.workflow.fakes import FakeLedger, FakePublisher, FakeRates
from tests.workflow.operators import SECRET
from workflows import authority, visibility
from workflows.runner import workflow_runner
from workflows.transaction import TransactionWorkflow

Handle = WorkflowHandle[TransactionWorkflow, TransactionResult]


_LOGGED = "ERROR,temporalio_sdk_core=WARN,temporalio_sdk_core::worker=ERROR,temporalio_sdk_core::worker::workflow=WARN"
"""Each worker warns that the test server may lose details of heartbeats, which no activity of ours sends; other warnings stay."""


@pytest.fixture(scope="session")
def runtime() -> Runtime:
    return Runtime(telemetry=TelemetryConfig(logging=LoggingConfig(filter=_LOGGED)))


@asynccontextmanager
async def time_skipping_server(runtime: Runtime) -> AsyncIterator[WorkflowEnvironment]:
    """A server of its own, with casaflow's search attributes."""
    binary = Path(sys.executable).with_name("temporal-test-server")
    async with await WorkflowEnvironment.start_time_skipping(
        test_server_existing_path=str(binary), data_converter=pydantic_data_converter, runtime=runtime
    ) as started:
        types: dict[str, IndexedValueType.ValueType] = dict(TYPES)
        await started.client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=started.client.namespace, search_attributes=types)
        )
        yield started


@pytest.fixture(scope="module")
async def environment(runtime: Runtime) -> AsyncIterator[WorkflowEnvironment]:
    """One server for a module.

    A workflow that ends while an ordinary activity of it still runs, as after a cancel, leaves this server's lock on time behind
    (temporalio/sdk-java issue 1138): from then on its time passes like ours. See `skipping_bank` for tests that would notice.
    """
    async with time_skipping_server(runtime) as started:
        yield started


@pytest.fixture(autouse=True)
def trusted() -> None:
    """For each test: modules with a secret of their own trust nobody once they are done."""
    authority.trust([SECRET])


@dataclass
class Bank:
    """One worker on a task queue of its own, with everything it talks to."""

    environment: WorkflowEnvironment
    task_queue: str = field(default_factory=lambda: f"test-{uuid.uuid4()}")
    ledger: FakeLedger = field(default_factory=FakeLedger)
    rates: FakeRates = field(default_factory=FakeRates)
    publisher: FakePublisher = field(default_factory=FakePublisher)

    @property
    def client(self) -> Client:
        return self.environment.client

    def worker(self, **options: Any) -> Worker:
        casa = CasaActivities(self.ledger)
        notification = NotificationActivities(self.ledger, self.publisher)
        rates = ExchangeRateActivities(self.rates, max_age_days=7)
        return Worker(
            self.client,
            task_queue=self.task_queue,
            workflows=[TransactionWorkflow],
            activities=[casa.post, casa.post_linked, casa.reject, casa.record_action, notification.publish, rates.quote],
            workflow_runner=workflow_runner(),
            **options,
        )

    async def start(self, **fields: Any) -> Handle:
        """Start a transaction; see the ledger's builders for the fields."""
        asked: TransactionRequest = request(**{"transaction_id": str(uuid.uuid4()), **fields})
        return await self.client.start_workflow(
            TransactionWorkflow.run,
            asked,
            id=workflow_id(asked.tenant, asked.transaction_id),
            task_queue=self.task_queue,
            search_attributes=visibility.attributes_at_start(asked),
            static_summary=visibility.static_summary(asked),
            static_details=visibility.static_details(asked),
        )

    async def carry_out(self, **fields: Any) -> TransactionResult:
        """Start a transaction and wait for its end."""
        return await (await self.start(**fields)).result()

    def balance(self, account_id: str) -> int:
        return self.ledger.accounts[account_id].balance


@pytest.fixture
async def bank(environment: WorkflowEnvironment) -> AsyncIterator[Bank]:
    """A bank with a running worker: A has 100.00, B nothing."""
    async with open_bank(environment) as opened:
        yield opened


@pytest.fixture
async def skipping_bank(runtime: Runtime) -> AsyncIterator[Bank]:
    """A bank on a server of its own, whose time no earlier test can have locked: minutes of retries pass at once."""
    async with time_skipping_server(runtime) as environment, open_bank(environment) as opened:
        yield opened


@asynccontextmanager
async def open_bank(environment: WorkflowEnvironment) -> AsyncIterator[Bank]:
    opened = Bank(environment)
    opened.ledger.open("A", balance=10_000)
    opened.ledger.open("B")
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(opened.worker())
        yield opened
        opened.ledger.open_gates()


async def search_attribute(handle: WorkflowHandle[Any, Any], name: str) -> str | None:
    """The value of a Keyword search attribute of a workflow."""
    described = await handle.describe()
    values = [pair.value for pair in described.typed_search_attributes if pair.key.name == name]
    return values[0] if values else None


async def eventually(condition: Callable[[], Any], *, seconds: float = 10) -> Any:
    """Poll a condition, plain or asynchronous, until it is truthy, in real time."""
    async with asyncio.timeout(seconds):
        while True:
            value = condition()
            if isawaitable(value):
                value = await value
            if value:
                return value
            await asyncio.sleep(0.02)
