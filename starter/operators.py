"""Commands of operators to parked transactions: signed here, where it is known who gives them, and sent to the workflow as updates."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError as UpdateTimeoutError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from ledger.commands import sign
from ledger.errors import (
    ActionNotPossibleError,
    NotFoundError,
    TransactionNotParkedError,
    UnauthenticatedCommandError,
    UnavailableError,
)
from ledger.ids import settlement_id, workflow_id
from ledger.results import TransactionResult

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.client import Client, WorkflowHandle

    from ledger.commands import Command
    from ledger.errors import CasaflowError
    from starter.submit import TemporalConnection

_RPC_TIMEOUT: Final = dt.timedelta(seconds=5)


class Operators:
    """Gives commands to the workflows that stand parked."""

    def __init__(self, temporal: TemporalConnection, secrets: Sequence[bytes]) -> None:
        """Take the secrets of the settings; the first one signs."""
        self._temporal = temporal
        self._secrets = tuple(secrets)

    async def command(
        self,
        action: str,
        *,
        tenant: str,
        transaction_id: str,
        by: str,
        reason: str | None,
        wait_seconds: float,
        account_id: str | None = None,
        currency: str | None = None,
    ) -> TransactionResult | None:
        """Have a parked transaction moved on, and wait for what comes of it.

        Args:
            action: see :mod:`ledger.commands`.
            tenant: whose transaction it is.
            transaction_id: which one.
            by: the authenticated principal.
            reason: what he says.
            wait_seconds: how long to wait at most for what comes of it.
            account_id: of ``settle_to``.
            currency: that account's.

        Returns:
            The result, final or parked again; None when the time was up first.

        Raises:
            NotFoundError: no workflow carries such a transaction.
            TransactionNotParkedError, ActionNotPossibleError: it can't be obeyed now.
            UnauthenticatedCommandError: the workers trust other secrets.
            UnavailableError: Temporal did not answer, or no secret is set.
        """
        if not self._secrets:
            raise UnavailableError(part="commands", detail="CASAFLOW_COMMAND_SECRETS is not set")
        command = sign(
            self._secrets[0],
            action=action,
            tenant=tenant,
            transaction_id=transaction_id,
            by=by,
            at=dt.datetime.now(dt.UTC),
            reason=reason,
            account_id=account_id,
            currency=currency,
        )
        handle = await self._carrier(await self._temporal.client(), tenant, transaction_id)
        return await _sent(handle, command, wait_seconds)

    async def _carrier(self, client: Client, tenant: str, transaction_id: str) -> WorkflowHandle[object, object]:
        """The running workflow of a transaction: its own, or the one that settles it."""
        known = False
        for identifier in (workflow_id(tenant, transaction_id), settlement_id(tenant, transaction_id)):
            handle = client.get_workflow_handle(identifier)
            try:
                described = await handle.describe(rpc_timeout=_RPC_TIMEOUT)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise _unavailable(error) from error
                continue
            known = True
            if described.status is WorkflowExecutionStatus.RUNNING:
                return handle
        if not known:
            raise NotFoundError(kind="transaction", identifier=transaction_id)
        raise TransactionNotParkedError(transaction_id=transaction_id)


async def _sent(handle: WorkflowHandle[object, object], command: Command, wait_seconds: float) -> TransactionResult | None:
    try:
        result: TransactionResult = await handle.execute_update(
            command.action,
            command,
            id=command.signature,
            result_type=TransactionResult,
            rpc_timeout=dt.timedelta(seconds=max(wait_seconds, _RPC_TIMEOUT.total_seconds())),
        )
    except UpdateTimeoutError:
        return None
    except WorkflowUpdateFailedError as error:
        raise _refusal(error, command) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:  # it has ended in between
            raise TransactionNotParkedError(transaction_id=command.transaction_id) from error
        raise _unavailable(error) from error
    return result


def _refusal(failed: WorkflowUpdateFailedError, command: Command) -> CasaflowError:
    cause = failed.cause
    kind = cause.type if isinstance(cause, ApplicationError) else None
    if kind == UnauthenticatedCommandError.__name__:
        return UnauthenticatedCommandError(action=command.action, identifier=command.transaction_id)
    if kind == TransactionNotParkedError.__name__:
        return TransactionNotParkedError(transaction_id=command.transaction_id)
    if isinstance(cause, ApplicationError) and kind == ActionNotPossibleError.__name__:
        return ActionNotPossibleError(transaction_id=command.transaction_id, action=command.action, rule=str(cause.details[1]))
    return UnavailableError(part="temporal", detail=f"{command.action} was not carried out: {cause}")


def _unavailable(error: RPCError) -> UnavailableError:
    return UnavailableError(part="temporal", detail=f"{error.status.name.lower().replace('_', ' ')}: {error.message}")
