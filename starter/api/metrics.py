"""Figures for a monitoring system, in Prometheus' text format, without a key."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import REGISTRY, CollectorRegistry, Gauge, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from infra.kafka.lag import lags_behind
from infra.temporal.executions import TransactionExecutions
from infra.temporal.telemetry import sdk_metrics
from ledger.errors import UnavailableError
from starter.api.services import UsesServices

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.postgres.maintenance import MaintenanceMetrics
    from infra.postgres.outbox import Backlog
    from starter.api.services import Services

router = APIRouter(tags=["health"])

_GAUGES: Final = {
    "longest_tail": (
        "casaflow_longest_tail_credits",
        "Credits of one account that its balance sums one by one, as the last run found them.",
    ),
    "last_run_seconds_ago": ("casaflow_maintenance_last_run_age_seconds", "Since the last maintenance run ended; absent before the first."),
    "oldest_writer_seconds": (
        "casaflow_oldest_writing_transaction_seconds",
        "How long the oldest writing database transaction of the cluster has been open.",
    ),
    "oldest_writer_xids": (
        "casaflow_oldest_writing_transaction_xids",
        "Transaction ids that were given out since the oldest one in progress.",
    ),
}

_PART_SECONDS: Final = 5.0
"""Well below what a monitoring system waits for an answer."""
_BACKLOG_GAUGES: Final = {
    "events": ("casaflow_outbox_unpublished_events", "Events that wait to be published; at most 10,000, what is above is not counted."),
    "oldest_seconds": ("casaflow_outbox_oldest_age_seconds", "Age of the oldest event that waits to be published; 0 where none waits."),
}


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(services: UsesServices) -> Response:
    """What the tables need of upkeep, what is asked of this process, and what it uses. Cheap: no table of entries is read."""
    registry = CollectorRegistry()
    up = Gauge("casaflow_postgres_up", "1 when PostgreSQL answers this process.", registry=registry)
    try:
        found = await services.maintenance.metrics()
        backlog = await services.outbox.backlog()
    except UnavailableError:
        up.set(0)
    else:
        up.set(1)
        _set(registry, _GAUGES, found)
        _set(registry, _BACKLOG_GAUGES, backlog)
        await _add_lags(registry, services)
    await _add_parked(registry, services)
    of_the_sdk = await asyncio.to_thread(sdk_metrics)
    return Response(generate_latest(registry) + generate_latest(REGISTRY) + of_the_sdk, media_type=CONTENT_TYPE_PLAIN_0_0_4)


async def _add_lags(registry: CollectorRegistry, services: Services) -> None:
    """How far each consumer group is, by its own store. Left out while Kafka or a group's store doesn't answer."""
    if services.topic_ends is None:
        return
    up = Gauge("casaflow_kafka_up", "1 when Kafka answers this process.", registry=registry)
    try:
        ends = await services.topic_ends.read(within_seconds=_PART_SECONDS)
    except UnavailableError:
        up.set(0)
        return
    up.set(1)
    try:
        lags = await lags_behind(services.database, ends, services.consumer_groups)
    except UnavailableError:
        return
    lag = Gauge("casaflow_consumer_lag_records", "Records that a group has not applied yet.", ["group"], registry=registry)
    held_events = "Records that a group could not handle, or that wait behind one."
    held = Gauge("casaflow_consumer_held_events", held_events, ["group", "status"], registry=registry)
    for group in lags:
        lag.labels(group.group).set(group.records)
        for status in ("failed", "waiting", "unreadable"):
            held.labels(group.group, status).set(getattr(group, status))


async def _add_parked(registry: CollectorRegistry, services: Services) -> None:
    """How many transactions wait for an operator, by Temporal's count. Left out while Temporal doesn't answer."""
    up = Gauge("casaflow_temporal_up", "1 when Temporal answers this process.", registry=registry)
    try:
        async with asyncio.timeout(_PART_SECONDS):
            client = await services.temporal.client()
            parked = await TransactionExecutions(client, services.settings.task_queue).parked()
    except (UnavailableError, TimeoutError):
        up.set(0)
        return
    up.set(1)
    Gauge("casaflow_transactions_parked", "Transactions that stand parked, and move on when an operator says how.", registry=registry).set(
        parked
    )


def _set(registry: CollectorRegistry, gauges: Mapping[str, tuple[str, str]], found: MaintenanceMetrics | Backlog) -> None:
    for field, (name, what) in gauges.items():
        value = getattr(found, field)
        if value is not None:
            Gauge(name, what, registry=registry).set(value)
