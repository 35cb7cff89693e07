"""Transaction requests: what a caller asks for, once it is well-formed and its accounts are known."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
from enum import StrEnum
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ledger.money import Money

MAX_REFERENCE_LENGTH: Final = 35
"""Characters; ISO 20022 EndToEndIdentification (Max35Text)."""
MAX_REMITTANCE_LENGTH: Final = 140
"""Characters; ISO 20022 RemittanceInformation, unstructured (Max140Text)."""
MAX_METADATA_KEYS: Final = 50
MAX_METADATA_KEY_LENGTH: Final = 40
MAX_METADATA_VALUE_LENGTH: Final = 500


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
    submitted_by: str
    """The authenticated principal."""
    submitted_at: dt.datetime

    @model_validator(mode="after")
    def _names_an_account(self) -> Self:
        if self.debtor is None and self.creditor is None:
            message = "a transaction names a debtor, a creditor, or both"
            raise ValueError(message)
        if self.debtor is not None and self.creditor is not None and self.debtor.account_id == self.creditor.account_id:
            message = "debtor and creditor must be different accounts"
            raise ValueError(message)
        return self

    @property
    def kind(self) -> TransactionKind:
        """Deposit, withdrawal or transfer."""
        if self.debtor is None:
            return TransactionKind.DEPOSIT
        return TransactionKind.WITHDRAWAL if self.creditor is None else TransactionKind.TRANSFER

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
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(canonical.encode()).hexdigest()
