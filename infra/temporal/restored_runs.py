"""Which workflows believe done what a restored ledger has lost, and how they make room for the same ids. See decision record 0041."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import unavailable
from infra.temporal.requests import request_of
from ledger.errors import UnavailableError
from ledger.restores import CarriedRun, LostKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from temporalio.client import Client

    from ledger.requests import TransactionRequest

_KINDS: Final = {
    "TransactionWorkflow": LostKind.TRANSACTION,
    "HoldWorkflow": LostKind.HOLD,
    "PaymentFileWorkflow": LostKind.FILE,
}
_IDENTIFIER: Final = re.compile(r"(?:transaction|settlement|hold|file)-(?P<tenant>.+)-(?P<identifier>[0-9a-fA-F-]{36})")
_RPC_TIMEOUT: Final = dt.timedelta(seconds=10)
_GONE_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.1
_LOCAL_ACTIVITY: Final = "core_local_activity"


class RestoredRuns:
    """The workflows of one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._task_queue = task_queue

    async def since(self, instant: dt.datetime | None, *, at_once: int) -> AsyncIterator[Sequence[CarriedRun]]:
        """Workflows that run, and those that completed since `instant`, so many at once.

        Those that were terminated or failed are left out: they have no outcome, and the sweep settles what they have left.

        Args:
            instant: None: since ever.
            at_once: of one page.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        closed = "ExecutionStatus = 'Completed'" + (f" AND CloseTime >= '{instant.isoformat()}'" if instant is not None else "")
        kinds = ", ".join(f"'{name}'" for name in _KINDS)
        query = f"TaskQueue = '{self._task_queue}' AND WorkflowType IN ({kinds}) AND (ExecutionStatus = 'Running' OR ({closed}))"
        page: list[CarriedRun] = []
        try:
            async for found in self._client.list_workflows(query):
                matched = _IDENTIFIER.fullmatch(found.id)
                if matched is None:
                    continue
                page.append(
                    CarriedRun(
                        kind=_KINDS[found.workflow_type],
                        tenant=matched["tenant"],
                        identifier=matched["identifier"].lower(),
                        workflow_id=found.id,
                        run_id=found.run_id,
                        status="running" if found.status is WorkflowExecutionStatus.RUNNING else "completed",
                    )
                )
                if len(page) >= at_once:
                    yield page
                    page = []
        except RPCError as error:
            raise unavailable(error) from error
        if page:
            yield page

    async def done(self, run: CarriedRun) -> Counter[str]:
        """How often each activity of a workflow has ended well, by its name.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        done: Counter[str] = Counter()
        scheduled: dict[int, str] = {}
        handle = self._client.get_workflow_handle(run.workflow_id, run_id=run.run_id)
        try:
            async for event in handle.fetch_history_events(rpc_timeout=_RPC_TIMEOUT):
                if event.event_type == EventType.EVENT_TYPE_MARKER_RECORDED:
                    marker = event.marker_recorded_event_attributes
                    if marker.marker_name == _LOCAL_ACTIVITY and not marker.HasField("failure"):
                        done[json.loads(marker.details["data"].payloads[0].data)["activity_type"]] += 1
                elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED:
                    scheduled[event.event_id] = event.activity_task_scheduled_event_attributes.activity_type.name
                elif event.event_type == EventType.EVENT_TYPE_ACTIVITY_TASK_COMPLETED:
                    done[scheduled[event.activity_task_completed_event_attributes.scheduled_event_id]] += 1
        except RPCError as error:
            raise unavailable(error) from error
        return done

    async def request(self, run: CarriedRun) -> TransactionRequest | None:
        """What a transaction was asked for.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        return await request_of(self._client, run.workflow_id) if run.kind is LostKind.TRANSACTION else None

    async def remove(self, run: CarriedRun) -> None:
        """Delete a workflow with its history, ending it first if it runs, and wait until its id is free.

        Raises:
            UnavailableError: Temporal did not answer, or did not delete it in time.
        """
        execution = WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id)
        handle = self._client.get_workflow_handle(run.workflow_id, run_id=run.run_id)
        try:
            await self._client.workflow_service.delete_workflow_execution(
                DeleteWorkflowExecutionRequest(namespace=self._client.namespace, workflow_execution=execution), timeout=_RPC_TIMEOUT
            )
            async with asyncio.timeout(_GONE_SECONDS):
                while True:
                    await handle.describe(rpc_timeout=_RPC_TIMEOUT)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            raise UnavailableError(part="temporal", detail=f"{run.workflow_id} was not deleted within {_GONE_SECONDS:.0f} s") from error
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise unavailable(error) from error
