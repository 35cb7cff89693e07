"""Statements and notifications as documents: CSV, PDF and ISO 20022. See decision record 0033."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from fastapi import APIRouter
from fastapi.responses import Response, StreamingResponse

from infra.documents import comma_separated
from infra.iso20022 import camt
from ledger.documents import MAX_PDF_LINES, DocumentFormat
from ledger.errors import InvalidInputError
from ledger.ids import document_id, parse_account_id, parse_transaction_id
from ledger.statements import parse_instant
from starter.api.answers import answer
from starter.api.negotiation import MEDIA_TYPES
from starter.api.services import ReadsAccounts, Services, UsesServices

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ledger.closings import ClosedStatement
    from ledger.documents import DocumentLine, StatementDocument

router = APIRouter(prefix="/v1/accounts", tags=["accounts"])

_SUFFIXES: Final = {DocumentFormat.CSV: "csv", DocumentFormat.PDF: "pdf", DocumentFormat.CAMT_053: "xml"}
_PAGED: Final = frozenset({"limit", "cursor", "order"})

DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {media_type: {} for known, media_type in MEDIA_TYPES.items() if known is not DocumentFormat.JSON}},
    **answer(406, "The Accept header takes none of these forms."),
}
"""What an endpoint that answers with any of them adds to its OpenAPI description."""


def refuse_pages(given: set[str], asked: DocumentFormat) -> None:
    """Documents hold a whole period, and have no pages.

    Raises:
        InvalidInputError: the request gives what only pages have.
    """
    paged = sorted(given & _PAGED)
    if paged:
        rule = f"must be left out for {asked.value}, which holds all lines: only JSON comes in pages"
        raise InvalidInputError(field=paged[0], value=asked.value, rule=rule)


async def period(services: Services, tenant: str, account_id: str, asked: DocumentFormat, since: str | None, until: str | None) -> Response:
    """A period as a document.

    Raises:
        NotFoundError: there is no such account.
        InvalidInputError: the period breaks a rule, or is too long for this format.
        UnavailableError: the database did not answer.
    """
    document = await services.documents.of_period(
        tenant,
        account_id,
        None if since is None else parse_instant(since, field="from"),
        None if until is None else parse_instant(until, field="to"),
        now=dt.datetime.now(dt.UTC),
    )
    return await _written(services, tenant, document, asked, None)


async def closed_statement(services: Services, tenant: str, account_id: str, asked: DocumentFormat, number: int) -> Response:
    """A closed statement as a document.

    Raises:
        NotFoundError: there is none with this number.
        InvalidInputError: it is too long for this format.
        UnavailableError: the database did not answer.
    """
    document, closed = await services.documents.of_closed(tenant, account_id, number)
    return await _written(services, tenant, document, asked, closed)


@router.get(
    "/{account_id}/transactions/{transaction_id}/notification",
    response_class=Response,
    responses={
        200: {"content": {MEDIA_TYPES[DocumentFormat.CAMT_053]: {}}, "description": "A camt.054.001.08."},
        **answer(404, "The transaction has booked nothing on the account, or there is no such account."),
    },
)
async def read_notification(account_id: str, transaction_id: str, services: UsesServices, principal: ReadsAccounts) -> Response:
    """What one transaction has booked on the account, as ISO 20022 camt.054: with a fee or a compensation several entries."""
    parse_account_id(account_id, field="account_id")
    identifier = parse_transaction_id(transaction_id)
    entries = await services.documents.entries(principal.tenant, account_id, identifier)
    account = await services.accounts.get(principal.tenant, account_id)
    if account is None:  # its entries would not have been found
        message = f"account {account_id} has entries, and doesn't exist"
        raise RuntimeError(message)
    content = camt.notification(
        document_id(principal.tenant, account_id, identifier),
        account_id,
        entries,
        currency=account.currency,
        created_at=dt.datetime.now(dt.UTC),
        bic=services.bic,
    )
    return Response(content, media_type=MEDIA_TYPES[DocumentFormat.CAMT_053], headers=_file(f"notification-{identifier}.xml"))


async def _written(
    services: Services, tenant: str, document: StatementDocument, asked: DocumentFormat, closed: ClosedStatement | None
) -> Response:
    lines = services.documents.lines(tenant, document, closed)
    headers = _file(f"{_name(document)}.{_SUFFIXES[asked]}")
    media_type = MEDIA_TYPES[asked]
    if asked is DocumentFormat.PDF:
        return Response(await _pdf(services, document, lines), media_type=media_type, headers=headers)
    if asked is DocumentFormat.CSV:
        return StreamingResponse(comma_separated.statement(document, lines), media_type=media_type, headers=headers)
    return StreamingResponse(camt.statement(document, lines, bic=services.bic), media_type=media_type, headers=headers)


async def _pdf(services: Services, document: StatementDocument, lines: AsyncIterator[DocumentLine]) -> bytes:
    if document.lines > MAX_PDF_LINES:
        rule = f"must not be pdf for more than {MAX_PDF_LINES} lines, and there are {document.lines}: ask for a shorter period, or CSV"
        raise InvalidInputError(field="format", value=DocumentFormat.PDF.value, rule=rule)
    from infra.documents import pdf  # noqa: PLC0415  loaded only where one is made

    whole = [line async for line in lines]
    return await asyncio.to_thread(pdf.statement, document, whole, time_zone=services.time_zone)


def _name(document: StatementDocument) -> str:
    """Of a file. An account's id has no characters that a file's name can't have."""
    if document.number is not None:
        return f"statement-{document.account_id}-{document.number}"
    return f"statement-{document.account_id}-{document.since:%Y%m%dT%H%M%SZ}-{document.until:%Y%m%dT%H%M%SZ}"


def _file(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
