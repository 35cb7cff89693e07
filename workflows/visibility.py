"""What operators see of a transaction in Temporal's Web UI: search attributes, summary, details. No personal data."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from temporalio.common import SearchAttributeKey, SearchAttributePair, SearchAttributeUpdate, TypedSearchAttributes

from ledger import visibility
from ledger.bands import amount_band
from ledger.holds import HoldStatus
from ledger.ids import workflow_id
from ledger.results import TransactionStatus, WaitingFor, WaitingKind

if TYPE_CHECKING:
    from ledger.commands import Command, OperatorAction
    from ledger.decisions import Decision
    from ledger.holds import Hold, HoldRequest
    from ledger.payment_files import FileProgress
    from ledger.postings import Posting
    from ledger.requests import TransactionRequest
    from ledger.results import TransactionResult
    from ledger.settlements import SweepReport
    from ledger.standing_orders import RunKey
    from workflows.parking import Remedies

_TENANT: Final = SearchAttributeKey.for_keyword(visibility.TENANT)
_KIND: Final = SearchAttributeKey.for_keyword(visibility.KIND)
_STATUS: Final = SearchAttributeKey.for_keyword(visibility.STATUS)
_REASON: Final = SearchAttributeKey.for_keyword(visibility.REASON)
_CURRENCY: Final = SearchAttributeKey.for_keyword(visibility.CURRENCY)
_AMOUNT_BAND: Final = SearchAttributeKey.for_keyword(visibility.AMOUNT_BAND)
_SETTLES: Final = SearchAttributeKey.for_keyword(visibility.SETTLES)
_ACCOUNTS: Final = SearchAttributeKey.for_keyword_list(visibility.ACCOUNTS)
_WAITING_FOR: Final = SearchAttributeKey.for_keyword(visibility.WAITING_FOR)
WAITING_UNTIL_KEY: Final = SearchAttributeKey.for_datetime(visibility.WAITING_UNTIL)
_MOST_ACCOUNTS: Final = 50
"""Of account ids with 34 characters at most; the server takes 2 KiB in one search attribute, and refuses the start above that."""


def attributes_at_start(request: TransactionRequest) -> TypedSearchAttributes:
    """The search attributes that a transaction's workflow is started with."""
    sides = [account for account in (request.debtor, request.creditor) if account is not None]
    accounts = [account.account_id for account in (*sides, *(share.account for share in request.shares))][:_MOST_ACCOUNTS]
    return TypedSearchAttributes(
        [
            SearchAttributePair(_TENANT, request.tenant),
            SearchAttributePair(_KIND, request.kind.value),
            SearchAttributePair(_STATUS, TransactionStatus.PROCESSING.value),
            SearchAttributePair(_CURRENCY, request.amount.currency),
            SearchAttributePair(_AMOUNT_BAND, amount_band(request.amount)),
            SearchAttributePair(_ACCOUNTS, accounts),
        ]
    )


def attributes_of(result: TransactionResult) -> list[SearchAttributeUpdate[str]]:
    """What changes once the status is no longer `processing`."""
    status = _STATUS.value_set(result.status.value)
    return [status] if result.reason is None else [status, _REASON.value_set(result.reason.code.value)]


def attributes_of_failure(failure_type: str) -> list[SearchAttributeUpdate[str]]:
    """What changes when a defect fails the workflow: operators filter by the failure's type as by the code of a refusal."""
    return [_REASON.value_set(failure_type)]


def attributes_of_parked(result: TransactionResult, reason: str | None) -> list[SearchAttributeUpdate[str]]:
    """What changes when a transaction parks: its status, and the defect's type or the refusal's code that parked it, if there is one."""
    own = attributes_of(result)
    return own if reason is None else [own[0], _REASON.value_set(reason)]


def attributes_of_resumed(result: TransactionResult) -> list[SearchAttributeUpdate[Any]]:
    """What changes when an operator has moved a parked transaction on: what parked it must not be taken for its outcome."""
    own = attributes_of(result)
    return own if result.reason is not None else [*own, _REASON.value_unset()]


def attributes_of_new_hold(request: HoldRequest) -> TypedSearchAttributes:
    """The search attributes that a hold's workflow is started with."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(_TENANT, request.tenant),
            SearchAttributePair(_KIND, "hold"),
            SearchAttributePair(_STATUS, TransactionStatus.PROCESSING.value),
            SearchAttributePair(_CURRENCY, request.amount.currency),
            SearchAttributePair(_ACCOUNTS, [request.account_id]),
        ]
    )


def attributes_of_hold(hold: Hold) -> list[SearchAttributeUpdate[str]]:
    """How a hold stands."""
    status = _STATUS.value_set(hold.status.value)
    return [status] if hold.refusal is None else [status, _REASON.value_set(hold.refusal.code.value)]


def hold_summary(request: HoldRequest) -> str:
    """One line that stands in the Web UI from start to end: ``Hold of 12.50 EUR on account 2504``."""
    return f"Hold of {request.amount} on account {request.account_id}"


def void_summary(command: Command) -> str:
    """One line for the activity that voids a hold: ``void, by teller``."""
    return f"void, by {command.by}"


def hold_details(hold: Hold) -> str:
    """Markdown that says how a hold stands, and what comes next."""
    head = f"### {hold.status.capitalize()}\n\n"
    if hold.refusal is not None:
        return f"{head}It was not authorised: {hold.refusal.detail}."
    amounts = f"Of {hold.amount} captures took {hold.captured}; it holds {hold.remaining}."
    if hold.status is not HoldStatus.OPEN:
        return head + amounts
    return (
        f"{head}{amounts} At {hold.expires_at.isoformat()} it expires by itself. It is captured and voided through the API; "
        "a cancel or a termination of this workflow gives nothing back."
    )


def attributes_of_run(result: TransactionResult | None) -> list[SearchAttributeUpdate[str]]:
    """How a due date of a standing order ended; ``nothing-done`` where there was nothing to do."""
    return attributes_of(result) if result is not None else [_STATUS.value_set("nothing-done")]


def order_details(run: RunKey) -> str:
    """Markdown while the transaction of a due date is under way."""
    attempt = f", attempt {run.attempt}" if run.attempt > 1 else ""
    return (
        f"### Under way\n\nDue date {run.due_date}{attempt}: transaction `{run.transaction_id}`. It goes on, whatever becomes of this run."
    )


def order_retry_details(run: RunKey, result: TransactionResult, *, next_at: dt.datetime) -> str:
    """Markdown between two attempts."""
    reason = result.reason.detail if result.reason is not None else result.status.value
    return (
        f"### Waiting\n\nDue date {run.due_date}, attempt {run.attempt}, was refused: {reason}. "
        f"The next attempt is at {next_at.isoformat()}, unless the order is paused or cancelled by then."
    )


def order_outcome_details(run: RunKey | None, result: TransactionResult | None, *, why: str) -> str:
    """Markdown once a due date is over."""
    if run is None:
        return f"### Nothing done\n\n{why.capitalize()}."
    how = result.status.value if result is not None else "not known: look the transaction up"
    return f"### Ended\n\nDue date {run.due_date}, attempt {run.attempt}: transaction `{run.transaction_id}` is {how}."


def waiting_attributes(waiting_for: WaitingFor | None) -> list[SearchAttributeUpdate[Any]]:
    """What changes when a wait begins; None: when it is over. The instant stays: it tells of nothing once nothing is waited for."""
    if waiting_for is None:
        return [_WAITING_FOR.value_unset()]
    return [_WAITING_FOR.value_set(waiting_for.what.value), WAITING_UNTIL_KEY.value_set(waiting_for.until)]


def waiting_for_of(attributes: TypedSearchAttributes) -> WaitingFor | None:
    """What a transaction waits for, as its search attributes tell; None: nothing that takes days."""
    what, until = attributes.get(_WAITING_FOR), attributes.get(WAITING_UNTIL_KEY)
    return WaitingFor(what=WaitingKind(what), until=until) if what is not None and until is not None else None


def waiting_details(request: TransactionRequest, waiting_for: WaitingFor) -> str:
    """Markdown while a transaction waits: for whom or what, until when, and who can do what about it."""
    identifier, until = request.transaction_id, waiting_for.until.astimezone(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    cancel = (
        f"Nothing is posted yet, so it can be cancelled: `casaflow transaction cancel {identifier}`, "
        f"or `POST /v1/transactions/{identifier}/cancel`."
    )
    if waiting_for.what is WaitingKind.EXECUTION_DATE:
        return f"### Waiting for its execution date\n\nIt is posted on {request.requested_execution_date}, from {until} on.\n\n{cancel}"
    before_credit = request.waits_between_legs
    stands = "The debit is posted, and the money stands in the internal account `transit`." if before_credit else cancel
    otherwise = "the debit is taken back, and the transaction ends as reversed" if before_credit else "it ends as rejected"
    return (
        f"### Waiting for an approval\n\nUntil {until} somebody other than `{request.submitted_by}`, with an API key of the scope "
        f"`transactions:approve`, may\n\n"
        f"- approve: `casaflow transaction approve {identifier}`, or `POST /v1/transactions/{identifier}/approve`\n"
        f"- decline: `casaflow transaction decline {identifier} --reason …`, or `POST /v1/transactions/{identifier}/decline`\n\n"
        f"Declined, or not approved by then, {otherwise}. {stands}\n\n"
        "An update from this page is refused: nobody knows who sent it."
    )


def attributes_of_settlement(request: TransactionRequest, found: str) -> TypedSearchAttributes:
    """The search attributes that a settlement's workflow is started with."""
    own = attributes_at_start(request).search_attributes
    return TypedSearchAttributes([*own, SearchAttributePair(_SETTLES, found)])


def settlement_summary(request: TransactionRequest) -> str:
    """One line for a run that settles a transaction."""
    return f"Settlement of a {request.kind} of {request.amount}"


def settlement_details(request: TransactionRequest, found: str) -> str:
    """Markdown for a run that settles a transaction: why it is there."""
    return (
        f"{static_details(request)}\n- settles what `{workflow_id(request.tenant, request.transaction_id)}` has left, which is "
        f"{found}: what is half done is ended, what was not begun is rejected, and waiting events are published"
    )


def swept_details(report: SweepReport) -> str:
    """Markdown with what a sweep has found."""
    lines = [
        f"- `{each.transaction_id}` of tenant `{each.tenant}`, {each.found}: "
        f"{'settled by' if each.started else 'being settled already by'} `{each.workflow_id}`"
        for each in report.swept
    ]
    lines += [
        f"- hold `{each.hold_id}` of tenant `{each.tenant}`, {each.found}: {'watched again' if each.started else 'being watched already'}"
        for each in report.holds
    ]
    lines += [f"- `{each.workflow_id}` moved from version `{each.build_id}`, which no worker serves" for each in report.moved]
    if not lines:
        return "Every transaction has an outcome, or a workflow that carries it."
    return "\n".join(["### Found", "", *lines, *(["", "There are more; the next sweep goes on."] if report.more else [])])


def is_parked(attributes: TypedSearchAttributes) -> bool:
    """Whether a running transaction stands still until an operator acts."""
    return attributes.get(_STATUS) == TransactionStatus.PARKED.value


def static_summary(request: TransactionRequest) -> str:
    """One line that stands in the Web UI from start to end: ``Transfer of 12.50 EUR from 2504 to 2505``."""
    sides = [
        f"{word} {account.account_id}" for word, account in (("from", request.debtor), ("to", request.creditor)) if account is not None
    ]
    if request.shares:
        several = f"{len(request.shares)} accounts"
        sides = [*sides, f"to {several}"] if request.reverses is None else [f"from {several}", *sides]
    what = f"Reversal by a {request.kind}" if request.reverses is not None else request.kind.capitalize()
    return f"{what} of {'up to ' if request.balancing else ''}{request.amount} {' '.join(sides)}"


def static_details(request: TransactionRequest) -> str:
    """Markdown that stands in the Web UI from start to end. Remittance information and metadata may be personal, and are left out."""
    lines = [
        f"**{static_summary(request)}**",
        "",
        f"- transaction: `{request.transaction_id}` of tenant `{request.tenant}`",
        f"- submitted by `{request.submitted_by}` at {request.submitted_at.isoformat()}",
    ]
    if request.value_date is not None:
        lines.append(f"- value date: {request.value_date}")
    if request.fee is not None:
        lines.append(f"- fee: {request.fee}")
    if request.hold_id is not None:
        lines.append(f"- captures from the hold `{request.hold_id}`{', and releases the rest' if request.releases_hold else ''}")
    if request.reverses is not None:
        lines.append(f"- takes back the transaction `{request.reverses}`")
    if request.override is not None:
        lines.append(f"- limits and balance don't count, by `{request.override.by}`")
    return "\n".join(lines)


def leg_summary(posting: Posting) -> str:
    """One line for the activity that books a leg: ``debit 12.50 EUR, account 2504``."""
    return f"{posting.leg} {posting.amount}, account {posting.account_id}"


def linked_summary(request: TransactionRequest) -> str:
    """One line for the activity that books all legs: ``all legs of a transfer of 12.50 EUR``."""
    return f"all legs of a {request.kind} of {request.amount}"


def final_details(result: TransactionResult) -> str:
    """Markdown once the status is final: what came of each leg, and why, where it isn't completed."""
    legs = "\n".join(_leg_line(decision) for decision in result.legs)
    why = f"> {result.reason.detail} (`{result.reason.code}`)" if result.reason is not None else ""
    return "\n\n".join(text for text in (f"### {result.status.capitalize()}", why, legs) if text)


def stage_details(before: str, summary: str, *, repeated: bool) -> str:
    """Markdown while a service is called, below what was said before: which one, and whether its quick attempts have failed."""
    what = f"The quick attempts of **{summary}** failed; it is repeated until it works. " if repeated else f"Under way: **{summary}**."
    what += "See the pending activity for the last failure, and for when the next attempt comes." if repeated else ""
    return f"{before}\n\n{what}" if before else what


def action_summary(action: OperatorAction) -> str:
    """One line for the activity that records what an operator did: ``record retry by olga``."""
    return f"record {action.action} by {action.by}"


def compensating_details(posting: Posting) -> str:
    """Markdown while a debit is being taken back."""
    reason = posting.because.detail if posting.because is not None else "it was refused"
    return (
        f"### Compensating\n\nThe credit was refused for good: {reason}. {posting.amount} go back to account `{posting.account_id}`. "
        "Nothing has to be done: this is repeated until it is booked, and the transaction then ends as reversed."
    )


def parked_details(request: TransactionRequest, result: TransactionResult, *, what: str, why: str, remedies: Remedies) -> str:
    """Markdown while a transaction is parked: what happened, what is posted, and what an operator can do."""
    legs = "\n".join(_leg_line(decision) for decision in result.legs) or "- nothing"
    return (
        f"### Parked\n\nNo retry can mend this: {what}.\n\n> {why}\n\n"
        f"**Decided before**\n\n{legs}\n\nThe debited money stands in the internal account `transit`.\n\n"
        f"**What you can do**\n\n{_remedies(request.transaction_id, remedies)}\n\n"
        "Each of them is recorded with your name and your reason, and books nothing twice. Updates and signals from this page are not "
        "obeyed, since nobody knows who sends them. A cancel changes nothing; a terminated transaction is settled by the sweep."
    )


def _remedies(transaction_id: str, remedies: Remedies) -> str:
    ways = [("try the same again, once the cause is mended", "retry", "")]
    if remedies.currencies:
        kept_in = " or ".join(sorted(remedies.currencies))
        ways.append((f"credit another account, kept in {kept_in}", "settle", " --to ACCOUNT"))
    if remedies.reverses:
        ways.append(("give the debtor the money back", "reverse", ""))
    return "\n".join(
        f"- {what}: `casaflow transaction {action} {transaction_id}{options} --reason WHY`, "
        f"or `POST /v1/transactions/{transaction_id}/{action}`"
        for what, action, options in ways
    )


def with_refused_cancels(details: str, refused: int) -> str:
    """Markdown with a word on cancels that came too late, if there were any."""
    if not refused:
        return details
    note = (
        "### Cancel refused\n\nA cancel arrived after posting had begun, and changes nothing: the transaction ends with its own result. "
        "To take it back, reverse it once it is completed."
    )
    return f"{note}\n\n{details}" if details else note


def _leg_line(decision: Decision) -> str:
    return f"- {decision.leg} {decision.amount}, account `{decision.account_id}`: {decision.outcome}"


def attributes_of_file(progress: FileProgress) -> list[SearchAttributeUpdate[str]]:
    """How a payment file stands; ``paused`` while it is."""
    return [_STATUS.value_set("paused" if progress.paused and not progress.final else progress.status.value)]


def file_details(progress: FileProgress) -> str:
    """Markdown that says how far a payment file is."""
    decided = progress.completed + progress.rejected
    state = "Paused" if progress.paused and not progress.final else progress.status.capitalize()
    counts = f"{progress.completed:,} completed, {progress.rejected:,} rejected"
    return f"### {state}\n\n{decided:,} of {progress.lines:,} lines are decided: {counts}."
