"""The HTTP API: what is mounted where, and what all requests have in common."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from infra.kafka.connection import connection_of
from infra.kafka.event_feed import EventFeed
from infra.kafka.offsets import TopicEnds
from infra.oauth.tokens import AccessTokens
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.administrative_acts import PostgresAdministrativeActs
from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.database import Database
from infra.postgres.explanation import PostgresExplanations
from infra.postgres.holds import PostgresHolds
from infra.postgres.intake import PostgresIntake
from infra.postgres.known_keys import KnownKeys
from infra.postgres.maintenance import PostgresMaintenance
from infra.postgres.mis import PostgresMis
from infra.postgres.notification_messages import PostgresMessages
from infra.postgres.notification_preferences import PostgresNotificationPreferences
from infra.postgres.outbox import PostgresOutbox
from infra.postgres.payment_files import PostgresPaymentFiles
from infra.postgres.searches import PostgresSearches
from infra.postgres.standing_orders import PostgresStandingOrders
from infra.postgres.statement_documents import PostgresStatementDocuments
from infra.postgres.statement_lines import GroupStatements
from infra.postgres.statements import PostgresStatements
from infra.postgres.throughput import PostgresThroughput
from infra.postgres.transactions import PostgresTransactions
from infra.rates import open_rates
from infra.temporal.access import access_of
from infra.temporal.payment_files import FileKeeper
from infra.temporal.standing_orders import StandingOrderKeeper
from infra.tracing import provider
from ledger.errors import UnavailableError
from ledger.events import TOPICS
from starter.api import (
    accounts,
    approvals,
    batches,
    closed_statements,
    console,
    documents,
    event_streams,
    event_types,
    explanations,
    files,
    health,
    holds,
    keys,
    metrics,
    mis,
    notifications,
    openapi,
    problem_pages,
    problems,
    rates,
    searches,
    standing_orders,
    statements,
    system,
    transactions,
)
from starter.api.authentication import Authentication
from starter.api.bodies import BodyGate
from starter.api.event_streams import EventStreams
from starter.api.manners import Bounded, Identified
from starter.api.rate_limits import RateLimit
from starter.api.services import Services
from starter.api.watch import Watch
from starter.commands import Commands
from starter.documents import StatementDocuments
from starter.explanations import Explanations
from starter.holds import HoldStarter
from starter.notifications import NotificationDesk
from starter.payment_files import FileDesk
from starter.standing_orders import StandingOrderDesk
from starter.submit import TemporalConnection, TransactionStarter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from infra.settings import Settings


Beside = Callable[[Services], AbstractAsyncContextManager[None]]
"""What a process does beside serving, with the same parts: open while the application runs."""


def create_app(settings: Settings, *, beside: Beside | None = None) -> FastAPI:
    """The application; connections are opened when it starts, and closed when it ends.

    Args:
        settings: of the process.
        beside: see there; None: nothing.

    Raises:
        InvalidInputError: a setting about Temporal breaks a rule.
        UnavailableError: the settings name no database.
    """
    if settings.postgres_url is None:
        raise UnavailableError(part="postgres", detail="CASAFLOW_POSTGRES_URL is not set")
    access_of(settings)
    database_url = settings.postgres_url.get_secret_value()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        database = Database.open(database_url, pool_size=settings.postgres_pool_size, role=settings.postgres_role)
        temporal = TemporalConnection(settings)
        recorded = PostgresTransactions(database)
        known_accounts, known_holds = PostgresAccounts(database), PostgresHolds(database)
        orders, payment_files = PostgresStandingOrders(database), PostgresPaymentFiles(database)
        statements, group_statements = PostgresStatements(database), GroupStatements(database)
        topic_ends = TopicEnds(connection_of(settings), TOPICS) if settings.kafka_bootstrap_servers else None
        streams = (
            EventStreams(
                EventFeed(connection_of(settings), topic_ends), at_most=settings.event_streams, of_a_key=settings.event_streams_per_key
            )
            if topic_ends is not None
            else None
        )
        api_keys, intake = PostgresApiKeys(database), PostgresIntake(database)
        known_keys, tokens = KnownKeys(api_keys, seconds=settings.key_cache_seconds), AccessTokens(settings.oauth_issuers)
        app.state.services = Services(
            settings=settings,
            database=database,
            temporal=temporal,
            throughput=PostgresThroughput(database),
            accounts=known_accounts,
            holds=known_holds,
            standing_orders=StandingOrderDesk(
                orders, StandingOrderKeeper(orders, temporal.client, task_queue=settings.task_queue), known_accounts
            ),
            notifications=NotificationDesk(
                PostgresNotificationPreferences(database),
                PostgresMessages(database),
                known_accounts,
                allow_private=settings.webhook_allow_private,
            ),
            hold_starter=HoldStarter(
                temporal,
                known_holds,
                known_accounts,
                task_queue=settings.task_queue,
                signing_secrets=settings.signing_secrets,
                intake=intake,
            ),
            statements=statements,
            group_statements=group_statements,
            documents=StatementDocuments(known_accounts, statements, group_statements, PostgresStatementDocuments(database)),
            bic=settings.bic,
            time_zone=ZoneInfo(settings.time_zone),
            transactions=recorded,
            keys=api_keys,
            known_keys=known_keys,
            tokens=tokens,
            acts=PostgresAdministrativeActs(database),
            maintenance=PostgresMaintenance(database),
            mis=PostgresMis(database),
            outbox=PostgresOutbox(database),
            searches=PostgresSearches(database),
            topic_ends=topic_ends,
            event_streams=streams,
            consumer_groups=settings.consumer_groups,
            rates=open_rates(settings),
            rates_max_age_days=settings.rates_max_age_days,
            explanations=Explanations(PostgresExplanations(database), temporal),
            starter=TransactionStarter(
                temporal,
                recorded,
                task_queue=settings.task_queue,
                transfers=settings.transfers,
                waiting_rules=settings.waiting_rules,
                intake=intake,
            ),
            commands=Commands(temporal, recorded, settings.signing_secrets),
            files=FileDesk(
                payment_files,
                FileKeeper(payment_files, temporal.client, task_queue=settings.task_queue),
                most_bytes=settings.file_max_bytes,
                intake=intake,
            ),
        )
        known_keys.start()
        try:
            async with beside(app.state.services) if beside is not None else nullcontext():
                yield
        finally:
            if streams is not None:
                await streams.feed.stop()
            if topic_ends is not None:
                await topic_ends.stop()
            await tokens.stop()
            await known_keys.stop()
            await database.close()

    app = FastAPI(
        title="casaflow",
        version="1",
        summary="A transaction engine for current and savings accounts.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,  # served by a router of ours: it needs a key like everything else
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    problems.register(app)
    for part in (
        accounts,
        holds,
        standing_orders,
        statements,
        closed_statements,
        documents,
        batches,
        transactions,
        explanations,
        searches,
        rates,
        health,
        metrics,
        openapi,
        problem_pages,
        approvals,
        event_types,
        event_streams,
        mis,
        notifications,
        files,
        keys,
        system,
        console,
    ):
        app.include_router(part.router)
    # The last one added is the first one asked: a body is read only for somebody who may send one.
    app.add_middleware(BodyGate)
    if settings.rate_limit_per_second:
        app.add_middleware(RateLimit, per_second=settings.rate_limit_per_second, burst=settings.rate_limit_burst)
    app.add_middleware(Authentication)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID", "Prefer", "Request-Id"],
            expose_headers=["Location", "Preference-Applied", "RateLimit", "RateLimit-Policy", "Request-Id", "Retry-After"],
        )
    app.add_middleware(Bounded, timeout_seconds=settings.request_timeout_seconds)
    app.add_middleware(Watch)
    app.add_middleware(Identified)
    _trace(app)
    return app


def end_streams(app: FastAPI) -> None:
    """End all streams of events now: a server that is asked to stop waits for what it is answering, and they have no end of their own."""
    services: Services | None = getattr(app.state, "services", None)
    if services is not None and services.event_streams is not None:
        services.event_streams.feed.end()


def _trace(app: FastAPI) -> None:
    """A span for each request, where this process is traced; a caller's own trace goes on in it."""
    spans_go_to = provider()
    if spans_go_to is None:
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor  # noqa: PLC0415  not loaded by whoever isn't traced

    FastAPIInstrumentor.instrument_app(
        app, tracer_provider=spans_go_to, excluded_urls="healthz,readyz,metrics", exclude_spans=["receive", "send"]
    )
