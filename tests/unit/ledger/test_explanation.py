"""The rules of an explanation: which events a transaction may have, and how amounts are banded."""

from __future__ import annotations

import datetime as dt

import pytest

from ledger.bands import amount_band
from ledger.decisions import Decision, LegName, Outcome
from ledger.event_writer import EventWriter
from ledger.explanation import possible_event_ids
from ledger.money import Money
from ledger.requests import AccountRef, Share, TransactionRequest
from ledger.results import TransactionRecord, TransactionResult, TransactionStatus

AT = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)


def _leg(name: LegName, account_id: str, minor_units: int, version: int | None) -> Decision:
    amount = Money(minor_units=minor_units, currency="EUR")
    return Decision(
        leg=name, account_id=account_id, outcome=Outcome.POSTED, amount=amount, value_date=AT.date(), decided_at=AT, version=version
    )


@pytest.mark.parametrize("status", [TransactionStatus.COMPLETED, TransactionStatus.REVERSED])
@pytest.mark.parametrize("creditors", [("B",), ("B", "C")])
def test_every_event_that_is_written_is_among_the_possible_ones(status: TransactionStatus, creditors: tuple[str, ...]) -> None:
    shares = tuple(
        Share(account=AccountRef(account_id=creditor, currency="EUR"), amount=Money(minor_units=50, currency="EUR"))
        for creditor in creditors
    )
    request = TransactionRequest(
        tenant="main",
        transaction_id="7b0f3c1e-0000-4000-8000-000000000001",
        debtor=AccountRef(account_id="A", currency="EUR"),
        creditor=shares[0].account if len(shares) == 1 else None,
        shares=shares if len(shares) > 1 else (),
        amount=Money(minor_units=50 * len(shares), currency="EUR"),
        submitted_by="teller",
        submitted_at=AT,
    )
    legs = [_leg(LegName.DEBIT, "A", request.amount.minor_units, 1), *(_leg(LegName.CREDIT, creditor, 50, None) for creditor in creditors)]
    written = EventWriter(request).events(legs, status=status, reason=None, earlier=())
    record = TransactionRecord(
        request=request,
        fingerprint=request.fingerprint,
        result=TransactionResult(transaction_id=request.transaction_id, status=status, legs=tuple(legs)),
    )
    assert {event.event_id for event in written} <= set(possible_event_ids(record))
    assert len(written) == len(legs) + 1


@pytest.mark.parametrize(
    ("minor_units", "currency", "band"),
    [
        (0, "EUR", "0-100"),
        (99_99, "EUR", "0-100"),
        (100_00, "EUR", "100-1000"),
        (999_999_99, "EUR", "100000-1000000"),
        (1_000_000_00, "EUR", "1000000+"),
        (100, "JPY", "100-1000"),
        (99_999, "BHD", "0-100"),
    ],
)
def test_a_band_is_by_major_units_and_its_lower_bound_belongs_to_it(minor_units: int, currency: str, band: str) -> None:
    assert amount_band(Money(minor_units=minor_units, currency=currency)) == band
