"""Holds: authorise, look up, void, capture."""

from __future__ import annotations

import uuid
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Response

from ledger.errors import NotFoundError
from ledger.holds import Hold, HoldRequest
from ledger.ids import key_hold_id, parse_account_id, parse_transaction_id
from ledger.money import Money
from ledger.principals import Principal
from ledger.statements import parse_instant
from starter.api.answers import LOCATION, answer
from starter.api.models.holds import CaptureBody, HoldBody, HoldView
from starter.api.models.transactions import TransactionView
from starter.api.services import ReadsTransactions, Services, UsesServices, WritesHolds
from starter.api.transactions import ANSWERS, IdempotencyKey, Prefer, bound_id, capture_request, carry_out, check_key

router = APIRouter(prefix="/v1/holds", tags=["holds"])

_NOT_FOUND: Final = answer(404, "The tenant has no such hold.")


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"model": HoldView, "description": "It was decided before, with the same content.", "headers": LOCATION},
        201: {"description": "It is decided: open, or refused for a reason.", "headers": LOCATION},
        409: {"description": "The hold_id was used before with other content (`hold-conflict`)."},
    },
)
async def authorise(
    body: HoldBody,
    response: Response,
    services: UsesServices,
    principal: WritesHolds,
    idempotency_key: IdempotencyKey = None,
) -> HoldView:
    """Set money aside for later debits. A refusal is a final result of status `refused`, not an HTTP error.

    It is decided as a debit is, and counts towards the account's limits now; what captures it later doesn't count again.
    """
    check_key(idempotency_key)
    given = parse_transaction_id(body.hold_id, field="hold_id") if body.hold_id is not None else None
    if given is None and idempotency_key is not None:
        given = key_hold_id(principal.tenant, principal.name, idempotency_key)
    content = {"hold": body.model_dump(mode="json")}
    request = HoldRequest(
        tenant=principal.tenant,
        hold_id=given or str(uuid.uuid4()),
        account_id=parse_account_id(body.account_id, field="account_id"),
        amount=Money.parse(body.amount, body.currency),
        expires_at=parse_instant(body.expires_at, field="expires_at"),
        reference=body.reference,
        authorised_by=principal.name,
    )
    bound = await bound_id(request.hold_id, content, services, principal, idempotency_key)
    request = request.model_copy(update={"hold_id": bound})
    hold, started = await services.hold_starter.authorise(request)
    response.status_code = HTTPStatus.CREATED if started else HTTPStatus.OK
    response.headers["Location"] = f"/v1/holds/{hold.hold_id}"
    return HoldView.of(hold)


@router.get("/{hold_id}", responses=_NOT_FOUND)
async def read_hold(hold_id: str, services: UsesServices, principal: ReadsTransactions) -> HoldView:
    """A hold as it stands. One that is past its end has expired, and holds nothing."""
    return HoldView.of(await _hold(hold_id, services, principal))


@router.post("/{hold_id}/void", responses=_NOT_FOUND | answer(409, "It was captured or refused, or has expired (`hold-not-voidable`)."))
async def void(hold_id: str, services: UsesServices, principal: WritesHolds) -> HoldView:
    """Release what an open hold still holds. Voiding it twice changes nothing."""
    return HoldView.of(
        await services.hold_starter.void(principal.tenant, parse_transaction_id(hold_id, field="hold_id"), by=principal.name)
    )


@router.post(
    "/{hold_id}/capture",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        **ANSWERS,
        **_NOT_FOUND,
        409: {"description": "The transaction_id was used before with other content (`transaction-conflict`)."},
    },
)
async def capture(
    hold_id: str,
    response: Response,
    services: UsesServices,
    principal: WritesHolds,
    body: CaptureBody | None = None,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> TransactionView:
    """Take what a hold set aside, or a part of it, by a transaction. It is refused neither for funds nor for limits.

    Without an amount it takes all that is left, once: asked again, it answers the same capture.
    """
    hold = await _hold(hold_id, services, principal)
    request = await capture_request(hold, body or CaptureBody(), services, principal, idempotency_key)
    captured = await carry_out(request, services, prefer, response)
    if hold.announced:
        await services.hold_starter.captured(hold.tenant, hold.hold_id, request.transaction_id)
    return captured


async def _hold(hold_id: str, services: Services, principal: Principal) -> Hold:
    hold_id = parse_transaction_id(hold_id, field="hold_id")
    hold = await services.holds.get(principal.tenant, hold_id)
    if hold is None:
        raise NotFoundError(kind="hold", identifier=hold_id)
    return hold
