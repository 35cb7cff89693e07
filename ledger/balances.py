"""The state of an account as systems that keep a copy get it: the latest one, not what happened. See decision record 0027."""

from __future__ import annotations

import datetime as dt
from typing import Final

from pydantic import BaseModel, ConfigDict

from ledger.accounts import AccountStatus
from ledger.currencies import exponent_of
from ledger.events import Amount, Event
from ledger.ids import balance_event_id
from ledger.money import decimal_text

TOPIC_BALANCE: Final = "casa.balance"
"""Compacted: at least the last state of each account stays, for ever."""
BALANCE_V1: Final = "casaflow.casa.balance.v1"


class AccountStateV1(BaseModel):
    """The latest state of an account, for systems that keep a copy. All amounts are in the account's currency."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    tenant: str
    """Whose account it is."""
    account_id: str
    """The account."""
    currency: str
    """ISO 4217 code."""
    status: AccountStatus
    """What may be posted to it."""
    version: int
    """Of the last debit, which is gapless; a copy never goes back to a lower one."""
    debited: Amount
    """Sum of all debits."""
    held: Amount
    """Sum of all open holds that had not expired."""
    ledger_balance: Amount
    """Sum of all credits less that of all debits."""
    available_balance: Amount
    """What may be debited: ledger balance less holds, plus the overdraft limit."""
    as_of: dt.datetime
    """All that was committed until then is in it."""

    @classmethod
    def of(
        cls, *, tenant: str, account_id: str, currency: str, status: AccountStatus, version: int, as_of: dt.datetime, **minor_units: int
    ) -> AccountStateV1:
        """A state from amounts in minor units: `debited`, `held`, `ledger_balance` and `available_balance`."""
        exponent = exponent_of(currency)
        amounts = {name: Amount(value=decimal_text(amount, exponent), currency=currency) for name, amount in minor_units.items()}
        return cls(
            tenant=tenant,
            account_id=account_id,
            currency=currency,
            status=status,
            version=version,
            as_of=as_of.astimezone(dt.UTC),
            **amounts,
        )

    def event(self, topic: str = TOPIC_BALANCE) -> Event:
        """What is published of it. Its subject is the account; its id is that of this account at this instant."""
        return Event(
            event_id=balance_event_id(self.tenant, self.account_id, self.version, self.as_of),
            topic=topic,
            key=f"{self.tenant}/{self.account_id}",
            type=BALANCE_V1,
            source=f"/casaflow/tenants/{self.tenant}",
            subject=self.account_id,
            time=self.as_of,
            data=self.model_dump_json(),
        )
