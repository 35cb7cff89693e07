"""Several transactions in one request, each with an answer of its own."""

from __future__ import annotations

import asyncio
import json
from http import HTTPStatus
from typing import Annotated, Any, Final

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import Field, ValidationError, WithJsonSchema

from ledger.ids import batch_transaction_id, key_transaction_id
from ledger.principals import Principal
from starter.api import problems
from starter.api.models.fields import Answer, StrictBody
from starter.api.models.problems import Problem
from starter.api.models.transactions import TransactionBody, TransactionView
from starter.api.services import ReadsTransactions, Services, UsesServices, WritesTransactions
from starter.api.transactions import IdempotencyKey, Prefer, bound_id, carry_out, check_key, transaction_request

router = APIRouter(prefix="/v1/transactions", tags=["transactions"])

MAX_BATCH: Final = 100
"""Transactions of one request."""
_AT_ONCE: Final = 25
"""Transactions of one request that are started at one time."""


class BatchBody(StrictBody):
    """Transactions that have nothing to do with each other."""

    transactions: Annotated[
        list[Annotated[object, WithJsonSchema({"$ref": "#/components/schemas/TransactionBody"})]],
        Field(min_length=1, max_length=MAX_BATCH),
    ]


class BatchResult(Answer):
    """What one of the transactions would have been answered with by itself."""

    status: int
    """The HTTP status code."""
    transaction: TransactionView | None = None
    """Where the status is 200, 201 or 202."""
    problem: Problem | None = None
    """Elsewhere."""


class BatchView(Answer):
    """One result for each transaction, in their order."""

    results: list[BatchResult]


@router.post("/batch", response_model_exclude_none=True)
async def submit_batch(
    body: BatchBody,
    request: Request,
    services: UsesServices,
    principal: WritesTransactions,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> BatchView:
    """Submit up to 100 transactions, each as if it came by itself: one that is refused, or malformed, leaves its neighbours alone.

    They are carried out at the same time, in no order, and waited for together. The same `transaction_id` twice is a repeat, as ever. An
    `Idempotency-Key` is bound to the whole batch; the same batch again then joins all of its transactions, those without an id included.
    """
    check_key(idempotency_key)
    if idempotency_key is not None:
        batch_id = key_transaction_id(principal.tenant, principal.name, idempotency_key)
        await bound_id(batch_id, {"batch": body.transactions}, services, principal, idempotency_key)
    slots = asyncio.Semaphore(_AT_ONCE)

    async def result(number: int, content: object) -> BatchResult:
        async with slots:
            return await _result(number, content, request, services, principal, idempotency_key, prefer)

    return BatchView(results=await asyncio.gather(*(result(number, content) for number, content in enumerate(body.transactions))))


@router.get("/batch", include_in_schema=False)
async def read_no_batch(_principal: ReadsTransactions) -> None:
    """Answer that there is nothing to read; otherwise the path would be that of a transaction with an odd id."""
    raise HTTPException(HTTPStatus.METHOD_NOT_ALLOWED)


async def _result(
    number: int,
    content: object,
    request: Request,
    services: Services,
    principal: Principal,
    idempotency_key: str | None,
    prefer: str | None,
) -> BatchResult:
    response = Response()
    try:
        body = _body(content)
        if idempotency_key is not None and body.transaction_id is None:
            derived = batch_transaction_id(principal.tenant, principal.name, idempotency_key, number)
            body = body.model_copy(update={"transaction_id": derived})
        asked = await transaction_request(body, services, principal, None)
        view = await carry_out(asked, services, prefer, response)
    except Exception as error:  # noqa: BLE001  each is answered as if the transaction had come by itself, defects included
        refused = problems.answer_to(request, error)
        found: dict[str, Any] = json.loads(bytes(refused.body))
        return BatchResult(status=refused.status_code, problem=Problem.model_validate(found))
    return BatchResult(status=response.status_code, transaction=view)


def _body(content: object) -> TransactionBody:
    try:
        return TransactionBody.model_validate(content)
    except ValidationError as error:
        raise RequestValidationError([{**found, "loc": ("body", *found["loc"])} for found in error.errors()]) from None
