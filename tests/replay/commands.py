"""What the workflow asks of Temporal, command by command: ``python -m tests.replay.commands [--all | NAME ...]`` writes it down.

A replay compares the kinds and names of commands, but no time-outs, retry policies or search attributes. So each recording has a readable
file of all commands that the workflow gives while it is replayed, and a change of it is a decision.
"""

from __future__ import annotations

import argparse
import asyncio
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from google.protobuf.duration_pb2 import Duration
from temporalio import workflow
from temporalio.api.common.v1 import RetryPolicy
from temporalio.bridge.proto.workflow_activation import WorkflowActivation
from temporalio.bridge.proto.workflow_commands import WorkflowCommand
from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner

from tests.replay.recordings import all_recordings, name_of, replay
from workflows.runner import workflow_runner

COMMANDS: Final = Path(__file__).with_name("commands")

ADVICE: Final = """\
These are the commands that the workflow gives when {name} is replayed: - as they were, + as they are now. Is the change
- not meant: take it back;
- meant, and running transactions must go on: keep what was with `if workflow.patched("what-changed"): <new> else: <old>`, record the new
  way beside the old one (`python -m tests.replay.{recorder} SCENARIO`), and write down the new recording's commands;
- meant, and a replay allows it (a time-out, a retry policy, a search attribute): write it down.
    python -m tests.replay.commands {stem}
Then read the difference once more in the commit."""


class CommandsChangedError(AssertionError):
    """The workflow asks for something else than what is written down; the message says what to do."""


class _Listener(WorkflowRunner):
    """Runs workflows as the worker does, and notes down what they ask for."""

    def __init__(self) -> None:
        self._inner = workflow_runner()
        self.lines: list[str] = []

    def prepare_workflow(self, defn: Any) -> None:
        self._inner.prepare_workflow(defn)

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        instance = self._inner.create_instance(det)
        activate = instance.activate

        def listened(act: WorkflowActivation) -> WorkflowActivationCompletion:
            completion = activate(act)
            self.lines += [line for command in completion.successful.commands for line in _told(command)]
            return completion

        instance.activate = listened  # type: ignore[method-assign]  # a runner of ours, around the real one
        return instance


async def commands_of(recording: Path, workflows: Sequence[type]) -> list[str]:
    """A line for each command, in order.

    Raises:
        NoLongerReplaysError: the workflow doesn't do what the history says.
    """
    listener = _Listener()
    await replay(recording, *workflows, runner=listener)
    return listener.lines


def commands_file(recording: Path) -> Path:
    return COMMANDS / f"{name_of(recording)}.txt"


async def compare(recording: Path, workflows: Sequence[type]) -> None:
    """Compare with what is written down.

    Raises:
        CommandsChangedError: it differs, or nothing is written down.
    """
    written = commands_file(recording)
    before = written.read_text().splitlines() if written.exists() else []
    now = await commands_of(recording, workflows)
    if before != now:
        difference = "\n".join(difflib.unified_diff(before, now, "as they were", "as they are now", lineterm="", n=2))
        name = name_of(recording)
        recorder = "record_waiting" if "/" in name else "record"
        advice = ADVICE.format(name=f"{name}.json", stem=name, recorder=recorder)
        message = f"{name}.txt:\n{difference}\n\n{advice}"
        raise CommandsChangedError(message)


def _told(command: WorkflowCommand) -> list[str]:
    kind = command.WhichOneof("variant")
    body = getattr(command, str(kind))
    match kind:
        case "schedule_local_activity":
            times = _times(start_to_close=body.start_to_close_timeout, all_attempts=body.schedule_to_close_timeout)
            told = [f"local activity {body.activity_type}: {times}, {_retry(body.retry_policy)}"]
        case "schedule_activity":
            times = _times(
                start_to_close=body.start_to_close_timeout,
                all_attempts=body.schedule_to_close_timeout,
                heartbeat=body.heartbeat_timeout,
            )
            told = [f"activity {body.activity_type}: {times}, {_retry(body.retry_policy)}"]
        case "start_timer":
            told = [f"timer {_seconds(body.start_to_fire_timeout)}"]
        case "set_patch_marker":
            told = [f"patch {body.patch_id}{' (deprecated)' if body.deprecated else ''}"]
        case "upsert_workflow_search_attributes":
            found = body.search_attributes.indexed_fields
            told = [f"search attribute {name} = {found[name].data.decode()}" for name in sorted(found)]
        case "start_child_workflow_execution":
            told = [f"child workflow {body.workflow_type}, parent close policy {body.parent_close_policy}"]
        case "signal_external_workflow_execution":
            told = [f"signal {body.signal_name} to another workflow"]
        case "update_response":
            told = [f"update {body.WhichOneof('response')}"]
        case "fail_workflow_execution":
            told = [f"fail workflow: {body.failure.application_failure_info.type}"]
        case _:
            told = [str(kind).replace("_", " ").removesuffix(" execution")]
    return told


def _times(**limits: Duration) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {_seconds(limit)}" for name, limit in limits.items() if limit.ToTimedelta())


def _seconds(duration: Duration) -> str:
    return f"{duration.ToTimedelta().total_seconds():g} s"


def _retry(policy: RetryPolicy) -> str:
    often = f"{policy.maximum_attempts} attempts" if policy.maximum_attempts else "attempts without end"
    longest = f" up to {_seconds(policy.maximum_interval)}" if policy.maximum_interval.ToTimedelta() else ""
    for_good = "" if policy.non_retryable_error_types else ", whatever the error"
    return f"{often} after {_seconds(policy.initial_interval)} x {policy.backoff_coefficient:g}{longest}{for_good}"


async def _write(chosen: Sequence[Path]) -> None:
    for recording in chosen:
        path = commands_file(recording)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in await commands_of(recording, all_workflows())))
        sys.stdout.write(f"{path.relative_to(COMMANDS)}\n")


def all_workflows() -> list[type]:
    """Every workflow class of casaflow."""
    from tests.replay.payloads import workflow_classes  # noqa: PLC0415  which loads what only the baselines need

    found = workflow_classes()
    assert all(workflow._Definition.from_class(each) for each in found)
    return found


def main(arguments: list[str]) -> None:
    """Write down what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.replay.commands", description="Write down the commands of recorded workflows.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="of a recording, without .json: completed-deposit, holds/expired")
    parser.add_argument("--all", action="store_true", help="of every recording")
    asked = parser.parse_args(arguments)
    if bool(asked.names) == asked.all:
        parser.error("name recordings, or say --all")
    known = {name_of(recording): recording for recording in all_recordings()}
    if unknown := [name for name in asked.names if name not in known]:
        parser.error(f"nothing is recorded as {', '.join(unknown)}")
    asyncio.run(_write(list(known.values()) if asked.all else [known[name] for name in asked.names]))


if __name__ == "__main__":
    main(sys.argv[1:])
