"""Management information: what events add to the totals per hour. Pure; amounts are minor units. See ``docs/decisions/0030-mis.md``."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

from ledger.bands import amount_band, balance_band
from ledger.currencies import exponent_of
from ledger.errors import InvalidInputError
from ledger.events import CREDITED_V1, DEBITED_V1, FINISHED_TYPES, Amount, BalanceUpdatedV1, TransactionFinishedV1
from ledger.money import Money
from ledger.results import TransactionStatus

if TYPE_CHECKING:
    from collections.abc import Iterable

COUNTED_TYPES: Final = frozenset({CREDITED_V1, DEBITED_V1, *FINISHED_TYPES.values()})
"""Types of the events that add to a total: each to one, in one row."""

_DECIMAL: Final = re.compile(r"-?[0-9]+(?:\.([0-9]+))?", re.ASCII)


class TransactionKey(NamedTuple):
    """Which finished transactions are counted together."""

    tenant: str
    hour: dt.datetime
    """The hour in which they ended begins then; UTC."""
    currency: str
    """Of the instructed amount."""
    kind: str
    outcome: str
    """``completed``, ``rejected`` or ``reversed``."""
    reason: str
    """Code of the refusal; empty where the transaction was completed."""
    band: str
    """Of the instructed amount."""


class EntryKey(NamedTuple):
    """Which posted legs are counted together."""

    tenant: str
    hour: dt.datetime
    """The hour in which they were booked begins then; UTC."""
    currency: str
    """Of the account."""
    kind: str
    """Of the leg's transaction."""
    leg: str
    """``debit`` and ``fee`` take from the account, ``credit`` and ``compensation`` give to it."""
    band: str
    """Of what was booked."""
    balance_band: str
    """Of the account's ledger balance after a debit; empty for a credit, which does not read the balance."""


class Total(NamedTuple):
    """How many there are, and what they sum to in minor units."""

    number: int
    amount: int


Key = TypeVar("Key", TransactionKey, EntryKey)


@dataclass(frozen=True)
class Totals:
    """What some events come to. The order of the events, and how they were split up before, change nothing."""

    transactions: dict[TransactionKey, Total]
    entries: dict[EntryKey, Total]

    def __add__(self, other: Totals) -> Totals:
        """What the events of both come to."""
        return Totals(
            transactions=_summed([*self.transactions.items(), *other.transactions.items()]),
            entries=_summed([*self.entries.items(), *other.entries.items()]),
        )


def totals_of(events: Iterable[tuple[str, str]]) -> Totals:
    """What events come to, given as their CloudEvents types and their data.

    Raises:
        InvalidInputError: one contradicts itself, or says an amount or an instant in a form that is none of casaflow's.
        UnknownCurrencyError: of an amount.
        ValueError: the data of one does not have the fields of its type, or the type is not one of :data:`COUNTED_TYPES`.
    """
    transactions: list[tuple[TransactionKey, Total]] = []
    entries: list[tuple[EntryKey, Total]] = []
    for event_type, data in events:
        if event_type in {CREDITED_V1, DEBITED_V1}:
            entries.append(_entry(BalanceUpdatedV1.model_validate_json(data)))
        elif event_type in COUNTED_TYPES:
            transactions.append(_transaction(event_type, TransactionFinishedV1.model_validate_json(data)))
        else:
            message = f"{event_type} adds to no total"
            raise ValueError(message)
    return Totals(transactions=_summed(transactions), entries=_summed(entries))


def _transaction(event_type: str, finished: TransactionFinishedV1) -> tuple[TransactionKey, Total]:
    if FINISHED_TYPES.get(finished.status) != event_type:
        raise InvalidInputError(field="status", value=finished.status, rule=f"must be that of {event_type}")
    instructed = _money(finished.instruction.instructed, field="instruction.instructed")
    # A transfer that an operator has settled to another account is completed, whatever was refused before.
    reason = finished.reason.code if finished.reason is not None and finished.status is not TransactionStatus.COMPLETED else ""
    key = TransactionKey(
        tenant=finished.instruction.tenant,
        hour=_hour(finished.finished_at, field="finished_at"),
        currency=instructed.currency,
        kind=finished.instruction.kind.value,
        outcome=finished.status.value,
        reason=reason,
        band=amount_band(instructed),
    )
    return key, Total(1, instructed.minor_units)


def _entry(updated: BalanceUpdatedV1) -> tuple[EntryKey, Total]:
    booked, after = _money(updated.amount, field="amount"), updated.ledger_balance_after
    key = EntryKey(
        tenant=updated.instruction.tenant,
        hour=_hour(updated.booked_at, field="booked_at"),
        currency=booked.currency,
        kind=updated.instruction.kind.value,
        leg=updated.leg.value,
        band=amount_band(booked),
        balance_band="" if after is None else balance_band(_money(after, field="ledger_balance_after")),
    )
    return key, Total(1, booked.minor_units)


def _money(amount: Amount, *, field: str) -> Money:
    """The inverse of :meth:`ledger.events.Amount.of`."""
    found, exponent = _DECIMAL.fullmatch(amount.value), exponent_of(amount.currency, field=f"{field}.currency")
    if found is None or len(found[1] or "") != exponent:
        rule = f"must be a decimal string with {exponent} decimals"
        raise InvalidInputError(field=f"{field}.value", value=amount.value, rule=rule)
    return Money(minor_units=int(amount.value.replace(".", "")), currency=amount.currency)


def _hour(instant: dt.datetime, *, field: str) -> dt.datetime:
    if instant.tzinfo is None:
        raise InvalidInputError(field=field, value=instant.isoformat(), rule="must have an offset")
    return instant.astimezone(dt.UTC).replace(minute=0, second=0, microsecond=0)


def _summed(parts: Iterable[tuple[Key, Total]]) -> dict[Key, Total]:
    sums: dict[Key, Total] = {}
    for key, part in parts:
        before = sums.get(key, Total(0, 0))
        sums[key] = Total(before.number + part.number, before.amount + part.amount)
    return sums
