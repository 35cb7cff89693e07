"""The rows of one leg under a balance row: the same ones as casaflow writes, with events of the same fields."""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

if TYPE_CHECKING:
    from ledger.postings import Posting

Row = dict[str, Any]

_EVENT_NAMESPACE: Final = uuid.UUID("5f0c3f0e-5d0b-4e57-9d0e-0f6b3f6a9c11")


@dataclass
class BalanceRow:
    """The locked balance row, in minor units; what a batch decides moves it on."""

    status: str
    overdraft_limit: int
    balance: int
    version: int
    """Of the last debit, without a gap."""

    def decide(self, posting: Posting) -> Row | None:
        """Book the leg on the row, or say why not: None when it is booked."""
        if self.status != "active":
            return {"code": "account-frozen", "detail": f"account {posting.account_id} is {self.status}", "account_id": posting.account_id}
        amount = posting.amount.minor_units
        if not posting.is_debit:
            self.balance += amount
            return None
        available = self.balance + self.overdraft_limit
        if amount > available:
            detail = f"account {posting.account_id} has {_euros(available)} EUR available, less than {_euros(amount)} EUR"
            return {"code": "insufficient-funds", "detail": detail, "account_id": posting.account_id}
        self.balance -= amount
        self.version += 1
        return None


@dataclass
class LegRows:
    """What is inserted for one leg; a refused one has neither entry nor internal entry."""

    transaction: Row
    decision: Row
    credit: Row | None
    debit: Row | None
    internal: Row | None
    events: list[Row]


def leg_rows(posting: Posting, refusal: Row | None, after: BalanceRow) -> LegRows:
    """The rows of a decided leg.

    Args:
        posting: the leg.
        refusal: why it is refused; None: it is posted.
        after: the balance row after it.
    """
    decided_at = dt.datetime.now(dt.UTC)
    request = posting.request
    key = {"tenant": request.tenant, "account_id": posting.account_id, "transaction_id": request.transaction_id, "leg": posting.leg.value}
    money = {"amount": posting.amount.minor_units, "currency": posting.amount.currency}
    is_booked_debit = posting.is_debit and refusal is None
    balances = (after.version, after.balance, after.balance + after.overdraft_limit) if is_booked_debit else (None, None, None)
    version, ledger_after, available_after = balances
    transaction = {
        "tenant": request.tenant,
        "transaction_id": request.transaction_id,
        "fingerprint": request.fingerprint,
        "kind": request.kind.value,
        "debtor": request.debtor.account_id if request.debtor else None,
        "creditor": request.creditor.account_id if request.creditor else None,
        "request": request.model_dump(mode="json"),
        "status": "rejected" if refusal else "completed",
        "reason": refusal,
        "submitted_by": request.submitted_by,
        "submitted_at": request.submitted_at,
        "finished_at": decided_at,
    }
    decision = {
        **key,
        **money,
        "outcome": "refused" if refusal else "posted",
        "reason": refusal,
        "value_date": posting.value_date,
        "decided_at": decided_at,
        "version": version,
        "ledger_after": ledger_after,
        "available_after": available_after,
    }
    entry = {**key, **money, "posted_at": decided_at, "value_date": posting.value_date}
    internal = {
        **key,
        "customer_account_id": posting.account_id,
        "account_id": "cash",
        "currency": posting.amount.currency,
        "amount": posting.amount.minor_units * (1 if posting.is_debit else -1),
        "posted_at": decided_at,
    }
    return LegRows(
        transaction=transaction,
        decision=decision,
        credit=entry if refusal is None and not posting.is_debit else None,
        debit={**entry, "version": version, "balance_after": ledger_after, "available_after": available_after} if is_booked_debit else None,
        internal=None if refusal else internal,
        events=_events(posting, transaction, decision),
    )


def _events(posting: Posting, transaction: Row, decision: Row) -> list[Row]:
    amount = {"value": _euros(decision["amount"]), "currency": decision["currency"]}
    instruction = {
        **{name: transaction[name] for name in ("tenant", "transaction_id", "kind", "debtor", "creditor", "submitted_by", "submitted_at")},
        "instructed": amount,
        "reference": posting.request.reference,
        "remittance_information": posting.request.remittance_information,
        "metadata": posting.request.metadata,
    }
    leg = {
        "leg": decision["leg"],
        "account_id": decision["account_id"],
        "amount": amount,
        "conversion": None,
        "value_date": decision["value_date"],
        "version": decision["version"],
    }
    finished = {
        "instruction": instruction,
        "status": transaction["status"],
        "reason": transaction["reason"],
        "legs": [{**leg, "outcome": decision["outcome"], "decided_at": decision["decided_at"]}],
        "finished_at": transaction["finished_at"],
    }
    made = [_event(transaction, 1, "accounting.transaction-finished", transaction["transaction_id"], finished)]
    if decision["outcome"] == "posted":
        balances = {f"{name}_balance_after": _amount(decision[f"{name}_after"]) for name in ("ledger", "available")}
        updated = {**leg, "instruction": instruction, "booked_at": decision["decided_at"], **balances}
        made.insert(0, _event(transaction, 0, "casa.balance-updated", decision["account_id"], updated))
    return made


def _event(transaction: Row, position: int, topic: str, about: str, data: Row) -> Row:
    identity = f"{transaction['tenant']}/{transaction['transaction_id']}/{topic}"
    return {
        "event_id": str(uuid.uuid5(_EVENT_NAMESPACE, identity)),
        "topic": topic,
        "key": f"{transaction['tenant']}/{about}",
        "payload": to_json(data).decode(),
        "type": f"casaflow.{topic}.v1",
        "source": f"/casaflow/{transaction['tenant']}",
        "subject": transaction["transaction_id"],
        "time": transaction["finished_at"],
        "tenant": transaction["tenant"],
        "transaction_id": transaction["transaction_id"],
        "position": position,
    }


def _amount(minor_units: int | None) -> Row | None:
    return None if minor_units is None else {"value": _euros(minor_units), "currency": "EUR"}


def _euros(minor_units: int) -> str:
    return f"{minor_units // 100}.{minor_units % 100:02}"
