"""The statement group's statements: closed and numbered, and what came after the last one. See decision record 0031."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import Response
from pydantic import Field

from ledger.closings import MAX_STATEMENTS, ClosedStatement, CurrentStatement, StatementList
from ledger.documents import DocumentFormat
from ledger.ids import parse_account_id
from ledger.money import Money
from ledger.statements import DEFAULT_PAGE_LINES, MAX_PAGE_LINES, StatementOrder, StatementRequest
from starter.api import documents
from starter.api.answers import answer
from starter.api.documents import DOCUMENTED, refuse_pages
from starter.api.models.fields import Answer, DecimalText, StrictBody
from starter.api.models.statements import StatementView
from starter.api.negotiation import format_asked
from starter.api.services import ReadsAccounts, UsesServices

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

_AMOUNTS = ("opening_balance", "credited", "debited", "closing_balance")


class StatementListQuery(StrictBody):
    """Which statements."""

    before: int | None = Field(default=None, ge=1, le=2**31 - 1, description="Closed statements with smaller numbers: `next_before`.")
    limit: int = Field(default=12, ge=1, le=MAX_STATEMENTS, description="Closed statements at most.")


class StatementLinesQuery(StrictBody):
    """Which lines of a closed statement."""

    limit: int = Field(default=DEFAULT_PAGE_LINES, ge=1, le=MAX_PAGE_LINES, description="Lines of a page at most.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before; it brings the order along.")
    order: StatementOrder | None = Field(default=None, description="Oldest first unless given.")
    format: DocumentFormat | None = Field(default=None, description="Instead of an Accept header. Other formats than JSON hold all lines.")


class ClosedStatementView(Answer):
    """A closed statement: opening balance + credited - debited = closing balance. It never changes."""

    number: int
    """Counted from 1 for each account, without a gap; a period in which nothing was booked has no statement."""
    since: dt.datetime
    """Lines booked then or later."""
    until: dt.datetime
    """Lines booked before this instant."""
    opening_balance: DecimalText
    credited: DecimalText
    debited: DecimalText
    closing_balance: DecimalText
    lines: int
    closed_at: dt.datetime

    @classmethod
    def of(cls, statement: ClosedStatement) -> Self:
        """The API's form of `statement`."""
        return cls(**{**statement.model_dump(exclude={"account_id", "currency"}), **_amounts(statement)})


class CurrentStatementView(Answer):
    """What came after the last closed statement, as far as it has arrived: within seconds."""

    since: dt.datetime | None
    """The end of the last closed statement; null: there is none."""
    opening_balance: DecimalText
    credited: DecimalText
    debited: DecimalText
    closing_balance: DecimalText
    lines: int

    @classmethod
    def of(cls, statement: CurrentStatement) -> Self:
        """The API's form of `statement`."""
        return cls(**{**statement.model_dump(exclude={"account_id", "currency"}), **_amounts(statement)})


class StatementListView(Answer):
    """An account's statements, the newest first."""

    account_id: str
    currency: str
    current: CurrentStatementView
    closed: list[ClosedStatementView]
    next_before: int | None
    """For the page of those before; null: there are none."""

    @classmethod
    def of(cls, found: StatementList) -> Self:
        """The API's form of `found`."""
        return cls(
            account_id=found.current.account_id,
            currency=found.current.currency,
            current=CurrentStatementView.of(found.current),
            closed=[ClosedStatementView.of(statement) for statement in found.closed],
            next_before=found.closed[-1].number if found.more else None,
        )


class ClosedStatementPage(Answer):
    """A closed statement, and a page of its lines."""

    statement: ClosedStatementView
    page: StatementView


def _amounts(statement: ClosedStatement | CurrentStatement) -> dict[str, str]:
    return {name: Money(minor_units=getattr(statement, name), currency=statement.currency).decimal_string for name in _AMOUNTS}


@router.get("/{account_id}/statements", responses=answer(404, "The tenant has no such account."))
async def list_statements(
    account_id: str, query: Annotated[StatementListQuery, Query()], services: UsesServices, principal: ReadsAccounts
) -> StatementListView:
    """The closed, numbered statements that the statement consumer has made of the events, and what came after the last one."""
    parse_account_id(account_id, field="account_id")
    found = await services.group_statements.statements(principal.tenant, account_id, before=query.before, limit=query.limit)
    return StatementListView.of(found)


@router.get(
    "/{account_id}/statements/{number}",
    response_model=ClosedStatementPage,
    responses={**DOCUMENTED, **answer(404, "The account has no closed statement with this number.")},
)
async def read_closed_statement(
    account_id: str,
    number: Annotated[int, Path(ge=1, le=2**31 - 1)],
    query: Annotated[StatementLinesQuery, Query()],
    request: Request,
    services: UsesServices,
    principal: ReadsAccounts,
) -> ClosedStatementPage | Response:
    """A closed statement with a page of its lines; as CSV, PDF or camt.053 with all. Nothing of it changes, however often it is read."""
    parse_account_id(account_id, field="account_id")
    asked = format_asked(request, query.format)
    if asked is not DocumentFormat.JSON:
        refuse_pages(query.model_fields_set, asked)
        return await documents.closed_statement(services, principal.tenant, account_id, asked, number)
    statement = await services.group_statements.closed(principal.tenant, account_id, number)
    wanted = StatementRequest.parse(
        account_id,
        since=statement.since.isoformat(),
        until=statement.until.isoformat(),
        order=query.order,
        cursor=query.cursor,
        limit=query.limit,
    )
    page = await services.group_statements.lines(principal.tenant, statement, wanted)
    return ClosedStatementPage(statement=ClosedStatementView.of(statement), page=StatementView.of(page))
