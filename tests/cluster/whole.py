"""Whether each part of a cluster does its work: what one has to wait for before the next fault is fair."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx
import psycopg
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.service import RPCError

from infra.settings import ALL_GROUPS, DEFAULT_TASK_QUEUE
from infra.temporal.client import connect
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

_BROKERS = 3
_MEMBERS = 2
"""Of each consumer group."""
_WORKERS = 4
"""Two parts with two processes each."""
_IN_STEP = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'"


async def missing(cluster: Cluster) -> list[str]:
    """What is not yet as it should be; empty when all is."""
    found = [name for name in cluster.parts if cluster.process(name) is None]
    if found:
        return [f"{name} does not run: {cluster.log(name)}" for name in found]
    return [what for check in (_postgres, _brokers_and_groups, _apis, _workers) for what in await check(cluster)]


async def _postgres(cluster: Cluster) -> list[str]:
    try:
        async with await psycopg.AsyncConnection.connect(cluster.postgres_dsn, connect_timeout=2) as connection:
            row = await (await connection.execute(_IN_STEP)).fetchone()
    except psycopg.OperationalError as error:
        return [f"no primary: {error}"]
    return [] if row is not None and row[0] == 1 else ["no synchronous standby"]


async def _brokers_and_groups(cluster: Cluster) -> list[str]:
    admin = AIOKafkaAdminClient(**cluster.kafka.client_options(), client_id="casaflow-cluster", request_timeout_ms=5_000)
    try:
        await admin.start()
        topics: list[dict[str, Any]] = await admin.describe_topics()
        behind = [
            f"{topic['topic']}-{partition['partition']} has {len(partition['isr'])} copies in step"
            for topic in topics
            for partition in topic["partitions"]
            if len(partition["isr"]) != len(partition["replicas"]) or len(partition["replicas"]) != _BROKERS
        ]
        groups = []
        for group in ALL_GROUPS:
            (response,) = await admin.describe_consumer_groups([group])
            # One tuple for each group: error code, group, state, protocol type, protocol, members.
            groups += [f"group {group} is {one[2]} with {len(one[5])} members" for one in response.groups if not _has_all(one)]
    except (KafkaError, OSError) as error:
        return [f"Kafka: {error!r}"]
    finally:
        await admin.close()
    return [*behind[:1], *groups]


def _has_all(described: tuple[Any, ...]) -> bool:
    return described[2] == "Stable" and len(described[5]) == _MEMBERS


async def _apis(cluster: Cluster) -> list[str]:
    found = []
    async with httpx.AsyncClient(timeout=5.0, trust_env=False) as client:
        for url in cluster.apis:
            try:
                answer = await client.get(f"{url}/readyz")
            except httpx.HTTPError as error:
                found.append(f"{url}: {error!r}")
                continue
            found += [] if answer.is_success else [f"{url}: {answer.status_code} {answer.text}"]
    return found


async def _workers(cluster: Cluster) -> list[str]:
    """Those that live have to be seen polling; Temporal remembers those that are gone for a while."""
    living = {
        child.pid for name in ("worker-1", "worker-2") if (parent := cluster.process(name)) for child in parent.children(recursive=True)
    }
    try:
        client = await connect(cluster.settings)
        described = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=cluster.settings.temporal_namespace,
                task_queue=TaskQueue(name=DEFAULT_TASK_QUEUE),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
    except (UnavailableError, RPCError) as error:
        return [f"Temporal: {error}"]
    polling = [pid for pid in living if any(poller.identity.startswith(f"casaflow-worker-{pid}@") for poller in described.pollers)]
    return [] if len(polling) >= _WORKERS else [f"{len(polling)} of {_WORKERS} workers poll"]
