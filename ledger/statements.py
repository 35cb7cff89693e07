"""Statements: the lines of an account in the order of booking, with a running balance. Pure; amounts are minor units.

The order is (posted_at, transaction_id, leg). See ``docs/decisions/0009-statements.md``.
"""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import re
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from ledger.errors import InvalidInputError
from ledger.money import Money

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_PAGE_LINES: Final = 500
DEFAULT_PAGE_LINES: Final = 50

_INSTANT: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})", re.ASCII
)
_INSTANT_RULE: Final = (
    "must be an instant by RFC 3339 with an offset, such as 2026-01-31T12:00:00Z, at most six decimals, and + written as %2B in a URL"
)
_EPOCH: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND: Final = dt.timedelta(microseconds=1)
_CURSOR: Final = re.compile(r"[A-Za-z0-9_-]{1,600}", re.ASCII)
_CURSOR_RULE: Final = "must be next_cursor of a page of this account's statement, as it was given"


class StatementOrder(StrEnum):
    """Which line comes first."""

    OLDEST_FIRST = "oldest-first"
    NEWEST_FIRST = "newest-first"


class EntryDirection(StrEnum):
    """Which way the money went, seen from the account."""

    CREDIT = "credit"
    DEBIT = "debit"


class LinePosition(NamedTuple):
    """Where a line stands among an account's lines; positions compare as lines are ordered."""

    posted_at: dt.datetime
    transaction_id: str
    """UUID in its canonical form, whose characters compare as its bytes do."""
    leg: str

    @classmethod
    def before_all_at(cls, instant: dt.datetime) -> LinePosition:
        """The position before every line that was booked at an instant, or later."""
        return cls(instant, str(uuid.UUID(int=0)), "")


class StatementRequest(BaseModel):
    """Which lines of an account are asked for: those booked at `since` or later and before `until`, behind the line `after`."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    order: StatementOrder = StatementOrder.OLDEST_FIRST
    since: dt.datetime | None = None
    """None: from the first line on."""
    until: dt.datetime | None = None
    """None: to the last line."""
    after: LinePosition | None = None
    """The last line of the page before, in `order`."""
    limit: int = Field(default=DEFAULT_PAGE_LINES, ge=1, le=MAX_PAGE_LINES)

    @property
    def lower(self) -> LinePosition | None:
        """Every line asked for is behind this position; None: there is no such bound."""
        bounds = [LinePosition.before_all_at(self.since)] if self.since else []
        if self.after is not None and self.order is StatementOrder.OLDEST_FIRST:
            bounds.append(self.after)
        return max(bounds, default=None)

    @property
    def upper(self) -> LinePosition | None:
        """Every line asked for is before this position; None: there is no such bound."""
        bounds = [LinePosition.before_all_at(self.until)] if self.until else []
        if self.after is not None and self.order is StatementOrder.NEWEST_FIRST:
            bounds.append(self.after)
        return min(bounds, default=None)

    @classmethod
    def parse(
        cls,
        account_id: str,
        *,
        since: str | None = None,
        until: str | None = None,
        order: StatementOrder | None = None,
        cursor: str | None = None,
        limit: int = DEFAULT_PAGE_LINES,
    ) -> StatementRequest:
        """Read what a caller asks for. A cursor brings range and order along; who gives them again must give the same.

        Args:
            account_id: whose statement.
            since: instant by RFC 3339, called ``from``; lines booked then or later.
            until: instant by RFC 3339, called ``to``; lines booked before it.
            order: oldest first unless given.
            cursor: of the page before.
            limit: lines at most.

        Raises:
            InvalidInputError: an instant, the range, the limit or the cursor breaks its rule.
        """
        if not 1 <= limit <= MAX_PAGE_LINES:
            raise InvalidInputError(field="limit", value=limit, rule=f"must be from 1 to {MAX_PAGE_LINES}")
        first = None if since is None else parse_instant(since, field="from")
        last = None if until is None else parse_instant(until, field="to")
        if cursor is None:
            if first is not None and last is not None and last < first:
                raise InvalidInputError(field="to", value=until, rule="must not be before from")
            return cls(account_id=account_id, order=order or StatementOrder.OLDEST_FIRST, since=first, until=last, limit=limit)
        found = _read_cursor(cursor).model_copy(update={"limit": limit})
        if found.account_id != account_id:
            raise InvalidInputError(field="cursor", value=cursor, rule=_CURSOR_RULE)
        repeated = (("from", since, first, found.since), ("to", until, last, found.until), ("order", order, order, found.order))
        for field, value, given, own in repeated:
            if given is not None and given != own:
                raise InvalidInputError(field=field, value=value, rule="must be what the cursor's first page was asked with, or left out")
        return found

    def cursor_after(self, line: LinePosition) -> str:
        """The cursor of the page that begins behind `line`."""
        content = [
            self.account_id,
            self.order.value,
            _microseconds(self.since),
            _microseconds(self.until),
            _microseconds(line.posted_at),
            line.transaction_id,
            line.leg,
        ]
        written = json.dumps(content, separators=(",", ":"), ensure_ascii=True)
        return base64.urlsafe_b64encode(written.encode()).decode().rstrip("=")


class StatementEntry(BaseModel):
    """An entry of an account, with what its transaction says about it."""

    model_config = ConfigDict(frozen=True)

    posted_at: dt.datetime
    """Booking time."""
    transaction_id: str
    leg: str
    direction: EntryDirection
    amount: int = Field(gt=0)
    value_date: dt.date
    version: int | None
    """A debit's gapless number on its account; None for a credit."""
    counterparty: str | None
    """The transaction's other account; None for a deposit or a withdrawal, and for the debtor of several shares."""
    reference: str | None
    remittance_information: str | None

    @property
    def position(self) -> LinePosition:
        """Where it stands."""
        return LinePosition(self.posted_at, self.transaction_id, self.leg)

    @property
    def signed_amount(self) -> int:
        """What it adds to the balance."""
        return self.amount if self.direction is EntryDirection.CREDIT else -self.amount

    def money(self, currency: str) -> Money:
        """Its amount, in the account's currency."""
        return Money(minor_units=self.amount, currency=currency)


class StatementLine(StatementEntry):
    """A line of a statement."""

    balance_after: int
    """Ledger balance after this line: the sum of all lines up to it."""
    settled: bool
    """Whether this line, its balance and all lines before it are final. A late commit may still land before a line that isn't."""


class StatementPage(BaseModel):
    """Lines without a gap between them; ``opening_balance`` + lines = ``closing_balance``."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    currency: str
    order: StatementOrder
    opening_balance: int
    """Ledger balance before the earliest line of the page."""
    closing_balance: int
    """Ledger balance after the latest line of the page."""
    settled_until: dt.datetime | None
    """Lines booked before this instant are settled. None: it can't be told, so none is."""
    lines: tuple[StatementLine, ...]
    next_cursor: str | None
    """Of the page that follows in `order`; None: there are no more lines now."""


class PastBalance(BaseModel):
    """An account's ledger balance as of an instant or a value date, from its entries. Minor units."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    currency: str
    credited: int
    """Sum of the credits until then."""
    debited: int
    """Sum of the debits until then."""
    as_of: dt.datetime
    """The instant: entries booked then or before count. For a value date: when it was asked."""
    value_date: dt.date | None = None
    """Entries with this value date or an earlier one count, as far as they were booked by `as_of`."""
    settled: bool | None = None
    """Whether no late commit can change it any more; None for a value date, since an entry may be dated back at any time."""

    @property
    def ledger(self) -> int:
        """`credited - debited`."""
        return self.credited - self.debited


def statement_page(
    request: StatementRequest,
    entries: Sequence[StatementEntry],
    *,
    currency: str,
    opening_balance: int,
    settled_until: dt.datetime | None,
    more: bool,
) -> StatementPage:
    """Add the running balance and what is settled.

    Args:
        request: what was asked.
        entries: the page's, in the request's order.
        currency: the account's.
        opening_balance: sum of all entries before the earliest of them; minor units.
        settled_until: entries booked before it are settled; None: none is.
        more: whether entries follow in the request's order.
    """
    balance = opening_balance
    chronological = entries if request.order is StatementOrder.OLDEST_FIRST else entries[::-1]
    lines: list[StatementLine] = []
    for entry in chronological:
        balance += entry.signed_amount
        settled = settled_until is not None and entry.posted_at < settled_until
        lines.append(StatementLine(**entry.model_dump(), balance_after=balance, settled=settled))
    if request.order is StatementOrder.NEWEST_FIRST:
        lines.reverse()
    return StatementPage(
        account_id=request.account_id,
        currency=currency,
        order=request.order,
        opening_balance=opening_balance,
        closing_balance=balance,
        settled_until=settled_until,
        lines=tuple(lines),
        next_cursor=request.cursor_after(lines[-1].position) if more else None,
    )


def parse_instant(value: str, *, field: str) -> dt.datetime:
    """Read an instant of RFC 3339, as UTC.

    Raises:
        InvalidInputError: anything else, or without an offset, finer than a microsecond, or outside the years 1 to 9999.
    """
    if _INSTANT.fullmatch(value):
        try:
            return dt.datetime.fromisoformat(value.upper()).astimezone(dt.UTC)
        except (ValueError, OverflowError):
            pass
    raise InvalidInputError(field=field, value=value, rule=_INSTANT_RULE)


def _microseconds(instant: dt.datetime | None) -> int | None:
    """Whole microseconds since 1970, which is exact."""
    return None if instant is None else (instant - _EPOCH) // _MICROSECOND


def _instant(microseconds: int | None) -> dt.datetime | None:
    return None if microseconds is None else _EPOCH + microseconds * _MICROSECOND


def _read_cursor(cursor: str) -> StatementRequest:
    """The inverse of :meth:`StatementRequest.cursor_after`.

    Raises:
        InvalidInputError: no cursor that it could have written.
    """
    bad = InvalidInputError(field="cursor", value=cursor, rule=_CURSOR_RULE)
    if not _CURSOR.fullmatch(cursor):
        raise bad
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        account_id, order, since, until, posted_at, transaction_id, leg = content
        position = LinePosition(_EPOCH + posted_at * _MICROSECOND, str(uuid.UUID(transaction_id)), leg)
        request = StatementRequest(
            account_id=account_id, order=StatementOrder(order), since=_instant(since), until=_instant(until), after=position
        )
        rewritten = request.cursor_after(position)
    except (binascii.Error, ValueError, TypeError, OverflowError, AttributeError, RecursionError) as error:
        raise bad from error
    # Whatever JSON or a UUID may be written like, only one form is ours.
    if rewritten != cursor or not leg.isprintable():
        raise bad
    return request
