"""Recorded histories of real transactions still replay with the workflow as it is now."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter

from ledger.results import TransactionResult
from tests.replay.broken import ExpectsAnotherAnswer, ForgetsTheStatus, PublishesBeforePosting, WaitsBeforePublishing
from tests.replay.recordings import IDENTITY, NoLongerReplaysError, load, recordings, replay, scenario_of, texts
from tests.replay.scenarios import SCENARIOS
from workflows.transaction import TransactionWorkflow

RECORDINGS = [pytest.param(recording, id=recording.stem) for recording in recordings()]


@pytest.mark.parametrize("recording", RECORDINGS)
async def test_a_running_transaction_survives_the_deployment_of_this_code(recording: Path) -> None:
    await replay(recording, TransactionWorkflow)


def test_each_way_a_transaction_may_go_is_recorded() -> None:
    assert {scenario_of(recording) for recording in recordings()} == set(SCENARIOS)


@pytest.mark.parametrize("recording", RECORDINGS)
async def test_a_recording_ends_as_its_name_says(recording: Path) -> None:
    scenario = SCENARIOS[scenario_of(recording)]
    last = load(recording).events[-1]
    if scenario.status is None:
        assert last.HasField("workflow_execution_failed_event_attributes")
        return
    result = await _result(load(recording))
    assert result.status is scenario.status
    assert (result.reason.code if result.reason else None) == scenario.reason


async def _result(history: WorkflowHistory) -> TransactionResult:
    payloads = history.events[-1].workflow_execution_completed_event_attributes.result.payloads
    (result,) = await pydantic_data_converter.decode(payloads, [TransactionResult])
    assert isinstance(result, TransactionResult)
    return result


@pytest.mark.parametrize(
    ("name", "activities"),
    [
        ("completed-transfer", []),
        ("completed-by-ordinary-activities", ["exchange_rate.quote", "casa.post", "casa.post", "notification.publish"]),
        ("reversed-by-ordinary-activities", ["casa.post"]),
        ("rejected-by-an-ordinary-activity", ["casa.reject"]),
    ],
)
def test_the_recordings_have_both_ways_to_call_a_service(name: str, activities: list[str]) -> None:
    (recording, *_) = [recording for recording in recordings() if scenario_of(recording) == name]
    events = load(recording).events
    assert [event.activity_task_scheduled_event_attributes.activity_type.name for event in events if _is_ordinary(event)] == activities


def _is_ordinary(event: object) -> bool:
    return bool(event.HasField("activity_task_scheduled_event_attributes"))  # type: ignore[attr-defined]  # protobuf


@pytest.mark.parametrize("broken", [PublishesBeforePosting, WaitsBeforePublishing, ForgetsTheStatus, ExpectsAnotherAnswer])
async def test_a_change_that_breaks_running_transactions_is_found_and_says_what_to_do(broken: type) -> None:
    recording = next(recording for recording in recordings() if scenario_of(recording) == "completed-deposit")
    with pytest.raises(NoLongerReplaysError) as found:
        await replay(recording, broken)
    message = str(found.value)
    assert message.startswith("completed-deposit.json no longer replays: ")
    for advice in ("workflow.patched(", "new worker version", "python -m tests.replay.record"):
        assert advice in message


@pytest.mark.parametrize("recording", RECORDINGS)
def test_a_recording_names_no_process_host_or_path(recording: Path) -> None:
    found = list(texts(json.loads(recording.read_text())))
    assert {value for key, value in found if key == "identity"} == {IDENTITY}
    assert not [value for key, value in found if key == "stackTrace"]
    assert not [value for _, value in found if "@" in value or re.search(r"(^|\s)/\w|\.py\b", value)]
