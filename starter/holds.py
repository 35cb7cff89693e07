"""The one way to set money aside, to void it, and to tell a hold's workflow of captures."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final

import structlog
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError as UpdateTimeoutError
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import unavailable
from ledger.accounts import AccountKind
from ledger.commands import sign
from ledger.errors import HoldConflictError, HoldNotVoidableError, LedgerIntegrityError, UnavailableError, UnknownAccountError
from ledger.holds import Hold, HoldStatus, check_hold, check_void
from ledger.ids import hold_workflow_id
from workflows import visibility
from workflows.hold import HoldInstruction, HoldWorkflow
from workflows.versioning import GOES_ON_WITH_EACH_VERSION

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.client import Client, WorkflowHandle

    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.holds import PostgresHolds
    from infra.postgres.intake import PostgresIntake
    from ledger.holds import HoldRequest
    from starter.submit import TemporalConnection

    Handle = WorkflowHandle[HoldWorkflow, Hold]

_log = structlog.get_logger(__name__)

_RPC_TIMEOUT: Final = dt.timedelta(seconds=5)
_ANSWER_TIMEOUT: Final = dt.timedelta(seconds=20)
"""For what a worker has to do; longer than any local attempt, and shorter than a client's patience."""
_NOTICE_TIMEOUT: Final = dt.timedelta(seconds=2)
"""A capture's answer doesn't wait longer for its hold's workflow to hear of it."""


class HoldStarter:
    """Starts the workflows of holds, and talks to them."""

    def __init__(
        self,
        temporal: TemporalConnection,
        holds: PostgresHolds,
        accounts: PostgresAccounts,
        *,
        task_queue: str,
        signing_secrets: Sequence[bytes],
        intake: PostgresIntake,
    ) -> None:
        self._temporal = temporal
        self._holds = holds
        self._accounts = accounts
        self._task_queue = task_queue
        self._signing_secrets = signing_secrets
        self._intake = intake

    async def authorise(self, request: HoldRequest) -> tuple[Hold, bool]:
        """Decide a hold, and set its amount aside; a repeat gets the hold as it stands, a refused one included.

        Returns:
            The hold, and whether this call started it.

        Raises:
            UnknownAccountError: the tenant has no such account, or it is the bank's own.
            InvalidInputError: the amount, its currency, or the end breaks a rule.
            HoldConflictError: the id was used before with other content.
            DrainingError: it is a new one, and none are taken now.
            UnavailableError: a part did not answer; the same request again settles it.
        """
        # The row outlives Temporal's retention, so it is asked first.
        known = await self._holds.get(request.tenant, request.hold_id)
        if known is not None:
            return _same(known, request), False
        await self._check(request)
        await self._intake.admit()
        client = await self._temporal.client()
        handle, started = await self._start_or_join(client, request)
        return _same(await self._decided(handle, request), request), started

    async def void(self, tenant: str, hold_id: str, *, by: str) -> Hold:
        """Release what an open hold still holds. Voiding a voided hold changes nothing.

        Raises:
            NotFoundError: the tenant has no such hold.
            HoldNotVoidableError: it was captured or refused, or has expired.
            UnavailableError: the outcome is unknown; void again.
        """
        hold = await self._holds.get(tenant, hold_id)
        if hold is None or not hold.announced or not check_void(hold):
            # One from before holds had workflows, or nothing to do: the ledger answers for itself.
            return await self._holds.void(tenant, hold_id)
        if not self._signing_secrets:
            raise UnavailableError(part="api", detail="CASAFLOW_COMMAND_SECRETS is not set, so no workflow would obey")
        command = sign(self._signing_secrets[0], action="void", tenant=tenant, transaction_id=hold_id, by=by, at=dt.datetime.now(dt.UTC))
        client = await self._temporal.client()
        # Where its workflow was terminated, another one takes the hold over.
        handle, _ = await self._start_or_join(client, hold.request)
        try:
            voided: Hold = await handle.execute_update("void", command, result_type=Hold, rpc_timeout=_ANSWER_TIMEOUT)
        except (UpdateTimeoutError, WorkflowUpdateFailedError) as error:
            return await self._after_no_answer(tenant, hold_id, error)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return await self._after_no_answer(tenant, hold_id, error)
            raise unavailable(error) from error
        if voided.status is not HoldStatus.VOIDED:
            raise HoldNotVoidableError(hold_id=hold_id, status=voided.status.value)
        return voided

    async def captured(self, tenant: str, hold_id: str, transaction_id: str) -> None:
        """Tell the hold's workflow that a transaction captures from it. Nothing depends on it but what operators see, and how soon."""
        try:
            async with asyncio.timeout(_NOTICE_TIMEOUT.total_seconds()):
                client = await self._temporal.client()
                handle = client.get_workflow_handle_for(HoldWorkflow.run, hold_workflow_id(tenant, hold_id))
                await handle.start_update(
                    "capture", transaction_id, wait_for_stage=WorkflowUpdateStage.ACCEPTED, rpc_timeout=_NOTICE_TIMEOUT
                )
        except (RPCError, UpdateTimeoutError, WorkflowUpdateFailedError, UnavailableError, TimeoutError) as error:
            # It sees the capture at its end at the latest; one that is over, or was never there, needs to hear nothing.
            _log.info("hold.not-told-of-a-capture", tenant=tenant, hold_id=hold_id, reason=type(error).__name__)

    async def _check(self, request: HoldRequest) -> None:
        """Refuse what can't be decided, before anything is started."""
        found = await self._accounts.get_many(request.tenant, [request.account_id])
        account = found.get(request.account_id)
        if account is None or account.kind is AccountKind.INTERNAL:
            raise UnknownAccountError(field="account_id", account_id=request.account_id)
        check_hold(request, currency=account.currency, now=dt.datetime.now(dt.UTC))

    async def _start_or_join(self, client: Client, request: HoldRequest) -> tuple[Handle, bool]:
        """The hold's workflow, and whether this call started it."""
        identifier = hold_workflow_id(request.tenant, request.hold_id)
        try:
            started: Handle = await client.start_workflow(
                HoldWorkflow.run,
                HoldInstruction(request=request),
                id=identifier,
                task_queue=self._task_queue,
                # After a closed one another may follow, which finds the hold. A running one is joined, and its answer is compared.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                search_attributes=visibility.attributes_of_new_hold(request),
                static_summary=visibility.hold_summary(request),
                versioning_override=GOES_ON_WITH_EACH_VERSION,
                rpc_timeout=_RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            return client.get_workflow_handle_for(HoldWorkflow.run, identifier), False
        except RPCError as error:
            raise unavailable(error) from error
        return started, True

    async def _decided(self, handle: Handle, request: HoldRequest) -> Hold:
        try:
            hold: Hold = await handle.execute_update("authorised", result_type=Hold, rpc_timeout=_ANSWER_TIMEOUT)
        except UpdateTimeoutError as error:
            detail = f"the hold was not decided within {_ANSWER_TIMEOUT.total_seconds():.0f} s"
            raise UnavailableError(part="temporal", detail=detail) from error
        except (WorkflowUpdateFailedError, RPCError) as error:
            if isinstance(error, RPCError) and error.status is not RPCStatusCode.NOT_FOUND:
                raise unavailable(error) from error
        else:
            return hold
        # The workflow is over: the hold was refused at once, or the request was one that can't be decided.
        known = await self._holds.get(request.tenant, request.hold_id)
        if known is not None:
            return known
        await self._check(request)
        raise LedgerIntegrityError(await _failure_of(handle))

    async def _after_no_answer(self, tenant: str, hold_id: str, error: Exception) -> Hold:
        """The workflow may have ended meanwhile, by a capture or by the hold's end; the ledger knows."""
        hold = await self._holds.get(tenant, hold_id)
        if hold is None or hold.status is HoldStatus.OPEN:
            cause = getattr(error, "cause", None)
            raise UnavailableError(part="temporal", detail=f"the hold's workflow did not void it: {cause or error}") from error
        if check_void(hold):
            raise UnavailableError(part="temporal", detail="the hold's workflow did not void it") from error
        return hold


async def _failure_of(handle: Handle) -> str:
    try:
        await handle.result(rpc_timeout=_RPC_TIMEOUT)
    except WorkflowFailureError as error:
        cause = error.cause
        return f"{cause.type}: {cause.message}" if isinstance(cause, ApplicationError) else str(cause)
    except RPCError as error:
        raise unavailable(error) from error
    return "the hold's workflow ended without a hold"


def _same(hold: Hold, request: HoldRequest) -> Hold:
    """The hold, if it is what was asked for.

    Raises:
        HoldConflictError: it has other content.
    """
    if hold.request.fingerprint != request.fingerprint:
        raise HoldConflictError(hold_id=request.hold_id)
    return hold
