"""Which transactions Temporal carries, and which it has given up."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import unavailable
from infra.temporal.requests import request_of
from ledger import visibility
from ledger.errors import InvalidInputError
from ledger.ids import hold_workflow_id, settlement_id, transaction_of_workflow, workflow_id
from ledger.results import TransactionStatus, WaitingKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence

    from temporalio.client import Client

    from ledger.requests import TransactionRequest

_WORKFLOW_TYPE: Final = "TransactionWorkflow"
_FILE_WORKFLOW_TYPE: Final = "PaymentFileWorkflow"
_AT_ONCE: Final = 32
_RUNNING: Final = "running"
_PARKED: Final = f"{visibility.STATUS} = '{TransactionStatus.PARKED.value}'"


@dataclass(frozen=True)
class StandingCounts:
    """Transactions of a tenant that have a running workflow."""

    carried: int
    """All of them; one that has an outcome is among them until its last event is published."""
    parked: int
    waiting: dict[str, int]
    """By what they wait for."""


class TransactionExecutions:
    """The workflows of one task queue."""

    def __init__(self, client: Client, task_queue: str) -> None:
        self._client = client
        self._files = f"WorkflowType = '{_FILE_WORKFLOW_TYPE}' AND TaskQueue = '{task_queue}' AND ExecutionStatus = 'Running'"
        self._query = f"WorkflowType = '{_WORKFLOW_TYPE}' AND TaskQueue = '{task_queue}'"

    async def given_up(self, *, at_once: int, until: dt.datetime | None = None) -> AsyncIterator[dict[str, str]]:
        """Workflow id to status, of those that ended without an outcome: failed, terminated, timed out, or cancelled; so many at once.

        Args:
            at_once: of one page.
            until: those that ended until then; None: all of them.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        query = f"{self._query} AND ExecutionStatus IN ('Failed', 'Terminated', 'TimedOut', 'Canceled')"
        if until is not None:
            query += f" AND CloseTime <= '{until.isoformat()}'"
        page: dict[str, str] = {}
        try:
            async for found in self._client.list_workflows(query):
                if found.status is not None:
                    page[found.id] = found.status.name.lower()
                if len(page) >= at_once:
                    yield page
                    page = {}
        except RPCError as error:
            raise unavailable(error) from error
        if page:
            yield page

    async def parked(self) -> int:
        """How many stand parked for an operator.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        query = f"{self._query} AND ExecutionStatus = 'Running' AND {_PARKED}"
        try:
            return (await self._client.count_workflows(query)).count
        except RPCError as error:
            raise unavailable(error) from error

    async def in_flight(self) -> tuple[int, int, int]:
        """How many transactions are carried and wait for nobody, how many wait or stand parked, and how many files are on their way.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        running = f"{self._query} AND ExecutionStatus = 'Running'"
        waiting = f"{running} AND {visibility.WAITING_FOR} IS NOT NULL AND {visibility.STATUS} != '{TransactionStatus.PARKED.value}'"
        queries = (running, waiting, f"{running} AND {_PARKED}", self._files, f"{self._files} AND {visibility.STATUS} = 'paused'")
        try:
            found = await asyncio.gather(*(self._client.count_workflows(query) for query in queries))
        except RPCError as error:
            raise unavailable(error) from error
        carried, waits, parked, files, paused = (each.count for each in found)
        # Counted one after the other while they move.
        return max(0, carried - waits - parked), waits + parked, max(0, files - paused)

    async def counts(self, tenant: str) -> StandingCounts:
        """How many of a tenant's transactions Temporal carries now.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        running = self._running_of(tenant)
        queries = (running, f"{running} AND {_PARKED}", *(f"{running} AND {visibility.WAITING_FOR} = '{kind}'" for kind in WaitingKind))
        try:
            found = await asyncio.gather(*(self._client.count_workflows(query) for query in queries))
        except RPCError as error:
            raise unavailable(error) from error
        carried, parked, *waiting = (each.count for each in found)
        return StandingCounts(
            carried=carried, parked=parked, waiting={kind.value: count for kind, count in zip(WaitingKind, waiting, strict=True)}
        )

    async def standing(self, tenant: str, *, at_most: int) -> list[str]:
        """Ids of a tenant's transactions that stand parked, or wait for an approval or their day; the newest first.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        query = f"{self._running_of(tenant)} AND ({_PARKED} OR {visibility.WAITING_FOR} IS NOT NULL)"
        try:
            found = [execution.id async for execution in self._client.list_workflows(query, limit=at_most, page_size=at_most)]
        except RPCError as error:
            raise unavailable(error) from error
        return [key[1] for identifier in found if (key := _transaction_of(identifier)) is not None]

    def _running_of(self, tenant: str) -> str:
        quoted = tenant.replace("'", "''")
        return f"{self._query} AND ExecutionStatus = 'Running' AND {visibility.TENANT} = '{quoted}'"

    async def given_up_transactions(self, *, older_than: dt.timedelta, at_once: int) -> AsyncIterator[Sequence[tuple[str, str]]]:
        """See :meth:`ledger.ports.TransactionRuns.given_up_transactions`."""
        # By the clock of this process, which need not be the server's to the second.
        until = dt.datetime.now(dt.UTC) - older_than
        async for page in self.given_up(at_once=at_once, until=until):
            yield list(dict.fromkeys(key for identifier in page if (key := _transaction_of(identifier)) is not None))

    async def request(self, tenant: str, transaction_id: str) -> TransactionRequest | None:
        """See :meth:`ledger.ports.TransactionRuns.request`."""
        return await request_of(self._client, workflow_id(tenant, transaction_id))

    async def not_carried(self, transactions: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Those of the transactions (tenant and id) that no workflow carries or settles now, with the status that theirs ended in.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        slots = asyncio.Semaphore(_AT_ONCE)

        async def ended_as(tenant: str, transaction_id: str) -> str | None:
            async with slots:
                own = await self._status(workflow_id(tenant, transaction_id))
                if own == _RUNNING or await self._status(settlement_id(tenant, transaction_id)) == _RUNNING:
                    return None
                return own or "unknown to Temporal"

        asked = tuple(transactions)
        answers = await asyncio.gather(*(ended_as(tenant, transaction_id) for tenant, transaction_id in asked))
        return {transaction: status for transaction, status in zip(asked, answers, strict=True) if status is not None}

    async def holds_not_carried(self, holds: Iterable[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """See :meth:`ledger.ports.HoldRuns.holds_not_carried`."""
        slots = asyncio.Semaphore(_AT_ONCE)

        async def status_of(tenant: str, hold_id: str) -> str:
            async with slots:
                return await self._status(hold_workflow_id(tenant, hold_id)) or "unknown to Temporal"

        asked = tuple(holds)
        answers = await asyncio.gather(*(status_of(tenant, hold_id) for tenant, hold_id in asked))
        return {hold: status for hold, status in zip(asked, answers, strict=True) if status != _RUNNING}

    async def _status(self, identifier: str) -> str | None:
        """Of the newest run with this workflow id; None where Temporal doesn't know it."""
        try:
            described = await self._client.get_workflow_handle(identifier).describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise unavailable(error) from error
        return described.status.name.lower() if described.status is not None else _RUNNING


def _transaction_of(identifier: str) -> tuple[str, str] | None:
    try:
        return transaction_of_workflow(identifier)
    except InvalidInputError:
        return None
