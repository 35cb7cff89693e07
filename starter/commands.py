"""The one way to give a command to a transaction that waits or stands parked: signed here, where it is known who gives it."""

from __future__ import annotations

import datetime as dt
import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NoReturn

from temporalio.client import WorkflowUpdateFailedError, WorkflowUpdateStage
from temporalio.client import WorkflowUpdateRPCTimeoutOrCancelledError as UpdateTimeoutError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import unavailable
from ledger.commands import APPROVE, CANCEL, DECLINE, sign
from ledger.errors import (
    ActionNotPossibleError,
    ApprovalExpiredError,
    CasaflowError,
    NotCancellableError,
    NotFoundError,
    NotWaitingError,
    SamePrincipalError,
    TransactionNotParkedError,
    UnauthenticatedCommandError,
    UnavailableError,
)
from ledger.ids import settlement_id, workflow_id
from ledger.refusals import RefusalCode
from ledger.results import TransactionResult
from starter.submit import carrier_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from temporalio.client import Client, WorkflowHandle, WorkflowUpdateHandle

    from infra.postgres.transactions import PostgresTransactions
    from ledger.commands import Command
    from starter.submit import TemporalConnection

ACCEPTED_WITHIN: Final = dt.timedelta(seconds=20)
"""A worker that was killed is missed after ten seconds; another one then takes what it had in hand."""
_SHORTEST_WAIT_SECONDS: Final = 2.0
"""Enough for a healthy transaction to be final, so that who gives the command sees what came of it."""
_DECISIONS: Final = frozenset({APPROVE, DECLINE, CANCEL})
"""One of each counts, so the same again by the same principal is a repeat. A parked transaction may park again: there it is another one."""


class Commands:
    """Sends what a principal wants done to the workflow that carries the transaction: its own, or the run that settles it."""

    def __init__(self, temporal: TemporalConnection, transactions: PostgresTransactions, secrets: Sequence[bytes]) -> None:
        """Take the secrets of the settings; the first one signs."""
        self._temporal = temporal
        self._transactions = transactions
        self._secrets = tuple(secrets)

    async def send(
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
    ) -> None:
        """Give a command, and wait for what comes of it. The same decision again by the same principal changes nothing.

        Args:
            action: see :mod:`ledger.commands`.
            tenant: whose transaction it is.
            transaction_id: which one.
            by: the authenticated principal.
            reason: what he says.
            wait_seconds: how long to wait at most until it is final, parked, or waits for its date; whatever it is, the command is taken.
            account_id: of ``settle_to``.
            currency: that account's.

        Raises:
            NotFoundError: the tenant has no such transaction.
            SamePrincipalError: it is approved or declined by who submitted it.
            ApprovalExpiredError, NotWaitingError, NotCancellableError: it is too late, or too early.
            TransactionNotParkedError, ActionNotPossibleError: an operator can't move it on, or not so.
            UnauthenticatedCommandError: the workers trust other secrets.
            UnavailableError: Temporal did not answer, no worker took it, or no secret is set; the same command again settles it.
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
        client = await self._temporal.client()
        for carrier in (workflow_id(tenant, transaction_id), settlement_id(tenant, transaction_id)):
            update = await _taken(client.get_workflow_handle(carrier), command)
            if update is not None:
                break
        else:
            await self._after_its_end(client, command)
            return
        # It is taken, or refused. That the time is up before it has led to something is no failure.
        with suppress(UpdateTimeoutError):
            await _carried_out(update, command, max(wait_seconds, _SHORTEST_WAIT_SECONDS))

    async def _after_its_end(self, client: Client, command: Command) -> None:
        """No workflow takes commands any more, or none ever did: the ledger knows what became of the transaction."""
        record = await self._transactions.get(command.tenant, command.transaction_id)
        if record is None:
            # One that ended before the ledger heard of it stands until the sweep rejects it.
            if await carrier_of(client, command.tenant, command.transaction_id) is None:
                raise NotFoundError(kind="transaction", identifier=command.transaction_id)
            _refuse(command)
        code = record.result.reason.code if record.result.reason is not None else None
        if command.action == CANCEL and code is RefusalCode.CANCELLED:
            return
        if command.action not in {APPROVE, DECLINE}:
            _refuse(command)
        if any((action.action, action.by) == (command.action, command.by) for action in record.actions):
            return  # Temporal has forgotten it, and the ledger hasn't
        if record.request.submitted_by == command.by:
            raise SamePrincipalError(transaction_id=command.transaction_id, action=command.action)
        if code is RefusalCode.APPROVAL_EXPIRED:
            raise ApprovalExpiredError(transaction_id=command.transaction_id, action=command.action)
        _refuse(command)


def _refuse(command: Command) -> NoReturn:
    """Say that nothing takes the command any more, or not yet."""
    if command.action == CANCEL:
        raise NotCancellableError(transaction_id=command.transaction_id)
    if command.action in _DECISIONS:
        raise NotWaitingError(transaction_id=command.transaction_id, action=command.action)
    raise TransactionNotParkedError(transaction_id=command.transaction_id)


async def _taken(handle: WorkflowHandle[object, object], command: Command) -> WorkflowUpdateHandle[TransactionResult] | None:
    """The command as a workflow has taken or refused it; None where the workflow is over, or there is none.

    Raises:
        UnavailableError: Temporal did not answer, or no worker runs.
    """
    try:
        taken: WorkflowUpdateHandle[TransactionResult] = await handle.start_update(
            command.action,
            command,
            wait_for_stage=WorkflowUpdateStage.ACCEPTED,
            id=_update_id(command),
            result_type=TransactionResult,
            rpc_timeout=ACCEPTED_WITHIN,
        )
    except UpdateTimeoutError as error:
        detail = f"no worker took the command within {ACCEPTED_WITHIN.total_seconds():.0f} s"
        raise UnavailableError(part="temporal", detail=detail) from error
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise unavailable(error) from error
    return taken


def _update_id(command: Command) -> str:
    """By which the server knows a repeat, and answers what it answered."""
    if command.action in _DECISIONS:
        return f"{command.action}-{hashlib.sha256(command.by.encode()).hexdigest()}"
    return command.signature


async def _carried_out(update: WorkflowUpdateHandle[TransactionResult], command: Command, wait_seconds: float) -> None:
    try:
        await update.result(rpc_timeout=dt.timedelta(seconds=wait_seconds))
    except WorkflowUpdateFailedError as error:
        raise _refusal(error, command) from error
    except RPCError as error:
        raise unavailable(error) from error


def _refusal(failed: WorkflowUpdateFailedError, command: Command) -> CasaflowError:
    cause = failed.cause
    of_transaction = {"transaction_id": command.transaction_id}
    known: dict[str, CasaflowError] = {
        UnauthenticatedCommandError.__name__: UnauthenticatedCommandError(action=command.action, identifier=command.transaction_id),
        **{error.__name__: error(**of_transaction) for error in (NotCancellableError, TransactionNotParkedError)},
        **{error.__name__: error(**of_transaction, action=command.action) for error in (SamePrincipalError, ApprovalExpiredError)},
        NotWaitingError.__name__: NotWaitingError(**of_transaction, action=command.action),
    }
    if isinstance(cause, ApplicationError):
        if cause.type == ActionNotPossibleError.__name__:
            return ActionNotPossibleError(**of_transaction, action=command.action, rule=str(cause.details[1]))
        if cause.type in known:
            return known[cause.type]
    return UnavailableError(part="temporal", detail=f"{command.action} was not carried out: {cause}")
