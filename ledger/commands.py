"""Commands of operators to a transaction or a hold that waits for them, signed by the API, which knows who is asking.

Anybody who reaches Temporal, by its Web UI or its command line, can send an update, and can write any name into it. So an update carries a
command with an HMAC-SHA-256 over its content, and whoever has no secret can't make one. See decision record 0014.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
from collections.abc import Sequence  # noqa: TC003  pydantic reads annotations of the module
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from ledger.money import Money
from ledger.requests import MAX_REMITTANCE_LENGTH

APPROVE: Final = "approve"
"""Let a transaction go on that waits for a second person."""
DECLINE: Final = "decline"
"""Refuse it."""
CANCEL: Final = "cancel"
"""End a transaction before its posting has begun."""
RETRY: Final = "retry"
"""Try again what the transaction is parked at."""
SETTLE_TO: Final = "settle_to"
"""Credit another account instead of the creditor."""
REVERSE: Final = "reverse"
"""Give the debtor the money back."""

MIN_SECRET_BYTES: Final = 32
"""As long as the hash; RFC 2104, section 3, discourages shorter ones."""
_CANONICAL: Final = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class Command(BaseModel):
    """What an operator wants done, and the proof that casaflow's API took it from him."""

    model_config = ConfigDict(frozen=True)

    action: str
    """``approve``, ``decline``, ``retry``, ``settle_to``, ``reverse``, ``capture``…"""
    tenant: str
    transaction_id: str
    """Or the id of the hold that it is for."""
    by: str
    """The authenticated principal."""
    reason: str | None = Field(default=None, max_length=MAX_REMITTANCE_LENGTH)
    at: AwareDatetime
    """When the API took it. Two commands with the same content at different times are two commands."""
    account_id: str | None = None
    """``settle_to``: who gets the money."""
    currency: str | None = None
    """``settle_to``: that account's currency, which never changes."""
    amount: Money | None = None
    """``capture``: how much."""
    signature: str
    """HMAC-SHA-256 (hex) over everything else."""

    def is_authentic(self, secrets: Sequence[bytes]) -> bool:
        """Whether one of the secrets has signed exactly this content. False where there are no secrets."""
        content = self.model_dump(exclude={"signature"})
        # All of them are tried, so that the time tells nothing about which one fits.
        matches = [hmac.compare_digest(_signature(secret, content), self.signature.encode()) for secret in secrets]
        return any(matches)


class OperatorAction(BaseModel):
    """A command as it is recorded with the transaction."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    transaction_id: str
    action: str
    by: str
    reason: str | None = None
    at: AwareDatetime
    detail: dict[str, str] = Field(default_factory=dict)
    """What else was said: the account of ``settle_to``."""

    @classmethod
    def of(cls, command: Command) -> OperatorAction:
        """What is recorded of `command`."""
        detail = {name: value for name in ("account_id", "currency") if (value := getattr(command, name)) is not None}
        if command.amount is not None:
            detail |= {"amount": command.amount.decimal_string, "currency": command.amount.currency}
        return cls(**command.model_dump(include={"tenant", "transaction_id", "action", "by", "reason", "at"}), detail=detail)


def sign(  # noqa: PLR0913  each is a part of the command
    secret: bytes,
    *,
    action: str,
    tenant: str,
    transaction_id: str,
    by: str,
    at: dt.datetime,
    reason: str | None = None,
    account_id: str | None = None,
    currency: str | None = None,
    amount: Money | None = None,
) -> Command:
    """Make a command that carries its proof.

    Args:
        secret: of :data:`MIN_SECRET_BYTES` at least.
        action: what is to be done.
        tenant: whose transaction it is.
        transaction_id: or the id of a hold.
        by: the principal whom the API has authenticated.
        at: now, with its time zone.
        reason: what the operator said.
        account_id: of the action, if it needs one.
        currency: of that account.
        amount: of the action, if it needs one.
    """
    unsigned = Command(
        action=action,
        tenant=tenant,
        transaction_id=transaction_id,
        by=by,
        reason=reason,
        at=at,
        account_id=account_id,
        currency=currency,
        amount=amount,
        signature="",
    )
    return unsigned.model_copy(update={"signature": _signature(secret, unsigned.model_dump(exclude={"signature"})).decode()})


def _signature(secret: bytes, content: dict[str, Any]) -> bytes:
    # The instant and not its spelling: a time zone may be written otherwise once the command has travelled.
    canonical = {**content, "at": content["at"].astimezone(dt.UTC).isoformat()}
    return hmac.new(secret, b"casaflow command\n" + _CANONICAL(canonical).encode(), hashlib.sha256).hexdigest().encode()
