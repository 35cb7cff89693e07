"""How one knows that a process does its work: it is asked, as those that use it do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import httpx
import psutil
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, DescribeTaskQueueRequest
from temporalio.service import RPCError

from infra.temporal.client import connect
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Collection

    from infra.kafka.connection import KafkaConnection
    from infra.settings import Settings

_HTTP_SECONDS: Final = 5.0
_KAFKA_MILLISECONDS: Final = 5_000


def listens(pid: int, port: int) -> bool:
    """Whether this very process takes connections on a port; another one may have taken the port meanwhile."""
    try:
        open_ones = psutil.Process(pid).net_connections("tcp")
    except psutil.Error:
        return False
    return any(one.status == psutil.CONN_LISTEN and one.laddr.port == port for one in open_ones)


def has_connections(pid: int) -> bool:
    """Whether a process has a connection to another one: all that can be seen of a relay, which nobody asks anything."""
    try:
        return any(one.status == psutil.CONN_ESTABLISHED for one in psutil.Process(pid).net_connections("tcp"))
    except psutil.Error:
        return False


async def page_answers(url: str) -> bool:
    """Whether a page answers, and with success: the API's ``/readyz`` does once its servers answer."""
    try:
        async with httpx.AsyncClient(timeout=_HTTP_SECONDS, trust_env=False) as client:
            return (await client.get(url)).is_success
    except httpx.HTTPError:
        return False


async def temporal_answers(settings: Settings) -> bool:
    """Whether the namespace can be used."""
    try:
        client = await connect(settings)
        await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=settings.temporal_namespace))
    except (UnavailableError, RPCError):
        return False
    return True


async def worker_polls(settings: Settings, pids: Collection[int]) -> bool:
    """Whether Temporal has seen one of these processes poll the task queue."""
    try:
        client = await connect(settings)
        described = await client.workflow_service.describe_task_queue(
            DescribeTaskQueueRequest(
                namespace=settings.temporal_namespace,
                task_queue=TaskQueue(name=settings.task_queue),
                task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
            )
        )
    except (UnavailableError, RPCError):
        return False
    identities = tuple(f"casaflow-worker-{pid}@" for pid in pids)
    return any(poller.identity.startswith(identities) for poller in described.pollers)


async def group_has(connection: KafkaConnection, group: str, pids: Collection[int]) -> bool:
    """Whether a consumer group has shared its partitions out, and one of these processes is a member.

    Any member would not do: those of a process that was killed stay until their session has timed out.
    """
    admin = AIOKafkaAdminClient(**connection.client_options(), client_id="casaflow-stack", request_timeout_ms=_KAFKA_MILLISECONDS)
    try:
        await admin.start()
        (response,) = await admin.describe_consumer_groups([group])
    except (KafkaError, OSError):
        return False
    finally:
        await admin.close()
    # One tuple for each group: error code, group, state, protocol type, protocol, members.
    names = tuple(f"casaflow-{group}-{pid}" for pid in pids)
    return any(described[2] == "Stable" and any(member[1] in names for member in described[5]) for described in response.groups)


async def living_brokers(connection: KafkaConnection) -> int:
    """How many brokers the cluster says that it has; 0 while none answers."""
    admin = AIOKafkaAdminClient(**connection.client_options(), client_id="casaflow-stack", request_timeout_ms=_KAFKA_MILLISECONDS)
    try:
        await admin.start()
        described = await admin.describe_cluster()
    except (KafkaError, OSError):
        return 0
    finally:
        await admin.close()
    return len(described["brokers"])
