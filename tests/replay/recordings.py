"""Recorded histories: where they are, what is taken out of them, and how one is replayed."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from temporalio.client import WorkflowHistory
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.worker import Replayer, WorkflowRunner

from workflows.runner import workflow_runner

HISTORIES: Final = Path(__file__).with_name("histories")
IDENTITY: Final = "casaflow-worker"
"""Stands where a history names the process that did something, which is a process id and a host name in real life."""
TASK_QUEUE: Final = "casaflow-transactions"
STICKY_QUEUE: Final = "casaflow-worker-sticky"

ADVICE: Final = """\
A transaction that runs while this change is deployed is replayed by the new code from a history like this one, and would be stuck. Either
- keep what was: `if workflow.patched("what-changed"): <new> else: <old>` in workflows/, until no older transaction can be running; or
- leave running transactions to the old code: deploy this as a new worker version (`deployment_config`, pinned), beside the old one.
Then record the new way beside the old one, on a running stack (`casaflow up`): `python -m tests.replay.record NAME`, or
`python -m tests.replay.record_waiting NAME` for a hold, a standing order or a payment file.
`--replace` takes the old recordings away. Use it only once no transaction older than the change can be running, never to make this pass."""


class NoLongerReplaysError(AssertionError):
    """A change of the workflow broke running transactions; the message says what to do."""


async def replay(recording: Path, *workflows: type, runner: WorkflowRunner | None = None) -> None:
    """Replay a recording with these workflow classes, as the worker would after a deployment; the runner is the worker's unless given.

    Raises:
        NoLongerReplaysError: the class doesn't do what the history says.
    """
    history = load(recording)
    replayer = Replayer(workflows=workflows, workflow_runner=runner or workflow_runner(), data_converter=pydantic_data_converter)
    result = await replayer.replay_workflow(history, raise_on_replay_failure=False)
    if result.replay_failure is not None:
        message = f"{recording.name} no longer replays: {result.replay_failure}\n\n{ADVICE}"
        raise NoLongerReplaysError(message)


def recordings(folder: Path = HISTORIES) -> list[Path]:
    return sorted(folder.glob("*.json"))


def all_recordings() -> list[Path]:
    """Those in folders of their own, too."""
    return sorted(HISTORIES.rglob("*.json"))


def name_of(recording: Path) -> str:
    """``completed-deposit``, ``holds/expired``."""
    return recording.relative_to(HISTORIES).as_posix().removesuffix(".json")


def scenario_of(recording: Path) -> str:
    """``completed-deposit`` for ``completed-deposit.json`` and for what was recorded beside it, ``completed-deposit.2.json``."""
    return recording.name.partition(".")[0]


def load(recording: Path) -> WorkflowHistory:
    content = json.loads(recording.read_text())
    return WorkflowHistory.from_json(content["events"][0]["workflowExecutionStartedEventAttributes"]["workflowId"], content)


def save(name: str, history: WorkflowHistory, *, replace: bool, folder: Path = HISTORIES) -> Path:
    """Write a scrubbed history, beside the older ones or in their place."""
    older = [path for path in recordings(folder) if scenario_of(path) == name]
    if replace:
        for path in older:
            path.unlink()
        older = []
    number = 1 + max((int(path.name.split(".")[1]) if path.name.count(".") > 1 else 1 for path in older), default=0)
    path = folder / (f"{name}.json" if number == 1 else f"{name}.{number}.json")
    path.write_text(json.dumps(scrubbed(history.to_json_dict()), indent=1, sort_keys=True) + "\n")
    return path


def scrubbed(content: Any) -> Any:
    """Without host names, process ids, paths, and the names of the recorder's task queues. A replay uses none of them."""
    if isinstance(content, list):
        return [scrubbed(element) for element in content]
    if not isinstance(content, dict):
        return content
    cleaned = {key: scrubbed(value) for key, value in content.items() if key != "stackTrace"}
    if "identity" in cleaned:
        cleaned["identity"] = IDENTITY
    if isinstance(cleaned.get("taskQueue"), dict):
        sticky = cleaned["taskQueue"].get("kind") == "TASK_QUEUE_KIND_STICKY"
        cleaned["taskQueue"] = {**cleaned["taskQueue"], "name": STICKY_QUEUE if sticky else TASK_QUEUE}
        if "normalName" in cleaned["taskQueue"]:
            cleaned["taskQueue"]["normalName"] = TASK_QUEUE
    return cleaned


def texts(content: Any) -> Iterator[tuple[str, str]]:
    """Every text of a history with its field's name; payloads in clear."""
    if isinstance(content, list):
        for element in content:
            yield from texts(element)
    elif isinstance(content, dict):
        for key, value in content.items():
            if isinstance(value, str):
                yield key, base64.b64decode(value).decode() if key == "data" else value
            else:
                yield from texts(value)
