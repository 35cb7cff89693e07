"""What became of a transaction, in one timeline."""

from __future__ import annotations

import structlog
from fastapi import APIRouter

from ledger.explanation import Explanation
from ledger.ids import parse_transaction_id
from starter.api.answers import answer
from starter.api.services import ReadsTransactions, UsesServices

router = APIRouter(prefix="/v1/transactions", tags=["transactions"])


@router.get("/{transaction_id}/explanation", responses=answer(404, "The tenant has no such transaction."))
async def explain(transaction_id: str, services: UsesServices, principal: ReadsTransactions) -> Explanation:
    """A transaction from the request to the last consumer: rate, decisions, entries on both sides, events, operators and workflow.

    Without Temporal it tells what the ledger holds, and names the gap.
    """
    identifier = parse_transaction_id(transaction_id)
    structlog.contextvars.bind_contextvars(transaction_id=identifier)
    return await services.explanations.of(principal.tenant, identifier)
