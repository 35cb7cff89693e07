"""The events: CloudEvents 1.0, one per posted leg and one per finished transaction, with all details.

The models are the contract. Fields are only ever added, with a default; a removed or retyped field is a new type (``.v2``).
Source of the envelope: CloudEvents 1.0.2, and its Kafka protocol binding (binary content mode).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import to_json

from ledger.currencies import exponent_of
from ledger.decisions import LegName
from ledger.holds import Hold, HoldStatus
from ledger.ids import event_id
from ledger.money import Money, decimal_text
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import FINAL_STATUSES, TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.decisions import Decision
    from ledger.postings import Posting
    from ledger.rates import Conversion
    from ledger.refusals import Refusal

TOPIC_BALANCE_UPDATED: Final = "casa.balance-updated"
TOPIC_TRANSACTION_FINISHED: Final = "accounting.transaction-finished"
TOPICS: Final = (TOPIC_BALANCE_UPDATED, TOPIC_TRANSACTION_FINISHED)

CREDITED_V1: Final = "casaflow.casa.credited.v1"
DEBITED_V1: Final = "casaflow.casa.debited.v1"
HOLD_AUTHORISED_V1: Final = "casaflow.casa.hold-authorised.v1"
HOLD_CAPTURED_V1: Final = "casaflow.casa.hold-captured.v1"
HOLD_VOIDED_V1: Final = "casaflow.casa.hold-voided.v1"
HOLD_EXPIRED_V1: Final = "casaflow.casa.hold-expired.v1"
HOLD_TYPES: Final = frozenset({HOLD_AUTHORISED_V1, HOLD_CAPTURED_V1, HOLD_VOIDED_V1, HOLD_EXPIRED_V1})
FINISHED_TYPES: Final = {
    TransactionStatus.COMPLETED: "casaflow.accounting.transaction-completed.v1",
    TransactionStatus.REJECTED: "casaflow.accounting.transaction-rejected.v1",
    TransactionStatus.REVERSED: "casaflow.accounting.transaction-reversed.v1",
}


class Amount(BaseModel):
    """Money as events carry it: a decimal string in major units, and an ISO 4217 code."""

    model_config = ConfigDict(frozen=True)

    value: str
    currency: str

    @classmethod
    def of(cls, money: Money) -> Amount:
        """The event form of `money`."""
        return cls(value=money.decimal_string, currency=money.currency)


class ConversionDetails(BaseModel):
    """A conversion as events carry it."""

    model_config = ConfigDict(frozen=True)

    source: Amount
    target: Amount
    rate: str
    """Units of the target's currency per unit of the source's, as a decimal string."""
    rate_quote_id: str
    rate_source: str
    rate_as_of: dt.date
    rounding: str
    residual: str
    """Exact result minus target, in major units of the target's currency, as a decimal string."""

    @classmethod
    def of(cls, conversion: Conversion | None) -> ConversionDetails | None:
        """The event form of `conversion`; None stays None."""
        if conversion is None:
            return None
        return cls(
            source=Amount.of(conversion.source),
            target=Amount.of(conversion.target),
            rate=f"{conversion.rate.rate:f}",
            rate_quote_id=conversion.rate.quote_id,
            rate_source=conversion.rate.source,
            rate_as_of=conversion.rate.as_of,
            rounding=conversion.rounding,
            residual=f"{conversion.residual:f}",
        )


class ShareDetails(BaseModel):
    """What one of several creditors gets."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    amount: Amount


class OverrideDetails(BaseModel):
    """Who said that the debtor's limits and balance were not to count, and why."""

    model_config = ConfigDict(frozen=True)

    by: str
    reason: str


_ONLY_WHERE_SET: Final = Field(exclude_if=lambda value: not value)
"""Later additions are left out of events that don't use them, whose bytes stay as they always were."""


class Instruction(BaseModel):
    """What was asked, in every event of the transaction, so that no consumer has to ask back."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    transaction_id: str
    kind: TransactionKind
    debtor: str | None
    creditor: str | None
    instructed: Amount
    reference: str | None
    remittance_information: str | None
    metadata: dict[str, str]
    submitted_by: str
    submitted_at: dt.datetime
    shares: Annotated[tuple[ShareDetails, ...], _ONLY_WHERE_SET] = ()
    """Several creditors instead of one."""
    fee: Annotated[Amount | None, _ONLY_WHERE_SET] = None
    balancing: Annotated[bool, _ONLY_WHERE_SET] = False
    """`instructed` is the most that was to be taken, not what was."""
    hold_id: Annotated[str | None, _ONLY_WHERE_SET] = None
    reverses: Annotated[str | None, _ONLY_WHERE_SET] = None
    """The transaction that this one takes back, or a part of it."""
    override: Annotated[OverrideDetails | None, _ONLY_WHERE_SET] = None

    @classmethod
    def of(cls, request: TransactionRequest) -> Instruction:
        """The event form of `request`."""
        return cls(
            tenant=request.tenant,
            transaction_id=request.transaction_id,
            kind=request.kind,
            debtor=request.debtor.account_id if request.debtor else None,
            creditor=request.creditor.account_id if request.creditor else None,
            instructed=Amount.of(request.amount),
            reference=request.reference,
            remittance_information=request.remittance_information,
            metadata=request.metadata,
            submitted_by=request.submitted_by,
            submitted_at=request.submitted_at,
            shares=tuple(ShareDetails(account_id=share.account.account_id, amount=Amount.of(share.amount)) for share in request.shares),
            fee=Amount.of(request.fee) if request.fee else None,
            balancing=request.balancing,
            hold_id=request.hold_id,
            reverses=request.reverses,
            override=OverrideDetails(by=request.override.by, reason=request.override.reason) if request.override else None,
        )


class BalanceUpdatedV1(BaseModel):
    """Data of ``casaflow.casa.credited.v1`` and ``casaflow.casa.debited.v1``: one posted leg."""

    model_config = ConfigDict(frozen=True)

    instruction: Instruction
    leg: LegName
    account_id: str
    amount: Amount
    conversion: ConversionDetails | None
    value_date: dt.date
    booked_at: dt.datetime
    version: int | None
    """A debit's gapless number on its account; null for a credit."""
    ledger_balance_after: Amount | None
    """After a debit; null for a credit, which does not read the balance."""
    available_balance_after: Amount | None
    """After a debit; null for a credit."""


class HoldChangedV1(BaseModel):
    """Data of the four ``casaflow.casa.hold-*.v1`` events: the hold after the change."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    hold_id: str
    account_id: str
    status: HoldStatus
    amount: Amount
    captured: Amount
    """What all captures together took of it."""
    remaining: Amount
    """What it still holds."""
    released: Amount
    """What this change gave back to the available balance."""
    capture: Amount | None
    """What this capture took; null for the other changes."""
    transaction_id: str | None
    """The transaction that captured; null for the other changes."""
    reference: str | None
    authorised_by: str
    authorised_at: dt.datetime
    expires_at: dt.datetime
    changed_at: dt.datetime


class LegDetails(BaseModel):
    """One leg in the event of its transaction."""

    model_config = ConfigDict(frozen=True)

    leg: LegName
    account_id: str
    outcome: str
    amount: Amount
    conversion: ConversionDetails | None
    value_date: dt.date
    decided_at: dt.datetime
    version: int | None


class Reason(BaseModel):
    """Why a transaction was rejected or reversed."""

    model_config = ConfigDict(frozen=True)

    code: str
    detail: str
    account_id: str | None


class TransactionFinishedV1(BaseModel):
    """Data of the three ``casaflow.accounting.transaction-*.v1`` events."""

    model_config = ConfigDict(frozen=True)

    instruction: Instruction
    status: TransactionStatus
    reason: Reason | None
    legs: tuple[LegDetails, ...]
    finished_at: dt.datetime


class Event(BaseModel):
    """A CloudEvent with the topic and key it is published under."""

    model_config = ConfigDict(frozen=True)

    event_id: str
    """``ce_id``: the same on every retry."""
    topic: str
    key: str
    type: str
    """``ce_type``."""
    source: str
    """``ce_source``: names the tenant."""
    subject: str
    """``ce_subject``: the transaction id; of a hold's events, the hold's id."""
    time: dt.datetime
    """``ce_time``: booking or finishing time."""
    data: str
    """The JSON text, exactly as it is published."""


def events_of_leg(posting: Posting, decision: Decision) -> tuple[Event, ...]:
    """The events that must be stored with a decision: the leg's own if it was posted, and the transaction's if it ends with it."""
    status = posting.status_if_posted if decision.posted else posting.status_if_refused
    reason = posting.because or decision.refusal
    written = EventWriter(posting.request).events([decision], status=status, reason=reason, earlier=posting.earlier)
    return tuple(Event.model_validate(event._asdict()) for event in written)


def transaction_finished(request: TransactionRequest, result: TransactionResult, *, finished_at: dt.datetime) -> Event:
    """The transaction's own event.

    Raises:
        KeyError: the result isn't final.
    """
    return Event.model_validate(EventWriter(request).finished(result, finished_at)._asdict())


def hold_event(hold: Hold) -> Event:
    """The event of a hold that was authorised, voided or has expired, to be stored with the change.

    Raises:
        ValueError: there is none for its status: a refused hold tells nothing, and a capture tells of itself.
    """
    no_money = Money(minor_units=0, currency=hold.amount.currency)
    rest = Money(minor_units=hold.amount.minor_units - hold.captured.minor_units, currency=hold.amount.currency)
    if hold.status is HoldStatus.OPEN:
        return _hold_event(HOLD_AUTHORISED_V1, hold, released=no_money, at=hold.created_at)
    if hold.status is HoldStatus.VOIDED and hold.closed_at is not None:
        return _hold_event(HOLD_VOIDED_V1, hold, released=rest, at=hold.closed_at)
    if hold.status is HoldStatus.EXPIRED:
        return _hold_event(HOLD_EXPIRED_V1, hold, released=rest, at=hold.expires_at)
    message = f"a hold that is {hold.status} has no event of its own"
    raise ValueError(message)


def hold_captured(hold: Hold, *, transaction_id: str, capture: Money, released: Money, at: dt.datetime) -> Event:
    """The event of a capture, to be stored with its debit.

    Args:
        hold: after the capture.
        transaction_id: that captured.
        capture: what it took.
        released: what it gave back, where it is the last one and takes less than is left.
        at: booking time of the debit.
    """
    return _hold_event(HOLD_CAPTURED_V1, hold, released=released, at=at, capture=capture, transaction_id=transaction_id)


def _hold_event(
    event_type: str, hold: Hold, *, released: Money, at: dt.datetime, capture: Money | None = None, transaction_id: str | None = None
) -> Event:
    data = HoldChangedV1(
        **hold.model_dump(include={"tenant", "hold_id", "account_id", "status", "reference", "authorised_by", "expires_at"}),
        amount=Amount.of(hold.amount),
        captured=Amount.of(hold.captured),
        remaining=Amount.of(hold.remaining),
        released=Amount.of(released),
        capture=Amount.of(capture) if capture is not None else None,
        transaction_id=transaction_id,
        authorised_at=hold.created_at,
        changed_at=at,
    )
    return Event(
        event_id=event_id(hold.tenant, transaction_id or hold.hold_id, event_type, hold.hold_id),
        topic=TOPIC_BALANCE_UPDATED,
        key=f"{hold.tenant}/{hold.account_id}",
        type=event_type,
        source=f"/casaflow/tenants/{hold.tenant}",
        subject=hold.hold_id,
        time=at,
        data=data.model_dump_json(),
    )


class WrittenEvent(NamedTuple):
    """An :class:`Event` as texts only, in the order of its fields."""

    event_id: str
    topic: str
    key: str
    type: str
    source: str
    subject: str
    time: str
    """ISO 8601."""
    data: str


class _LegTexts(NamedTuple):
    """What the events say of a leg before it is decided."""

    amount: Money
    conversion: Conversion | None
    balance_updated: str
    """The event's data up to the booking time."""
    before_outcome: str
    """Its place in the transaction's own event, up to the outcome; then up to the time of the decision."""
    after_outcome: str


class EventWriter:
    """Writes the events of one transaction.

    The texts are put together here instead of by the models, which takes a fraction of the time: some are written for each leg. They are
    the same to the byte; `tests/unit/ledger/test_events.py` compares them. What is known before the legs are decided can be written
    before, while others hold the locks.
    """

    __slots__ = ("_ids", "_instruction", "_legs", "_request", "_source")

    def __init__(self, request: TransactionRequest) -> None:
        """Take the request; what it says in every event is written once."""
        self._request = request
        self._instruction = _instruction_json(request)
        self._source = f"/casaflow/tenants/{request.tenant}"
        self._legs: dict[tuple[LegName, str], _LegTexts] = {}
        self._ids: dict[tuple[str, str], str] = {}

    def prepare(self, posting: Posting, *, several: bool) -> None:
        """Write what can be written of a leg that will probably be posted.

        Args:
            posting: the leg.
            several: whether the transaction has several legs of this name.
        """
        account_id = posting.account_id
        self._legs[posting.leg, account_id] = self._leg_texts(
            posting.leg, account_id, posting.amount, posting.conversion, posting.value_date
        )
        self._id(DEBITED_V1 if posting.is_debit else CREDITED_V1, f"{posting.leg.value}/{account_id}" if several else posting.leg.value)
        if posting.status_if_posted is TransactionStatus.COMPLETED:
            self._id(FINISHED_TYPES[TransactionStatus.COMPLETED], "")

    def events(
        self, decisions: Sequence[Decision], *, status: TransactionStatus, reason: Refusal | None, earlier: Sequence[Decision] = ()
    ) -> list[WrittenEvent]:
        """The events that must be stored with decisions that are made together: one for each posted leg, and the transaction's if it ends.

        Args:
            decisions: the legs' decisions, in order.
            status: how the transaction stands after them.
            reason: why, when it is rejected or reversed.
            earlier: decisions of its earlier legs.
        """
        names = [decision.leg for decision in decisions] if len(decisions) > 1 else ()
        texts = [self._texts_of(decision) for decision in decisions]
        times = [decision.decided_at.isoformat() for decision in decisions]
        events = [
            self._balance_updated(decision, written, time, several=names.count(decision.leg) > 1)
            for decision, written, time in zip(decisions, texts, times, strict=True)
            if decision.posted
        ]
        if status in FINAL_STATUSES:
            legs = [_leg_json(*leg) for leg in zip(decisions, texts, times, strict=True)]
            if earlier:
                legs = [*(_leg_json(leg, self._texts_of(leg), leg.decided_at.isoformat()) for leg in earlier), *legs]
            events.append(self._finished(status, reason, legs, times[-1]))
        return events

    def finished(self, result: TransactionResult, finished_at: dt.datetime) -> WrittenEvent:
        """The transaction's own event.

        Raises:
            KeyError: the result isn't final.
        """
        legs = [_leg_json(leg, self._texts_of(leg), leg.decided_at.isoformat()) for leg in result.legs]
        return self._finished(result.status, result.reason, legs, finished_at.isoformat())

    def _finished(self, status: TransactionStatus, reason: Refusal | None, legs: Sequence[str], time: str) -> WrittenEvent:
        why = "null"
        if reason is not None:
            why = Reason(code=reason.code, detail=reason.detail, account_id=reason.account_id).model_dump_json()
        data = (
            f'{{"instruction":{self._instruction},"status":"{status.value}","reason":{why},"legs":[{",".join(legs)}],'
            f'"finished_at":"{_utc(time)}"}}'
        )
        request = self._request
        event_type = FINISHED_TYPES[status]
        return WrittenEvent(
            self._id(event_type, ""), TOPIC_TRANSACTION_FINISHED, f"{request.tenant}/{request.transaction_id}", event_type, self._source,
            request.transaction_id, time, data,
        )  # fmt: skip

    def _balance_updated(self, decision: Decision, written: _LegTexts, time: str, *, several: bool) -> WrittenEvent:
        currency = decision.amount.currency
        version = decision.version
        data = (
            f'{written.balance_updated}{_utc(time)}","version":{"null" if version is None else version},'
            f'"ledger_balance_after":{_amount_json(decision.ledger_after, currency)},'
            f'"available_balance_after":{_amount_json(decision.available_after, currency)}}}'
        )
        event_type = CREDITED_V1 if version is None else DEBITED_V1
        # Of several legs with one name each is known by its account as well.
        leg = f"{decision.leg.value}/{decision.account_id}" if several else decision.leg.value
        request = self._request
        return WrittenEvent(
            self._id(event_type, leg), TOPIC_BALANCE_UPDATED, f"{request.tenant}/{decision.account_id}", event_type, self._source,
            request.transaction_id, time, data,
        )  # fmt: skip

    def _id(self, event_type: str, leg: str) -> str:
        key = (event_type, leg)
        found = self._ids.get(key)
        if found is None:
            found = self._ids[key] = event_id(self._request.tenant, self._request.transaction_id, event_type, leg)
        return found

    def _texts_of(self, decision: Decision) -> _LegTexts:
        prepared = self._legs.get((decision.leg, decision.account_id))
        # What a leg books may be known only once it is decided.
        if prepared is not None and prepared.amount is decision.amount and prepared.conversion is decision.conversion:
            return prepared
        return self._leg_texts(decision.leg, decision.account_id, decision.amount, decision.conversion, decision.value_date)

    def _leg_texts(self, leg: LegName, account_id: str, amount: Money, conversion: Conversion | None, value_date: dt.date) -> _LegTexts:
        which = f'"leg":"{leg.value}","account_id":{_text_json(account_id)}'
        what = (
            f'"amount":{_amount_json(amount.minor_units, amount.currency)},"conversion":{_conversion_json(conversion)},'
            f'"value_date":"{value_date.isoformat()}"'
        )
        return _LegTexts(
            amount=amount,
            conversion=conversion,
            balance_updated=f'{{"instruction":{self._instruction},{which},{what},"booked_at":"',
            before_outcome=f'{{{which},"outcome":"',
            after_outcome=f'",{what},"decided_at":"',
        )


def _instruction_json(request: TransactionRequest) -> str:
    """What the model Instruction writes."""
    if not request.is_plain:
        return Instruction.of(request).model_dump_json()
    amount = request.amount
    return (
        f'{{"tenant":"{request.tenant}","transaction_id":"{request.transaction_id}","kind":"{request.kind.value}",'
        f'"debtor":{_text_json(request.debtor.account_id if request.debtor else None)},'
        f'"creditor":{_text_json(request.creditor.account_id if request.creditor else None)},'
        f'"instructed":{_amount_json(amount.minor_units, amount.currency)},'
        f'"reference":{_text_json(request.reference)},"remittance_information":{_text_json(request.remittance_information)},'
        f'"metadata":{to_json(request.metadata).decode() if request.metadata else "{}"},'
        f'"submitted_by":{_text_json(request.submitted_by)},"submitted_at":{to_json(request.submitted_at).decode()}}}'
    )


def _text_json(text: str | None) -> str:
    return "null" if text is None else to_json(text).decode()


def _leg_json(decision: Decision, written: _LegTexts, time: str) -> str:
    """What the model LegDetails writes."""
    version = "null" if decision.version is None else decision.version
    return f'{written.before_outcome}{decision.outcome.value}{written.after_outcome}{_utc(time)}","version":{version}}}'


def _amount_json(minor_units: int | None, currency: str) -> str:
    if minor_units is None:
        return "null"
    return f'{{"value":"{decimal_text(minor_units, exponent_of(currency))}","currency":"{currency}"}}'


def _conversion_json(conversion: Conversion | None) -> str:
    details = ConversionDetails.of(conversion)
    return "null" if details is None else details.model_dump_json()


def _utc(time: str) -> str:
    """ISO 8601 as pydantic writes it: UTC as Z."""
    return f"{time[:-6]}Z" if time.endswith("+00:00") else time
