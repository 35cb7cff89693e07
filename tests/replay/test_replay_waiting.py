"""Recorded histories of holds, standing orders and payment files still replay with the workflows as they are now."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from temporalio.contrib.pydantic import pydantic_data_converter

from ledger.holds import Hold
from ledger.payment_files import FileProgress
from tests.replay.broken_waiting import ExpiresWithoutPublishing, ForgetsToRecord, ShowsNothing
from tests.replay.recordings import IDENTITY, NoLongerReplaysError, load, recordings, replay, scenario_of, texts
from tests.replay.waiting_scenarios import FOLDERS, WAITING_SCENARIOS, folder_of
from workflows.hold import HoldWorkflow
from workflows.payment_file import PaymentFileWorkflow
from workflows.standing_order import OrderRunOutcome, StandingOrderWorkflow

_ANSWERS = {HoldWorkflow: Hold, StandingOrderWorkflow: OrderRunOutcome, PaymentFileWorkflow: FileProgress}
RECORDED = [
    pytest.param(kind, recording, id=f"{folder.name}-{recording.stem}")
    for kind, folder in FOLDERS.items()
    for recording in recordings(folder)
]


@pytest.mark.parametrize(("kind", "recording"), RECORDED)
async def test_what_runs_survives_the_deployment_of_this_code(kind: type, recording: Path) -> None:
    await replay(recording, kind)


def test_each_way_that_a_hold_an_order_or_a_file_may_go_is_recorded() -> None:
    found = {(folder, scenario_of(recording)) for folder in FOLDERS.values() for recording in recordings(folder)}
    assert found == {(folder_of(scenario), name) for name, scenario in WAITING_SCENARIOS.items()}


@pytest.mark.parametrize(("kind", "recording"), RECORDED)
async def test_a_recording_ends_as_its_name_says(kind: type, recording: Path) -> None:
    last = load(recording).events[-1]
    status: str | None = None
    if last.HasField("workflow_execution_completed_event_attributes"):
        payloads = last.workflow_execution_completed_event_attributes.result.payloads
        (result,) = await pydantic_data_converter.decode(payloads, [_ANSWERS[kind]])
        if isinstance(result, Hold | FileProgress):
            status = result.status.value
        elif isinstance(result, OrderRunOutcome) and result.result is not None:
            status = result.result.status.value
    assert status == WAITING_SCENARIOS[scenario_of(recording)].status


@pytest.mark.parametrize(
    ("broken", "recording"),
    [
        (ExpiresWithoutPublishing, FOLDERS[HoldWorkflow] / "expired.json"),
        (ForgetsToRecord, FOLDERS[StandingOrderWorkflow] / "completed.json"),
        (ShowsNothing, FOLDERS[PaymentFileWorkflow] / "completed-after-a-pause.json"),
    ],
)
async def test_a_change_that_breaks_what_runs_is_found(broken: type, recording: Path) -> None:
    with pytest.raises(NoLongerReplaysError):
        await replay(recording, broken)


@pytest.mark.parametrize(("kind", "recording"), RECORDED)
def test_a_recording_names_no_process_host_or_path(kind: type, recording: Path) -> None:
    found = list(texts(json.loads(recording.read_text())))
    assert {value for key, value in found if key == "identity"} == {IDENTITY}
    assert not [value for key, value in found if key == "stackTrace"]
    assert not [value for _, value in found if "@" in value or re.search(r"(^|\s)/\w|\.py\b", value)]
