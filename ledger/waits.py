"""What a new transaction has to wait for before it may go on: a second person's approval, its execution date. Pure rules.

They are applied once, by whoever starts the transaction, and written into the request as instants: what a transaction waits for doesn't
change when a setting does. See decision record 0015.
"""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Self
from zoneinfo import ZoneInfo

from ledger.approvals import LONGEST_EXPIRY, Approval, ApprovalStage
from ledger.currencies import exponent_of
from ledger.errors import InvalidInputError
from ledger.money import Money
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import WaitingFor, WaitingKind

if TYPE_CHECKING:
    from collections.abc import Mapping

_ZERO: Final = re.compile(r"0+(?:\.0+)?", re.ASCII)
_SETTING: Final = "CASAFLOW_APPROVAL_THRESHOLDS"


@dataclass(frozen=True)
class ApprovalThresholds:
    """Amounts, in minor units by currency, above which a transaction needs an approval before anything is posted."""

    everywhere: Mapping[str, int] = field(default_factory=dict)
    """Of every tenant that has none of its own for the currency."""
    of_tenant: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @classmethod
    def parse(cls, written: Mapping[str, str | Mapping[str, str]]) -> Self:
        """Read them as the setting has them: ``{"EUR": "10000.00", "bank-2": {"EUR": "500.00"}}``, decimal strings in major units.

        Raises:
            InvalidInputError: an amount is none of its currency.
            UnknownCurrencyError: a currency is unknown.
        """
        own = {tenant: _amounts(amounts, f"{_SETTING}.{tenant}") for tenant, amounts in written.items() if not isinstance(amounts, str)}
        everywhere = {currency: amount for currency, amount in written.items() if isinstance(amount, str)}
        return cls(everywhere=_amounts(everywhere, _SETTING), of_tenant=own)

    def demands(self, request: TransactionRequest) -> bool:
        """Whether a second person has to approve the request.

        An amount in a currency without a threshold, to or from an account whose currency has one, needs an approval whatever it is: what it
        comes to isn't known before there is a rate, and choosing a currency must not be a way around the threshold.
        """
        thresholds = self._of(request.tenant)
        if request.amount.currency in thresholds:
            return self.demands_of(request.tenant, request.amount)
        sides = (request.debtor, request.creditor, *(share.account for share in request.shares))
        return any(account is not None and account.currency in thresholds for account in sides)

    def demands_of(self, tenant: str, amount: Money) -> bool:
        """Whether a second person has to approve a transaction of this amount between accounts of its currency."""
        threshold = self._of(tenant).get(amount.currency)
        return threshold is not None and amount.minor_units > threshold

    def _of(self, tenant: str) -> Mapping[str, int]:
        own = self.of_tenant.get(tenant)
        return {**self.everywhere, **own} if own else self.everywhere


def _amounts(written: Mapping[str, str], field_name: str) -> dict[str, int]:
    amounts: dict[str, int] = {}
    for currency, amount in written.items():
        path = f"{field_name}.{currency}"
        if _ZERO.fullmatch(amount):
            exponent_of(currency, field=path)
            amounts[currency] = 0
        else:
            amounts[currency] = Money.parse(amount, currency, field=path, currency_field=path).minor_units
    return amounts


@dataclass(frozen=True)
class WaitingRules:
    """The bank's rules on what waits."""

    thresholds: ApprovalThresholds = field(default_factory=ApprovalThresholds)
    approval_expires_in: dt.timedelta = dt.timedelta(hours=24)
    """How long a transaction waits for its approval, unless its caller says so."""
    time_zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    """The bank's: an execution date begins at its midnight."""
    most_days_ahead: int = 365
    """An execution date lies this many days ahead at most."""

    def applied_to(self, request: TransactionRequest) -> TransactionRequest:
        """The request with what it has to wait for.

        Raises:
            InvalidInputError: its date lies in the past or too far ahead, it asks for an approval that expires too late, or it asks for
                an approval before the credit that it can't have.
        """
        begins_at = self._begin_of_execution(request)
        needed = self.thresholds.demands(request)
        asked = request.approval_asked
        if asked is None and not needed:
            return request if begins_at is None else request.model_copy(update={"executes_at": begins_at})
        before = asked.before if asked is not None else ApprovalStage.POSTING
        if before is ApprovalStage.CREDIT:
            _check_before_credit(request, needed=needed)
        expires_in = self.approval_expires_in
        if asked is not None and asked.expires_in_seconds is not None:
            expires_in = dt.timedelta(seconds=asked.expires_in_seconds)
            if not dt.timedelta(0) < expires_in <= LONGEST_EXPIRY:
                rule = f"must be more than nothing, and {LONGEST_EXPIRY.days} days at most"
                raise InvalidInputError(field="approval.expires_in", value=str(expires_in), rule=rule)
        approval = Approval(expires_at=self._expiry(request, expires_in, begins_at, before), before=before)
        return request.model_copy(update={"approval": approval, "executes_at": begins_at})

    def _begin_of_execution(self, request: TransactionRequest) -> dt.datetime | None:
        """When the requested date begins; None where there is nothing to wait for.

        Raises:
            InvalidInputError: the date lies in the past or too far ahead.
        """
        asked = request.requested_execution_date
        if asked is None:
            return None
        today = request.submitted_at.astimezone(self.time_zone).date()
        if not today <= asked <= today + dt.timedelta(days=self.most_days_ahead):
            rule = f"must be {today} (today in {self.time_zone}) or one of the {self.most_days_ahead} days after it"
            raise InvalidInputError(field="requested_execution_date", value=asked.isoformat(), rule=rule)
        return self._begin_of(asked) if asked > today else None

    def _begin_of(self, day: dt.date) -> dt.datetime:
        return dt.datetime.combine(day, dt.time.min, tzinfo=self.time_zone).astimezone(dt.UTC)

    def _expiry(
        self, request: TransactionRequest, expires_in: dt.timedelta, begins_at: dt.datetime | None, before: ApprovalStage
    ) -> dt.datetime:
        submitted_at = request.submitted_at.astimezone(dt.UTC)
        if before is ApprovalStage.CREDIT:
            return (begins_at or submitted_at) + expires_in  # it is asked for once the debit is posted
        expires_at = submitted_at + expires_in
        if request.requested_execution_date is None:
            return expires_at
        # What was to be executed on a day isn't executed after it.
        return min(expires_at, self._begin_of(request.requested_execution_date + dt.timedelta(days=1)))


def first_wait(request: TransactionRequest) -> WaitingFor | None:
    """What a new transaction waits for at once, before anything is posted; None: nothing."""
    if request.approval is not None and request.approval.before is ApprovalStage.POSTING:
        return WaitingFor(what=WaitingKind.APPROVAL, until=request.approval.expires_at)
    if request.executes_at is not None:
        return WaitingFor(what=WaitingKind.EXECUTION_DATE, until=request.executes_at)
    return None


def _check_before_credit(request: TransactionRequest, *, needed: bool) -> None:
    rule = None
    if needed:
        rule = "must be posting: the bank wants this amount approved before anything is posted"
    elif not request.is_plain:
        rule = "must be posting: with a fee, several creditors, a balancing amount, a hold, a reversal or an override all is posted at once"
    elif request.kind is not TransactionKind.TRANSFER:
        rule = f"must be posting: a {request.kind} has no credit after its debit"
    if rule is not None:
        raise InvalidInputError(field="approval.before", value="credit", rule=rule)
