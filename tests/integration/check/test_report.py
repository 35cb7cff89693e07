"""The whole of `casaflow check`: what it says of a running system, and what it asks Temporal and Kafka."""

from __future__ import annotations

import json
import uuid
from collections.abc import Awaitable
from typing import Protocol

import httpx
import pytest

from infra.settings import Settings
from infra.temporal.client import connect
from ledger.ids import workflow_id
from starter.check import Finding, run_check
from tests.integration.check.conftest import Bookkeeper, SmallBank
from tests.stack_fixtures import RunningStack, run_casaflow
from tests.unit.ledger.builders import request
from workflows.transaction import TransactionWorkflow


class Check(Protocol):
    """Runs `check` on the small bank; its findings by number."""

    def __call__(self, *, with_topics: bool = False) -> Awaitable[dict[int, Finding]]: ...


@pytest.fixture
def task_queue() -> str:
    """Of the test's own, so that only its own workflows are asked for."""
    return f"test-check-{uuid.uuid4()}"


@pytest.fixture
def check(bank: SmallBank, stack: RunningStack, task_queue: str) -> Check:
    settings = Settings.model_validate(
        {
            "postgres_url": bank.url,
            "temporal_address": stack.temporal_address,
            "kafka_bootstrap_servers": stack.kafka_bootstrap_servers,
            "task_queue": task_queue,
            "consumer_groups": ("audit",),
        }
    )

    async def run(*, with_topics: bool = False) -> dict[int, Finding]:
        report = await run_check(settings, settle_seconds=0, with_topics=with_topics)
        return {finding.number: finding for finding in report.findings}

    return run


async def test_what_is_marked_as_published_and_is_not_on_its_topic_is_named(check: Check, bank: SmallBank) -> None:
    finding = (await check(with_topics=True))[5]
    row = bank.row("SELECT CAST(event_id AS text) AS event_id, published_at FROM event_outbox ORDER BY created_at, position LIMIT 1")
    missing = [text for text in finding.offending if " but it is not on " in text]
    assert missing[0].startswith(f"event {row['event_id']} (casaflow.casa.credited.v1) of transaction ")
    # None of them is there: this bank's events were handed to the audit group without a broker.
    assert len(missing) + int(finding.offending[-1].split()[1]) >= bank.row("SELECT count(*) AS events FROM event_outbox")["events"]


async def test_what_tables_and_locks_show_is_proven(check: Check) -> None:
    findings = await check()
    assert sorted(findings) == [1, 2, 3, 4, 5, 6]
    assert all(findings[number].proven for number in (1, 2, 3, 4, 6)), findings
    assert findings[6].counted == "74 completed, 2 rejected, 1 reversed, 0 under way, 0 parked"


async def test_a_transaction_without_outcome_must_be_carried_by_a_workflow(
    check: Check, keep: Bookkeeper, stack: RunningStack, task_queue: str
) -> None:
    await keep.begin("half", debtor="A", creditor="B", amount="5.00")
    transaction_id = keep.transactions["half"]
    abandoned = f"transaction {transaction_id} of tenant main has no outcome, and its workflow {workflow_id('main', transaction_id)} is "
    assert (await check())[6].offending == (f"{abandoned}unknown to Temporal",)
    client = await connect(stack.temporal_settings)
    asked = request(debtor="A", creditor="B", amount="5.00", transaction_id=transaction_id)
    handle = await client.start_workflow(TransactionWorkflow.run, asked, id=workflow_id("main", transaction_id), task_queue=task_queue)
    carried = (await check())[6]
    assert carried.proven
    assert "1 under way" in carried.counted
    await handle.terminate()
    assert (await check())[6].offending == (f"{abandoned}terminated",)


async def test_a_workflow_that_was_ended_before_anything_was_recorded_is_named(check: Check, stack: RunningStack, task_queue: str) -> None:
    client = await connect(stack.temporal_settings)
    asked = request(creditor="A", transaction_id=str(uuid.uuid4()))
    handle = await client.start_workflow(
        TransactionWorkflow.run, asked, id=workflow_id("main", asked.transaction_id), task_queue=task_queue
    )
    await handle.terminate()
    (offending,) = await _eventually_offending(check)
    assert asked.transaction_id in offending


async def _eventually_offending(check: Check) -> tuple[str, ...]:
    """Temporal's list follows its workflows after a moment."""
    for _ in range(20):
        offending = (await check())[6].offending
        if offending:
            return offending
    return ()


async def test_a_group_that_has_not_come_to_the_end_of_a_topic_is_named_with_its_offsets(
    check: Check, bank: SmallBank, stack: RunningStack
) -> None:
    await _publish_something(stack)
    bank.tamper("DELETE FROM audit.consumer_offset")
    offending = (await check())[5].offending
    assert offending
    assert all(text.startswith("group audit has come to offset 0 of ") for text in offending)


async def _publish_something(stack: RunningStack) -> None:
    """A topic without events has no end to come to."""
    account_id = f"check-{uuid.uuid4().hex[:8]}"
    async with httpx.AsyncClient(base_url=stack.api, headers={"Authorization": f"Bearer {stack.api_key}"}, timeout=60) as client:
        opened = await client.post("/v1/accounts", json={"account_id": account_id, "currency": "EUR"})
        body = {"creditor": account_id, "amount": "1.00", "currency": "EUR"}
        posted = await client.post("/v1/transactions", json=body, headers={"Prefer": "wait=30"})
    assert (opened.status_code, posted.status_code) == (201, 201)
    assert run_casaflow("check", environment=stack.environment(), timeout_seconds=120).returncode == 0


def test_the_running_stack_is_proven_in_json_and_as_a_table(stack: RunningStack) -> None:
    checked = stack.casaflow("check", "--json")
    report = json.loads(checked.stdout)
    assert (checked.returncode, report["proven"]) == (0, True), checked.stdout
    assert [finding["number"] for finding in report["findings"]] == [1, 2, 3, 4, 5, 6]
    shown = stack.casaflow("check")
    assert shown.returncode == 0
    assert shown.stdout.count("proven") == len(report["findings"])
