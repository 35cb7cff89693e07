"""Versions of the workers: which one is current, and the runs that the others have left; see docs/decisions/0018."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
from collections import Counter
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog
from google.protobuf.field_mask_pb2 import FieldMask
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflow.v1 import VersioningOverride, WorkflowExecutionOptions
from temporalio.api.workflowservice.v1 import (
    DescribeTaskQueueRequest,
    DescribeWorkerDeploymentRequest,
    SetWorkerDeploymentCurrentVersionRequest,
    UpdateWorkflowExecutionOptionsRequest,
)
from temporalio.common import VersioningBehavior, WorkerDeploymentVersion
from temporalio.service import RPCError, RPCStatusCode
from temporalio.worker import WorkerDeploymentConfig

from infra.temporal.client import unavailable
from ledger.errors import UnavailableError
from ledger.settlements import MovedRun

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from temporalio.client import Client

    from infra.settings import Settings

_log = structlog.get_logger(__name__)

DEPLOYMENT: Final = "casaflow"
"""What the deployment of the workers is called unless a setting says otherwise."""
_SOURCES: Final = ("ledger", "workflows", "activities", "infra")
"""What a worker runs. Whatever of it changes makes another version."""
_DIGEST_CHARACTERS: Final = 12
_POLL_SECONDS: Final = 0.5
_NOT_YET: Final = {RPCStatusCode.NOT_FOUND, RPCStatusCode.FAILED_PRECONDITION, RPCStatusCode.RESOURCE_EXHAUSTED}
"""How the server refuses a version that nobody polls for yet, and whoever asks more often than it likes."""
_SILENT_AFTER: Final = dt.timedelta(seconds=90)
"""A poll takes a minute at most, and the server remembers pollers for five. Whoever has not polled for this long is gone."""


@cache
def installed_build_id() -> str:
    """The build id of the code that is installed here: ``<package version>-<digest of its sources>``."""
    root = Path(__file__).resolve().parents[2]
    digest = hashlib.sha256()
    for path in (*(path for name in _SOURCES for path in sorted((root / name).rglob("*.py"))), root / "worker.py"):
        digest.update(f"{path.relative_to(root).as_posix()}\0".encode())
        digest.update(path.read_bytes())
    return f"{version('casaflow')}-{digest.hexdigest()[:_DIGEST_CHARACTERS]}"


def deployment_config(settings: Settings) -> WorkerDeploymentConfig | None:
    """How a worker of these settings is versioned; None: it isn't.

    Workflows are pinned unless they were started with an override, which those get that may wait (`workflows/versioning.py`). The
    behaviour stands here and not at the workflows, since the server refuses a worker without versions whose workflows name one.
    """
    if settings.worker_deployment is None:
        return None
    return WorkerDeploymentConfig(
        version=WorkerDeploymentVersion(
            deployment_name=settings.worker_deployment, build_id=settings.worker_build_id or installed_build_id()
        ),
        use_worker_versioning=True,
        default_versioning_behavior=VersioningBehavior.PINNED,
    )


@dataclass(frozen=True)
class LeftRun:
    """A running workflow that is pinned to a version which is not the current one."""

    workflow_id: str
    run_id: str
    build_id: str


@dataclass(frozen=True)
class Moves:
    """What became of the runs of other versions."""

    moved: tuple[LeftRun, ...]
    """They go on with the current version, and with each later one."""
    served: Counter[str]
    """How many runs stay with a version, by its build id, since workers of it still poll."""


class WorkerDeployment:
    """The versions of the workers of one task queue."""

    def __init__(self, client: Client, name: str, task_queue: str) -> None:
        self._client = client
        self._name = name
        self._task_queue = task_queue

    async def current(self) -> str | None:
        """The build id of the current version; None where none was ever set.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        request = DescribeWorkerDeploymentRequest(namespace=self._client.namespace, deployment_name=self._name)
        try:
            # The server refuses whoever asks more often than it likes, for a moment, and many may promote at the same time.
            described = await self._client.workflow_service.describe_worker_deployment(request, retry=True)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise unavailable(error) from error
        return described.worker_deployment_info.routing_config.current_deployment_version.build_id or None

    async def set_current(self, build_id: str, *, within_seconds: float) -> None:
        """Let new runs, and those that upgrade by themselves, go to this version, once a worker of it polls. Safe to repeat.

        Args:
            build_id: of the version.
            within_seconds: how long to wait for a worker of it.

        Raises:
            UnavailableError: none polls all queues of the version that is current now, or Temporal did not answer.
        """
        # The server refuses a version without pollers, or one that lacks a queue of the current version, so nothing is cut off.
        request = SetWorkerDeploymentCurrentVersionRequest(
            namespace=self._client.namespace, deployment_name=self._name, build_id=build_id, identity=self._client.identity
        )
        refused: RPCError | None = None
        try:
            async with asyncio.timeout(within_seconds):
                while True:
                    try:
                        await self._client.workflow_service.set_worker_deployment_current_version(request)
                    except RPCError as error:
                        if error.status not in _NOT_YET:
                            raise unavailable(error) from error
                        refused = error
                    else:
                        return
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            why = refused.message if refused is not None else "Temporal did not answer"
            detail = f"version {build_id} of {self._name} can't be the current one after {within_seconds:.0f} s: {why}"
            raise UnavailableError(part="worker", detail=detail) from error

    async def left(self) -> list[LeftRun]:
        """The running workflows that are pinned to another version than the current one.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        current = await self.current()
        try:
            return [run async for run in self._left(current)]
        except RPCError as error:
            raise unavailable(error) from error

    async def _left(self, current: str | None) -> AsyncIterator[LeftRun]:
        query = (
            f"TaskQueue = '{self._task_queue}' AND ExecutionStatus = 'Running' AND TemporalWorkerDeployment = '{self._name}'"
            f" AND TemporalWorkflowVersioningBehavior = 'Pinned' AND TemporalWorkerDeploymentVersion != '{self._name}:{current}'"
        )
        async for found in self._client.list_workflows(query):
            build_id = _build_id(found.search_attributes.get("TemporalWorkerDeploymentVersion"))
            # Visibility lags behind: what has ended, or was moved, meanwhile does no harm below.
            yield LeftRun(workflow_id=found.id, run_id=found.run_id, build_id=build_id)

    async def polling(self) -> frozenset[str]:
        """The build ids of the versions that a worker polled for within the last minute and a half.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        request = DescribeTaskQueueRequest(
            namespace=self._client.namespace,
            task_queue=TaskQueue(name=self._task_queue),
            task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
        )
        try:
            described = await self._client.workflow_service.describe_task_queue(request)
        except RPCError as error:
            raise unavailable(error) from error
        since = dt.datetime.now(dt.UTC) - _SILENT_AFTER
        return frozenset(
            poller.deployment_options.build_id
            for poller in described.pollers
            if poller.deployment_options.deployment_name == self._name and poller.last_access_time.ToDatetime(dt.UTC) >= since
        )

    async def move_unserved(self, *, at_most: int) -> tuple[MovedRun, ...]:
        """See :meth:`ledger.ports.WorkerVersions.move_unserved`."""
        if await self.current() is None:
            return ()
        moves = await self.move_left(at_most=at_most)
        for run in moves.moved:
            _log.warning("deployment.moved-what-nobody-serves", workflow_id=run.workflow_id, build_id=run.build_id)
        return tuple(MovedRun(workflow_id=run.workflow_id, build_id=run.build_id) for run in moves.moved)

    async def move_left(self, *, also_served: bool = False, at_most: int | None = None) -> Moves:
        """Move the runs of other versions to the current one: those that no worker serves any more, or all of them.

        A moved run is replayed by the current version, and upgrades by itself from now on. What the replay tests keep replayable may be
        moved; so may everything that is parked, which is why they record every outcome.

        Args:
            also_served: move those too whose own workers are still there.
            at_most: so many; None: all of them.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        polling = frozenset() if also_served else await self.polling()
        moved: list[LeftRun] = []
        served: Counter[str] = Counter()
        for run in await self.left():
            if len(moved) == at_most:
                break
            if run.build_id in polling:
                served[run.build_id] += 1
            elif await self._move(run):
                moved.append(run)
        return Moves(moved=tuple(moved), served=served)

    async def _move(self, run: LeftRun) -> bool:
        request = UpdateWorkflowExecutionOptionsRequest(
            namespace=self._client.namespace,
            workflow_execution=WorkflowExecution(workflow_id=run.workflow_id, run_id=run.run_id),
            workflow_execution_options=WorkflowExecutionOptions(versioning_override=VersioningOverride(auto_upgrade=True)),
            update_mask=FieldMask(paths=["versioning_override"]),
            identity=self._client.identity,
        )
        try:
            await self._client.workflow_service.update_workflow_execution_options(request)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return False  # it has ended since it was listed
            raise unavailable(error) from error
        return True


def _build_id(attribute: object) -> str:
    (value,) = attribute if isinstance(attribute, (list, tuple)) else (attribute,)
    return str(value).rpartition(":")[2]
