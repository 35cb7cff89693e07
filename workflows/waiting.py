"""What a transaction waits for before it may go on: a second person's approval, its execution date. See decision record 0015.

Timers are durable, and nothing is polled: while a transaction waits, no worker has to run.
"""

from __future__ import annotations

import datetime as dt
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from ledger.approvals import ApprovalStage
from ledger.commands import APPROVE, CANCEL
from ledger.errors import ApprovalExpiredError, NotCancellableError, NotWaitingError, SamePrincipalError
from ledger.refusals import Refusal, RefusalCode
from ledger.results import WaitingFor, WaitingKind
from workflows import authority
from workflows.services import uninterrupted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ledger.commands import Command
    from ledger.errors import CasaflowError
    from ledger.requests import TransactionRequest

CANCELLED: Final = Refusal(code=RefusalCode.CANCELLED, detail="it was cancelled before posting had begun")


class Waits:
    """The waits of one transaction, and the commands that end them.

    A command is taken in two parts. What refuses it runs in the update's validator: it changes nothing, and a replay doesn't run it. What
    takes it only notes it down; the story itself, which waits, records it and draws the conclusions.
    """

    def __init__(
        self,
        request: TransactionRequest,
        *,
        show: Callable[[WaitingFor | None], None],
        record: Callable[[Command], Awaitable[None]],
    ) -> None:
        """Begin with nothing decided.

        Args:
            request: with what is needed, as instants.
            show: tells everybody what is waited for now; None: nothing any more.
            record: keeps a command with the transaction, for good.
        """
        self._request = request
        self._show = show
        self._record = record
        # An approval before posting may arrive together with the start, before there is a wait.
        self._takes_decisions = request.approval is not None and request.approval.before is ApprovalStage.POSTING
        self._decision: Command | None = None
        self._cancel: Command | None = None
        self._expired = False
        self._posting_has_begun = False
        self._unrecorded: list[Command] = []
        self._is_shown = False

    # ---- what the story waits for ----

    async def before_posting(self) -> Refusal | None:
        """Wait until the transaction may be posted; or why it must not be. A cancel of the workflow may interrupt it."""
        approval = self._request.approval
        if approval is not None and approval.before is ApprovalStage.POSTING:
            refusal = await self._for_approval(approval.expires_at)
            if refusal is not None:
                return refusal
        if self._request.executes_at is not None:
            await self._until(self._request.executes_at, WaitingKind.EXECUTION_DATE, lambda: self._cancel is not None)
        return self.cancelled

    async def before_credit(self) -> Refusal | None:
        """Wait, with the debit posted, until the credit may follow; or why it must not."""
        approval = self._request.approval
        if approval is None or approval.before is not ApprovalStage.CREDIT:
            return None
        self._takes_decisions = True
        return await self._for_approval(approval.expires_at)

    async def posting_begins(self) -> None:
        """From here on no cancel is taken, and what was taken before is recorded."""
        self._posting_has_begun = True
        self._takes_decisions = False
        self._show_no_wait()  # a cancel of the workflow leaves a wait without a word
        await self._record_what_was_taken()

    @property
    def cancelled(self) -> Refusal | None:
        """The refusal of a transaction that an operator has cancelled by a command; None: nobody has."""
        return None if self._cancel is None else _cancelled_by(self._cancel)

    async def _for_approval(self, expires_at: dt.datetime) -> Refusal | None:
        await self._until(expires_at, WaitingKind.APPROVAL, lambda: self._decision is not None or self._cancel is not None)
        self._takes_decisions = False
        self._expired = self._decision is None and self._cancel is None
        # A cancel of the workflow must not part an approval from its record.
        await uninterrupted(self._record_what_was_taken())
        if self._cancel is not None:
            return _cancelled_by(self._cancel)
        if not self._posting_has_begun and workflow.cancellation_reason() is not None:
            return CANCELLED
        if self._decision is None:
            return Refusal(code=RefusalCode.APPROVAL_EXPIRED, detail=f"nobody approved it until {_instant(expires_at)}")
        return None if self._decision.action == APPROVE else _declined_by(self._decision)

    async def _until(self, until: dt.datetime, what: WaitingKind, ended: Callable[[], bool]) -> None:
        remaining = until - workflow.now()
        if remaining <= dt.timedelta(0) or ended():
            return
        self._show(WaitingFor(what=what, until=until))
        self._is_shown = True
        # Whether the time is up, or somebody was faster in the same moment, the caller sees for itself.
        with suppress(TimeoutError):
            await workflow.wait_condition(ended, timeout=remaining, timeout_summary=f"{what.value} until {_instant(until)}")
        self._show_no_wait()

    def _show_no_wait(self) -> None:
        if self._is_shown:
            self._is_shown = False
            self._show(None)

    async def _record_what_was_taken(self) -> None:
        while self._unrecorded:
            await self._record(self._unrecorded[0])
            del self._unrecorded[0]

    # ---- commands ----

    def refuse_decision(self, command: Command, *, action: str) -> None:
        """For the validators of `approve` and `decline`: let through what may be taken, and a repeat of what was.

        Raises:
            ApplicationError: UnauthenticatedCommandError, SamePrincipalError, ApprovalExpiredError, NotWaitingError; not retryable.
        """
        request = self._request
        authority.refuse_unless_authentic(command, action=action, tenant=request.tenant, identifier=request.transaction_id)
        if command.by == request.submitted_by:
            raise _refused(SamePrincipalError(transaction_id=request.transaction_id, action=action))
        if self._decision is not None:
            if (self._decision.action, self._decision.by) == (action, command.by):
                return
            raise _refused(NotWaitingError(transaction_id=request.transaction_id, action=action))
        expires_at = request.approval.expires_at if request.approval is not None else None
        if self._expired or (self._takes_decisions and expires_at is not None and workflow.now() >= expires_at):
            raise _refused(ApprovalExpiredError(transaction_id=request.transaction_id, action=action))
        if not self._takes_decisions or self._cancel is not None:
            raise _refused(NotWaitingError(transaction_id=request.transaction_id, action=action))

    def decide(self, command: Command) -> None:
        """Take an approval or its refusal. The first one counts: two may have been let through in one go."""
        if self._decision is None and self._takes_decisions:
            self._decision = command
            self._unrecorded.append(command)

    def refuse_cancel(self, command: Command) -> None:
        """For the validator of `cancel`: let it through until posting begins, and a repeat after that.

        Raises:
            ApplicationError: UnauthenticatedCommandError, NotCancellableError; not retryable.
        """
        request = self._request
        authority.refuse_unless_authentic(command, action=CANCEL, tenant=request.tenant, identifier=request.transaction_id)
        if self._posting_has_begun and self._cancel is None:
            raise _refused(NotCancellableError(transaction_id=request.transaction_id))

    def cancel(self, command: Command) -> None:
        """Take a cancel; the first one counts."""
        if self._cancel is None and not self._posting_has_begun:
            self._cancel = command
            self._unrecorded.append(command)


def booking_day(request: TransactionRequest) -> dt.date:
    """The day of booking, if posting begins now: today, and not before the execution date.

    Days of booking are those of UTC. The bank's midnight may lie before that of UTC, and what was to be executed on a day is booked on it.
    """
    today = workflow.now().date()
    return max(today, request.requested_execution_date) if request.executes_at is not None and request.requested_execution_date else today


def _cancelled_by(command: Command) -> Refusal:
    return Refusal(code=RefusalCode.CANCELLED, detail=f"it was cancelled by {command.by} before posting had begun{_reason(command)}")


def _declined_by(command: Command) -> Refusal:
    return Refusal(code=RefusalCode.DECLINED, detail=f"it was declined by {command.by}{_reason(command)}")


def _reason(command: Command) -> str:
    return f": {command.reason}" if command.reason else ""


def _instant(moment: dt.datetime) -> str:
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _refused(error: CasaflowError) -> ApplicationError:
    return ApplicationError(str(error), error.code, type=type(error).__name__, non_retryable=True)
