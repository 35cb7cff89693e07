"""The one way to start a transaction, or to find the one that has its id."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from temporalio.client import Client, WorkflowExecutionStatus, WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import ApplicationError, WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import connect, unavailable
from infra.temporal.requests import request_of
from ledger.errors import DrainingError, InvalidInputError, LedgerIntegrityError, NotFoundError, TransactionConflictError, UnavailableError
from ledger.ids import settlement_id, workflow_id
from ledger.results import TransactionResult, TransactionStatus
from ledger.visibility import FINGERPRINT_MEMO
from ledger.waits import WaitingRules, first_wait
from workflows.transaction import TransactionWorkflow
from workflows.versioning import versioning_override
from workflows.visibility import attributes_at_start, is_parked, static_details, static_summary, waiting_for_of

if TYPE_CHECKING:
    from infra.postgres.intake import PostgresIntake
    from infra.postgres.transactions import PostgresTransactions
    from infra.settings import Settings
    from ledger.commands import OperatorAction
    from ledger.requests import TransactionRequest
    from ledger.results import TransactionRecord, WaitingFor

_RPC_TIMEOUT: Final = dt.timedelta(seconds=5)
_FIRST_LOOK_SECONDS: Final = 0.3
"""A healthy transaction has ended by then; only one that publishes late is looked for in the ledger."""
_LONGEST_PAUSE_SECONDS: Final = 2.0
"""Between two looks; each takes twice as long to come as the one before it."""


@dataclass(frozen=True)
class Submission:
    """What became of a request."""

    result: TransactionResult
    request: TransactionRequest | None
    """As it was first submitted; None where only Temporal knows the transaction yet, and it was looked up by its id."""
    repeated: bool
    """Whether the id was in use before, with the same content."""
    reversed_amount: int = 0
    """What reversals took back of it, in minor units of the request's currency."""
    actions: tuple[OperatorAction, ...] = ()
    """What operators did with it."""


@dataclass(frozen=True)
class Carrier:
    """How the workflow that carries a transaction shows it, while the ledger has no outcome."""

    workflow_id: str
    """Its own, or the one of the run that settles it."""
    status: TransactionStatus
    waiting_for: WaitingFor | None = None


class TemporalConnection:
    """One client for the process, made when it is first needed, so that the API starts without Temporal."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client: Client | None = None
        self._connecting: asyncio.Task[Client] | None = None

    async def client(self) -> Client:
        """The client.

        Raises:
            UnavailableError: Temporal did not answer.
        """
        if self._client is not None:
            return self._client
        # One attempt for all who wait: one after the other, the tenth would hear of a dead server only after ten time-outs.
        if self._connecting is None:
            self._connecting = asyncio.create_task(connect(self._settings))
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def _connected(self, attempt: asyncio.Task[Client]) -> None:
        self._connecting = None
        if not attempt.cancelled() and attempt.exception() is None:
            self._client = attempt.result()

    async def ping(self) -> None:
        """Answer if Temporal does.

        Raises:
            UnavailableError: it doesn't.
        """
        client = await self.client()
        try:
            if await client.service_client.check_health(timeout=_RPC_TIMEOUT):
                return
        except RPCError as error:
            raise unavailable(error) from error
        raise UnavailableError(part="temporal", detail="its frontend is not serving")


class TransactionStarter:
    """Starts transactions and waits for them."""

    def __init__(
        self,
        temporal: TemporalConnection,
        transactions: PostgresTransactions,
        *,
        task_queue: str,
        transfers: Literal["linked", "saga"] = "linked",
        waiting_rules: WaitingRules | None = None,
        intake: PostgresIntake | None = None,
    ) -> None:
        """Take the parts.

        Args:
            temporal: where workflows are started.
            transactions: the ledger's rows, which are asked first.
            task_queue: of the workers.
            transfers: how plain transfers are posted; see :attr:`infra.settings.Settings.transfers`.
            waiting_rules: what new transactions wait for; see :attr:`infra.settings.Settings.waiting_rules`.
            intake: whether new ones are taken; None: always.
        """
        self._temporal = temporal
        self._transactions = transactions
        self._task_queue = task_queue
        self._links_transfers = transfers == "linked"
        self._waiting_rules = waiting_rules or WaitingRules()
        self._intake = intake

    async def submit(self, request: TransactionRequest, *, wait_seconds: float) -> Submission:
        """Start the transaction, or join the one with its id, and wait for its outcome.

        Args:
            request: what to do.
            wait_seconds: how long to wait at most until it is posted or refused, or waits for somebody or for its date; publishing is not
                waited for.

        Raises:
            TransactionConflictError: the id was used before with other content.
            InvalidInputError: it is a new one, and it can't wait for what it asks for.
            DrainingError: it is a new one, and none are taken now.
            UnavailableError: PostgreSQL or Temporal did not answer; the same request again settles it.
        """
        # The row outlives Temporal's retention, so it is asked first.
        repeat = await self._recorded(request)
        if repeat is not None and repeat.result.final:
            return repeat
        client = await self._temporal.client()
        try:
            request = self._waiting_rules.applied_to(request)
            if self._intake is not None:
                await self._intake.admit()
        except (InvalidInputError, DrainingError):
            # Refused if it is new. A repeat is answered: it was right when it came first, and its day may be over by now.
            existing = await self._existing(client, request)
            if existing is None:
                raise
            handle, repeated = existing, True
        else:
            if self._links_transfers and request.may_be_linked:
                request = request.model_copy(update={"linked": True})
            handle, repeated = await self._start_or_join(client, request)
        result = await self._wait(handle, request, wait_seconds)
        if not repeated:
            if wait_seconds <= 0:
                result = result.model_copy(update={"waiting_for": first_wait(request)})
            return Submission(result=result, request=request, repeated=False)
        # The content is the same, but who asked first, and when, only the row knows.
        first = await self._recorded(request)
        return Submission(result=result, request=first.request if first else None, repeated=True)

    async def look_up(self, tenant: str, transaction_id: str) -> Submission:
        """The transaction as it stands.

        Raises:
            NotFoundError: the tenant has no such transaction.
            UnavailableError: PostgreSQL, or Temporal where it has to be asked, did not answer.
        """
        record = await self._transactions.get(tenant, transaction_id)
        if record is not None and record.result.final:
            return _of_record(record)
        client = await self._temporal.client()
        carrier = await carrier_of(client, tenant, transaction_id)
        status = carrier.status if carrier is not None else None
        if status is not TransactionStatus.PROCESSING:
            # It may have ended, and recorded how, since the row was looked for.
            record = await self._transactions.get(tenant, transaction_id)
        if record is None:
            if status is None:
                raise NotFoundError(kind="transaction", identifier=transaction_id)
            result, asked = TransactionResult(transaction_id=transaction_id, status=status), None
        else:
            result, asked = _standing(record.result, status), record.request
        if carrier is not None and carrier.waiting_for is not None:
            result = result.model_copy(update={"waiting_for": carrier.waiting_for})
            if asked is None:
                # Whoever is to decide on it has to see what was asked.
                asked = await request_of(client, carrier.workflow_id)
        return Submission(result=result, request=asked, repeated=True, actions=record.actions if record is not None else ())

    async def _recorded(self, request: TransactionRequest) -> Submission | None:
        record = await self._transactions.get(request.tenant, request.transaction_id)
        if record is None:
            return None
        if record.fingerprint != request.fingerprint:
            raise TransactionConflictError(transaction_id=request.transaction_id)
        return _of_record(record)

    async def _start_or_join(
        self, client: Client, request: TransactionRequest
    ) -> tuple[WorkflowHandle[TransactionWorkflow, TransactionResult], bool]:
        identifier = workflow_id(request.tenant, request.transaction_id)
        try:
            handle = await client.start_workflow(
                TransactionWorkflow.run,
                request,
                id=identifier,
                task_queue=self._task_queue,
                # Joining (USE_EXISTING) would ignore this request's content in silence, so an id in use is refused, compared, then joined.
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                memo={FINGERPRINT_MEMO: request.fingerprint},
                search_attributes=attributes_at_start(request),
                static_summary=static_summary(request),
                static_details=static_details(request),
                versioning_override=versioning_override(request),
                # Where this process hosts a worker, the first workflow task comes with the answer to the start.
                request_eager_start=True,
                rpc_timeout=_RPC_TIMEOUT,
            )
        except WorkflowAlreadyStartedError:
            existing = client.get_workflow_handle_for(TransactionWorkflow.run, identifier)
            await self._compare(existing, request)
            return existing, True
        except RPCError as error:
            raise unavailable(error) from error
        return handle, False

    async def _existing(self, client: Client, request: TransactionRequest) -> WorkflowHandle[TransactionWorkflow, TransactionResult] | None:
        """The workflow that has the request's id, and its content; None where there is none."""
        handle = client.get_workflow_handle_for(TransactionWorkflow.run, workflow_id(request.tenant, request.transaction_id))
        if await carrier_of(client, request.tenant, request.transaction_id) is None:
            return None
        await self._compare(handle, request)
        return handle

    async def _compare(self, handle: WorkflowHandle[TransactionWorkflow, TransactionResult], request: TransactionRequest) -> None:
        try:
            described = await handle.describe(rpc_timeout=_RPC_TIMEOUT)
            fingerprint = await described.memo_value(FINGERPRINT_MEMO, default=None, type_hint=str)
        except RPCError as error:
            raise unavailable(error) from error
        if fingerprint != request.fingerprint:
            raise TransactionConflictError(transaction_id=request.transaction_id)

    async def _wait(
        self, handle: WorkflowHandle[TransactionWorkflow, TransactionResult], request: TransactionRequest, wait_seconds: float
    ) -> TransactionResult:
        """The result as soon as it is final, or how the transaction stands when the time is up."""
        if wait_seconds <= 0:
            return TransactionResult(transaction_id=request.transaction_id, status=TransactionStatus.PROCESSING)
        ended = asyncio.create_task(_ended(handle))
        answered = asyncio.create_task(self._answered(request))
        try:
            async with asyncio.timeout(wait_seconds):
                await asyncio.wait({ended, answered}, return_when=asyncio.FIRST_COMPLETED)
                return answered.result() if answered.done() else await ended
        except TimeoutError:
            pass
        except WorkflowFailureError as error:
            return await self._after_failure(error, request)
        finally:
            for task in (ended, answered):
                task.cancel()
            await asyncio.gather(ended, answered, return_exceptions=True)
        recorded = await self._recorded(request)
        if recorded is None:
            return TransactionResult(transaction_id=request.transaction_id, status=TransactionStatus.PROCESSING)
        if recorded.result.final:
            return recorded.result
        carrier = await carrier_of(await self._temporal.client(), request.tenant, request.transaction_id)
        return _standing(recorded.result, carrier.status if carrier is not None else None)

    async def _answered(self, request: TransactionRequest) -> TransactionResult:
        """The result once the ledger has it, published or not: the way while Kafka is away. Or what is waited for, as Temporal shows it.

        A look into the ledger, and not an update that waits in the workflow: that would cost each transaction another workflow task as soon
        as there are so many that they take longer than the first look, which is when there is no time for it.
        """
        pause_seconds = _FIRST_LOOK_SECONDS
        while True:
            await asyncio.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            try:
                recorded = await self._recorded(request)
                if recorded is not None and recorded.result.final:
                    return recorded.result
                if request.may_wait:
                    standing = await self.look_up(request.tenant, request.transaction_id)
                    if standing.result.waiting_for is not None:
                        return standing.result
            except UnavailableError:
                continue  # the end of the workflow tells as well

    async def _after_failure(self, failure: WorkflowFailureError, request: TransactionRequest) -> TransactionResult:
        """A workflow that failed, or that an operator ended: the row knows what became of the transaction."""
        recorded = await self._recorded(request)
        carrier = await carrier_of(await self._temporal.client(), request.tenant, request.transaction_id)
        status = carrier.status if carrier is not None else None
        if recorded is not None:
            return _standing(recorded.result, status)
        cause = failure.cause
        if isinstance(cause, ApplicationError):
            message = f"{cause.type}: {cause.message}"
            raise LedgerIntegrityError(message) from failure
        return TransactionResult(transaction_id=request.transaction_id, status=status or TransactionStatus.PARKED)


def _of_record(record: TransactionRecord) -> Submission:
    return Submission(
        result=record.result,
        request=record.request,
        repeated=True,
        reversed_amount=record.reversed_amount,
        actions=record.actions,
    )


async def _ended(handle: WorkflowHandle[TransactionWorkflow, TransactionResult]) -> TransactionResult:
    """The result once the workflow has ended, publishing included: the short way while everything is healthy."""
    try:
        return await handle.result()
    except RPCError as error:
        raise unavailable(error) from error


async def carrier_of(client: Client, tenant: str, transaction_id: str) -> Carrier | None:
    """Who carries a transaction without a recorded outcome; None when Temporal doesn't know it. No worker has to run for this.

    One whose workflow has ended without recording an outcome stands as the run does that settles it; as parked where there is none (yet).

    Raises:
        UnavailableError: Temporal did not answer.
    """
    ended = None
    for identifier in (workflow_id(tenant, transaction_id), settlement_id(tenant, transaction_id)):
        try:
            described = await client.get_workflow_handle(identifier).describe(rpc_timeout=_RPC_TIMEOUT)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                continue
            raise unavailable(error) from error
        if described.status is not WorkflowExecutionStatus.RUNNING:
            ended = Carrier(identifier, TransactionStatus.PARKED)
            continue
        shown = described.typed_search_attributes
        if is_parked(shown):
            return Carrier(identifier, TransactionStatus.PARKED)
        return Carrier(identifier, TransactionStatus.PROCESSING, waiting_for_of(shown))
    return ended


def _standing(recorded: TransactionResult, by_workflow: TransactionStatus | None) -> TransactionResult:
    """A recorded result, as parked when nothing but an operator moves it on: the ledger keeps no record of that."""
    if recorded.final or by_workflow is TransactionStatus.PROCESSING:
        return recorded
    return recorded.model_copy(update={"status": TransactionStatus.PARKED})
