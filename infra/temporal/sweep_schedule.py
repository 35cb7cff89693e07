"""The Temporal Schedule that starts the sweep."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import structlog
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleIntervalSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from infra.settings import DEFAULT_TASK_QUEUE
from infra.temporal.client import unavailable

if TYPE_CHECKING:
    from temporalio.client import Client

    from ledger.settlements import SweepOrder

_log = structlog.get_logger(__name__)

SCHEDULE_ID: Final = "casaflow-sweep"
SWEEP_WORKFLOW: Final = "SweepWorkflow"
_CATCH_UP: Final = timedelta(minutes=1)
"""A sweep that was missed for longer is not made up for: the next one finds the same."""
_RPC_TIMEOUT: Final = timedelta(seconds=5)
_NOTE: Final = "Settles transactions whose workflow was terminated, failed or is forgotten. Made by casaflow's workers."


def schedule_id(task_queue: str) -> str:
    """Of the sweep of one task queue; a queue of its own has a sweep of its own."""
    return SCHEDULE_ID if task_queue == DEFAULT_TASK_QUEUE else f"{SCHEDULE_ID}-{task_queue}"


async def ensure_sweep_schedule(client: Client, *, task_queue: str, every: timedelta, order: SweepOrder) -> None:
    """Make the schedule, or bring it to these settings; whether an operator has paused it stays as it is. Safe to repeat.

    Raises:
        UnavailableError: Temporal did not answer.
    """
    identifier = schedule_id(task_queue)
    wanted = Schedule(
        action=ScheduleActionStartWorkflow(
            SWEEP_WORKFLOW,
            order,
            id=identifier,
            task_queue=task_queue,
            static_summary="Settle transactions that nobody carries any more",
        ),
        spec=ScheduleSpec(intervals=[ScheduleIntervalSpec(every=every)]),
        policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.SKIP, catchup_window=_CATCH_UP, pause_on_failure=False),
        state=ScheduleState(note=_NOTE),
    )

    def changed(found: ScheduleUpdateInput) -> ScheduleUpdate:
        state = found.description.schedule.state
        return ScheduleUpdate(
            schedule=Schedule(action=wanted.action, spec=wanted.spec, policy=wanted.policy, state=state),
        )

    try:
        try:
            await client.create_schedule(identifier, wanted, rpc_timeout=_RPC_TIMEOUT)
        except ScheduleAlreadyRunningError:
            await client.get_schedule_handle(identifier).update(changed, rpc_timeout=_RPC_TIMEOUT)
    except RPCError as error:
        raise unavailable(error) from error
    _log.info("sweep.scheduled", schedule=identifier, every_seconds=every.total_seconds())
