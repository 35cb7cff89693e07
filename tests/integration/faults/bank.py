"""A tenant under faults: what it was asked to do, what has to come of it, and what PostgreSQL, Temporal and Kafka say came of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg
from aiokafka import AIOKafkaConsumer, TopicPartition
from psycopg.rows import dict_row
from temporalio.api.history.v1 import HistoryEvent
from temporalio.client import Client, WorkflowHandle

from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.transactions import PostgresTransactions
from infra.rates import EcbHistoryRates
from infra.settings import Settings
from infra.temporal.client import connect
from ledger.accounts import AccountKind, AccountRules
from ledger.events import TOPICS
from ledger.ids import workflow_id
from ledger.ports import ExchangeRates
from ledger.postings import conversion_pair
from ledger.rates import Conversion, convert
from ledger.requests import TransactionKind, TransactionRequest
from ledger.results import TransactionResult, TransactionStatus
from starter.submit import TemporalConnection, TransactionStarter
from tests.stack_fixtures import RunningStack
from tests.unit.ledger.builders import request
from workflows.transaction import TransactionWorkflow

Handle = WorkflowHandle[TransactionWorkflow, TransactionResult]

OVERDRAFT_MINOR_UNITS = 1_000_000_00
"""Of each account: no withdrawal of these tests may be refused for lack of money."""
ACCOUNTS = ("E1", "E2", "E3", "E4", "C1", "C2")
"""E: kept in EUR; C: in CZK. K, which some tests open, in KWD."""
SHAPES: tuple[dict[str, str], ...] = (
    {"creditor": "E1", "amount": "1.01"},
    {"debtor": "E1", "amount": "2.03"},
    {"debtor": "E1", "creditor": "E2", "amount": "3.07"},
    {"debtor": "E2", "creditor": "C1", "amount": "4.09"},
    {"creditor": "E3", "amount": "5.11"},
    {"debtor": "C2", "creditor": "E4", "amount": "6.13"},
    {"debtor": "E4", "creditor": "E1", "amount": "7.17"},
)
"""What is submitted in turn: deposits, withdrawals, transfers, some across currencies; E1 is the busy account."""


@dataclass(frozen=True)
class Call:
    """One call of a service in a workflow's history."""

    activity: str
    locally: bool
    failed: bool = False
    """Of a local one: its attempts failed, and an ordinary activity had to follow."""


@dataclass
class Bank:
    """One tenant on the stack's servers, with a task queue of its own."""

    stack: RunningStack
    settings: Settings
    client: Client
    starter: TransactionStarter
    tenant: str
    rates: ExchangeRates = field(default_factory=EcbHistoryRates)
    submitted: list[TransactionRequest] = field(default_factory=list)
    expected: Counter[str] = field(default_factory=Counter)
    """Ledger balance of each account once all that was submitted is completed, in minor units."""

    async def submit(self, count: int) -> list[Handle]:
        """Start transactions of every shape, in turn, and don't wait for them."""
        first = len(self.submitted)
        return await asyncio.gather(*(self._start(**SHAPES[number % len(SHAPES)]) for number in range(first, first + count)))

    def request(self, *, amount: str, debtor: str | None = None, creditor: str | None = None) -> TransactionRequest:
        """A new request."""
        return request(
            tenant=self.tenant,
            transaction_id=str(uuid.uuid4()),
            debtor=_ref(debtor),
            creditor=_ref(creditor),
            amount=amount,
            submitted_at=dt.datetime.now(dt.UTC),
        )

    async def _start(self, **shape: str) -> Handle:
        asked = self.request(**shape)
        self.submitted.append(asked)
        await self.expect(asked)
        await self.starter.submit(asked, wait_seconds=0)
        return self.client.get_workflow_handle_for(TransactionWorkflow.run, workflow_id(asked.tenant, asked.transaction_id))

    async def expect(self, asked: TransactionRequest) -> None:
        """Count on it being completed."""
        pair = conversion_pair(asked)
        conversion: Conversion | None = None
        if pair is not None:
            rate = await self.rates.quote(*pair, on=dt.datetime.now(dt.UTC).date())
            assert rate is not None
            conversion = convert(asked.amount, rate)
        for account, sign in ((asked.debtor, -1), (asked.creditor, 1)):
            if account is not None:
                is_converted = conversion is not None and account.currency != asked.amount.currency
                amount = conversion.target if conversion is not None and is_converted else asked.amount
                self.expected[account.account_id] += sign * amount.minor_units

    def rows(self, query: LiteralString) -> list[dict[str, Any]]:
        """Rows of a query with one parameter, the tenant."""
        with psycopg.connect(self.stack.postgres_dsn, row_factory=dict_row) as connection:
            return connection.execute(query, {"tenant": self.tenant}).fetchall()

    async def finished(self) -> int:
        """How many of the submitted transactions have ended in the ledger. Published or not."""
        (row,) = await asyncio.to_thread(
            self.rows, "SELECT count(*) AS ended FROM transaction WHERE tenant = %(tenant)s AND finished_at IS NOT NULL"
        )
        return int(row["ended"])

    def unpublished(self) -> int:
        """Events that are not marked as published."""
        (row,) = self.rows("SELECT count(*) AS waiting FROM event_outbox WHERE tenant = %(tenant)s AND published_at IS NULL")
        return int(row["waiting"])

    def assert_each_transaction_completed_once(self) -> None:
        """Every submitted transaction, and no other, is completed, with exactly the legs of its kind."""
        found = self.rows("""
            SELECT CAST(t.transaction_id AS text) AS transaction_id, t.status, count(d.leg) AS legs
              FROM transaction t LEFT JOIN decision d USING (tenant, transaction_id)
             WHERE t.tenant = %(tenant)s GROUP BY t.tenant, t.transaction_id
        """)
        assert {row["transaction_id"]: (row["status"], row["legs"]) for row in found} == {
            asked.transaction_id: ("completed", 2 if asked.kind is TransactionKind.TRANSFER else 1) for asked in self.submitted
        }

    def assert_money_is_neither_lost_nor_made(self) -> None:
        """Entries sum to zero per transaction and currency, customers' and internal ones together, and balances are what was asked for."""
        unbalanced = self.rows("""
            SELECT transaction_id, currency, sum(amount) FROM (
                SELECT transaction_id, currency, amount FROM offline_entry WHERE tenant = %(tenant)s
                UNION ALL SELECT transaction_id, currency, -amount FROM online_entry WHERE tenant = %(tenant)s
                UNION ALL SELECT transaction_id, currency, amount FROM gl_entry WHERE tenant = %(tenant)s) AS entries
             GROUP BY transaction_id, currency HAVING sum(amount) <> 0
        """)
        assert not unbalanced
        in_transit = self.rows("SELECT coalesce(sum(amount), 0) AS left FROM gl_entry WHERE tenant = %(tenant)s AND account_id = 'transit'")
        assert in_transit == [{"left": 0}]
        balances = self.rows("SELECT account_id, ledger FROM account_balance WHERE tenant = %(tenant)s")
        assert {row["account_id"]: int(row["ledger"]) for row in balances} == dict(self.expected)

    def events(self) -> dict[str, str]:
        """Payloads of all events of the tenant by id."""
        found = self.rows("SELECT CAST(event_id AS text) AS event_id, payload FROM event_outbox WHERE tenant = %(tenant)s")
        return {row["event_id"]: row["payload"] for row in found}

    def expected_events(self) -> int:
        """One for each leg, and one for the end of each transaction."""
        kinds = Counter(asked.kind for asked in self.submitted)
        return 3 * kinds[TransactionKind.TRANSFER] + 2 * (kinds[TransactionKind.DEPOSIT] + kinds[TransactionKind.WITHDRAWAL])


async def open_bank(stack: RunningStack, database: Database, settings: Settings) -> Bank:
    """A new tenant with empty accounts."""
    bank = Bank(
        stack=stack,
        settings=settings,
        client=await connect(settings),
        starter=TransactionStarter(
            TemporalConnection(settings),
            PostgresTransactions(database),
            task_queue=settings.task_queue,
            transfers=settings.transfers,
        ),
        tenant=f"faults-{uuid.uuid4().hex[:12]}",
    )
    accounts = PostgresAccounts(database)
    for account_id in ACCOUNTS:
        await accounts.open_account(
            tenant=bank.tenant,
            account_id=account_id,
            currency=_currency(account_id),
            kind=AccountKind.CURRENT,
            rules=AccountRules(overdraft_limit=OVERDRAFT_MINOR_UNITS),
        )
        bank.expected[account_id] = 0
    return bank


def _currency(account_id: str) -> str:
    return {"C": "CZK", "K": "KWD"}.get(account_id[0], "EUR")


def _ref(account_id: str | None) -> str | None:
    return None if account_id is None else f"{account_id}:{_currency(account_id)}"


async def results(handles: Iterable[Handle], *, seconds: float = 180) -> list[TransactionResult]:
    """The results of all, each completed."""
    async with asyncio.timeout(seconds):
        found = await asyncio.gather(*(handle.result() for handle in handles))
    assert {result.status for result in found} == {TransactionStatus.COMPLETED}
    return found


async def calls_of(handle: Handle) -> list[Call]:
    """The calls of services in a history, in their order."""
    return [call for event in (await handle.fetch_history()).events if (call := _call(event)) is not None]


def _call(event: HistoryEvent) -> Call | None:
    if event.HasField("activity_task_scheduled_event_attributes"):
        return Call(event.activity_task_scheduled_event_attributes.activity_type.name, locally=False)
    if event.HasField("marker_recorded_event_attributes"):
        marker = event.marker_recorded_event_attributes
        if marker.marker_name == "core_local_activity":
            told = json.loads(marker.details["data"].payloads[0].data)
            return Call(told["activity_type"], locally=True, failed=marker.HasField("failure"))
    return None


async def timed_out_tasks(handle: Handle) -> int:
    """How often a workflow task of this history timed out."""
    history = await handle.fetch_history()
    return sum(event.HasField("workflow_task_timed_out_event_attributes") for event in history.events)


async def fallen_back(handles: Iterable[Handle]) -> Counter[str]:
    """Ordinary activities in all histories, by name; each stands after failed local attempts of the same service."""
    found: Counter[str] = Counter()
    for handle in handles:
        calls = await calls_of(handle)
        for before, call in zip([None, *calls], calls, strict=False):
            if not call.locally:
                assert before == Call(call.activity, locally=True, failed=True), f"{handle.id}: {calls}"
                found[call.activity] += 1
            elif call.failed:
                assert calls[-1] is not call, f"{handle.id}: {calls}"
    return found


class Topics:
    """What is published from now on."""

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._seen: dict[str, set[str]] = {}

    async def until(self, event_ids: set[str], *, seconds: float = 60) -> dict[str, set[str]]:
        """Payloads of the events with these ids, once all have arrived."""
        async with asyncio.timeout(seconds):
            while not event_ids <= self._seen.keys():
                batches = await self._consumer.getmany(timeout_ms=500)
                for record in (record for batch in batches.values() for record in batch):
                    event_id = dict(record.headers)["ce_id"].decode()
                    self._seen.setdefault(event_id, set()).add(record.value.decode())
        return {event_id: self._seen[event_id] for event_id in event_ids}


@asynccontextmanager
async def topics_from_now_on(bootstrap_servers: str) -> AsyncIterator[Topics]:
    """A reader of casaflow's topics that begins at their ends."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap_servers, enable_auto_commit=False, group_id=None)
    await consumer.start()
    try:
        metadata = await consumer._client.fetch_all_metadata()
        partitions = [TopicPartition(topic, number) for topic in TOPICS for number in sorted(metadata.partitions_for_topic(topic) or ())]
        consumer.assign(partitions)
        await consumer.seek_to_end(*partitions)
        for partition in partitions:
            await consumer.position(partition)  # the end is looked up lazily, and has to be the end as it is now
        yield Topics(consumer)
    finally:
        await consumer.stop()
