"""Documents about an account: what is to be written, proven before and while it is."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from ledger.documents import DocumentLine, StatementDocument, proven, proven_sums
from ledger.errors import InvalidInputError, NotFoundError, UnavailableError
from ledger.ids import document_id
from ledger.statements import MAX_PAGE_LINES, StatementRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.statement_documents import PostgresStatementDocuments
    from infra.postgres.statement_lines import GroupStatements
    from infra.postgres.statements import PostgresStatements
    from ledger.closings import ClosedStatement
    from ledger.documents import DocumentEntry
    from ledger.statements import StatementPage

_MICROSECOND: Final = dt.timedelta(microseconds=1)


class StatementDocuments:
    """Finds what documents are made of. All of it is settled, so that it is one whole, however many look-ups it takes."""

    def __init__(
        self,
        accounts: PostgresAccounts,
        statements: PostgresStatements,
        group_statements: GroupStatements,
        documents: PostgresStatementDocuments,
    ) -> None:
        self._accounts = accounts
        self._statements = statements
        self._group_statements = group_statements
        self._documents = documents

    async def of_period(
        self, tenant: str, account_id: str, since: dt.datetime | None, until: dt.datetime | None, *, now: dt.datetime
    ) -> StatementDocument:
        """A period's document, of the lines that are settled; `until` is where it really ends.

        Args:
            tenant: whose account.
            account_id: which.
            since: None: the account's whole life.
            until: None, or later than what is settled: as far as lines are settled.
            now: when the document is made.

        Raises:
            NotFoundError: there is no such account.
            InvalidInputError: `since` is later than what is settled, or than `until`.
            UnavailableError: the database did not answer, or can't tell what is settled.
        """
        account = await self._accounts.get(tenant, account_id)
        if account is None:
            raise NotFoundError(kind="account", identifier=account_id)
        settled_until = (await self._statements.page(tenant, StatementRequest(account_id=account_id, limit=1))).settled_until
        if settled_until is None:
            raise UnavailableError(part="postgres", detail="it can't be told now which lines are final; pages in JSON mark them")
        ends = settled_until if until is None else min(until, settled_until)
        # An account that was opened a moment ago has no settled moment yet: its document is empty, and not wrong.
        begins = min(account.opened_at, ends) if since is None else since
        if ends < begins:
            rule = f"must not be later than {settled_until.isoformat()}, up to when lines are final, nor than to"
            raise InvalidInputError(field="from", value=begins.isoformat(), rule=rule)
        opening = await self._statements.balance_at(tenant, account_id, begins - _MICROSECOND)
        closing = await self._statements.balance_at(tenant, account_id, ends - _MICROSECOND)
        sums = await self._documents.sums(tenant, account_id, begins, ends)
        balance = await self._accounts.balance(tenant, account_id) if until is None else None
        return proven_sums(
            StatementDocument(
                document_id=document_id(tenant, account_id, f"{begins.isoformat()}/{ends.isoformat()}"),
                account_id=account_id,
                currency=account.currency,
                number=None,
                since=begins,
                until=ends,
                opening_balance=opening.ledger,
                credited=sums.credited,
                debited=sums.debited,
                closing_balance=closing.ledger,
                lines=sums.lines,
                available=balance.available if balance is not None and balance.ledger == closing.ledger else None,
                created_at=now,
            )
        )

    async def of_closed(self, tenant: str, account_id: str, number: int) -> tuple[StatementDocument, ClosedStatement]:
        """The document of a closed statement, which is what the statement group has.

        Raises:
            NotFoundError: there is none with this number.
            UnavailableError: the database did not answer.
        """
        closed = await self._group_statements.closed(tenant, account_id, number)
        known = closed.model_dump(exclude={"closed_at"})
        what = document_id(tenant, account_id, str(number))
        return proven_sums(StatementDocument(**known, document_id=what, available=None, created_at=closed.closed_at)), closed

    async def lines(self, tenant: str, document: StatementDocument, closed: ClosedStatement | None = None) -> AsyncIterator[DocumentLine]:
        """The document's lines, the oldest first, each proven to follow from the one before.

        Args:
            tenant: whose account.
            document: which.
            closed: the statement of :meth:`of_closed`; None: of a period.

        Raises:
            BrokenDocumentError: the lines don't add up to what the document says.
            UnavailableError: the database did not answer.
        """
        async for line in proven(document, self._lines(tenant, document, closed)):
            yield line

    async def entries(self, tenant: str, account_id: str, transaction_id: str) -> tuple[DocumentEntry, ...]:
        """What a transaction has booked on an account.

        Raises:
            NotFoundError: it has booked nothing there.
            UnavailableError: the database did not answer.
        """
        found = await self._documents.entries(tenant, account_id, transaction_id)
        if not found:
            raise NotFoundError(kind="entry", identifier=f"{account_id}/{transaction_id}")
        return found

    async def _lines(self, tenant: str, document: StatementDocument, closed: ClosedStatement | None) -> AsyncIterator[DocumentLine]:
        request = StatementRequest(account_id=document.account_id, since=document.since, until=document.until, limit=MAX_PAGE_LINES)
        while True:
            page = await self._page(tenant, request, closed)
            details = await self._documents.details(tenant, document.account_id, page.lines)
            for line, detail in zip(page.lines, details, strict=True):
                yield DocumentLine(entry=line, detail=detail)
            if page.next_cursor is None:
                return
            request = request.model_copy(update={"after": page.lines[-1].position})

    async def _page(self, tenant: str, request: StatementRequest, closed: ClosedStatement | None) -> StatementPage:
        if closed is not None:
            return await self._group_statements.lines(tenant, closed, request)
        return await self._statements.page(tenant, request)
