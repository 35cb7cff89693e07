"""Legs that a test posts together, and what must be true of the tables afterwards."""

from __future__ import annotations

import asyncio
from typing import Any

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.proof import PostgresProof
from ledger.money import Money
from ledger.postings import LinkedPosting, linked_posting
from ledger.rates import Conversion
from ledger.requests import AccountRef, Share, TransactionRequest
from ledger.results import TransactionResult
from tests.integration.postgres.bank import BOOKING_DATE, PATIENCE_SECONDS, Bank


def euro(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency="EUR")


def together(bank: Bank, *, conversion: Conversion | None = None, **request: Any) -> LinkedPosting:
    """All legs of the request that :meth:`Bank.request` makes of the arguments."""
    return linked_posting(bank.request(**request), conversion=conversion, booking_date=BOOKING_DATE)


async def post(ledger: PostgresLedger, request: TransactionRequest, *, conversion: Conversion | None = None) -> TransactionResult:
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await ledger.post_linked(linked_posting(request, conversion=conversion, booking_date=BOOKING_DATE))


def shares_of(amounts: dict[str, int], currency: str = "EUR") -> tuple[Share, ...]:
    return tuple(
        Share(account=AccountRef(account_id=account, currency=currency), amount=Money(minor_units=amount, currency=currency))
        for account, amount in amounts.items()
    )


async def assert_nothing_is_wrong(where: Bank | Database) -> None:
    """Every rule that `casaflow check` knows of the ledger's tables holds, for one bank or for all that the database has."""
    database, tenant = (where.database, where.tenant) if isinstance(where, Bank) else (where, "")
    evidence = await PostgresProof(database).ledger()
    found = [line for truth in evidence.violations.values() for line in truth.shown if tenant in line]
    assert not found, found
    hidden = [truth.total - len(truth.shown) for truth in evidence.violations.values()]
    assert not any(hidden), "more violations than are listed, so that this bank's may be among the others"
