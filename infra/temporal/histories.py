"""A workflow's history, condensed to what says something about its transaction."""

from __future__ import annotations

import datetime as dt
import json
from typing import TYPE_CHECKING, Any, Final

from temporalio.api.enums.v1 import EventType
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from ledger import visibility
from ledger.errors import UnavailableError
from ledger.explanation import WorkflowRun, WorkflowStep
from ledger.ids import workflow_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from temporalio.api.common.v1 import Payload
    from temporalio.api.failure.v1 import Failure
    from temporalio.api.history.v1 import HistoryEvent
    from temporalio.client import Client, WorkflowExecutionDescription
    from temporalio.converter import DataConverter

_RPC_TIMEOUT: Final = dt.timedelta(seconds=5)
_LOCAL_ACTIVITY: Final = "core_local_activity"
_STATUS: Final = SearchAttributeKey.for_keyword(visibility.STATUS)
_MOST_STEPS: Final = 500
"""Of a history that goes on for longer the newest are left out: a workflow that was repeated for weeks says the same each time."""


class WorkflowHistories:
    """Reads what Temporal holds of transactions, until its retention is over."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def of_transaction(self, tenant: str, transaction_id: str) -> WorkflowRun | None:
        """The workflow of a transaction; None when Temporal doesn't know it, or not any more.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        identifier = workflow_id(tenant, transaction_id)
        handle = self._client.get_workflow_handle(identifier)
        try:
            described = await handle.describe(rpc_timeout=_RPC_TIMEOUT)
            handle = self._client.get_workflow_handle(identifier, run_id=described.run_id)
            condensed = _Condensed(self._client.data_converter)
            steps = tuple([step async for step in condensed.steps(handle.fetch_history_events(rpc_timeout=_RPC_TIMEOUT))])
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            detail = f"{error.status.name.lower().replace('_', ' ')}: {error.message}"
            raise UnavailableError(part="temporal", detail=detail) from error
        return WorkflowRun(
            workflow_id=identifier,
            run_id=described.run_id,
            status=described.status.name.lower().replace("_", " ") if described.status is not None else "unknown",
            shows=described.typed_search_attributes.get(_STATUS),
            waits_for=await _waits_for(described, self._client.data_converter),
            steps=steps,
        )


class _Condensed:
    """Turns events into steps, with names of activities and updates that stand in earlier events."""

    def __init__(self, converter: DataConverter) -> None:
        self._converter = converter
        self._activities: dict[int, str] = {}

    async def steps(self, events: AsyncIterator[HistoryEvent]) -> AsyncIterator[WorkflowStep]:
        number = 0
        async for event in events:
            told = await self._told(event)
            if told is None:
                continue
            what, failed = told
            number += 1
            if number > _MOST_STEPS:
                return
            yield WorkflowStep(at=_done_at(event), what=what, failed=failed)

    async def _told(self, event: HistoryEvent) -> tuple[str, bool] | None:
        """A sentence, and whether it tells of a failure; None for what an operator need not see."""
        summary = await self._summary(event)
        about = f" ({summary})" if summary else ""
        name = EventType.Name(event.event_type).removeprefix("EVENT_TYPE_")
        told: tuple[str, bool] | None
        match name:
            case "MARKER_RECORDED":
                told = await self._local_activity(event, about)
            case "ACTIVITY_TASK_SCHEDULED":
                kind = event.activity_task_scheduled_event_attributes.activity_type.name
                self._activities[event.event_id] = f"activity {kind}{about}"
                told = f"activity {kind}{about} is scheduled: it is repeated until it works", False
            case "WORKFLOW_EXECUTION_UPDATE_ACCEPTED":
                request = event.workflow_execution_update_accepted_event_attributes.accepted_request
                told = f"update {request.input.name} is accepted", False
            case "WORKFLOW_EXECUTION_SIGNALED":
                told = f"signal {event.workflow_execution_signaled_event_attributes.signal_name} has arrived", False
            case "UPSERT_WORKFLOW_SEARCH_ATTRIBUTES":
                told = self._status(event)
            case _ if name in _PLAIN:
                told = f"{_PLAIN[name]}{about}", name in _FAILED
            case _:
                told = await self._of_attempts(event, name)
        return told

    async def _of_attempts(self, event: HistoryEvent, name: str) -> tuple[str, bool] | None:
        """How an ordinary activity, a workflow task or the workflow itself came on, with the failure that stands in the event."""
        attributes: Any = getattr(event, f"{event.WhichOneof('attributes')}")
        scheduled = self._activities.get(getattr(attributes, "scheduled_event_id", 0), "activity")
        told: tuple[str, bool] | None = None
        match name:
            case "ACTIVITY_TASK_STARTED" if attributes.HasField("last_failure"):
                why = await self._failure(attributes.last_failure)
                told = f"{scheduled} begins its last attempt, number {attributes.attempt}; before that: {why}", True
            case "ACTIVITY_TASK_COMPLETED":
                told = f"{scheduled} is done", False
            case "ACTIVITY_TASK_FAILED" | "ACTIVITY_TASK_TIMED_OUT":
                told = f"{scheduled} has failed for good: {await self._failure(attributes.failure)}", True
            case "WORKFLOW_TASK_FAILED":
                told = f"a workflow task failed, and is repeated: {await self._failure(attributes.failure)}", True
            case "WORKFLOW_EXECUTION_FAILED":
                told = f"the workflow has failed: {await self._failure(attributes.failure)}", True
        return told

    async def _local_activity(self, event: HistoryEvent, about: str) -> tuple[str, bool] | None:
        marker = event.marker_recorded_event_attributes
        if marker.marker_name != _LOCAL_ACTIVITY:
            return None
        told = json.loads(marker.details["data"].payloads[0].data)
        kind = told["activity_type"]
        if not marker.HasField("failure"):
            return f"local activity {kind}{about} is done", False
        why = await self._failure(marker.failure)
        return f"local activity {kind}{about} has failed at attempt {told.get('attempt', 1)}: {why}", True

    def _status(self, event: HistoryEvent) -> tuple[str, bool] | None:
        fields = event.upsert_workflow_search_attributes_event_attributes.search_attributes.indexed_fields
        if visibility.STATUS not in fields:
            return None
        status = json.loads(fields[visibility.STATUS].data)
        return f"the workflow shows the transaction as {status}", status == "parked"

    async def _summary(self, event: HistoryEvent) -> str:
        if not event.HasField("user_metadata") or not event.user_metadata.HasField("summary"):
            return ""
        return await _text(self._converter, [event.user_metadata.summary])

    async def _failure(self, failure: Failure) -> str:
        return await _failure_text(self._converter, failure)


_PLAIN: Final = {
    "WORKFLOW_EXECUTION_STARTED": "the workflow starts",
    "WORKFLOW_EXECUTION_COMPLETED": "the workflow has ended",
    "WORKFLOW_EXECUTION_CANCEL_REQUESTED": "a cancel has arrived",
    "WORKFLOW_EXECUTION_CANCELED": "the workflow has ended as cancelled",
    "WORKFLOW_EXECUTION_TERMINATED": "the workflow was terminated",
    "WORKFLOW_EXECUTION_TIMED_OUT": "the workflow has run out of time",
    "WORKFLOW_EXECUTION_CONTINUED_AS_NEW": "the workflow goes on in a new run",
    "WORKFLOW_EXECUTION_UPDATE_COMPLETED": "the update is answered",
    "WORKFLOW_TASK_TIMED_OUT": "a worker was lost, or too slow; another one goes on",
    "TIMER_STARTED": "a timer starts",
    "TIMER_FIRED": "the timer has fired",
    "TIMER_CANCELED": "the timer is not needed any more",
}
_FAILED: Final = frozenset({"WORKFLOW_EXECUTION_TERMINATED", "WORKFLOW_EXECUTION_TIMED_OUT", "WORKFLOW_TASK_TIMED_OUT"})


def _done_at(event: HistoryEvent) -> dt.datetime:
    """When it happened. What local activities did is written down later, all together with the next command: their own time is in it."""
    attributes = event.marker_recorded_event_attributes
    if event.HasField("marker_recorded_event_attributes") and attributes.marker_name == _LOCAL_ACTIVITY:
        completed = json.loads(attributes.details["data"].payloads[0].data).get("complete_time")
        if completed:
            return dt.datetime.fromtimestamp(completed["seconds"], tz=dt.UTC) + dt.timedelta(microseconds=completed["nanos"] // 1_000)
    return event.event_time.ToDatetime(dt.UTC)


async def _waits_for(described: WorkflowExecutionDescription, converter: DataConverter) -> str | None:
    waiting = []
    for activity in described.raw_description.pending_activities:
        why = f", since {await _failure_text(converter, activity.last_failure)}" if activity.HasField("last_failure") else ""
        waiting.append(f"activity {activity.activity_type.name}, attempt {activity.attempt}{why}")
    return "; ".join(waiting) or None


async def _failure_text(converter: DataConverter, failure: Failure) -> str:
    """The innermost failure, which says what was wrong; the ones around it say only where."""
    error: BaseException = await converter.decode_failure(failure)
    while error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, ApplicationError):
        return f"{error.type}: {error.message}"
    return f"{type(error).__name__}: {error}"


async def _text(converter: DataConverter, payloads: Iterable[Payload]) -> str:
    (value,) = await converter.decode(list(payloads), [str])
    return str(value)
