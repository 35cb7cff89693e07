"""What the API takes and gives: JSON with decimal strings for amounts. Unknown fields are refused, so that a typo is never ignored."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from ledger.accounts import Account, Balance
from ledger.approvals import Approval, ApprovalAsked, ApprovalStage
from ledger.commands import OperatorAction
from ledger.decisions import Decision
from ledger.holds import Hold
from ledger.money import Money
from ledger.rates import Conversion, ExchangeRate
from ledger.refusals import Refusal
from ledger.requests import (
    MAX_METADATA_KEY_LENGTH,
    MAX_METADATA_KEYS,
    MAX_METADATA_VALUE_LENGTH,
    MAX_REFERENCE_LENGTH,
    MAX_REMITTANCE_LENGTH,
    MAX_SHARES,
    TransactionKind,
    TransactionRequest,
)
from ledger.results import TransactionResult, TransactionStatus, WaitingFor, WaitingKind
from ledger.statements import (
    DEFAULT_PAGE_LINES,
    MAX_PAGE_LINES,
    EntryDirection,
    PastBalance,
    StatementLine,
    StatementOrder,
    StatementPage,
)


def _printable(text: str) -> str:
    if not text.isprintable():
        message = "must have printable characters only (no control characters, no line breaks)"
        raise ValueError(message)
    return text


def _calendar_date(value: object) -> dt.date:
    # pydantic would take numbers too, as seconds since 1970: 20260101 is no day that anybody means.
    rule = "must be a date such as 2026-01-31"
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError(rule)
    try:
        return dt.date.fromisoformat(value)
    except ValueError:
        raise ValueError(rule) from None


def _one_value(value: object) -> object:
    if isinstance(value, dict | list):
        message = 'must be a decimal string, such as "12.50"'
        raise ValueError(message)  # noqa: TRY004  pydantic reports ValueError only
    return value


_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)
CalendarDate = Annotated[dt.date, BeforeValidator(_calendar_date)]
Amount = Annotated[
    object,
    BeforeValidator(_one_value),
    WithJsonSchema({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["12.50"], "description": "In major units."}),
]
"""Read by :meth:`ledger.money.Money.parse`, which knows the currency's decimals. A JSON number is refused: it may have been a float."""
AmountOrNone = Annotated[
    object,
    BeforeValidator(_one_value),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)?$", "examples": ["12.50"]}, {"type": "null"}]}),
]
"""Of a rule that an account may do without: null takes it away."""
Text = Annotated[str, AfterValidator(_printable)]
AccountId = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,33}$", "examples": ["704"]})]
Currency = Annotated[str, WithJsonSchema({"type": "string", "pattern": "^[A-Z]{3}$", "examples": ["EUR"]})]
Uuid = Annotated[str, WithJsonSchema({"type": "string", "format": "uuid"})]
MetadataKey = Annotated[str, Field(min_length=1, max_length=MAX_METADATA_KEY_LENGTH), AfterValidator(_printable)]
MetadataValue = Annotated[str, Field(max_length=MAX_METADATA_VALUE_LENGTH), AfterValidator(_printable)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


AMOUNT_RULES: Final = ("overdraft_limit", "minimum_balance", "maximum_balance", "transaction_limit", "daily_limit", "monthly_limit")
"""Fields of the rules that are amounts in the account's currency."""


class RulesBody(_Body):
    """Rules of an account: what is not given stays as it is."""

    overdraft_limit: Amount = "0"
    """How far below zero the ledger balance may go."""
    minimum_balance: Amount = "0"
    """What a debit must leave available."""
    maximum_balance: AmountOrNone = None
    """What a credit may bring the ledger balance to."""
    transaction_limit: AmountOrNone = None
    """What one debit may take."""
    daily_limit: AmountOrNone = None
    """What the debits and holds of one day may take together."""
    monthly_limit: AmountOrNone = None
    """What the debits and holds of one calendar month may take together."""
    time_zone: str = "UTC"
    """IANA name; days and months of the limits begin at its midnight."""


class AccountBody(RulesBody):
    """A new account. Rules that are not given are as if there were none."""

    account_id: AccountId
    currency: Currency
    kind: Literal["current", "savings"] = "current"


class FreezeBody(_Body):
    """What a freeze refuses from now on."""

    side: Literal["debits", "credits", "both"] = "both"


class MoneyBody(_Body):
    """An amount with its currency."""

    amount: Amount
    currency: Currency


class CreditorBody(_Body):
    """One of several creditors, and what it gets."""

    creditor: AccountId
    amount: Amount


class OverrideBody(_Body):
    """An operator's word that limits and balance of the debtor are not to count; recorded with who gave it."""

    reason: Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)]


Reference = Annotated[Text, Field(min_length=1, max_length=MAX_REFERENCE_LENGTH)]
RemittanceInformation = Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)]
Metadata = Annotated[dict[MetadataKey, MetadataValue], Field(max_length=MAX_METADATA_KEYS)]


def _duration(value: object) -> dt.timedelta:
    rule = "must be an ISO 8601 duration of days, hours, minutes and seconds, such as PT24H"
    found = _DURATION.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValueError(rule)
    return dt.timedelta(**{unit: int(number) for unit, number in found.groupdict().items() if number is not None})


_DURATION: Final = re.compile(
    r"P(?=[0-9T])(?:(?P<days>[0-9]{1,4})D)?(?:T(?=[0-9])(?:(?P<hours>[0-9]{1,6})H)?(?:(?P<minutes>[0-9]{1,8})M)?(?:(?P<seconds>[0-9]{1,8})S)?)?",
    re.ASCII,
)
Duration = Annotated[
    dt.timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "format": "duration", "examples": ["PT24H"]})
]


class ApprovalBody(_Body):
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


class DecisionBody(_Body):
    """What whoever approves, declines or cancels a transaction says about it; recorded with who it was."""

    reason: Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)] | None = None


class TransactionBody(_Body):
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


Reason = Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)]


class RetryBody(_Body):
    """Another try of a parked transaction."""

    reason: Reason


class SettlementBody(_Body):
    """Another account that gets the money of a parked transfer."""

    creditor: AccountId
    reason: Reason


class ReversalBody(_Body):
    """A reversal: of all that is left of the transaction, unless an amount is given. Of a parked one `reason` alone, which it needs."""

    reason: Reason | None = Field(default=None, description="Why a parked transaction is reversed; recorded with who asks.")

    transaction_id: Uuid | None = None
    amount: Amount | None = Field(default=None, description="A part, in the transaction's currency.")
    reference: Reference | None = None
    override: OverrideBody | None = None


class HoldBody(_Body):
    """Money to set aside on an account."""

    hold_id: Uuid | None = None
    account_id: AccountId
    amount: Amount
    currency: Currency
    expires_at: Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-01-31T12:00:00Z"])]
    """From then on it holds nothing."""
    reference: Reference | None = None


class CaptureBody(_Body):
    """A capture: of all that the hold still holds, unless an amount is given."""

    transaction_id: Uuid | None = None
    creditor: AccountId | None = None
    amount: Amount | None = Field(default=None, description="A part, in the currency of the hold.")
    releases_hold: bool = Field(default=True, description="Release what is left afterwards; false: keep it for further captures.")
    settlement: Literal["cash", "clearing"] = "cash"
    reference: Reference | None = None
    remittance_information: RemittanceInformation | None = None
    value_date: CalendarDate | None = None
    metadata: Metadata = Field(default_factory=dict)


class AccountView(BaseModel):
    """An account."""

    account_id: str
    currency: str
    kind: str
    status: str
    overdraft_limit: str
    minimum_balance: str
    maximum_balance: str | None
    transaction_limit: str | None
    daily_limit: str | None
    monthly_limit: str | None
    time_zone: str
    opened_at: dt.datetime

    @classmethod
    def of(cls, account: Account) -> AccountView:
        """The API's form of `account`."""
        fields = account.model_dump(include=set(cls.model_fields))
        for name in AMOUNT_RULES:
            if fields[name] is not None:
                fields[name] = Money(minor_units=fields[name], currency=account.currency).decimal_string
        return cls(**fields)


class HoldView(BaseModel):
    """A hold as it stands; amounts in major units of its currency."""

    hold_id: str
    account_id: str
    amount: str
    captured: str
    """What captures took of it."""
    remaining: str
    """What it still holds."""
    currency: str
    status: str
    reason: ReasonView | None
    """Why it was not authorised."""
    reference: str | None
    created_at: dt.datetime
    expires_at: dt.datetime
    closed_at: dt.datetime | None
    """When it ceased to hold anything."""

    @classmethod
    def of(cls, hold: Hold) -> HoldView:
        """The API's form of `hold`."""
        return cls(
            **hold.model_dump(include={"hold_id", "account_id", "status", "reference", "created_at", "expires_at", "closed_at"}),
            amount=hold.amount.decimal_string,
            captured=hold.captured.decimal_string,
            remaining=hold.remaining.decimal_string,
            currency=hold.amount.currency,
            reason=ReasonView.of(hold.refusal),
        )


class BalanceView(BaseModel):
    """A balance at one instant; amounts in major units of the account's currency."""

    account_id: str
    currency: str
    ledger: str
    """All credits minus all debits."""
    held: str | None = None
    """Only of the balance now, as is what is available."""
    available: str | None = None
    """What the next debit may take: ledger - held + overdraft limit."""
    offline: str
    """All credits."""
    online: str
    """All debits."""
    as_of: dt.datetime
    """Entries booked then or before count."""
    value_date: dt.date | None = None
    """Where it was asked for: of those, the entries with this value date or an earlier one count."""
    settled: bool | None = None
    """Where an instant was asked for: whether no late commit can change the answer any more."""

    @classmethod
    def of(cls, balance: Balance) -> BalanceView:
        """The API's form of `balance`."""
        names = ("ledger", "held", "available", "offline", "online")
        amounts = {name: Money(minor_units=getattr(balance, name), currency=balance.currency).decimal_string for name in names}
        return cls(account_id=balance.account_id, currency=balance.currency, as_of=balance.as_of, **amounts)

    @classmethod
    def of_past(cls, balance: PastBalance) -> BalanceView:
        """The API's form of a balance as of an instant or a value date."""
        parts = {"ledger": balance.ledger, "offline": balance.credited, "online": balance.debited}
        amounts = {name: Money(minor_units=units, currency=balance.currency).decimal_string for name, units in parts.items()}
        return cls(**balance.model_dump(include={"account_id", "currency", "as_of", "value_date", "settled"}), **amounts)


class ReasonView(BaseModel):
    """Why something was refused."""

    code: str
    detail: str

    @classmethod
    def of(cls, refusal: Refusal | None) -> ReasonView | None:
        """The API's form of `refusal`."""
        return cls(code=refusal.code, detail=refusal.detail) if refusal else None


class RateView(BaseModel):
    """An exchange rate: one unit of `base` buys `rate` units of `quote`."""

    quote_id: str
    base: str
    quote: str
    rate: str
    source: str
    as_of: dt.date

    @classmethod
    def of(cls, rate: ExchangeRate) -> RateView:
        """The API's form of `rate`."""
        return cls(**rate.model_dump(exclude={"rate"}), rate=f"{rate.rate:f}")


class ConversionView(RateView):
    """The rate that a transaction used, and what it did with it."""

    source_amount: str
    target_amount: str
    rounding: str
    residual: str
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


class LegView(BaseModel):
    """One leg as it was decided."""

    leg: str
    account_id: str
    outcome: str
    amount: str
    currency: str
    value_date: dt.date
    decided_at: dt.datetime
    version: int | None = None
    ledger_balance_after: str | None = None
    available_balance_after: str | None = None
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


class MoneyView(BaseModel):
    """An amount with its currency."""

    amount: str
    currency: str

    @classmethod
    def of(cls, money: Money | None) -> MoneyView | None:
        """The API's form of `money`."""
        return cls(amount=money.decimal_string, currency=money.currency) if money else None


class CreditorView(BaseModel):
    """One of several creditors, and what it gets."""

    creditor: str
    amount: str


class DebtorView(BaseModel):
    """One of several accounts that a reversal takes from, and how much."""

    debtor: str
    amount: str


class OverrideView(BaseModel):
    """Who said that limits and balance of the debtor are not to count, and why."""

    by: str
    reason: str


class WaitingView(BaseModel):
    """What a transaction waits for, and until when: then an approval expires, and an execution date begins."""

    what: WaitingKind
    until: dt.datetime

    @classmethod
    def of(cls, waiting_for: WaitingFor | None) -> WaitingView | None:
        """The API's form of `waiting_for`."""
        return cls(what=waiting_for.what, until=waiting_for.until) if waiting_for is not None else None


class ApprovalView(BaseModel):
    """The approval that a transaction needs, or needed."""

    before: ApprovalStage
    expires_at: dt.datetime

    @classmethod
    def of(cls, approval: Approval | None) -> ApprovalView | None:
        """The API's form of `approval`."""
        return cls(before=approval.before, expires_at=approval.expires_at) if approval is not None else None


class OperatorActionView(BaseModel):
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


class TransactionView(BaseModel):
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
    amount: str | None = None
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
    reversed_amount: str | None = None
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


class BalanceQuery(_Body):
    """Which balance; the one now unless an instant or a value date is given."""

    at: str | None = Field(default=None, description="As of this instant (RFC 3339): entries booked then or before count.")
    value_date: CalendarDate | None = Field(default=None, description="As of this value date: entries valued then or before count.")


class StatementQuery(_Body):
    """Which lines of a statement."""

    since: str | None = Field(default=None, alias="from", description="Lines booked at this instant (RFC 3339) or later.")
    until: str | None = Field(default=None, alias="to", description="Lines booked before this instant (RFC 3339).")
    limit: int = Field(default=DEFAULT_PAGE_LINES, ge=1, le=MAX_PAGE_LINES, description="Lines of a page at most.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before; it brings range and order along.")
    order: StatementOrder | None = Field(default=None, description="Oldest first unless given.")


class StatementLineView(BaseModel):
    """One line of a statement; amounts in major units of the account's currency."""

    booked_at: dt.datetime
    value_date: dt.date
    direction: EntryDirection
    amount: str
    currency: str
    ledger_balance_after: str
    settled: bool
    """Whether this line, its balance and everything before it are final."""
    transaction_id: str
    leg: str
    version: int | None
    """A debit's gapless number on its account; null for a credit."""
    counterparty: str | None
    """The transaction's other account."""
    reference: str | None
    remittance_information: str | None

    @classmethod
    def of(cls, line: StatementLine, currency: str) -> StatementLineView:
        """The API's form of `line`."""
        names = {"value_date", "direction", "settled", "transaction_id", "leg", "version", "counterparty", "reference"}
        return cls(
            **line.model_dump(include=names | {"remittance_information"}),
            booked_at=line.posted_at,
            amount=Money(minor_units=line.amount, currency=currency).decimal_string,
            currency=currency,
            ledger_balance_after=Money(minor_units=line.balance_after, currency=currency).decimal_string,
        )


class StatementView(BaseModel):
    """A page of lines without a gap between them: opening balance + credits - debits = closing balance."""

    account_id: str
    currency: str
    order: StatementOrder
    opening_balance: str
    """Ledger balance before the earliest line."""
    closing_balance: str
    """Ledger balance after the latest line."""
    settled_until: dt.datetime | None
    """Lines booked before this instant are settled. Null while that can't be told."""
    lines: list[StatementLineView]
    next_cursor: str | None
    """Of the next page; null when there are no more lines now."""

    @classmethod
    def of(cls, page: StatementPage) -> StatementView:
        """The API's form of `page`."""
        return cls(
            **page.model_dump(include={"account_id", "currency", "order", "settled_until", "next_cursor"}),
            opening_balance=Money(minor_units=page.opening_balance, currency=page.currency).decimal_string,
            closing_balance=Money(minor_units=page.closing_balance, currency=page.currency).decimal_string,
            lines=[StatementLineView.of(line, page.currency) for line in page.lines],
        )
