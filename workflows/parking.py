"""Standing still for an operator: what a transaction does when no retry can settle it, and the commands that move it on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from temporalio import workflow
from temporalio.exceptions import ApplicationError

from activities.casa import CasaActivities
from ledger.commands import RETRY, REVERSE, SETTLE_TO, Command, OperatorAction
from ledger.errors import ActionNotPossibleError, TransactionNotParkedError
from ledger.results import TransactionResult, TransactionStatus
from workflows import policies, visibility
from workflows.authority import refuse_unless_authentic
from workflows.services import call

if TYPE_CHECKING:
    from ledger.errors import CasaflowError
    from ledger.requests import TransactionRequest


@dataclass(frozen=True)
class Remedies:
    """What an operator can do with a transaction where it stands."""

    currencies: tuple[str, ...] = ()
    """Of accounts that the money can be settled to; none: it can't be settled."""
    reverses: bool = False
    """Whether the debit can be given back."""

    @property
    def actions(self) -> tuple[str, ...]:
        """Every one of them; another try is always possible."""
        return (RETRY, *((SETTLE_TO,) if self.currencies else ()), *((REVERSE,) if self.reverses else ()))


class ParkedTransaction:
    """The part of a transaction's workflow that stands parked. Commands are updates, each signed by the API, which knows who gives it."""

    def __init__(self, request: TransactionRequest) -> None:
        self._request = request
        self._result = TransactionResult(transaction_id=request.transaction_id, status=TransactionStatus.PROCESSING)
        self._remedies: Remedies | None = None
        """Set while it stands parked and has no command."""
        self._command: Command | None = None
        self._obeyed: list[str] = []
        """Signatures of the commands that it has taken, so that none of them counts twice."""
        self._asked_by_signal = False
        self._refused_cancels = 0
        self._details = ""

    @workflow.update(description="A parked transaction tries again what it is parked at. Sent by casaflow's API only, which signs it.")
    async def retry(self, command: Command) -> TransactionResult:
        """Try again; the result once it is final, or parked again."""
        return await self._obey(command)

    @retry.validator
    def _may_retry(self, command: Command) -> None:
        self._check(command, RETRY)

    @workflow.update(
        description="A parked transfer credits another account instead of its creditor. Sent by casaflow's API only, which signs it."
    )
    async def settle_to(self, command: Command) -> TransactionResult:
        """Credit the command's account; the result once it is final, or parked again."""
        return await self._obey(command)

    @settle_to.validator
    def _may_settle_to(self, command: Command) -> None:
        remedies = self._check(command, SETTLE_TO)
        sides = [account.account_id for account in (self._request.debtor, self._request.creditor) if account is not None]
        if command.account_id is None or command.account_id in sides:
            self._refuse(SETTLE_TO, "it names another account than debtor and creditor")
        if command.currency not in remedies.currencies:
            self._refuse(SETTLE_TO, f"the account has to be kept in {' or '.join(sorted(remedies.currencies))}")

    @workflow.update(description="A parked transfer gives its debtor the money back. Sent by casaflow's API only, which signs it.")
    async def reverse(self, command: Command) -> TransactionResult:
        """Compensate; the result once it is final, or parked again."""
        return await self._obey(command)

    @reverse.validator
    def _may_reverse(self, command: Command) -> None:
        self._check(command, REVERSE)

    @workflow.signal(
        name="retry", description="Not obeyed any more: nobody knows who sends a signal. Ask for a retry through casaflow's API."
    )
    def retry_by_signal(self) -> None:
        """Earlier transactions were moved on by this signal, and are replayed so; none is any more."""
        if workflow.patched("commands-are-signed"):
            workflow.logger.warning("a signal asked for another try; it is not obeyed, since nobody knows who sent it")
            return
        self._asked_by_signal = True

    def _show_failure(self, defect: ApplicationError) -> None:
        """Have the failure's type found before it fails the workflow. Histories of earlier versions have no such step."""
        if defect.type is not None and workflow.patched("failures-have-types"):
            workflow.upsert_search_attributes(visibility.attributes_of_failure(defect.type))

    async def _park(self, what: str, *, why: str, remedies: Remedies, reason: str | None = None) -> Command | None:
        """Stand still, visibly, until an operator has said what to do; None: the signal of an earlier version asked for another try.

        `reason` is what operators can filter by: the defect's type, or the code of a refusal.
        """
        self._asked_by_signal, self._command, self._remedies = False, None, remedies
        self._result = self._result.model_copy(update={"status": TransactionStatus.PARKED})
        workflow.upsert_search_attributes(visibility.attributes_of_parked(self._result, reason))
        self._show(visibility.parked_details(self._request, self._result, what=what, why=why, remedies=remedies))
        await workflow.wait_condition(lambda: self._asked_by_signal or self._command is not None)
        command, self._remedies, self._command = self._command, None, None
        if command is not None:
            action = OperatorAction.of(command)
            await call(CasaActivities.record_action, action, policy=policies.POSTING, summary=visibility.action_summary(action))
            self._result = self._result.model_copy(update={"status": TransactionStatus.PROCESSING})
            workflow.upsert_search_attributes(visibility.attributes_of_resumed(self._result))
        self._show("")
        return command

    async def _obey(self, command: Command) -> TransactionResult:
        self._command = command
        self._obeyed.append(command.signature)
        await workflow.wait_condition(lambda: self._command is not command and (self._result.final or self._remedies is not None))
        return self._result

    def _check(self, command: Command, action: str) -> Remedies:
        refuse_unless_authentic(command, action=action, tenant=self._request.tenant, identifier=self._request.transaction_id)
        if self._remedies is None or self._command is not None or command.signature in self._obeyed:
            _raise(TransactionNotParkedError(transaction_id=self._request.transaction_id))
        if action not in self._remedies.actions:
            self._refuse(action, f"where it stands, an operator can {', '.join(self._remedies.actions)}")
        return self._remedies

    def _refuse(self, action: str, rule: str) -> NoReturn:
        _raise(ActionNotPossibleError(transaction_id=self._request.transaction_id, action=action, rule=rule))

    def _cancel_refused(self) -> None:
        """A cancel arrived after posting had begun: whoever sent it has to see that it changes nothing."""
        self._refused_cancels += 1
        self._show(self._details)

    def _show(self, details: str) -> None:
        self._details = details
        workflow.set_current_details(visibility.with_refused_cancels(details, self._refused_cancels))


def _raise(error: CasaflowError) -> NoReturn:
    details = (error.code, error.rule) if isinstance(error, ActionNotPossibleError) else (error.code,)
    raise ApplicationError(str(error), *details, type=type(error).__name__, non_retryable=True)
