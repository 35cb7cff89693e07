"""Statements: an account's lines in the order of booking, with a running balance, page by page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from ledger.documents import DocumentFormat
from ledger.ids import parse_account_id
from ledger.statements import StatementRequest
from starter.api import documents
from starter.api.answers import answer
from starter.api.documents import DOCUMENTED, refuse_pages
from starter.api.models.statements import StatementQuery, StatementView
from starter.api.negotiation import format_asked
from starter.api.services import ReadsAccounts, UsesServices

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])


@router.get(
    "/{account_id}/statement", response_model=StatementView, responses={**DOCUMENTED, **answer(404, "The tenant has no such account.")}
)
async def read_statement(
    account_id: str, query: Annotated[StatementQuery, Query()], request: Request, services: UsesServices, principal: ReadsAccounts
) -> StatementView | Response:
    """One page. A settled line never changes, and no line ever comes before it that wasn't there; provisional lines may still move.

    As CSV, PDF or camt.053 it is the whole period, of settled lines only, with its opening and its closing balance.
    """
    parse_account_id(account_id, field="account_id")
    asked = format_asked(request, query.format)
    if asked is not DocumentFormat.JSON:
        refuse_pages(query.model_fields_set, asked)
        return await documents.period(services, principal.tenant, account_id, asked, query.since, query.until)
    wanted = StatementRequest.parse(account_id, **query.model_dump(exclude={"format"}))
    return StatementView.of(await services.statements.page(principal.tenant, wanted))
