"""What became of a transaction, told in the order in which it happened, from all that is recorded of it. See decision record 0021."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict, Field

from ledger.events import CREDITED_V1, DEBITED_V1, FINISHED_TYPES
from ledger.ids import event_id
from ledger.money import Money
from ledger.refusals import Refusal
from ledger.results import TransactionRecord, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.decisions import Decision
    from ledger.rates import Conversion
    from ledger.requests import TransactionRequest


class Part(StrEnum):
    """Who tells of a moment. Of what happened at the same instant, the part that stands first here comes first."""

    REQUEST = "request"
    WORKFLOW = "workflow"
    OPERATOR = "operator"
    RATE = "rate"
    DECISION = "decision"
    ENTRY = "entry"
    EVENT = "event"
    RESULT = "result"
    PUBLISHED = "published"
    CONSUMER = "consumer"


class Moment(BaseModel):
    """One line of the story."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    at: dt.datetime
    part: Part
    what: str
    """A sentence for a person."""
    detail: dict[str, str | int | None] = {}
    """The same for a program; amounts as decimal strings."""


class Entry(BaseModel):
    """One line of a customer's or an internal account."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    internal: bool
    leg: str
    amount: int
    """Minor units; a debit is negative."""
    currency: str
    balance_after: int | None = None
    """The account's ledger balance after a debit, in minor units."""
    posted_at: dt.datetime


class StoredEvent(BaseModel):
    """An event as the outbox has it."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    type: str
    topic: str
    created_at: dt.datetime
    published_at: dt.datetime | None = None


class Consumption(BaseModel):
    """A consumer group has applied an event."""

    model_config = ConfigDict(frozen=True)

    consumer: str
    event_id: str
    place: str
    """Topic, partition and offset."""
    at: dt.datetime


class OperatorAction(BaseModel):
    """What an operator, or a second person, did with the transaction."""

    model_config = ConfigDict(frozen=True)

    action: str
    by: str
    reason: str | None = None
    at: dt.datetime
    detail: dict[str, str] = Field(default_factory=dict)
    """What else was said: the account of `settle_to`."""


class WorkflowStep(BaseModel):
    """One event of a workflow's history that says something about the transaction."""

    model_config = ConfigDict(frozen=True)

    at: dt.datetime
    what: str
    failed: bool = False


class WorkflowState(BaseModel):
    """The workflow that carries, or carried, a transaction, as it stands."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    workflow_id: str
    run_id: str
    status: str
    """Temporal's: running, completed, failed, canceled, terminated, timed out."""
    shows: str | None = None
    """The transaction's status as the workflow shows it in its search attribute."""
    waits_for: str | None = None
    """What a running one waits for: an activity that is being repeated, with its last failure."""


class WorkflowRun(WorkflowState):
    """A workflow with its history."""

    steps: tuple[WorkflowStep, ...] = ()


class Recorded(BaseModel):
    """All that the database holds of a transaction."""

    model_config = ConfigDict(frozen=True)

    transaction: TransactionRecord
    entries: tuple[Entry, ...] = ()
    events: tuple[StoredEvent, ...] = ()
    consumptions: tuple[Consumption, ...] = ()
    actions: tuple[OperatorAction, ...] = ()
    reversals: tuple[str, ...] = ()
    """The transactions that took it back, or parts of it."""


class Explanation(BaseModel):
    """A transaction from the request to the last consumer."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    transaction_id: str
    status: TransactionStatus
    """As the ledger has it; `parked` where nothing but an operator moves it on."""
    reason: Refusal | None = None
    reversed_by: tuple[str, ...] = ()
    workflow: WorkflowState | None = None
    """Its steps stand in the timeline. None: Temporal has forgotten it, or could not be asked; `gaps` says which."""
    gaps: tuple[str, ...] = ()
    """What could not be told, and why."""
    timeline: tuple[Moment, ...] = ()


_PLACES: Final = {part: place for place, part in enumerate(Part)}
_STATUS_BY_TYPE: Final = {event_type: status for status, event_type in FINISHED_TYPES.items()}


def possible_event_ids(transaction: TransactionRecord) -> list[str]:
    """The ids of all events that a transaction may have stored: they follow from its content, so they needn't be searched for."""
    request = transaction.request
    names = [("", event_type) for event_type in _STATUS_BY_TYPE]
    for leg in transaction.result.legs:
        event_type = CREDITED_V1 if leg.version is None else DEBITED_V1
        names += [(leg.leg.value, event_type), (f"{leg.leg.value}/{leg.account_id}", event_type)]
    return [event_id(request.tenant, request.transaction_id, event_type, leg) for leg, event_type in dict.fromkeys(names)]


def explain(
    transaction_id: str, recorded: Recorded | None, workflow: WorkflowRun | None, *, status: TransactionStatus, gaps: Sequence[str]
) -> Explanation:
    """Put together what is known.

    Args:
        transaction_id: which one.
        recorded: what the database holds; None while nothing of it is recorded.
        workflow: what Temporal holds; None where it holds nothing, or could not be asked.
        status: how the transaction stands.
        gaps: what is missing, and why.
    """
    moments = _of_ledger(recorded) if recorded is not None else []
    if workflow is not None:
        moments += [
            Moment(at=step.at, part=Part.WORKFLOW, what=step.what, detail={"failed": "true"} if step.failed else {})
            for step in workflow.steps
        ]
    return Explanation(
        transaction_id=transaction_id,
        status=status,
        reason=recorded.transaction.result.reason if recorded is not None else None,
        reversed_by=recorded.reversals if recorded is not None else (),
        workflow=WorkflowState.model_validate(workflow.model_dump(exclude={"steps"})) if workflow is not None else None,
        gaps=tuple(gaps),
        timeline=tuple(sorted(moments, key=lambda moment: (moment.at, _PLACES[moment.part]))),
    )


def _of_ledger(recorded: Recorded) -> list[Moment]:
    transaction = recorded.transaction
    request, legs = transaction.request, transaction.result.legs
    moments = [_requested(request)]
    conversion = transaction.result.conversion
    if conversion is not None and legs:
        moments.append(_converted(conversion, legs[0].decided_at))
    moments += [_decided(leg) for leg in legs]
    moments += [_entered(entry) for entry in recorded.entries]
    names = {event.event_id: _short(event.type) for event in recorded.events}
    for event in recorded.events:
        detail: dict[str, str | int | None] = {"event_id": event.event_id, "topic": event.topic}
        moments.append(Moment(at=event.created_at, part=Part.EVENT, what=f"event {_short(event.type)} stored", detail=detail))
        if event.published_at is not None:
            what = f"event {_short(event.type)} published to {event.topic}"
            moments.append(Moment(at=event.published_at, part=Part.PUBLISHED, what=what, detail=detail))
    for applied in recorded.consumptions:
        what = f"{applied.consumer} has applied {names.get(applied.event_id, 'an event')} at {applied.place}"
        moments.append(Moment(at=applied.at, part=Part.CONSUMER, what=what, detail={"event_id": applied.event_id}))
    for action in recorded.actions:
        target = f" {action.detail['account_id']}" if "account_id" in action.detail else ""
        what = f"{action.by}: {action.action}{target}{f', since {action.reason}' if action.reason else ''}"
        said: dict[str, str | int | None] = {"by": action.by, "reason": action.reason, **action.detail}
        moments.append(Moment(at=action.at, part=Part.OPERATOR, what=what, detail=said))
    if transaction.finished_at is not None:
        why = f": {transaction.result.reason.detail}" if transaction.result.reason is not None else ""
        moments.append(Moment(at=transaction.finished_at, part=Part.RESULT, what=f"{transaction.result.status}{why}"))
    return moments


def _requested(request: TransactionRequest) -> Moment:
    sides = {word: account.account_id for word, account in (("from", request.debtor), ("to", request.creditor)) if account is not None}
    if request.shares:
        sides["from" if request.reverses else "to"] = f"{len(request.shares)} accounts"
    what = f"{request.submitted_by} asks for a {request.kind} of {request.amount}"
    what += "".join(f" {word} {account}" for word, account in sides.items())
    if request.reverses is not None:
        what += f", which takes back {request.reverses}"
    return Moment(
        at=request.submitted_at,
        part=Part.REQUEST,
        what=what,
        detail={
            "amount": request.amount.decimal_string,
            "currency": request.amount.currency,
            "by": request.submitted_by,
            "reference": request.reference,
        },
    )


def _converted(conversion: Conversion, at: dt.datetime) -> Moment:
    rate = conversion.rate
    return Moment(
        at=at,
        part=Part.RATE,
        what=f"{conversion.source} are {conversion.target} at {rate.rate} {rate.base}/{rate.quote}, {rate.source} of {rate.as_of}",
        detail={"quote_id": rate.quote_id, "rate": str(rate.rate), "source": rate.source, "as_of": rate.as_of.isoformat()},
    )


def _decided(leg: Decision) -> Moment:
    what = f"{leg.leg} of {leg.amount}, account {leg.account_id}: {leg.outcome}"
    if leg.refusal is not None:
        what += f", {leg.refusal.detail}"
    if leg.override is not None:
        what += f"; limits and balance didn't count, by {leg.override.by}"
    return Moment(
        at=leg.decided_at,
        part=Part.DECISION,
        what=what,
        detail={
            "leg": leg.leg.value,
            "account_id": leg.account_id,
            "outcome": leg.outcome.value,
            "amount": leg.amount.decimal_string,
            "currency": leg.amount.currency,
            "version": leg.version,
            "reason": leg.refusal.code.value if leg.refusal is not None else None,
        },
    )


def _entered(entry: Entry) -> Moment:
    amount = Money(minor_units=entry.amount, currency=entry.currency)
    whose = "internal account" if entry.internal else "account"
    what = f"{whose} {entry.account_id}: {'+' if entry.amount > 0 else ''}{amount}"
    after = None
    if entry.balance_after is not None:
        after = Money(minor_units=entry.balance_after, currency=entry.currency).decimal_string
        what += f", balance {after}"
    return Moment(
        at=entry.posted_at,
        part=Part.ENTRY,
        what=what,
        detail={
            "account_id": entry.account_id,
            "leg": entry.leg,
            "amount": amount.decimal_string,
            "currency": entry.currency,
            "balance_after": after,
        },
    )


def _short(event_type: str) -> str:
    return event_type.removeprefix("casaflow.").removeprefix("casa.").removeprefix("accounting.").removesuffix(".v1")
