"""The workflow gives the commands that are written down, time-outs and search attributes included."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from tests.replay.commands import COMMANDS, CommandsChangedError, all_workflows, commands_file, compare
from tests.replay.recordings import HISTORIES, all_recordings, name_of
from workflows import policies
from workflows.transaction import TransactionWorkflow

DEPOSIT = HISTORIES / "completed-deposit.json"
EXPIRED = HISTORIES / "holds" / "expired.json"


@pytest.mark.parametrize("recording", [pytest.param(recording, id=name_of(recording)) for recording in all_recordings()])
async def test_the_workflow_gives_the_commands_that_are_written_down(recording: Path) -> None:
    await compare(recording, all_workflows())


def test_nothing_is_written_down_that_is_no_recording() -> None:
    assert set(COMMANDS.rglob("*.txt")) == {commands_file(recording) for recording in all_recordings()}


async def test_a_changed_time_out_of_a_hold_is_found_and_the_message_names_the_recorder_of_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "PUBLISHING", replace(policies.PUBLISHING, local_total=timedelta(seconds=9)))
    with pytest.raises(CommandsChangedError) as found:
        await compare(EXPIRED, all_workflows())
    message = str(found.value)
    assert message.startswith("holds/expired.txt:\n")
    assert "\n+local activity notification.publish: " in message
    for advice in ("python -m tests.replay.record_waiting SCENARIO", "python -m tests.replay.commands holds/expired\n"):
        assert advice in message


async def test_a_time_out_that_a_replay_does_not_see_is_found_and_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policies, "POSTING", replace(policies.POSTING, local_total=timedelta(seconds=9)))
    with pytest.raises(CommandsChangedError) as found:
        await compare(DEPOSIT, [TransactionWorkflow])
    message = str(found.value)
    assert message.startswith("completed-deposit.txt:\n--- as they were\n+++ as they are now\n")
    assert "\n-local activity casa.post: start to close 2 s, all attempts 5 s, 2 attempts" in message
    assert "\n+local activity casa.post: start to close 2 s, all attempts 9 s, 2 attempts" in message
    for advice in ("workflow.patched(", "python -m tests.replay.record SCENARIO", "python -m tests.replay.commands completed-deposit\n"):
        assert advice in message


async def test_a_retry_that_would_never_end_inside_a_workflow_task_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = replace(policies.PUBLISHING.local_retry, maximum_attempts=0)
    monkeypatch.setattr(policies, "PUBLISHING", replace(policies.PUBLISHING, local_retry=endless))
    with pytest.raises(CommandsChangedError, match=r"\+local activity notification.publish: .* attempts without end"):
        await compare(DEPOSIT, [TransactionWorkflow])
