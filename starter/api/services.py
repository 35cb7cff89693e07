"""What the endpoints work with, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, NamedTuple

from fastapi import Depends, FastAPI, Request, Security
from fastapi.routing import iter_route_contexts
from fastapi.security import HTTPBearer, SecurityScopes

from ledger.principals import Principal
from ledger.scopes import Scope

if TYPE_CHECKING:
    from zoneinfo import ZoneInfo

    from fastapi.dependencies.models import Dependant

    from infra.kafka.offsets import TopicEnds
    from infra.oauth.tokens import AccessTokens
    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.administrative_acts import PostgresAdministrativeActs
    from infra.postgres.api_keys import PostgresApiKeys
    from infra.postgres.database import Database
    from infra.postgres.holds import PostgresHolds
    from infra.postgres.known_keys import KnownKeys
    from infra.postgres.maintenance import PostgresMaintenance
    from infra.postgres.mis import PostgresMis
    from infra.postgres.outbox import PostgresOutbox
    from infra.postgres.searches import PostgresSearches
    from infra.postgres.statement_lines import GroupStatements
    from infra.postgres.statements import PostgresStatements
    from infra.postgres.throughput import PostgresThroughput
    from infra.postgres.transactions import PostgresTransactions
    from infra.settings import Settings
    from ledger.ports import ExchangeRates
    from starter.api.event_streams import EventStreams
    from starter.commands import Commands
    from starter.documents import StatementDocuments
    from starter.explanations import Explanations
    from starter.holds import HoldStarter
    from starter.notifications import NotificationDesk
    from starter.payment_files import FileDesk
    from starter.standing_orders import StandingOrderDesk
    from starter.submit import TemporalConnection, TransactionStarter


@dataclass(frozen=True)
class Services:
    """The real parts, made once when the application starts."""

    settings: Settings
    database: Database
    temporal: TemporalConnection
    throughput: PostgresThroughput
    accounts: PostgresAccounts
    holds: PostgresHolds
    hold_starter: HoldStarter
    statements: PostgresStatements
    group_statements: GroupStatements
    documents: StatementDocuments
    bic: str | None
    """The bank's; None: it isn't named in messages."""
    time_zone: ZoneInfo
    """The bank's."""
    transactions: PostgresTransactions
    keys: PostgresApiKeys
    known_keys: KnownKeys
    tokens: AccessTokens
    acts: PostgresAdministrativeActs
    maintenance: PostgresMaintenance
    mis: PostgresMis
    outbox: PostgresOutbox
    searches: PostgresSearches
    topic_ends: TopicEnds | None
    """None: no broker is named, and the lag of groups isn't shown."""
    event_streams: EventStreams | None
    """None: no broker is named, and no events are told."""
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
_documented = HTTPBearer(auto_error=False, description="An API key of `casaflow key create`, or a token of an issuer that is set up.")


def _holder(request: Request, _in_the_openapi_document: Annotated[object, Depends(_documented)]) -> Principal:
    principal: Principal = request.state.principal
    return principal


def _principal(needed: SecurityScopes, principal: Annotated[Principal, Security(_holder)]) -> Principal:
    principal.require(*needed.scopes)
    return principal


# Each endpoint says by the type of its principal which scope it needs: the one place where it is declared. Of several, one is enough.
Reads = Annotated[Principal, Security(_principal, scopes=[Scope.READ])]
ReadsAccounts = Annotated[Principal, Security(_principal, scopes=[Scope.ACCOUNTS_READ])]
WritesAccounts = Annotated[Principal, Security(_principal, scopes=[Scope.ACCOUNTS_WRITE])]
ReadsTransactions = Annotated[Principal, Security(_principal, scopes=[Scope.TRANSACTIONS_READ])]
WritesTransactions = Annotated[Principal, Security(_principal, scopes=[Scope.TRANSACTIONS_WRITE])]
ApprovesTransactions = Annotated[Principal, Security(_principal, scopes=[Scope.TRANSACTIONS_APPROVE])]
OperatesTransactions = Annotated[Principal, Security(_principal, scopes=[Scope.TRANSACTIONS_OPERATE])]
ReversesTransactions = Annotated[Principal, Security(_principal, scopes=[Scope.TRANSACTIONS_WRITE, Scope.TRANSACTIONS_OPERATE])]
WritesHolds = Annotated[Principal, Security(_principal, scopes=[Scope.HOLDS_WRITE])]
WritesStandingOrders = Annotated[Principal, Security(_principal, scopes=[Scope.STANDING_ORDERS_WRITE])]
ReadsNotifications = Annotated[Principal, Security(_principal, scopes=[Scope.NOTIFICATIONS_READ])]
WritesNotifications = Annotated[Principal, Security(_principal, scopes=[Scope.NOTIFICATIONS_WRITE])]
WritesFiles = Annotated[Principal, Security(_principal, scopes=[Scope.FILES_WRITE])]
ReadsEvents = Annotated[Principal, Security(_principal, scopes=[Scope.EVENTS_READ])]
ReadsMis = Annotated[Principal, Security(_principal, scopes=[Scope.MIS_READ])]
Administers = Annotated[Principal, Security(_principal, scopes=[Scope.ADMIN])]
AnyHolder = Annotated[Principal, Security(_holder)]
"""Of any scope of the API: for what belongs to no tenant, such as the OpenAPI document."""


class Declared(NamedTuple):
    """What an endpoint is, and what it declares."""

    method: str
    path: str
    scopes: tuple[str, ...] | None
    """One of these is needed; none for :data:`AnyHolder`. None: it declares nothing."""


def declarations(app: FastAPI) -> list[Declared]:
    """Of all endpoints of the application, whether they are in the OpenAPI document or not."""
    found = []
    for route in iter_route_contexts(app.routes):
        dependant: Dependant | None = getattr(route, "dependant", None)
        scopes = _declared(dependant) if dependant is not None else None
        found += [Declared(method, str(route.path), scopes) for method in sorted(route.methods or ("ANY",))]
    return found


def _declared(dependant: Dependant) -> tuple[str, ...] | None:
    for dependency in dependant.dependencies:
        if dependency.call is _principal and dependency.own_oauth_scopes:
            return tuple(dependency.own_oauth_scopes)
        if dependency.call is _holder:
            return ()
    return None
