"""What the endpoints work with, and who is asking."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from infra.postgres.api_keys import Principal

if TYPE_CHECKING:
    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.api_keys import PostgresApiKeys
    from infra.postgres.database import Database
    from infra.postgres.transactions import PostgresTransactions
    from ledger.ports import ExchangeRates
    from starter.submit import TemporalConnection, TransactionStarter


@dataclass(frozen=True)
class Services:
    """The real parts, made once when the application starts."""

    database: Database
    temporal: TemporalConnection
    accounts: PostgresAccounts
    transactions: PostgresTransactions
    keys: PostgresApiKeys
    rates: ExchangeRates
    rates_max_age_days: int
    starter: TransactionStarter


def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


UsesServices = Annotated[Services, Depends(_services)]
_bearer = HTTPBearer(auto_error=False, description="An API key of `casaflow key create`.")


async def _principal(services: UsesServices, credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Principal:
    principal = await services.keys.authenticate(credentials.credentials) if credentials else None
    if principal is None:
        detail = "send a valid API key as Authorization: Bearer" if credentials else "an API key is needed as Authorization: Bearer"
        raise HTTPException(HTTPStatus.UNAUTHORIZED, detail, headers={"WWW-Authenticate": 'Bearer realm="casaflow"'})
    return principal


Authenticated = Annotated[Principal, Depends(_principal)]
"""The principal of the request's API key; without a valid one the answer is 401."""
