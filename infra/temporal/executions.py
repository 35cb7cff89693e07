"""Which transactions Temporal carries, and which it has given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from temporalio.client import WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from ledger import visibility
from ledger.errors import UnavailableError
from ledger.ids import workflow_id

if TYPE_CHECKING:
    from collections.abc import Iterable

    from temporalio.client import Client

_WORKFLOW_TYPE: Final = "TransactionWorkflow"
_AT_ONCE: Final = 32


class TransactionExecutions:
    """The workflows of one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._query = f"WorkflowType = '{_WORKFLOW_TYPE}' AND TaskQueue = '{task_queue}'"

    async def given_up(self) -> dict[str, str]:
        """Workflow id to status, of those that ended without an outcome: failed, terminated, timed out, or cancelled.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        query = f"{self._query} AND ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
        try:
            return {found.id: found.status.name.lower() async for found in self._client.list_workflows(query) if found.status is not None}
        except RPCError as error:
            raise _unavailable(error) from error

    async def parked(self) -> int:
        """How many stand parked for an operator.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        query = f"{self._query} AND ExecutionStatus = 'Running' AND {visibility.STATUS} = 'parked'"
        try:
            return (await self._client.count_workflows(query)).count
        except RPCError as error:
            raise _unavailable(error) from error

    async def running(self, transactions: Iterable[tuple[str, str]]) -> frozenset[tuple[str, str]]:
        """Those of the transactions (tenant and id) that a workflow carries now.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def is_running(tenant: str, transaction_id: str) -> bool:
            async with slots:
                try:
                    described = await self._client.get_workflow_handle(workflow_id(tenant, transaction_id)).describe()
                except RPCError as error:
                    if error.status is RPCStatusCode.NOT_FOUND:
                        return False
                    raise _unavailable(error) from error
                return described.status is WorkflowExecutionStatus.RUNNING

        asked = tuple(transactions)
        answers = await asyncio.gather(*(is_running(tenant, transaction_id) for tenant, transaction_id in asked))
        return frozenset(transaction for transaction, answer in zip(asked, answers, strict=True) if answer)


def _unavailable(error: RPCError) -> UnavailableError:
    return UnavailableError(part="temporal", detail=f"{error.status.name.lower().replace('_', ' ')}: {error.message}")
