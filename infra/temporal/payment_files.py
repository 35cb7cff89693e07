"""Starts the workflows of payment files, and tells them to look how their file stands."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final

import structlog
from temporalio.common import (
    AutoUpgradeVersioningOverride,
    SearchAttributeKey,
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import unavailable
from ledger import visibility
from ledger.errors import CasaflowError, UnavailableError
from ledger.ids import file_workflow_id

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from temporalio.client import Client

    from infra.postgres.payment_files import PostgresPaymentFiles
    from ledger.payment_files import FileKey

_log = structlog.get_logger(__name__)

WORKFLOW_TYPE: Final = "PaymentFileWorkflow"
LOOK_AGAIN: Final = "look_again"
_RPC_TIMEOUT: Final = dt.timedelta(seconds=5)
_LEFT_ALONE_FOR: Final = dt.timedelta(seconds=30)
"""Whoever has entered a file starts its workflow; only then does the upkeep."""
_AT_ONCE: Final = 200
_TENANT: Final = SearchAttributeKey.for_keyword(visibility.TENANT)
_KIND: Final = SearchAttributeKey.for_keyword(visibility.KIND)
_STATUS: Final = SearchAttributeKey.for_keyword(visibility.STATUS)


class FileKeeper:
    """Sees to it that each file that isn't over has a workflow. Safe to repeat, and in several processes at once."""

    def __init__(self, files: PostgresPaymentFiles, client: Callable[[], Awaitable[Client]], *, task_queue: str) -> None:
        """Take the files, what gives a client, and the task queue of the workers."""
        self._files = files
        self._client = client
        self._task_queue = task_queue

    async def start(self, key: FileKey) -> None:
        """Start a file's workflow; one that runs is left alone, and one that was ended is followed by another, which goes on.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        client = await self._client()
        try:
            await client.start_workflow(
                WORKFLOW_TYPE,
                key,
                id=file_workflow_id(key.tenant, key.file_id),
                task_queue=self._task_queue,
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(_TENANT, key.tenant),
                        SearchAttributePair(_KIND, "file"),
                        SearchAttributePair(_STATUS, "validating"),
                    ]
                ),
                static_summary=f"Payment file {key.file_id}",
                versioning_override=AutoUpgradeVersioningOverride(),
                rpc_timeout=_RPC_TIMEOUT,
            )
        except RPCError as error:
            raise unavailable(error) from error

    async def tell(self, key: FileKey) -> None:
        """Have a file's workflow look how the file stands; it does so by itself in time, so that nothing depends on this but how soon."""
        try:
            client = await self._client()
            await client.get_workflow_handle(file_workflow_id(key.tenant, key.file_id)).signal(LOOK_AGAIN, rpc_timeout=_RPC_TIMEOUT)
        except UnavailableError as error:
            _log.warning("file.not-told", tenant=key.tenant, file_id=key.file_id, reason=str(error))
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:  # it is over, or about to be started
                _log.warning("file.not-told", tenant=key.tenant, file_id=key.file_id, reason=str(unavailable(error)))

    async def keep(self, *, now: dt.datetime) -> int:
        """Start the workflows of files that have none; how many files were looked at.

        Raises:
            UnavailableError: PostgreSQL or Temporal did not answer.
        """
        found = await self._files.unfinished(until=now - _LEFT_ALONE_FOR, at_most=_AT_ONCE)
        for key in found:
            await self.start(key)
        return len(found)

    async def keep_up(self, *, every_seconds: float) -> None:
        """Do so again and again until cancelled. What fails is said in the log, and tried in time."""
        while True:
            try:
                await self.keep(now=dt.datetime.now(dt.UTC))
                await self._files.forget_broken_uploads()
            except UnavailableError as error:
                _log.warning("files.not-now", part=error.part, detail=error.detail)
            except CasaflowError as error:
                _log.error("files.failed", error=str(error))
            await asyncio.sleep(every_seconds)
