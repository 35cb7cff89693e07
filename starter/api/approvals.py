"""Transactions that wait: approve, decline, cancel."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, Response

from ledger.commands import APPROVE, CANCEL, DECLINE
from ledger.ids import parse_transaction_id
from ledger.principals import Principal
from starter.api.answers import LOCATION
from starter.api.models.transactions import DecisionBody, TransactionView
from starter.api.services import ApprovesTransactions, Services, UsesServices, WritesTransactions
from starter.api.transactions import Prefer, wait_seconds_of

router = APIRouter(prefix="/v1/transactions", tags=["transactions"])

_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": TransactionView, "description": "It is final.", "headers": LOCATION},
    202: {"model": TransactionView, "description": "It is taken; the transaction goes on, or waits for its date.", "headers": LOCATION},
    404: {"description": "The tenant has no such transaction."},
    409: {"description": "It is too late, or too early (`not-cancellable`)."},
}
_BY_A_SECOND_PERSON: Final[dict[int | str, dict[str, Any]]] = {
    **_ANSWERS,
    403: {
        "description": "The key lacks the scope `transactions:approve` (`missing-scope`), or its principal submitted the transaction "
        "(`same-principal`)."
    },
    409: {"description": "It doesn't wait for an approval (`not-waiting`), or no longer (`approval-expired`)."},
}


@router.post("/{transaction_id}/approve", responses=_BY_A_SECOND_PERSON)
async def approve(
    transaction_id: str,
    response: Response,
    services: UsesServices,
    principal: ApprovesTransactions,
    body: DecisionBody | None = None,
    prefer: Prefer = None,
) -> TransactionView:
    """Let a transaction go on that waits for an approval. Who submitted it can't; the same principal may ask again."""
    return await _decide(APPROVE, transaction_id, body, services, principal, prefer, response)


@router.post("/{transaction_id}/decline", responses=_BY_A_SECOND_PERSON)
async def decline(
    transaction_id: str,
    response: Response,
    services: UsesServices,
    principal: ApprovesTransactions,
    body: DecisionBody | None = None,
    prefer: Prefer = None,
) -> TransactionView:
    """Refuse a transaction that waits for an approval: nothing is posted, and what was posted is taken back."""
    return await _decide(DECLINE, transaction_id, body, services, principal, prefer, response)


@router.post("/{transaction_id}/cancel", responses=_ANSWERS)
async def cancel(
    transaction_id: str,
    response: Response,
    services: UsesServices,
    principal: WritesTransactions,
    body: DecisionBody | None = None,
    prefer: Prefer = None,
) -> TransactionView:
    """End a transaction before its posting has begun: it is rejected as `cancelled`. After that a reversal takes it back."""
    return await _decide(CANCEL, transaction_id, body, services, principal, prefer, response)


async def _decide(
    action: str,
    transaction_id: str,
    body: DecisionBody | None,
    services: Services,
    principal: Principal,
    prefer: str | None,
    response: Response,
) -> TransactionView:
    identifier = parse_transaction_id(transaction_id)
    await services.commands.send(
        action,
        tenant=principal.tenant,
        transaction_id=identifier,
        by=principal.name,
        reason=body.reason if body is not None else None,
        wait_seconds=wait_seconds_of(prefer),
    )
    submission = await services.starter.look_up(principal.tenant, identifier)
    response.status_code = HTTPStatus.OK if submission.result.final else HTTPStatus.ACCEPTED
    response.headers["Location"] = f"/v1/transactions/{identifier}"
    return TransactionView.of(submission.result, submission.request, reversed_amount=submission.reversed_amount, actions=submission.actions)
