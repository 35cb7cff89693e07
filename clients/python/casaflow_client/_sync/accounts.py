"""Accounts: open, look at, change; balances and statements."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from typing import Any

from casaflow_client import models
from casaflow_client._sync.transport import Transport
from casaflow_client.requests import Body, query, segment

Instant = dt.datetime | str
Day = dt.date | str


class Accounts(Transport):
    """What concerns accounts."""

    def open_account(self, account: models.AccountRequest | Body) -> models.Account:
        """Open an account; the same again changes nothing.

        Raises:
            ConflictError: the id is in use with other content.
            InvalidRequestError: a field breaks a rule.
        """
        return self._ask("POST", "/v1/accounts", models.Account, body=account)

    def account(self, account_id: str) -> models.Account:
        """An account.

        Raises:
            NotFoundError: there is none with this id.
        """
        return self._ask("GET", _path(account_id), models.Account)

    def accounts(
        self,
        *,
        prefix: str | None = None,
        status: str | None = None,
        currency: str | None = None,
        kind: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.Accounts:
        """One page of accounts, in the order of their ids; `prefix` is what the id begins with."""
        parameters = query(prefix=prefix, status=status, currency=currency, kind=kind, limit=limit, cursor=cursor)
        return self._ask("GET", "/v1/accounts", models.Accounts, parameters=parameters)

    def change_rules(self, account_id: str, rules: models.RulesRequest | Body) -> models.Account:
        """Give an account other rules; those that are not given stay as they are.

        Raises:
            ConflictError: what is used already, or the account's status, doesn't allow it.
        """
        return self._ask("PATCH", _path(account_id), models.Account, body=rules)

    def freeze(self, account_id: str, side: str | None = None) -> models.Account:
        """Freeze an account: ``debits``, ``credits``, or both unless given."""
        return self._change_account(account_id, "freeze", None if side is None else {"side": side})

    def unfreeze(self, account_id: str) -> models.Account:
        """Let a frozen account move again."""
        return self._change_account(account_id, "unfreeze")

    def make_dormant(self, account_id: str) -> models.Account:
        """Refuse the account's debits until it is reactivated."""
        return self._change_account(account_id, "dormant")

    def reactivate(self, account_id: str) -> models.Account:
        """Let a dormant account be debited again."""
        return self._change_account(account_id, "reactivate")

    def close_account(self, account_id: str) -> models.Account:
        """Close an account for good.

        Raises:
            ConflictError: its balance isn't zero, or something is still open.
        """
        return self._change_account(account_id, "close")

    def balance(self, account_id: str, *, at: Instant | None = None, value_date: Day | None = None) -> models.Balance:
        """An account's balance: now, as of an instant, or as of a value date."""
        return self._ask("GET", f"{_path(account_id)}/balance", models.Balance, parameters=query(at=at, value_date=value_date))

    def statement(
        self,
        account_id: str,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.Statement:
        """One page of an account's lines with the running balance; `cursor` is ``next_cursor`` of the page before."""
        parameters = query(from_=since, to=until, order=order, limit=limit, cursor=cursor)
        return self._ask("GET", f"{_path(account_id)}/statement", models.Statement, parameters=parameters)

    def statement_lines(
        self, account_id: str, *, since: Instant | None = None, until: Instant | None = None, order: str | None = None
    ) -> Iterator[models.StatementLine]:
        """All lines of a range, page by page as they are asked for."""
        page = self.statement(account_id, since=since, until=until, order=order, limit=_PAGE_LINES)
        while True:
            for line in page.lines:
                yield line
            if page.next_cursor is None:
                return
            page = self.statement(account_id, limit=_PAGE_LINES, cursor=page.next_cursor)

    def statements(self, account_id: str, *, before: str | int | None = None, limit: int | None = None) -> models.StatementList:
        """An account's closed, numbered statements, the newest first, and what came after the last one."""
        return self._ask("GET", f"{_path(account_id)}/statements", models.StatementList, parameters=query(before=before, limit=limit))

    def closed_statement(
        self, account_id: str, number: int, *, limit: int | None = None, cursor: str | None = None
    ) -> models.ClosedStatementPage:
        """A closed statement, with a page of its lines."""
        return self._ask(
            "GET",
            f"{_path(account_id)}/statements/{segment(number, field='number')}",
            models.ClosedStatementPage,
            parameters=query(limit=limit, cursor=cursor),
        )

    def _change_account(self, account_id: str, change: str, body: dict[str, Any] | None = None) -> models.Account:
        return self._ask("POST", f"{_path(account_id)}/{change}", models.Account, body=body)


_PAGE_LINES = 500


def _path(account_id: str) -> str:
    return f"/v1/accounts/{segment(account_id, field='account_id', longest=34)}"
