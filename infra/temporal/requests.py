"""What a transaction was asked for, where only Temporal knows it yet: the ledger has a row once something is posted or refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import GetWorkflowExecutionHistoryRequest
from temporalio.service import RPCError, RPCStatusCode

from ledger.errors import UnavailableError
from ledger.requests import TransactionRequest

if TYPE_CHECKING:
    from temporalio.client import Client

_RPC_TIMEOUT: Final = dt.timedelta(seconds=5)


async def request_of(client: Client, workflow_id: str) -> TransactionRequest | None:
    """The request that a workflow was started with, from the first event of its history; None when Temporal doesn't know the workflow.

    No worker has to run for this, as one would for a query.

    Raises:
        UnavailableError: Temporal did not answer.
    """
    try:
        history = await client.workflow_service.get_workflow_execution_history(
            GetWorkflowExecutionHistoryRequest(
                namespace=client.namespace, execution=WorkflowExecution(workflow_id=workflow_id), maximum_page_size=1
            ),
            timeout=_RPC_TIMEOUT,
        )
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise UnavailableError(part="temporal", detail=f"{error.status.name.lower().replace('_', ' ')}: {error.message}") from error
    started = history.history.events[0].workflow_execution_started_event_attributes
    (request,) = await client.data_converter.decode(started.input.payloads[:1], [TransactionRequest])
    return request if isinstance(request, TransactionRequest) else None
