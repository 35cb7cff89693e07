"""Transactions, decisions on them, rates and legs, as the API takes and gives them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from ledger.approvals import Approval, ApprovalAsked, ApprovalStage
from ledger.commands import OperatorAction
from ledger.decisions import Decision
from ledger.money import Money
from ledger.rates import Conversion, ExchangeRate
from ledger.refusals import Refusal
from ledger.requests import (
    MAX_REMITTANCE_LENGTH,
    MAX_SHARES,
    TransactionKind,
    TransactionRequest,
)
from ledger.results import TransactionResult, TransactionStatus, WaitingFor, WaitingKind
from starter.api.models.fields import (
    AccountId,
    Amount,
    Answer,
    CalendarDate,
    Currency,
    DecimalText,
    Duration,
    Metadata,
    Reason,
    Reference,
    RemittanceInformation,
    StrictBody,
    Text,
    Uuid,
)


class MoneyBody(StrictBody):
    """An amount with its currency."""

    amount: Amount
    currency: Currency


class CreditorBody(StrictBody):
    """One of several creditors, and what it gets."""

    creditor: AccountId
    amount: Amount


class OverrideBody(StrictBody):
    """An operator's word that limits and balance of the debtor are not to count; recorded with who gave it."""

    reason: Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)]


class ApprovalBody(StrictBody):
    """A wish for a second person's approval. What the bank's thresholds demand it can't take away."""

    required: Literal[True] = True
    expires_in: Duration | None = Field(default=None, description="How long it is waited for; unless given, as the bank's setting says.")
    before: ApprovalStage = Field(
        default=ApprovalStage.POSTING,
        description="`credit`: the debit of a transfer is posted at once, its credit waits, and he gets it back if nobody approves.",
    )

    def asked(self) -> ApprovalAsked:
        """The ledger's form."""
        seconds = int(self.expires_in.total_seconds()) if self.expires_in is not None else None
        return ApprovalAsked(expires_in_seconds=seconds, before=self.before)


class DecisionBody(StrictBody):
    """What whoever approves, declines or cancels a transaction says about it; recorded with who it was."""

    reason: Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)] | None = None


class TransactionBody(StrictBody):
    """A transaction: a debtor, a creditor, or both. With a fee, several creditors or `balancing` all of it is posted, or nothing."""

    transaction_id: Uuid | None = None
    debtor: AccountId | None = None
    creditor: AccountId | None = None
    creditors: Annotated[list[CreditorBody], Field(min_length=1, max_length=MAX_SHARES)] | None = Field(
        default=None, description="Several creditors instead of one; their amounts, in `currency`, sum to `amount`."
    )
    amount: Amount
    currency: Currency
    fee: MoneyBody | None = Field(default=None, description="What the debtor pays the bank on top, in the debtor's currency.")
    balancing: bool = Field(default=False, description="Take up to `amount`, as far as the debtor's available balance goes.")
    override: OverrideBody | None = None
    settlement: Literal["cash", "clearing"] = "cash"
    reference: Reference | None = None
    remittance_information: RemittanceInformation | None = None
    value_date: CalendarDate | None = None
    approval: ApprovalBody | None = None
    requested_execution_date: CalendarDate | None = Field(
        default=None, description="ISO 20022 ReqdExctnDt: nothing is posted before this day begins in the bank's time zone."
    )
    metadata: Metadata = Field(default_factory=dict)


class RetryBody(StrictBody):
    """Another try of a parked transaction."""

    reason: Reason


class SettlementBody(StrictBody):
    """Another account that gets the money of a parked transfer."""

    creditor: AccountId
    reason: Reason


class ReversalBody(StrictBody):
    """A reversal: of all that is left of the transaction, unless an amount is given. Of a parked one `reason` alone, which it needs."""

    reason: Reason | None = Field(default=None, description="Why a parked transaction is reversed; recorded with who asks.")

    transaction_id: Uuid | None = None
    amount: Amount | None = Field(default=None, description="A part, in the transaction's currency.")
    reference: Reference | None = None
    override: OverrideBody | None = None


class ReasonView(Answer):
    """Why something was refused."""

    code: str
    detail: str

    @classmethod
    def of(cls, refusal: Refusal | None) -> ReasonView | None:
        """The API's form of `refusal`."""
        return cls(code=refusal.code, detail=refusal.detail) if refusal else None


class RateView(Answer):
    """An exchange rate: one unit of `base` buys `rate` units of `quote`."""

    quote_id: str
    base: str
    quote: str
    rate: DecimalText
    source: str
    as_of: dt.date

    @classmethod
    def of(cls, rate: ExchangeRate) -> RateView:
        """The API's form of `rate`."""
        return cls(**rate.model_dump(exclude={"rate"}), rate=f"{rate.rate:f}")


class ConversionView(RateView):
    """The rate that a transaction used, and what it did with it."""

    source_amount: DecimalText
    target_amount: DecimalText
    rounding: str
    residual: DecimalText
    """Exact result minus target amount, in major units of the target's currency."""

    @classmethod
    def of_conversion(cls, conversion: Conversion | None) -> ConversionView | None:
        """The API's form of `conversion`."""
        if conversion is None:
            return None
        return cls(
            **RateView.of(conversion.rate).model_dump(),
            source_amount=conversion.source.decimal_string,
            target_amount=conversion.target.decimal_string,
            rounding=conversion.rounding,
            residual=f"{conversion.residual:f}",
        )


class LegView(Answer):
    """One leg as it was decided."""

    leg: str
    account_id: str
    outcome: str
    amount: DecimalText
    currency: str
    value_date: dt.date
    decided_at: dt.datetime
    version: int | None = None
    ledger_balance_after: DecimalText | None = None
    available_balance_after: DecimalText | None = None
    reason: ReasonView | None = None

    @classmethod
    def of(cls, decision: Decision) -> LegView:
        """The API's form of `decision`."""

        def balance(minor_units: int | None) -> str | None:
            return None if minor_units is None else Money(minor_units=minor_units, currency=decision.amount.currency).decimal_string

        return cls(
            leg=decision.leg,
            account_id=decision.account_id,
            outcome=decision.outcome,
            amount=decision.amount.decimal_string,
            currency=decision.amount.currency,
            value_date=decision.value_date,
            decided_at=decision.decided_at,
            version=decision.version,
            ledger_balance_after=balance(decision.ledger_after),
            available_balance_after=balance(decision.available_after),
            reason=ReasonView.of(decision.refusal),
        )


class MoneyView(Answer):
    """An amount with its currency."""

    amount: DecimalText
    currency: str

    @classmethod
    def of(cls, money: Money | None) -> MoneyView | None:
        """The API's form of `money`."""
        return cls(amount=money.decimal_string, currency=money.currency) if money else None


class CreditorView(Answer):
    """One of several creditors, and what it gets."""

    creditor: str
    amount: DecimalText


class DebtorView(Answer):
    """One of several accounts that a reversal takes from, and how much."""

    debtor: str
    amount: DecimalText


class OverrideView(Answer):
    """Who said that limits and balance of the debtor are not to count, and why."""

    by: str
    reason: str


class WaitingView(Answer):
    """What a transaction waits for, and until when: then an approval expires, and an execution date begins."""

    what: WaitingKind
    until: dt.datetime

    @classmethod
    def of(cls, waiting_for: WaitingFor | None) -> WaitingView | None:
        """The API's form of `waiting_for`."""
        return cls(what=waiting_for.what, until=waiting_for.until) if waiting_for is not None else None


class ApprovalView(Answer):
    """The approval that a transaction needs, or needed."""

    before: ApprovalStage
    expires_at: dt.datetime

    @classmethod
    def of(cls, approval: Approval | None) -> ApprovalView | None:
        """The API's form of `approval`."""
        return cls(before=approval.before, expires_at=approval.expires_at) if approval is not None else None


class OperatorActionView(Answer):
    """What an operator did with a transaction that waited for one."""

    action: str
    by: str
    reason: str | None
    at: dt.datetime
    detail: dict[str, str]

    @classmethod
    def of(cls, action: OperatorAction) -> OperatorActionView:
        """The API's form of `action`."""
        return cls(**action.model_dump(include=set(cls.model_fields)))


class TransactionView(Answer):
    """A transaction: how it stands, its legs, and what was asked."""

    transaction_id: str
    status: TransactionStatus
    reason: ReasonView | None = None
    waiting_for: WaitingView | None = None
    """While it is `processing`, and somebody or some day is waited for."""
    legs: list[LegView]
    rate: ConversionView | None = None
    kind: TransactionKind | None = None
    debtor: str | None = None
    creditor: str | None = None
    amount: DecimalText | None = None
    currency: str | None = None
    creditors: list[CreditorView] | None = None
    debtors: list[DebtorView] | None = None
    """Of a reversal of a transaction with several creditors."""
    fee: MoneyView | None = None
    balancing: bool | None = None
    override: OverrideView | None = None
    hold_id: str | None = None
    releases_hold: bool | None = None
    reverses: str | None = None
    """The transaction that this one takes back, or a part of it."""
    reversed_amount: DecimalText | None = None
    """How much of this transaction was taken back, in `currency`."""
    settlement: str | None = None
    reference: str | None = None
    remittance_information: str | None = None
    value_date: dt.date | None = None
    approval: ApprovalView | None = None
    requested_execution_date: dt.date | None = None
    metadata: dict[str, str] | None = None
    submitted_by: str | None = None
    submitted_at: dt.datetime | None = None
    operator_actions: list[OperatorActionView] | None = None
    """What operators did with it, in that order."""

    @classmethod
    def of(
        cls,
        result: TransactionResult,
        request: TransactionRequest | None,
        *,
        reversed_amount: int = 0,
        actions: Sequence[OperatorAction] = (),
    ) -> TransactionView:
        """The API's form of a result.

        Args:
            result: how it stands.
            request: what was asked; None while nothing of the transaction is recorded.
            reversed_amount: what reversals took back, in minor units of the request's currency.
            actions: what operators did with it.
        """
        asked = _asked(request, reversed_amount) if request is not None else {}
        return cls(
            transaction_id=result.transaction_id,
            status=result.status,
            reason=ReasonView.of(result.reason),
            waiting_for=WaitingView.of(result.waiting_for),
            legs=[LegView.of(leg) for leg in result.legs],
            rate=ConversionView.of_conversion(result.conversion),
            operator_actions=[OperatorActionView.of(action) for action in actions] or None,
            **asked,
        )


def _asked(request: TransactionRequest, reversed_amount: int) -> dict[str, Any]:
    names = {"settlement", "reference", "remittance_information", "value_date", "metadata", "submitted_by", "submitted_at"}
    names |= {"balancing", "hold_id", "releases_hold", "reverses", "requested_execution_date"}
    side = "debtor" if request.reverses is not None else "creditor"
    several = [{side: share.account.account_id, "amount": share.amount.decimal_string} for share in request.shares]
    return {
        **request.model_dump(include=names),
        f"{side}s": several or None,
        "kind": request.kind,
        "debtor": request.debtor.account_id if request.debtor else None,
        "creditor": request.creditor.account_id if request.creditor else None,
        "amount": request.amount.decimal_string,
        "currency": request.amount.currency,
        "fee": MoneyView.of(request.fee),
        "approval": ApprovalView.of(request.approval),
        "override": OverrideView(**request.override.model_dump()) if request.override else None,
        "reversed_amount": Money(minor_units=reversed_amount, currency=request.amount.currency).decimal_string,
    }
