"""The events: CloudEvents 1.0, one per posted leg and one per finished transaction, with all details.

The models are the contract. Fields are only ever added, with a default; a removed or retyped field is a new type (``.v2``).
Source of the envelope: CloudEvents 1.0.2, and its Kafka protocol binding (binary content mode).
"""

from __future__ import annotations

import datetime as dt
from typing import Final

from pydantic import BaseModel, ConfigDict

from ledger.decisions import Decision, LegName
from ledger.ids import event_id
from ledger.money import Money
from ledger.postings import Posting  # noqa: TC001
from ledger.rates import Conversion  # noqa: TC001
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import FINAL_STATUSES, TransactionResult, TransactionStatus

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
    instruction = Instruction.of(posting.request)
    events = [_balance_updated(posting, decision, instruction)] if decision.posted else []
    status = posting.status_if_posted if decision.posted else posting.status_if_refused
    if status in FINAL_STATUSES:
        reason = posting.because or decision.refusal
        result = TransactionResult(
            transaction_id=posting.request.transaction_id, status=status, reason=reason, legs=(*posting.earlier, decision)
        )
        events.append(_finished(posting.request, result, decision.decided_at, instruction))
    return tuple(events)


def transaction_finished(request: TransactionRequest, result: TransactionResult, *, finished_at: dt.datetime) -> Event:
    """The transaction's own event.

    Raises:
        KeyError: the result isn't final.
    """
    return _finished(request, result, finished_at, Instruction.of(request))


def _finished(request: TransactionRequest, result: TransactionResult, finished_at: dt.datetime, instruction: Instruction) -> Event:
    event_type = _FINISHED_TYPES[result.status]
    reason = result.reason
    data = TransactionFinishedV1(
        instruction=instruction,
        status=result.status,
        reason=Reason(code=reason.code, detail=reason.detail, account_id=reason.account_id) if reason else None,
        legs=tuple(_leg_details(leg) for leg in result.legs),
        finished_at=finished_at,
    )
    key = f"{request.tenant}/{request.transaction_id}"
    return _event(request, event_type, topic=TOPIC_TRANSACTION_FINISHED, key=key, time=finished_at, data=data)


def _balance_updated(posting: Posting, decision: Decision, instruction: Instruction) -> Event:
    currency = decision.amount.currency
    data = BalanceUpdatedV1(
        instruction=instruction,
        leg=decision.leg,
        account_id=decision.account_id,
        amount=Amount.of(decision.amount),
        conversion=ConversionDetails.of(decision.conversion),
        value_date=decision.value_date,
        booked_at=decision.decided_at,
        version=decision.version,
        ledger_balance_after=_balance(decision.ledger_after, currency),
        available_balance_after=_balance(decision.available_after, currency),
    )
    event_type = DEBITED_V1 if posting.is_debit else CREDITED_V1
    key = f"{posting.request.tenant}/{decision.account_id}"
    request = posting.request
    return _event(request, event_type, topic=TOPIC_BALANCE_UPDATED, key=key, time=decision.decided_at, data=data, leg=decision.leg)


def _balance(minor_units: int | None, currency: str) -> Amount | None:
    return None if minor_units is None else Amount.of(Money(minor_units=minor_units, currency=currency))


def _leg_details(decision: Decision) -> LegDetails:
    return LegDetails(
        leg=decision.leg,
        account_id=decision.account_id,
        outcome=decision.outcome,
        amount=Amount.of(decision.amount),
        conversion=ConversionDetails.of(decision.conversion),
        value_date=decision.value_date,
        decided_at=decision.decided_at,
        version=decision.version,
    )


def _event(
    request: TransactionRequest, event_type: str, *, topic: str, key: str, time: dt.datetime, data: BaseModel, leg: str = ""
) -> Event:
    return Event(
        event_id=event_id(request.tenant, request.transaction_id, event_type, leg),
        topic=topic,
        key=key,
        type=event_type,
        source=f"/casaflow/tenants/{request.tenant}",
        subject=request.transaction_id,
        time=time,
        data=data.model_dump_json(),
    )
