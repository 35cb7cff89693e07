"""The events: CloudEvents 1.0, one per posted leg and one per finished transaction, with all details.

The models are the contract. Fields are only ever added, with a default; a removed or retyped field is a new type (``.v2``).
Source of the envelope: CloudEvents 1.0.2, and its Kafka protocol binding (binary content mode).
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Annotated, Final

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from ledger.decisions import LegName, Outcome
from ledger.holds import Hold, HoldStatus
from ledger.ids import event_id
from ledger.money import Money
from ledger.refusals import RefusalCode
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import TransactionStatus

if TYPE_CHECKING:
    from ledger.rates import Conversion

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

# What the schemas say beyond the types, without a check when an event is written: the values come from checked models.
_Decimal = Annotated[str, Field(json_schema_extra={"pattern": r"^[0-9]+(\.[0-9]+)?$"})]
_SignedDecimal = Annotated[str, Field(json_schema_extra={"pattern": r"^-?[0-9]+(\.[0-9]+)?$"})]
_Currency = Annotated[str, Field(json_schema_extra={"pattern": "^[A-Z]{3}$"})]
UuidText = Annotated[str, Field(json_schema_extra={"format": "uuid"})]
# Sets that grow are texts with examples: a reader that refuses what it doesn't know would break on the next one.
_LegName = Annotated[LegName, WithJsonSchema({"type": "string", "examples": [name.value for name in LegName]})]
_ReasonCode = Annotated[str, Field(json_schema_extra={"examples": [code.value for code in RefusalCode]})]
_ONLY_WHERE_SET: Final = Field(exclude_if=lambda value: not value)
"""Later additions are left out of events that don't use them, whose bytes stay as they always were."""


class _Part(BaseModel):
    """What all events are made of."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class Amount(_Part):
    """Money as events carry it: a decimal string in major units, and an ISO 4217 code."""

    value: _SignedDecimal
    """In major units, with as many decimals as the currency has. Negative for an overdrawn balance only."""
    currency: _Currency
    """ISO 4217."""

    @classmethod
    def of(cls, money: Money) -> Amount:
        """The event form of `money`."""
        return cls(value=money.decimal_string, currency=money.currency)


class ConversionDetails(_Part):
    """A conversion, in full, so that anyone can recompute it: target = round(source * rate)."""

    source: Amount
    """What was converted."""
    target: Amount
    """What it came to."""
    rate: _Decimal
    """Units of the target's currency per unit of the source's, as a decimal string."""
    rate_quote_id: str
    """Identifies the quotation: the same rate has the same id in every event."""
    rate_source: str
    """Who published the rate."""
    rate_as_of: dt.date
    """The day for which it was published."""
    rounding: Annotated[str, Field(json_schema_extra={"examples": ["half-even"]})]
    """How the target was rounded to its currency's decimals."""
    residual: _SignedDecimal
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


class ShareDetails(_Part):
    """What one of several creditors gets."""

    account_id: str
    """The creditor's account."""
    amount: Amount
    """Its part of what was instructed."""


class OverrideDetails(_Part):
    """Who said that the debtor's limits and balance were not to count, and why."""

    by: str
    """The operator."""
    reason: str
    """In the operator's words."""


class Instruction(_Part):
    """What was asked, in every event of the transaction, so that no consumer has to ask back."""

    tenant: str
    """The bank, or the part of one, whose ledger it is; account and transaction ids are its own."""
    transaction_id: UuidText
    """Identifies the transaction within its tenant."""
    kind: TransactionKind
    """Which sides it names: a deposit a creditor, a withdrawal a debtor, a transfer both."""
    debtor: str | None
    """Account that pays; null for a deposit, and where `shares` name who pays."""
    creditor: str | None
    """Account that receives; null for a withdrawal, and where `shares` name who receives."""
    instructed: Amount
    """What was asked for, in the currency of one of the two accounts; what each leg booked is in the leg."""
    reference: str | None
    """The customer's own reference."""
    remittance_information: str | None
    """What the payment is for, in the customer's words."""
    metadata: dict[str, str]
    """Whatever the channel wanted kept with it."""
    submitted_by: str
    """The authenticated principal that sent it."""
    submitted_at: dt.datetime
    """When it was taken on."""
    shares: Annotated[tuple[ShareDetails, ...], _ONLY_WHERE_SET] = ()
    """Several creditors instead of one; of a reversal with `reverses`, several debtors."""
    fee: Annotated[Amount | None, _ONLY_WHERE_SET] = None
    """What the debtor pays the bank on top."""
    balancing: Annotated[bool, _ONLY_WHERE_SET] = False
    """`instructed` is the most that was to be taken, not what was."""
    hold_id: Annotated[UuidText | None, _ONLY_WHERE_SET] = None
    """The hold of the debtor that the debit captures from."""
    reverses: Annotated[UuidText | None, _ONLY_WHERE_SET] = None
    """The transaction that this one takes back, or a part of it."""
    override: Annotated[OverrideDetails | None, _ONLY_WHERE_SET] = None
    """Set where an operator had the debtor's limits and balance not count."""
    settlement: Annotated[str | None, _ONLY_WHERE_SET] = None
    """The bank's own account on the other side of a deposit or a withdrawal, where it isn't `cash`: `clearing`."""

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
            settlement=settlement_told(request),
        )


def settlement_told(request: TransactionRequest) -> str | None:
    """The internal account on the other side, where one account is named and the other side isn't cash."""
    return None if request.settlement == "cash" or request.kind is TransactionKind.TRANSFER else request.settlement


class BalanceUpdatedV1(_Part):
    """Data of ``casaflow.casa.credited.v1`` and ``casaflow.casa.debited.v1``: one posted leg."""

    instruction: Instruction
    """What was asked."""
    leg: _LegName
    """Which leg of the transaction. Others may come: the event's type says whether money came or went."""
    account_id: str
    """The account that the leg booked on."""
    amount: Amount
    """What was booked, in the account's currency; never negative."""
    conversion: ConversionDetails | None
    """How `amount` came from what was instructed; null where both are in one currency."""
    value_date: dt.date
    """Day from which the money counts for interest."""
    booked_at: dt.datetime
    """Booking time, by the ledger's clock."""
    version: int | None
    """A debit's gapless number on its account; null for a credit."""
    ledger_balance_after: Amount | None
    """After a debit; null for a credit, which does not read the balance."""
    available_balance_after: Amount | None
    """After a debit; null for a credit."""


class HoldChangedV1(_Part):
    """Data of the four ``casaflow.casa.hold-*.v1`` events: the hold after the change."""

    tenant: str
    """The bank, or the part of one, whose ledger it is."""
    hold_id: UuidText
    """Identifies the hold within its tenant."""
    account_id: str
    """The account whose money is set aside."""
    status: HoldStatus
    """After the change."""
    amount: Amount
    """What was set aside at first."""
    captured: Amount
    """What all captures together took of it."""
    remaining: Amount
    """What it still holds."""
    released: Amount
    """What this change gave back to the available balance."""
    capture: Amount | None
    """What this capture took; null for the other changes."""
    transaction_id: UuidText | None
    """The transaction that captured; null for the other changes."""
    reference: str | None
    """Of whoever had the money set aside."""
    authorised_by: str
    """The authenticated principal."""
    authorised_at: dt.datetime
    """When the money was set aside."""
    expires_at: dt.datetime
    """From then on it holds nothing."""
    changed_at: dt.datetime
    """When this change took place."""


class Reason(_Part):
    """Why a transaction was rejected or reversed, or a leg refused."""

    code: _ReasonCode
    """For programs: a stable code. Others may come, and mean a refusal all the same."""
    detail: str
    """For people."""
    account_id: str | None
    """The account that it is about, if any."""


class LegDetails(_Part):
    """One leg in the event of its transaction."""

    leg: _LegName
    """Which leg. Others may come: a posted leg with a version is a debit, and one without is a credit."""
    account_id: str
    """The account that it is about."""
    outcome: Outcome
    """Money moved only where it is `posted`."""
    amount: Amount
    """What was booked, or would have been, in the account's currency; never negative."""
    conversion: ConversionDetails | None
    """How `amount` came from what was instructed; null where both are in one currency."""
    value_date: dt.date
    """Day from which the money counts for interest."""
    decided_at: dt.datetime
    """Booking time of a posted leg, by the ledger's clock."""
    version: int | None
    """A posted debit's gapless number on its account; null for credits and refusals."""
    ledger_balance_after: Annotated[Amount | None, _ONLY_WHERE_SET] = None
    """Only of a posted debit."""
    available_balance_after: Annotated[Amount | None, _ONLY_WHERE_SET] = None
    """Only of a posted debit."""
    reason: Annotated[Reason | None, _ONLY_WHERE_SET] = None
    """Only of a refused leg: why."""


class TransactionFinishedV1(_Part):
    """Data of the three ``casaflow.accounting.transaction-*.v1`` events."""

    instruction: Instruction
    """What was asked."""
    status: TransactionStatus
    """How the transaction ended."""
    reason: Reason | None
    """Why it was rejected or reversed; null for a completed one."""
    legs: tuple[LegDetails, ...]
    """In the order in which they were decided; none where the transaction was rejected before that."""
    finished_at: dt.datetime
    """When it ended, by the ledger's clock."""


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
