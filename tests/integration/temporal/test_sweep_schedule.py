"""The sweep gets scheduled although Temporal was away when the worker wanted it, and the worker's transactions don't wait for that."""

from __future__ import annotations

import asyncio

from structlog.testing import capture_logs
from temporalio.client import Client
from temporalio.service import RPCError

from infra.settings import Settings
from infra.temporal.client import connect
from infra.temporal.sweep_schedule import schedule_id
from tests.integration.proxies import TcpProxy
from tests.stack_fixtures import RunningStack
from tests.workflow.conftest import eventually
from worker import scheduled_sweep


async def test_a_sweep_that_can_not_be_scheduled_at_once_ends_nothing_and_is_scheduled_later(
    stack: RunningStack, settings: Settings
) -> None:
    direct = await connect(settings)
    identifier = schedule_id(settings.task_queue)
    async with TcpProxy(stack.temporal_address) as proxy:
        behind = await connect(settings.model_copy(update={"temporal_address": proxy.address}))
        await proxy.refuse()
        with capture_logs() as logs:
            async with scheduled_sweep(settings, behind), asyncio.timeout(120):
                await eventually(lambda: any(line["event"] == "worker.waiting" for line in logs), seconds=60)
                assert not await _is_scheduled(direct, identifier)
                await proxy.accept()
                await eventually(lambda: _is_scheduled(direct, identifier), seconds=60)
    await direct.get_schedule_handle(identifier).delete()
    assert not [line for line in logs if line["log_level"] == "error"]


async def _is_scheduled(client: Client, identifier: str) -> bool:
    try:
        await client.get_schedule_handle(identifier).describe()
    except RPCError:
        return False
    return True
