"""Scopes: what the holder of an API key, or of a token, may do for its tenant. The one list of them.

See ``docs/decisions/0035-who-may.md``.
"""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Iterable


class Scope(StrEnum):
    """A scope; an endpoint names the one that it needs."""

    ALL = "all"
    """Everything of its tenant, `payloads` left out."""
    STANDARD = "standard"
    """Everything but to approve, to decline, to override and to administer: what it meant before there were finer ones."""
    READ = "read"
    """To look at everything of the tenant, but its keys and its administrative acts."""
    ACCOUNTS_READ = "accounts:read"
    """To look at accounts, balances and statements."""
    ACCOUNTS_WRITE = "accounts:write"
    """To open accounts, to change their rules and status, to close them."""
    TRANSACTIONS_READ = "transactions:read"
    """To look at transactions, holds and standing orders, and at what became of them."""
    TRANSACTIONS_WRITE = "transactions:write"
    """To submit, cancel and reverse transactions."""
    TRANSACTIONS_APPROVE = "transactions:approve"
    """To approve and to decline, and to look at everything."""
    TRANSACTIONS_OVERRIDE = "transactions:override"
    """To have limits and balance not count; beside one that lets submit, since it is said with a transaction. And to look at everything."""
    TRANSACTIONS_OPERATE = "transactions:operate"
    """To retry, settle and reverse what is parked, and to have it swept."""
    HOLDS_WRITE = "holds:write"
    """To set money aside, to release it and to capture it."""
    STANDING_ORDERS_WRITE = "standing-orders:write"
    """To enter, pause, resume and cancel standing orders."""
    NOTIFICATIONS_READ = "notifications:read"
    """To look at what customers are told, and where."""
    NOTIFICATIONS_WRITE = "notifications:write"
    """To say what customers are told, and to have messages sent again."""
    FILES_WRITE = "files:write"
    """To hand in files of payments, and to pause, resume and cancel them."""
    EVENTS_READ = "events:read"
    """To follow what happens, as it happens."""
    MIS_READ = "mis:read"
    """To look at the totals."""
    ADMIN = "admin"
    """To make, rotate and revoke the keys of its tenant, and to read its administrative acts."""
    PAYLOADS = "payloads"
    """To have Temporal's payloads decoded, those of all tenants; so `all`, which is of one tenant, doesn't contain it."""


_READING: Final = frozenset(
    {Scope.READ, Scope.ACCOUNTS_READ, Scope.TRANSACTIONS_READ, Scope.NOTIFICATIONS_READ, Scope.EVENTS_READ, Scope.MIS_READ}
)
_APART_FROM_STANDARD: Final = frozenset({Scope.TRANSACTIONS_APPROVE, Scope.TRANSACTIONS_OVERRIDE, Scope.ADMIN})
_OF_A_TENANT: Final = frozenset(Scope) - {Scope.PAYLOADS}
_WIDER: Final[dict[str, frozenset[Scope]]] = {
    Scope.ALL: _OF_A_TENANT,
    Scope.STANDARD: _OF_A_TENANT - _APART_FROM_STANDARD - {Scope.ALL},
    Scope.READ: _READING,
    # Keys with only one of these could always look, and whoever decides about a transaction has to.
    Scope.TRANSACTIONS_APPROVE: _READING,
    Scope.TRANSACTIONS_OVERRIDE: _READING,
}
SCOPES_OF_THE_API: Final[frozenset[str]] = _OF_A_TENANT
"""One of them lets in; what it opens depends on the endpoint."""


@lru_cache(maxsize=1024)
def granted(scopes: tuple[str, ...]) -> frozenset[str]:
    """All scopes that a holder of `scopes` has. An unknown one gives nothing but itself."""
    return frozenset(scopes).union(*(_WIDER.get(scope, frozenset()) for scope in scopes))


def parse_scopes(scopes: Iterable[str], *, field: str) -> tuple[str, ...]:
    """The scopes of a key that is to be made, each once, in the order of this list.

    Raises:
        InvalidInputError: there is none, or one is unknown.
    """
    given = set(scopes)
    unknown = min(given - set(Scope), default=None)
    if unknown is not None or not given:
        raise InvalidInputError(field=field, value=unknown, rule=f"must be of {', '.join(Scope)}")
    return tuple(scope.value for scope in Scope if scope in given)
