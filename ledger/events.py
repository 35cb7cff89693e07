"""The events: CloudEvents 1.0, one per posted leg and one per finished transaction, with all details.

The models are the contract. Fields are only ever added, with a default; a removed or retyped field is a new type (``.v2``).
Source of the envelope: CloudEvents 1.0.2, and its Kafka protocol binding (binary content mode).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from ledger.currencies import exponent_of
from ledger.decisions import LegName
from ledger.ids import event_id
from ledger.money import decimal_text
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import FINAL_STATUSES, TransactionResult, TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.decisions import Decision
    from ledger.money import Money
    from ledger.postings import Posting
    from ledger.rates import Conversion
    from ledger.refusals import Refusal

TOPIC_BALANCE_UPDATED: Final = "casa.balance-updated"
TOPIC_TRANSACTION_FINISHED: Final = "accounting.transaction-finished"
TOPICS: Final = (TOPIC_BALANCE_UPDATED, TOPIC_TRANSACTION_FINISHED)

CREDITED_V1: Final = "casaflow.casa.credited.v1"
DEBITED_V1: Final = "casaflow.casa.debited.v1"
_FINISHED_TYPES: Final = {
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
        # Not validated again: the request is, and one of these is made for each leg.
        return cls.model_construct(
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
    """``ce_subject``: the transaction id."""
    time: dt.datetime
    """``ce_time``: booking or finishing time."""
    data: str
    """The JSON text, exactly as it is published."""


def events_of_leg(posting: Posting, decision: Decision) -> tuple[Event, ...]:
    """The events that must be stored with a decision: the leg's own if it was posted, and the transaction's if it ends with it."""
    status = posting.status_if_posted if decision.posted else posting.status_if_refused
    reason = posting.because or decision.refusal
    return EventWriter(posting.request).events([decision], status=status, reason=reason, earlier=posting.earlier)


def transaction_finished(request: TransactionRequest, result: TransactionResult, *, finished_at: dt.datetime) -> Event:
    """The transaction's own event.

    Raises:
        KeyError: the result isn't final.
    """
    return EventWriter(request).finished(result, finished_at)


class EventWriter:
    """Writes the events of one transaction.

    The texts are put together here instead of by the models, which takes a third of the time: one is written for each leg. They are the
    same to the byte; `tests/unit/ledger/test_events.py` compares them.
    """

    def __init__(self, request: TransactionRequest) -> None:
        """Take the request; what it says in every event is written once."""
        self._request = request
        self._instruction = Instruction.of(request).model_dump_json()
        self._source = f"/casaflow/tenants/{request.tenant}"

    def events(
        self, decisions: Sequence[Decision], *, status: TransactionStatus, reason: Refusal | None, earlier: Sequence[Decision] = ()
    ) -> tuple[Event, ...]:
        """The events that must be stored with decisions that are made together: one for each posted leg, and the transaction's if it ends.

        Args:
            decisions: the legs' decisions, in order.
            status: how the transaction stands after them.
            reason: why, when it is rejected or reversed.
            earlier: decisions of its earlier legs.
        """
        legs = [decision.leg for decision in decisions]
        events = [self._balance_updated(decision, several=legs.count(decision.leg) > 1) for decision in decisions if decision.posted]
        if status in FINAL_STATUSES:
            result = TransactionResult.model_construct(
                transaction_id=self._request.transaction_id, status=status, reason=reason, legs=(*earlier, *decisions)
            )
            events.append(self.finished(result, decisions[-1].decided_at))
        return tuple(events)

    def finished(self, result: TransactionResult, finished_at: dt.datetime) -> Event:
        """The transaction's own event.

        Raises:
            KeyError: the result isn't final.
        """
        reason = "null"
        if result.reason is not None:
            reason = Reason(code=result.reason.code, detail=result.reason.detail, account_id=result.reason.account_id).model_dump_json()
        legs = ",".join(map(_leg_json, result.legs))
        data = (
            f'{{"instruction":{self._instruction},"status":"{result.status.value}","reason":{reason},"legs":[{legs}],'
            f'"finished_at":"{_instant(finished_at)}"}}'
        )
        request = self._request
        return self._event(
            _FINISHED_TYPES[result.status], TOPIC_TRANSACTION_FINISHED, f"{request.tenant}/{request.transaction_id}", finished_at, data
        )

    def _balance_updated(self, decision: Decision, *, several: bool) -> Event:
        currency = decision.amount.currency
        data = (
            f'{{"instruction":{self._instruction},"leg":"{decision.leg.value}","account_id":"{decision.account_id}",'
            f'"amount":{_amount_json(decision.amount.minor_units, currency)},"conversion":{_conversion_json(decision.conversion)},'
            f'"value_date":"{decision.value_date.isoformat()}","booked_at":"{_instant(decision.decided_at)}",'
            f'"version":{"null" if decision.version is None else decision.version},'
            f'"ledger_balance_after":{_amount_json(decision.ledger_after, currency)},'
            f'"available_balance_after":{_amount_json(decision.available_after, currency)}}}'
        )
        event_type = CREDITED_V1 if decision.version is None else DEBITED_V1
        # Of several legs with one name each is known by its account as well.
        leg = f"{decision.leg.value}/{decision.account_id}" if several else decision.leg.value
        return self._event(
            event_type, TOPIC_BALANCE_UPDATED, f"{self._request.tenant}/{decision.account_id}", decision.decided_at, data, leg=leg
        )

    def _event(self, event_type: str, topic: str, key: str, time: dt.datetime, data: str, leg: str = "") -> Event:
        request = self._request
        return Event.model_construct(
            event_id=event_id(request.tenant, request.transaction_id, event_type, leg),
            topic=topic,
            key=key,
            type=event_type,
            source=self._source,
            subject=request.transaction_id,
            time=time,
            data=data,
        )


def _leg_json(decision: Decision) -> str:
    """What the model LegDetails writes."""
    currency = decision.amount.currency
    return (
        f'{{"leg":"{decision.leg.value}","account_id":"{decision.account_id}","outcome":"{decision.outcome.value}",'
        f'"amount":{_amount_json(decision.amount.minor_units, currency)},"conversion":{_conversion_json(decision.conversion)},'
        f'"value_date":"{decision.value_date.isoformat()}","decided_at":"{_instant(decision.decided_at)}",'
        f'"version":{"null" if decision.version is None else decision.version}}}'
    )


def _amount_json(minor_units: int | None, currency: str) -> str:
    if minor_units is None:
        return "null"
    return f'{{"value":"{decimal_text(minor_units, exponent_of(currency))}","currency":"{currency}"}}'


def _conversion_json(conversion: Conversion | None) -> str:
    details = ConversionDetails.of(conversion)
    return "null" if details is None else details.model_dump_json()


def _instant(instant: dt.datetime) -> str:
    """As pydantic writes it: UTC as Z."""
    text = instant.isoformat()
    return f"{text[:-6]}Z" if text.endswith("+00:00") else text
