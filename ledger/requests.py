"""Transaction requests: what a caller asks for, once it is well-formed and its accounts are known."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from enum import StrEnum
from typing import Any, Final, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ledger.approvals import Approval, ApprovalAsked, ApprovalStage
from ledger.money import Money

MAX_REFERENCE_LENGTH: Final = 35
"""Characters; ISO 20022 EndToEndIdentification (Max35Text)."""
MAX_REMITTANCE_LENGTH: Final = 140
"""Characters; ISO 20022 RemittanceInformation, unstructured (Max140Text)."""
MAX_METADATA_KEYS: Final = 50
MAX_METADATA_KEY_LENGTH: Final = 40
MAX_METADATA_VALUE_LENGTH: Final = 500
MAX_LEGS: Final = 256
"""Legs of one transaction at most, so that it can't hold up a batch, or fill PostgreSQL's lock table."""
MAX_SHARES: Final = MAX_LEGS - 1
"""Creditors of one transaction at most; one less beside a fee."""


_ASKED_FOR_SINCE: Final[dict[str, Any]] = {
    **dict.fromkeys(("shares", "fee", "balancing", "hold_id", "releases_hold", "reverses"), True),
    "override": {"reason"},  # who gave it is left out, as who submitted the request is
}
"""Fields that came after the first version of the fingerprint."""
canonical_json: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode
"""What a fingerprint is the hash of."""


class TransactionKind(StrEnum):
    """Follows from which sides the request names."""

    DEPOSIT = "deposit"
    """Creditor only."""
    WITHDRAWAL = "withdrawal"
    """Debtor only."""
    TRANSFER = "transfer"
    """Debtor and creditor."""


class AccountRef(BaseModel):
    """An account of the request, with its currency, which never changes and so may be carried along."""

    model_config = ConfigDict(frozen=True)

    account_id: str
    currency: str


class Share(BaseModel):
    """What one of several creditors gets."""

    model_config = ConfigDict(frozen=True)

    account: AccountRef
    amount: Money


class Override(BaseModel):
    """An operator's word that limits and balance of the debtor are not to count. Recorded with the entry."""

    model_config = ConfigDict(frozen=True)

    by: str
    """The authenticated principal."""
    reason: str = Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)


class TransactionRequest(BaseModel):
    """A well-formed request. `amount` is in one of its accounts' currencies; the other account's side is converted."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    transaction_id: str
    debtor: AccountRef | None = None
    creditor: AccountRef | None = None
    amount: Money
    settlement: Literal["cash", "clearing"] = "cash"
    """The internal account on the other side of a deposit or a withdrawal; a transfer doesn't use it."""
    reference: str | None = Field(default=None, max_length=MAX_REFERENCE_LENGTH)
    remittance_information: str | None = Field(default=None, max_length=MAX_REMITTANCE_LENGTH)
    value_date: dt.date | None = None
    """Day from which the money counts for interest; None: the booking date."""
    metadata: dict[str, str] = Field(default_factory=dict)
    shares: tuple[Share, ...] = ()
    """Several creditors instead of one, each with a part of `amount`; all in its currency. In a reversal they are who gives it back."""
    fee: Money | None = None
    """What the debtor pays the bank on top, in the debtor's currency."""
    balancing: bool = False
    """Take up to `amount`, as far as the debtor's available balance goes."""
    hold_id: str | None = None
    """The hold of the debtor that the debit captures from."""
    releases_hold: bool = False
    """With `hold_id`: what is left of the hold after this capture is released."""
    reverses: str | None = None
    """The transaction that this one takes back, or a part of it; `amount` is in that one's currency."""
    override: Override | None = None
    approval_asked: ApprovalAsked | None = None
    """What the caller asked for; the bank's thresholds may demand an approval without it."""
    requested_execution_date: dt.date | None = None
    """ISO 20022 ReqdExctnDt; None: at once."""
    approval: Approval | None = None
    """What is needed, by :class:`ledger.waits.WaitingRules`; None: nothing. Whoever starts the transaction sets it."""
    executes_at: AwareDatetime | None = None
    """When the requested execution date begins in the bank's time zone, if that lay ahead. Set as `approval` is."""
    settles: str | None = None
    """Of a run that settles what the transaction's own workflow has left: how that one stands. Set by the sweep, and never stored."""
    linked: bool = False
    """A plain transfer whose legs are posted together, since both accounts are in one database and nothing happens between the legs. It is
    not what was asked, but how it is done, so it is no part of the fingerprint."""
    submitted_by: str
    """The authenticated principal."""
    submitted_at: dt.datetime

    @model_validator(mode="after")
    def _names_an_account(self) -> Self:
        if self.debtor is None and self.creditor is None and not self.shares:
            message = "a transaction names a debtor, a creditor, or both"
            raise ValueError(message)
        if self.debtor is None and (self.fee or self.balancing or self.hold_id or (self.override and not self._shares_are_debited)):
            message = "a fee, a balancing amount, a hold and an override need a debtor"
            raise ValueError(message)
        if self.debtor is not None and self.creditor is not None and self.debtor.account_id == self.creditor.account_id:
            message = "debtor and creditor must be different accounts"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _shares_fit(self) -> Self:
        if not self.shares:
            return self
        accounts = [share.account.account_id for share in self.shares]
        replaced, other = (self.debtor, self.creditor) if self._shares_are_debited else (self.creditor, self.debtor)
        if replaced is not None or self.balancing or len(set(accounts)) < len(accounts):
            message = "several creditors are different accounts, instead of one creditor, and of a fixed amount"
            raise ValueError(message)
        if other is not None and other.account_id in accounts:
            message = "debtor and creditors must be different accounts"
            raise ValueError(message)
        if len(self.shares) + (other is not None) + (self.fee is not None) > MAX_LEGS:
            message = f"a transaction has {MAX_LEGS} legs at most: debtor, fee and creditors together"
            raise ValueError(message)
        sides = [share.account.currency for share in self.shares] + ([other.currency] if other else [])
        if any(currency != self.amount.currency for currency in (*sides, *(share.amount.currency for share in self.shares))):
            message = "with several creditors all accounts and amounts are in one currency"
            raise ValueError(message)
        if sum(share.amount.minor_units for share in self.shares) != self.amount.minor_units:
            message = "the creditors' amounts must sum to the amount"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        if self.fee is not None and self.debtor is not None and self.fee.currency != self.debtor.currency:
            message = "the fee is in the debtor's currency"
            raise ValueError(message)
        if self.balancing and any(side is not None and side.currency != self.amount.currency for side in (self.debtor, self.creditor)):
            message = "a balancing amount is in the currency of both accounts"
            raise ValueError(message)
        if self.balancing and (self.hold_id is not None or self.fee is not None):
            message = "a capture takes from its hold, not up to what is available; and with a balancing amount nothing is left for a fee"
            raise ValueError(message)
        if self.reverses is not None and (self.fee or self.balancing or self.hold_id):
            message = "a reversal takes back, and does nothing else"
            raise ValueError(message)
        return self

    @property
    def kind(self) -> TransactionKind:
        """Deposit, withdrawal or transfer."""
        if self.debtor is None and not self._shares_are_debited:
            return TransactionKind.DEPOSIT
        has_creditor = self.creditor is not None or (bool(self.shares) and not self._shares_are_debited)
        return TransactionKind.TRANSFER if has_creditor else TransactionKind.WITHDRAWAL

    @property
    def is_plain(self) -> bool:
        """Whether it asks for nothing that legs posted one by one can't give."""
        parts = (self.shares, self.fee, self.balancing, self.hold_id, self.releases_hold, self.reverses, self.override)
        return not any(parts)

    @property
    def posts_linked(self) -> bool:
        """Whether all its legs are posted together or not at all."""
        return self.linked or not self.is_plain

    @property
    def may_be_linked(self) -> bool:
        """Whether it could be posted leg by leg, and needn't be: nothing has to happen between its legs."""
        return self.is_plain and self.kind is TransactionKind.TRANSFER and not self.waits_between_legs

    @property
    def waits_between_legs(self) -> bool:
        """Whether the credit waits for something once the debit is posted, so that the legs can't be posted together."""
        return self.approval is not None and self.approval.before is ApprovalStage.CREDIT

    @property
    def may_wait(self) -> bool:
        """Whether it waits for somebody or for a day on its way, or asks to."""
        return any(each is not None for each in (self.approval, self.executes_at, self.approval_asked, self.requested_execution_date))

    @property
    def _shares_are_debited(self) -> bool:
        return bool(self.shares) and self.reverses is not None

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over all that the caller asked for. The same id with another fingerprint is a conflict.

        Who submitted it and when are left out: a repeat by a colleague, or a day later, is the same transaction.
        """
        content = {
            "debtor": self.debtor.account_id if self.debtor else None,
            "creditor": self.creditor.account_id if self.creditor else None,
            "minor_units": self.amount.minor_units,
            "currency": self.amount.currency,
            "settlement": self.settlement,
            "reference": self.reference,
            "remittance_information": self.remittance_information,
            "value_date": self.value_date.isoformat() if self.value_date else None,
            "metadata": self.metadata,
        }
        if self.approval_asked is not None:
            content["approval"] = self.approval_asked.model_dump(mode="json")
        if self.requested_execution_date is not None:
            content["requested_execution_date"] = self.requested_execution_date.isoformat()
        # Only where they are asked for, so that a request without them keeps the fingerprint that it always had.
        if not self.is_plain:
            content |= self.model_dump(mode="json", exclude_defaults=True, include=_ASKED_FOR_SINCE)
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()
