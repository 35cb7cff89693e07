"""What transactions, accounts and holds are searched for by, and the pages that searches answer with."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Final, Generic, TypeVar

from pydantic_core import to_json

from ledger.cursors import cursor_behind, position_of, read_cursor, write_cursor
from ledger.errors import InvalidInputError
from ledger.ids import parse_account_id

if TYPE_CHECKING:
    import datetime as dt

    from ledger.accounts import AccountKind, AccountStatus
    from ledger.holds import HoldStatus
    from ledger.requests import TransactionKind
    from ledger.results import TransactionStatus

Found = TypeVar("Found")

MAX_PAGE: Final = 100
"""Of what is found, on one page."""
DEFAULT_PAGE: Final = 25
SCANNED_AT_MOST: Final = 20_000
"""Rows that one page looks at: where most of them don't fit, the page ends early and says where to go on."""

_CURSOR_RULE: Final = "must be next_cursor of a page of the same search, as it was given"


class SearchOrder(StrEnum):
    """Which one comes first."""

    NEWEST_FIRST = "newest-first"
    OLDEST_FIRST = "oldest-first"


@dataclass(frozen=True)
class Page(Generic[Found]):
    """Some of what was found."""

    found: tuple[Found, ...]
    next_cursor: str | None
    """Where to go on; None: there is no more now. A page may be short, or empty, and still have one."""


@dataclass(frozen=True)
class _Search:
    def digest(self) -> str:
        """Tells this search from others, in a cursor."""
        return sha256(to_json(asdict(self))).hexdigest()[:16]


@dataclass(frozen=True)
class _InTime(_Search):
    order: SearchOrder = SearchOrder.NEWEST_FIRST

    def cursor(self, at: dt.datetime, identifier: str) -> str:
        """Of the page behind the one with this time and id."""
        return cursor_behind(at, identifier, self.digest())

    def position(self, cursor: str) -> tuple[dt.datetime, str]:
        """Behind which the page begins.

        Raises:
            InvalidInputError: it is no cursor of this search.
        """
        return position_of(cursor, _CURSOR_RULE, self.digest())


@dataclass(frozen=True)
class TransactionSearch(_InTime):
    """Transactions that all given conditions hold for; None: there is no such condition."""

    account_id: str | None = None
    """Debtor or creditor, one of several included."""
    status: TransactionStatus | None = None
    kind: TransactionKind | None = None
    currency: str | None = None
    least: int | None = None
    """Of the amount, in minor units of `currency`."""
    most: int | None = None
    submitted_from: dt.datetime | None = None
    submitted_until: dt.datetime | None = None
    """Submitted before this instant."""
    reference: str | None = None
    reason: str | None = None
    """Code of the reason why it was rejected or reversed."""
    submitted_by: str | None = None


@dataclass(frozen=True)
class HoldSearch(_InTime):
    """Holds that all given conditions hold for; None: there is no such condition."""

    account_id: str | None = None
    status: HoldStatus | None = None


@dataclass(frozen=True)
class AccountSearch(_Search):
    """Accounts that all given conditions hold for, in the order of their ids; None: there is no such condition."""

    prefix: str | None = None
    """What the id begins with."""
    status: AccountStatus | None = None
    currency: str | None = None
    kind: AccountKind | None = None

    def cursor(self, account_id: str) -> str:
        """Of the page behind this account."""
        return write_cursor([account_id, self.digest()])

    def position(self, cursor: str) -> str:
        """Account behind which the page begins.

        Raises:
            InvalidInputError: it is no cursor of this search.
        """
        match read_cursor(cursor, _CURSOR_RULE):
            case [str(account_id), digest] if digest == self.digest():
                return parse_account_id(account_id, field="cursor")
        raise InvalidInputError(field="cursor", value=cursor, rule=_CURSOR_RULE)
