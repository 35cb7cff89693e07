"""Documents of made-up periods, with the amounts that they must show."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Iterable, Sequence
from decimal import Decimal

from ledger.documents import DocumentLine, EntryDetail, StatementDocument
from ledger.money import Money
from ledger.rates import Conversion, convert, cross_rate
from ledger.statements import EntryDirection, StatementLine

SINCE = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
UNTIL = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
IBAN = "CZ6508000000192000145399"


def conversion(source: str, target: str) -> Conversion:
    """100.00 of one currency into another, at a rate that has more digits than ISO 20022 has room for."""
    rates = {source: Decimal("1.0837"), target: Decimal("25.305")}
    rate = cross_rate(source, target, per_euro=rates, as_of=SINCE.date(), source="ECB")
    assert rate is not None
    return convert(Money.parse("100", source), rate)


def period(
    amounts: Sequence[int],
    *,
    currency: str = "EUR",
    account_id: str = "704",
    opening_balance: int = 0,
    number: int | None = None,
    available: int | None = None,
    texts: Sequence[str | None] = (None,),
    details: Sequence[EntryDetail | None] = (None,),
    leg: str | None = None,
    counterparty: str | None = "3818",
) -> tuple[StatementDocument, list[DocumentLine]]:
    """A period whose lines have these amounts, in minor units; debits are negative. Texts and details take turns."""
    lines, balance = [], opening_balance
    for place, amount in enumerate(amounts):
        balance += amount
        direction = EntryDirection.CREDIT if amount > 0 else EntryDirection.DEBIT
        entry = StatementLine(
            posted_at=SINCE + dt.timedelta(seconds=place),
            transaction_id=str(uuid.UUID(int=place, version=4)),
            leg=leg or direction.value,
            direction=direction,
            amount=abs(amount),
            value_date=SINCE.date(),
            version=None,
            counterparty=counterparty,
            reference=texts[place % len(texts)],
            remittance_information=texts[place % len(texts)],
            balance_after=balance,
            settled=True,
        )
        lines.append(DocumentLine(entry=entry, detail=details[place % len(details)]))
    document = StatementDocument(
        document_id="0123456789abcdef0123456789abcdef",
        account_id=account_id,
        currency=currency,
        number=number,
        since=SINCE,
        until=UNTIL,
        opening_balance=opening_balance,
        credited=sum(amount for amount in amounts if amount > 0),
        debited=-sum(amount for amount in amounts if amount < 0),
        closing_balance=balance,
        lines=len(lines),
        available=available,
        created_at=UNTIL,
    )
    return document, lines


def detail(**fields: object) -> EntryDetail:
    """What a transaction says of an entry."""
    known = {
        "instructed": Money(minor_units=1, currency="EUR"),
        "conversion": None,
        "settlement": "cash",
        "reverses": None,
        "counterparty_name": None,
        "counterparty_account": None,
        "counterparty_bank": None,
    }
    return EntryDetail.model_validate({**known, **fields})


async def arriving(lines: Iterable[DocumentLine]) -> AsyncIterator[DocumentLine]:
    """The lines, one after the other."""
    for line in lines:
        yield line


async def whole(pieces: AsyncIterator[bytes]) -> bytes:
    """What was written piece by piece."""
    return b"".join([piece async for piece in pieces])
