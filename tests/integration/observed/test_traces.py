"""One trace from the HTTP request to the consumer, as a collector receives it from three processes."""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from temporalio.client import Client

from ledger.events import TOPICS
from tests.integration.api.bank import Bank, bank_at
from tests.integration.observed.processes import Installation, Process
from tests.integration.observed.receiver import Receiver, Span, receiving
from tests.stack_fixtures import RunningStack

BALANCE_UPDATED, FINISHED = TOPICS
_ROUNDS = 20
"""Of postings that come at the same time, until two of them meet."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with receiving() as opened:
        yield opened


@dataclass
class Traced:
    """The three processes."""

    api: Process
    worker: Process
    consumer: Process
    group: str


@pytest.fixture(scope="module")
async def traced(installation: Installation, receiver: Receiver, temporal: Client) -> Traced:
    environment = {
        **installation.environment,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "CASAFLOW_LOG_LEVEL": "DEBUG",
    }
    installation.environment = environment
    group = f"observed-{uuid.uuid4().hex[:12]}"
    consumer = installation.start(str(Path(__file__).with_name("traced_consumer.py")), group)
    worker = await installation.worker(temporal)
    return Traced(await installation.api(), worker, consumer, group)


@dataclass
class Request:
    """A request that came with a trace of its caller's."""

    trace_id: str
    transaction_id: str
    spans: list[Span]

    def one(self, name: str) -> Span:
        (found,) = [span for span in self.spans if span.name == name]
        return found

    def above(self, span: Span) -> list[str]:
        """The names of the spans above one, the nearest first, as far as they are casaflow's."""
        by_id = {found.span_id: found for found in self.spans}
        names = []
        while (span := by_id.get(span.parent_id, span)).name not in names:
            names.append(span.name)
        return names


WAY = {
    "POST /v1/transactions",
    "StartWorkflow:TransactionWorkflow",
    "RunWorkflow:TransactionWorkflow",
    "RunActivity:casa.post",
    "ledger post",
    "RunActivity:notification.publish",
    f"send {BALANCE_UPDATED}",
    f"send {FINISHED}",
    f"process {BALANCE_UPDATED}",
    f"process {FINISHED}",
    "postgresql transaction",
}


@pytest.fixture(scope="module")
async def deposit(traced: Traced, installation: Installation, receiver: Receiver, postgres_url: str) -> AsyncIterator[Request]:
    async with bank_at(installation.api_url, postgres_url) as bank:
        account = await bank.open()
        trace_id = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"}
        answer = await bank.submit({"creditor": account, "amount": "5.00", "currency": "EUR"}, headers=headers)
        assert answer.json()["status"] == "completed", answer.text
        yield Request(trace_id, answer.json()["transaction_id"], receiver.of_trace(trace_id, names=WAY))


async def test_one_trace_goes_from_the_callers_request_to_the_consumer(deposit: Request, traced: Traced) -> None:
    services = {name: deposit.one(name).service for name in WAY if name != "postgresql transaction"}
    assert services == {
        "POST /v1/transactions": "casaflow-api",
        "StartWorkflow:TransactionWorkflow": "casaflow-api",
        "RunWorkflow:TransactionWorkflow": "casaflow-worker",
        "RunActivity:casa.post": "casaflow-worker",
        "ledger post": "casaflow-worker",
        "RunActivity:notification.publish": "casaflow-worker",
        f"send {BALANCE_UPDATED}": "casaflow-worker",
        f"send {FINISHED}": "casaflow-worker",
        f"process {BALANCE_UPDATED}": f"casaflow-consumer-{traced.group}",
        f"process {FINISHED}": f"casaflow-consumer-{traced.group}",
    }


async def test_each_step_hangs_below_the_one_that_caused_it(deposit: Request) -> None:
    consumed = deposit.above(deposit.one(f"process {FINISHED}"))
    expected = [
        f"send {FINISHED}",
        "RunActivity:notification.publish",
        "StartActivity:notification.publish",
        "RunWorkflow:TransactionWorkflow",
        "StartWorkflow:TransactionWorkflow",
        "POST /v1/transactions",
    ]
    assert consumed == expected
    assert deposit.above(deposit.one("ledger post"))[0] == "RunActivity:casa.post"
    sql = {deposit.above(span)[0] for span in deposit.spans if span.name == "postgresql transaction"}
    # The API's look-ups hang below its request, and the outbox's below the publication. The posting's own is the batch's.
    assert sql == {"POST /v1/transactions", "RunActivity:notification.publish"}


async def test_a_posting_points_at_its_batch_and_the_batch_at_all_its_postings(deposit: Request, receiver: Receiver) -> None:
    post = deposit.one("ledger post")
    (batch,) = [span for span in receiver.spans() if span.span_id in post.links]
    assert batch.name == "ledger batch"
    assert batch.trace_id != deposit.trace_id
    assert deposit.one("RunActivity:casa.post").span_id in batch.links
    assert batch.attributes["casaflow.batch.postings"] == batch.attributes["casaflow.batch.legs"] == 1
    below = [span.name for span in receiver.spans(batch.trace_id) if span.parent_id == batch.span_id]
    assert below == ["postgresql transaction"]


async def test_postings_that_went_together_are_linked_to_one_batch(deposit: Request, bank: Bank, receiver: Receiver) -> None:
    account = await bank.open()
    body = {"creditor": account, "amount": "1.00", "currency": "EUR"}
    for _ in range(_ROUNDS):
        traces = [secrets.token_hex(16) for _ in range(8)]
        headers = [{"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"} for trace_id in traces]
        await asyncio.gather(*(bank.submit(body, wait_seconds=0, headers=header) for header in headers))
        links = [
            link
            for trace_id in traces
            for span in receiver.of_trace(trace_id, names={"ledger post"})
            if span.name == "ledger post"
            for link in span.links
        ]
        assert len(links) == len(traces)
        if len(set(links)) < len(links):
            break
    assert len(set(links)) < len(links), f"none of {_ROUNDS} rounds met in a batch"


async def test_the_record_on_the_topic_has_a_traceparent_and_is_otherwise_as_it_was(
    deposit: Request, stack: RunningStack, postgres_url: str
) -> None:
    consumer = AIOKafkaConsumer(
        FINISHED, bootstrap_servers=stack.kafka_bootstrap_servers, group_id=None, auto_offset_reset="earliest", enable_auto_commit=False
    )
    await consumer.start()
    try:
        while True:
            batches = await consumer.getmany(timeout_ms=1_000)
            records = [record for batch in batches.values() for record in batch]
            found = [record for record in records if dict(record.headers)["ce_subject"].decode() == deposit.transaction_id]
            if found:
                break
    finally:
        await consumer.stop()
    headers = [name for name, _ in found[0].headers]
    assert headers == ["ce_specversion", "ce_id", "ce_type", "ce_source", "ce_subject", "ce_time", "content-type", "traceparent"]
    sent = deposit.one(f"send {FINISHED}")
    assert dict(found[0].headers)["traceparent"].decode() == f"00-{deposit.trace_id}-{sent.span_id}-01"


async def test_log_lines_name_the_transaction_and_its_trace(deposit: Request, traced: Traced) -> None:
    (answered,) = traced.api.said("api.answered", transaction_id=deposit.transaction_id)
    assert (answered["trace_id"], answered["route"], answered["status"]) == (deposit.trace_id, "/v1/transactions", 201)
    assert {"tenant", "principal", "seconds"} <= answered.keys()
    done = traced.worker.said("activity.done", transaction_id=deposit.transaction_id)
    assert [(line["activity"], line["trace_id"]) for line in done] == [
        ("casa.post", deposit.trace_id),
        ("notification.publish", deposit.trace_id),
    ]
    (published,) = traced.worker.said("kafka.published", transaction_id=deposit.transaction_id)
    assert len(published["event_ids"]) == len(TOPICS)
    applied = [line for line in traced.consumer.said("consumer.applied") if deposit.transaction_id in line["transaction_ids"]]
    assert {line["partition"].partition("/")[0] for line in applied} == set(TOPICS)


async def test_no_span_holds_a_statement_an_amount_or_a_text_of_the_customers(deposit: Request) -> None:
    told = " ".join(str(value) for span in deposit.spans for value in span.attributes.values())
    assert "SELECT" not in told
    assert "5.00" not in told


async def test_without_an_endpoint_nothing_of_opentelemetrys_sdk_is_loaded(installation: Installation) -> None:
    code = (
        "import sys; from infra.settings import Settings; from infra.tracing import start_tracing, temporal_plugins\n"
        "start_tracing(Settings(), service='x'); assert temporal_plugins() == []\n"
        "assert not [name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))]\n"
    )
    process = installation.start("-c", code, environment={"OTEL_EXPORTER_OTLP_ENDPOINT": ""})
    assert await process.ended() == 0, process.log.read_text()
