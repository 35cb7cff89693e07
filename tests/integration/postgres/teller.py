"""Carries out payments of the model on a real ledger, and reads what the tables say of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from enum import StrEnum
from typing import Any

from psycopg import sql

from infra.postgres.ledger import PostgresLedger
from ledger.money import Money
from ledger.postings import compensation_posting, credit_posting, first_posting, linked_posting
from ledger.rates import Conversion, ExchangeRate, convert
from ledger.requests import AccountRef, Override, TransactionRequest
from ledger.results import TransactionResult
from tests.integration.postgres.bank import BOOKING_DATE, Bank
from tests.integration.postgres.linked import shares_of
from tests.integration.postgres.model import SMALLEST, ZERO, Leg, Payment

Told = tuple[str, str | None, tuple[Leg, ...]]
"""Status, code of the reason, and legs; what was refused has the amount zero, since nothing says what it would have been."""

PER_EURO = {"EUR": Decimal(1), "CZK": Decimal("24.83"), "JPY": Decimal("161.27")}
_FOLDS = ["folded", "folded_until", "folded_except"]
"""Columns that a refused debit may change too; what they sum up is in the balance, which is compared by itself."""


class Way(StrEnum):
    """How legs get to the ledger."""

    LEG = "leg"
    TOGETHER = "together"
    SAGA = "saga"


@dataclass(frozen=True)
class Digest:
    """A bank's rows in each table: how many, and a sum of their hashes."""

    tables: Mapping[str, tuple[int, Decimal]]

    def changed(self, before: Digest) -> dict[str, int]:
        """Tables that are not as they were, with the rows that came."""
        return {name: rows - before.tables[name][0] for name, (rows, _) in self.tables.items() if self.tables[name] != before.tables[name]}


class Teller:
    """Works for one bank, on one of its ledgers."""

    def __init__(self, bank: Bank, ledger: PostgresLedger) -> None:
        self.bank, self.ledger = bank, ledger
        self._digest: sql.Composed | None = None

    def money(self, amount: Decimal, currency: str) -> Money:
        return Money(minor_units=int(amount / SMALLEST[currency]), currency=currency)

    def request(self, payment: Payment, transaction_id: str) -> TransactionRequest:
        debtor, creditor = (
            None if account is None else AccountRef(account_id=account, currency=self.bank.currencies[account])
            for account in (payment.debtor, payment.creditor)
        )
        amounts = {account: self.money(amount, payment.currency).minor_units for account, amount in payment.shares}
        return TransactionRequest(
            tenant=self.bank.tenant,
            transaction_id=transaction_id,
            debtor=debtor,
            creditor=creditor,
            amount=self.money(payment.amount, payment.currency),
            reference=payment.reference or None,
            shares=shares_of(amounts, payment.currency),
            fee=None if payment.fee is None or debtor is None else self.money(payment.fee, debtor.currency),
            balancing=payment.balancing,
            hold_id=payment.hold,
            releases_hold=payment.releases_hold,
            reverses=payment.reverses,
            override=Override(by="operator", reason="by hand") if payment.override else None,
            submitted_by="teller",
            submitted_at=dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC),
        )

    async def pay(self, payment: Payment, transaction_id: str, way: Way) -> None:
        """Carry a payment out to its end.

        Raises:
            CasaflowError: as the ledger.
        """
        request = self.request(payment, transaction_id)
        match way:
            case Way.TOGETHER:
                await self.ledger.post_linked(linked_posting(request, conversion=self._conversion(request), booking_date=BOOKING_DATE))
            case Way.LEG:
                await self.ledger.post(first_posting(request, conversion=self._conversion(request), booking_date=BOOKING_DATE))
            case Way.SAGA:
                await self.begin(payment, transaction_id)
                await self.end(payment, transaction_id)

    async def begin(self, payment: Payment, transaction_id: str) -> None:
        """The debit leg of a transfer."""
        await self.pay(payment, transaction_id, Way.LEG)

    async def end(self, payment: Payment, transaction_id: str) -> None:
        """The legs of a transfer after its debit, if that was posted."""
        request = self.request(payment, transaction_id)
        conversion = self._conversion(request)
        debit = first_posting(request, conversion=conversion, booking_date=BOOKING_DATE)
        debited = await self.ledger.post(debit)
        if debited.posted:
            credited = await self.ledger.post(credit_posting(debit, debited, conversion=conversion))
            if not credited.posted:
                await self.ledger.post(compensation_posting(debit, debited, credited))

    def _conversion(self, request: TransactionRequest) -> Conversion | None:
        sides = [side.currency for side in (request.debtor, request.creditor) if side is not None]
        other = next((currency for currency in sides if currency != request.amount.currency), None)
        return None if other is None else convert(request.amount, _rate(request.amount.currency, other))

    async def told(self, transaction_id: str) -> Told | None:
        """What is recorded of a transaction."""
        record = await self.bank.transactions.get(self.bank.tenant, transaction_id)
        return None if record is None else told(record.result)

    async def digest(self) -> Digest:
        """Of every table that has tenants."""
        if self._digest is None:
            tables = await self.bank.select(
                "SELECT c.relname AS name FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant'"
                " WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relnamespace = 'public'::regnamespace"
            )
            one = sql.SQL(
                "SELECT {name} AS name, count(*) AS rows,"
                " coalesce(sum(hashtextextended(CAST(to_jsonb(t) - {folds} AS text), 0)), 0) AS hash"
                " FROM {table} AS t WHERE tenant = %(tenant)s"
            )
            self._digest = sql.SQL(" UNION ALL ").join(
                one.format(name=sql.Literal(row["name"]), folds=sql.Literal(_FOLDS), table=sql.Identifier(row["name"])) for row in tables
            )
        found = await self.bank.rows.execute(self._digest, {"tenant": self.bank.tenant})
        return Digest({row["name"]: (row["rows"], row["hash"]) for row in await found.fetchall()})

    async def balances(self) -> dict[str, dict[str, Any]]:
        """Ledger balance, money on hold and available balance of each account, and how many debits it had."""
        rows = await self.bank.select(
            "SELECT v.account_id, v.currency, v.ledger, v.held, v.available, o.version AS debits"
            "  FROM account_balance v JOIN online_balance o USING (tenant, account_id) WHERE tenant = %(tenant)s"
        )
        return {
            row["account_id"]: {
                **{name: row[name] * SMALLEST[row["currency"]] for name in ("ledger", "held", "available")},
                "debits": row["debits"],
            }
            for row in rows
        }


def told(result: TransactionResult) -> Told:
    """A result as the model tells of it."""
    legs = (Leg(leg.leg.value, leg.account_id, posted=leg.posted, amount=leg.amount.decimal if leg.posted else ZERO) for leg in result.legs)
    return result.status.value, None if result.reason is None else result.reason.code.value, tuple(legs)


def without_refused_amounts(expected: Told) -> Told:
    """A model's answer as :func:`told` would have it."""
    status, reason, legs = expected
    return status, reason, tuple(leg if leg.posted else replace(leg, amount=ZERO) for leg in legs)


def rate_between(base: str, quote: str) -> Decimal:
    """What one unit of `base` buys, with few digits, as a rate that somebody published."""
    return (PER_EURO[quote] / PER_EURO[base]).quantize(Decimal("0.000001"))


def _rate(base: str, quote: str) -> ExchangeRate:
    return ExchangeRate(
        quote_id=f"{base}-{quote}", base=base, quote=quote, rate=rate_between(base, quote), source="test", as_of=BOOKING_DATE
    )
