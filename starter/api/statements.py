"""Statements: an account's lines in the order of booking, with a running balance, page by page."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from ledger.ids import parse_account_id
from ledger.statements import StatementRequest
from starter.api.answers import answer
from starter.api.models.statements import StatementQuery, StatementView
from starter.api.services import ReadsAccounts, UsesServices

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])


@router.get("/{account_id}/statement", responses=answer(404, "The tenant has no such account."))
async def read_statement(
    account_id: str, query: Annotated[StatementQuery, Query()], services: UsesServices, principal: ReadsAccounts
) -> StatementView:
    """One page. A settled line never changes, and no line ever comes before it that wasn't there; provisional lines may still move."""
    parse_account_id(account_id, field="account_id")
    request = StatementRequest.parse(account_id, **dict(query))
    return StatementView.of(await services.statements.page(principal.tenant, request))
