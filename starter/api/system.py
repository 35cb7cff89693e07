"""How the system is: what the console shows first, and the one thing that it does to the stack."""

from __future__ import annotations

import asyncio
import datetime as dt
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar

import structlog
from fastapi import APIRouter, HTTPException

from infra.kafka.lag import lags_behind
from infra.stack import control
from infra.stack.model import StackError
from infra.temporal.executions import TransactionExecutions
from ledger.errors import NotFoundError, UnavailableError
from ledger.results import TransactionStatus, WaitingKind
from ledger.searches import TransactionSearch
from starter.api.answers import answer
from starter.api.models.system import AttentionView, OutboxView, StackPartView, StandingView, SystemView, WebUiView
from starter.api.models.transactions import TransactionView
from starter.api.services import Administers, Reads, UsesServices
from starter.web_ui import run_timeline, transaction_search, view_link, views

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from temporalio.client import Client

    from infra.kafka.lag import GroupLag
    from infra.settings import Settings
    from starter.api.services import Services

router = APIRouter(prefix="/v1/system", tags=["system"])
_log = structlog.get_logger(__name__)

WINDOW_SECONDS: Final = 60
"""Of which the rate and the latency are shown."""
MOST_STANDING: Final = 100
"""Parked or waiting transactions that are shown at one time."""
_PART_SECONDS: Final = 5.0
"""Whoever asks does not wait longer; a part that answers later is shown as one that doesn't."""
_LOOKED_UP_AT_ONCE: Final = 16

Answer = TypeVar("Answer")


@router.get("")
async def read_system(services: UsesServices, principal: Reads) -> SystemView:
    """The pace of the tenant's transactions, those that wait for somebody, the outbox, the consumer groups, and the health of the parts."""
    database, kafka, temporal = "postgres", "kafka", "temporal"
    parts: dict[str, str] = {}
    throughput, backlog, groups, standing, _ = await asyncio.gather(
        _asked(parts, database, services.throughput.last_seconds(principal.tenant, seconds=WINDOW_SECONDS)),
        _asked(parts, database, services.outbox.backlog()),
        _asked(parts, kafka, _lags(services)),
        _asked(parts, temporal, _standing(services, principal.tenant)),
        _asked(parts, temporal, services.temporal.ping()),
    )
    return SystemView(
        tenant=principal.tenant,
        principal=principal.name,
        scopes=list(principal.scopes),
        parts={name: parts.get(name, "ready") for name in (database, temporal, kafka)},
        throughput=throughput,
        standing=standing,
        outbox=OutboxView(events=backlog.events, oldest_seconds=backlog.oldest_seconds) if backlog is not None else None,
        groups=groups,
        web_ui=_web_ui(services.settings, principal.tenant),
        stack=await asyncio.to_thread(_stack, services.settings),
    )


@router.get("/attention")
async def read_attention(services: UsesServices, principal: Reads) -> AttentionView:
    """The tenant's transactions that are parked, or wait for an approval or for their day, with what was asked where that is known."""
    found = await _executions(services, await services.temporal.client()).standing(principal.tenant, at_most=MOST_STANDING)
    # One whose workflow has ended without an outcome is parked, too; the ledger knows it, and Temporal's list doesn't.
    left = await services.searches.transactions(
        principal.tenant, TransactionSearch(status=TransactionStatus.PARKED), cursor=None, limit=MOST_STANDING
    )
    identifiers = dict.fromkeys([*found, *(record.result.transaction_id for record in left.found)])
    slots = asyncio.Semaphore(_LOOKED_UP_AT_ONCE)

    async def view(transaction_id: str) -> TransactionView | None:
        async with slots:
            try:
                standing = await services.starter.look_up(principal.tenant, transaction_id)
            except NotFoundError:
                return None
        if standing.result.status is not TransactionStatus.PARKED and standing.result.waiting_for is None:
            return None  # it has gone on meanwhile
        return TransactionView.of(standing.result, standing.request, reversed_amount=standing.reversed_amount, actions=standing.actions)

    views_of = await asyncio.gather(*(view(identifier) for identifier in identifiers))
    complete = len(found) < MOST_STANDING and left.next_cursor is None
    return AttentionView(transactions=[each for each in views_of if each is not None], complete=complete)


@router.post(
    "/workers/kill",
    responses={
        **answer(403, "The key lacks the scope `admin`."),
        **answer(404, "This is not the API of an embedded stack."),
        **answer(503, "No worker process runs now; one that was killed before is being started again."),
    },
)
async def kill_worker(services: UsesServices, _principal: Administers) -> StackPartView:
    """Kill one worker process of the embedded stack (SIGKILL), and answer which. It is started again, and nothing is lost."""
    if not services.settings.stack_controls:
        raise HTTPException(HTTPStatus.NOT_FOUND, "there is no stack here whose workers may be killed")
    try:
        part = await asyncio.to_thread(control.kill_worker, services.settings.home)
    except StackError as error:
        raise UnavailableError(part="worker", detail=str(error)) from error
    _log.warning("system.worker-killed", part=part.name, pid=part.pid)
    return StackPartView.of(part)


async def _asked(parts: dict[str, str], part: str, question: Awaitable[Answer]) -> Answer | None:
    """The answer; None, with the reason noted, where the part doesn't give one."""
    try:
        async with asyncio.timeout(_PART_SECONDS):
            return await question
    except UnavailableError as error:
        # Groups have their stores in PostgreSQL: who it is that doesn't answer, the error says.
        parts[error.part if error.part in {"postgres", "temporal", "kafka"} else part] = error.detail
    except TimeoutError:
        parts[part] = f"no answer within {_PART_SECONDS:.0f} s"
    return None


def _executions(services: Services, client: Client) -> TransactionExecutions:
    return TransactionExecutions(client, services.settings.task_queue)


async def _lags(services: Services) -> list[GroupLag]:
    if services.topic_ends is None:
        raise UnavailableError(part="kafka", detail="CASAFLOW_KAFKA_BOOTSTRAP_SERVERS is not set")
    ends = await services.topic_ends.read(within_seconds=_PART_SECONDS)
    return await lags_behind(services.database, ends, services.consumer_groups)


async def _standing(services: Services, tenant: str) -> StandingView:
    counts = await _executions(services, await services.temporal.client()).counts(tenant)
    return StandingView(
        carried=counts.carried,
        parked=counts.parked,
        waiting_for_approval=counts.waiting[WaitingKind.APPROVAL],
        waiting_for_date=counts.waiting[WaitingKind.EXECUTION_DATE],
    )


def _web_ui(settings: Settings, tenant: str) -> WebUiView | None:
    ui, namespace = settings.temporal_ui, settings.temporal_namespace
    if ui is None:
        return None
    lists = {name: view_link(ui, namespace, query) for name, query in views(dt.datetime.now(dt.UTC)).items()}
    return WebUiView(transaction=transaction_search(ui, namespace, tenant), run=run_timeline(ui, namespace), views=lists)


def _stack(settings: Settings) -> list[StackPartView] | None:
    if not settings.stack_controls:
        return None
    try:
        return [StackPartView.of(part) for part in control.part_states(settings.home)]
    except StackError:
        return None  # another version of casaflow is about to take the stack over
