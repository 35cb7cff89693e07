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
    from collections.abc import AsyncIterator, Iterable

    from temporalio.client import Client

_WORKFLOW_TYPE: Final = "TransactionWorkflow"
_AT_ONCE: Final = 32


class TransactionExecutions:
    """The workflows of one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._query = f"WorkflowType = '{_WORKFLOW_TYPE}' AND TaskQueue = '{task_queue}'"

    async def given_up(self, *, at_once: int) -> AsyncIterator[dict[str, str]]:
        """Workflow id to status, of those that ended without an outcome: failed, terminated, timed out, or cancelled; so many at once.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        query = f"{self._query} AND ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
        page: dict[str, str] = {}
        try:
            async for found in self._client.list_workflows(query):
                if found.status is not None:
                    page[found.id] = found.status.name.lower()
                if len(page) >= at_once:
                    yield page
                    page = {}
        except RPCError as error:
            raise _unavailable(error) from error
        if page:
            yield page

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

    async def not_carried(self, transactions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Those of the transactions (tenant and id) that no workflow carries now, with the status that theirs ended in.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def ended_as(tenant: str, transaction_id: str) -> str | None:
            async with slots:
                try:
                    described = await self._client.get_workflow_handle(workflow_id(tenant, transaction_id)).describe()
                except RPCError as error:
                    if error.status is RPCStatusCode.NOT_FOUND:
                        return "unknown to Temporal"
                    raise _unavailable(error) from error
                if described.status is None or described.status is WorkflowExecutionStatus.RUNNING:
                    return None
                return described.status.name.lower()

        asked = tuple(transactions)
        answers = await asyncio.gather(*(ended_as(tenant, transaction_id) for tenant, transaction_id in asked))
        return {transaction: status for transaction, status in zip(asked, answers, strict=True) if status is not None}


def _unavailable(error: RPCError) -> UnavailableError:
    return UnavailableError(part="temporal", detail=f"{error.status.name.lower().replace('_', ' ')}: {error.message}")
