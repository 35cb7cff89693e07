"""The HTTP API: what is mounted where, and what all requests have in common."""

from __future__ import annotations

from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from fastapi import FastAPI

from infra.postgres.accounts import PostgresAccounts
from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from infra.postgres.transactions import PostgresTransactions
from infra.rates import open_rates
from ledger.errors import UnavailableError
from starter.api import accounts, health, problems, rates, transactions
from starter.api.services import Services
from starter.submit import TemporalConnection, TransactionStarter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from infra.settings import Settings

MAX_BODY_BYTES: Final = 64 * 1024
"""The largest valid transaction has some 30 kB, nearly all of it metadata."""


def create_app(settings: Settings) -> FastAPI:
    """The application; connections are opened when it starts, and closed when it ends.

    Raises:
        UnavailableError: the settings name no database.
    """
    if settings.postgres_url is None:
        raise UnavailableError(part="postgres", detail="CASAFLOW_POSTGRES_URL is not set")
    database_url = settings.postgres_url.get_secret_value()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database.open(database_url, pool_size=settings.postgres_pool_size)
        temporal = TemporalConnection(settings)
        recorded = PostgresTransactions(database)
        app.state.services = Services(
            database=database,
            temporal=temporal,
            accounts=PostgresAccounts(database),
            transactions=recorded,
            keys=PostgresApiKeys(database),
            rates=open_rates(settings),
            rates_max_age_days=settings.rates_max_age_days,
            starter=TransactionStarter(temporal, recorded, task_queue=settings.task_queue),
        )
        try:
            yield
        finally:
            await database.close()

    app = FastAPI(
        title="casaflow",
        version="1",
        summary="A transaction engine for current and savings accounts.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    problems.register(app)
    for part in (accounts, transactions, rates, health):
        app.include_router(part.router)
    app.add_middleware(_BodyLimit)
    return app


class _BodyLimit:
    """Refuses bodies above :data:`MAX_BODY_BYTES` while they arrive, whatever length they announce."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chunks: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            more = message.get("more_body", False)
            if size > MAX_BODY_BYTES:
                detail = f"the body is larger than {MAX_BODY_BYTES} bytes"
                response = problems.problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request-too-large", detail)
                await response(scope, receive, send)
                return
        body = b"".join(chunks)
        given = False

        async def replay() -> Message:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)
