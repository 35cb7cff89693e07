"""What the endpoints work with, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from fastapi import Depends, Request
from fastapi.security import HTTPBearer

from infra.postgres.api_keys import ALL_SCOPES, APPROVING_SCOPE, STANDARD_SCOPE, Principal
from ledger.errors import MissingScopeError

if TYPE_CHECKING:
    from infra.kafka.offsets import TopicEnds
    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.api_keys import PostgresApiKeys
    from infra.postgres.database import Database
    from infra.postgres.holds import PostgresHolds
    from infra.postgres.maintenance import PostgresMaintenance
    from infra.postgres.mis import PostgresMis
    from infra.postgres.outbox import PostgresOutbox
    from infra.postgres.statement_lines import GroupStatements
    from infra.postgres.statements import PostgresStatements
    from infra.postgres.transactions import PostgresTransactions
    from ledger.ports import ExchangeRates
    from starter.commands import Commands
    from starter.explanations import Explanations
    from starter.holds import HoldStarter
    from starter.notifications import NotificationDesk
    from starter.payment_files import FileDesk
    from starter.standing_orders import StandingOrderDesk
    from starter.submit import TemporalConnection, TransactionStarter


@dataclass(frozen=True)
class Services:
    """The real parts, made once when the application starts."""

    database: Database
    temporal: TemporalConnection
    accounts: PostgresAccounts
    holds: PostgresHolds
    hold_starter: HoldStarter
    statements: PostgresStatements
    group_statements: GroupStatements
    transactions: PostgresTransactions
    keys: PostgresApiKeys
    maintenance: PostgresMaintenance
    mis: PostgresMis
    outbox: PostgresOutbox
    topic_ends: TopicEnds | None
    """None: no broker is named, and the lag of groups isn't shown."""
    consumer_groups: tuple[str, ...]
    rates: ExchangeRates
    rates_max_age_days: int
    starter: TransactionStarter
    explanations: Explanations
    standing_orders: StandingOrderDesk
    notifications: NotificationDesk
    commands: Commands
    files: FileDesk


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


UsesServices = Annotated[Services, Depends(_services)]
_documented = HTTPBearer(auto_error=False, description="An API key of `casaflow key create`.")


def _principal(request: Request, _in_the_openapi_document: Annotated[object, Depends(_documented)]) -> Principal:
    principal: Principal = request.state.principal
    if request.method not in _SAFE_METHODS:
        require(principal, STANDARD_SCOPE)
    return principal


def _approver(request: Request, _in_the_openapi_document: Annotated[object, Depends(_documented)]) -> Principal:
    principal: Principal = request.state.principal
    require(principal, APPROVING_SCOPE)
    return principal


def require(principal: Principal, scope: str) -> None:
    """Let pass whose key has the scope.

    Raises:
        MissingScopeError: it hasn't.
    """
    if scope not in principal.scopes and ALL_SCOPES[0] not in principal.scopes:
        raise MissingScopeError(scope=scope)


_SAFE_METHODS: Final = frozenset({"GET", "HEAD"})
"""RFC 9110, section 9.2.1: who may come in may look."""
Approver = Annotated[Principal, Depends(_approver)]
"""A principal whose key has the scope for approving, whatever other scopes it has."""
Authenticated = Annotated[Principal, Depends(_principal)]
"""The principal of the request's API key, whom :class:`starter.api.authentication.Authentication` let in."""
