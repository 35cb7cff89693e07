"""A small bank in a database of its own, with every kind of outcome, all events published and applied; copied for each test."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from infra.kafka.cloud_events import headers_of
from infra.kafka.records import Partition, Record
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.audit import AuditEffects
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.outbox import PostgresOutbox
from ledger.accounts import AccountKind
from ledger.decisions import Decision
from ledger.events import TOPICS, Event
from ledger.postings import Posting, compensation_posting, credit_posting, first_posting
from ledger.rates import convert
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import Rejection
from ledger.rules import StatusChange
from tests.stack_fixtures import RunningStack
from tests.unit.ledger.builders import TODAY, rate, request

CREDITS_TO_FOLD = 70
"""More than the number from which a debit folds."""


@dataclass
class SmallBank:
    """A database, and what was asked of it by name."""

    url: str
    transactions: dict[str, str]
    """Name to transaction id."""

    def tamper(self, statement: str, **values: Any) -> None:
        """Change the tables behind the ledger's back: no trigger and no constraint of a foreign kind stands in the way."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement, values)

    def row(self, query: str, **values: Any) -> dict[str, Any]:
        with psycopg.connect(self.url, row_factory=dict_row) as connection:
            found = connection.execute(query, values).fetchone()
        assert found is not None
        return dict(found)


class _Bookkeeper:
    """Carries transactions out as the workflow does, without Temporal."""

    def __init__(self, database: Database) -> None:
        self._ledger = PostgresLedger(database)
        self.transactions: dict[str, str] = {}

    def request(self, name: str, **fields: Any) -> TransactionRequest:
        asked = request(**{"transaction_id": str(uuid.uuid4()), **fields})
        self.transactions[name] = asked.transaction_id
        return asked

    async def carry_out(self, name: str, **fields: Any) -> None:
        asked = self.request(name, **fields)
        other = next((side.currency for side in (asked.debtor, asked.creditor) if side and side.currency != asked.amount.currency), None)
        conversion = convert(asked.amount, rate(asked.amount.currency, other, "24.5")) if other else None
        first = first_posting(asked, conversion=conversion, booking_date=TODAY)
        decided = await self._post(first)
        if asked.kind is TransactionKind.TRANSFER and decided.posted:
            credited = await self._post(credit_posting(first, decided, conversion=conversion))
            if not credited.posted:
                await self._post(compensation_posting(first, decided, credited))

    async def begin(self, name: str, **fields: Any) -> None:
        """Only the first leg."""
        await self._post(first_posting(self.request(name, **fields), conversion=None, booking_date=TODAY))

    async def reject(self, name: str, **fields: Any) -> None:
        refusal = Refusal(code=RefusalCode.CANCELLED, detail="it was cancelled")
        await self._ledger.reject(Rejection(request=self.request(name, **fields), refusal=refusal))

    async def _post(self, posting: Posting) -> Decision:
        return await self._ledger.post(posting)


async def _fill(url: str) -> dict[str, str]:
    database = Database.open(url, pool_size=4)
    try:
        accounts = PostgresAccounts(database)
        for account_id, currency in (("A", "EUR"), ("B", "EUR"), ("C", "CZK"), ("F", "EUR")):
            await accounts.open_account(tenant="main", account_id=account_id, currency=currency, kind=AccountKind.CURRENT)
        await accounts.change_status("main", "F", StatusChange.FREEZE, by="teller")
        keeper = _Bookkeeper(database)
        for number in range(CREDITS_TO_FOLD):
            await keeper.carry_out(f"deposit {number}", creditor="A", amount="100.00")
        await keeper.carry_out("withdrawal", debtor="A", amount="10.00")
        await keeper.carry_out("second withdrawal", debtor="A", amount="20.00")
        await keeper.carry_out("transfer", debtor="A", creditor="B", amount="30.00")
        await keeper.carry_out("conversion", debtor="A", creditor="C:CZK", amount="40.00")
        await keeper.carry_out("refused", debtor="B", amount="1000000.00")
        await keeper.carry_out("reversed", debtor="A", creditor="F", amount="50.00")
        await keeper.reject("rejected", debtor="A", creditor="B", amount="1.00")
        await _publish_and_apply(database, keeper.transactions.values())
    finally:
        await database.close()
    return keeper.transactions


async def _publish_and_apply(database: Database, transaction_ids: Any) -> None:
    outbox, audit = PostgresOutbox(database), AuditEffects(database)
    places = {topic: Partition(topic, 0) for topic in TOPICS}
    offsets = await audit.next_offsets(dict.fromkeys(places.values(), 0))
    for transaction_id in transaction_ids:
        events = await outbox.unpublished("main", transaction_id)
        for event in events:
            place = places[event.topic]
            await audit.apply(place, [_record(offsets[place], event)], expected=offsets[place])
            offsets[place] += 1
        outbox.note_published(events)
    await outbox.drain()


def _record(offset: int, event: Event) -> Record:
    return Record(offset=offset, key=event.key.encode(), value=event.data.encode(), headers=tuple(headers_of(event)))


@pytest.fixture(scope="module")
async def filled(postgres_url: str) -> SmallBank:
    return SmallBank(postgres_url, await _fill(postgres_url))


@pytest.fixture
def bank(filled: SmallBank, stack: RunningStack) -> Iterator[SmallBank]:
    """A copy of the bank that a test may tamper with."""
    template = filled.url.rpartition("/")[2]
    name = f"{template}_{uuid.uuid4().hex[:6]}"
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))
        yield SmallBank(f"{filled.url.rpartition('/')[0]}/{name}", filled.transactions)
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
async def database(bank: SmallBank) -> AsyncIterator[Database]:
    opened = Database.open(bank.url, pool_size=4)
    yield opened
    await opened.close()


@pytest.fixture
def keep(database: Database) -> _Bookkeeper:
    """For a test that lets more happen."""
    return _Bookkeeper(database)


Bookkeeper = _Bookkeeper
