"""The API hosts a worker: a transaction begins in the process that starts it, with the answer to the start."""

from __future__ import annotations

import json

from infra.temporal.client import connect
from ledger.ids import workflow_id
from tests.integration.api.bank import Bank
from tests.stack_fixtures import RunningStack


async def test_the_first_workflow_task_comes_with_the_answer_to_the_start(bank: Bank, stack: RunningStack) -> None:
    body = {"creditor": await bank.open(), "amount": "1.00", "currency": "EUR"}
    answer = await bank.submit(body)
    assert answer.status_code == 201, answer.text
    client = await connect(stack.temporal_settings)
    handle = client.get_workflow_handle(workflow_id(bank.tenant, answer.json()["transaction_id"]))
    events = (await handle.fetch_history()).events
    assert events[0].workflow_execution_started_event_attributes.eager_execution_accepted
    begun = next(event for event in events if event.HasField("workflow_task_started_event_attributes"))
    assert stack.home is not None
    pids = json.loads((stack.home / "stack.json").read_text())["pids"]
    assert begun.workflow_task_started_event_attributes.identity.startswith(f"{pids['api']}@")
    assert pids["api"] in pids["worker"]
