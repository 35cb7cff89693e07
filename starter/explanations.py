"""Explains a transaction from the request to the last consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from infra.temporal.histories import WorkflowHistories
from ledger.errors import NotFoundError, UnavailableError
from ledger.explanation import explain
from ledger.results import TransactionStatus

if TYPE_CHECKING:
    from infra.postgres.explanation import PostgresExplanations
    from ledger.explanation import Explanation, Recorded, WorkflowRun
    from starter.submit import TemporalConnection

_FORGOTTEN = "Temporal does not know the workflow, or has forgotten it after its retention; the ledger's record is complete without it"
_RUNNING = "running"


class Explanations:
    """Puts together what PostgreSQL and Temporal hold."""

    def __init__(self, recorded: PostgresExplanations, temporal: TemporalConnection) -> None:
        self._recorded = recorded
        self._temporal = temporal

    async def of(self, tenant: str, transaction_id: str) -> Explanation:
        """Explain a transaction. Without Temporal it is told what the ledger holds, and that the workflow is missing.

        Raises:
            NotFoundError: the tenant has no such transaction.
            UnavailableError: PostgreSQL did not answer; or Temporal didn't, and nothing is recorded of the transaction.
        """
        # Temporal first: what it tells of an outcome stands in the database by then.
        workflow, away, gaps = None, None, []
        try:
            workflow = await WorkflowHistories(await self._temporal.client()).of_transaction(tenant, transaction_id)
        except UnavailableError as error:
            away = error
        recorded = await self._recorded.recorded(tenant, transaction_id)
        if recorded is None and workflow is None:
            if away is not None:
                raise away
            raise NotFoundError(kind="transaction", identifier=transaction_id)
        if workflow is None:
            gaps.append(f"the workflow could not be read: {away}" if away is not None else _FORGOTTEN)
        return explain(transaction_id, recorded, workflow, status=_status(recorded, workflow, away=away is not None), gaps=gaps)


def _status(recorded: Recorded | None, workflow: WorkflowRun | None, *, away: bool) -> TransactionStatus:
    """The ledger's status where it is final; else the workflow says whether anybody carries the transaction on."""
    if recorded is not None and recorded.transaction.result.final:
        return recorded.transaction.result.status
    if away:
        return TransactionStatus.PROCESSING
    carried = workflow is not None and workflow.status == _RUNNING and workflow.shows != TransactionStatus.PARKED
    return TransactionStatus.PROCESSING if carried else TransactionStatus.PARKED
