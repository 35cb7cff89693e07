"""A bank on real servers for recording: the worker's own parts, with ports that can be told to fail or to wait."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from pydantic import SecretStr
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from infra.kafka.publisher import KafkaPublisher
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger
from infra.postgres.outbox import PostgresOutbox
from infra.postgres.transactions import PostgresTransactions
from infra.rates import EcbHistoryRates
from infra.settings import DEFAULT_TENANT, Settings
from infra.temporal.client import connect
from ledger.accounts import AccountKind
from ledger.commands import OperatorAction
from ledger.decisions import Decision, LegName
from ledger.errors import UnavailableError
from ledger.events import Event
from ledger.ids import settlement_id, workflow_id
from ledger.ports import CasaLedger, EventPublisher, ExchangeRates
from ledger.postings import LinkedPosting, Posting
from ledger.rates import ExchangeRate
from ledger.requests import TransactionRequest
from ledger.results import Rejection, TransactionResult, TransactionStatus
from ledger.visibility import FINGERPRINT_MEMO
from starter.submit import TemporalConnection, TransactionStarter
from tests.replay.recordings import IDENTITY
from tests.unit.ledger.builders import request
from tests.workflow.operators import SECRET
from worker import transaction_worker
from workflows import visibility
from workflows.transaction import TransactionWorkflow

Handle = WorkflowHandle[TransactionWorkflow, TransactionResult]

REFUSES = UnavailableError(part="a part", detail="refused")


@dataclass
class Gate:
    """Stops a call until it is opened, and tells when somebody stands before it."""

    reached: asyncio.Event = field(default_factory=asyncio.Event)
    opened: asyncio.Event = field(default_factory=asyncio.Event)

    async def pass_through(self) -> None:
        self.reached.set()
        await self.opened.wait()


class Troubles:
    """What the next calls of a port meet, by name: errors in order (None: no answer at all), or a gate for each of them."""

    def __init__(self) -> None:
        self.errors: defaultdict[str, deque[Exception | None]] = defaultdict(deque)
        self.gates: dict[str, Gate] = {}

    async def meet(self, name: str) -> None:
        if name in self.gates:
            await self.gates[name].pass_through()
        if self.errors[name]:
            error = self.errors[name].popleft()
            if error is None:
                await asyncio.Event().wait()
            else:
                raise error


class TroubledLedger:
    def __init__(self, inner: CasaLedger, troubles: Troubles) -> None:
        self._inner, self._troubles = inner, troubles

    async def post(self, posting: Posting) -> Decision:
        await self._troubles.meet(posting.leg)
        return await self._inner.post(posting)

    async def post_linked(self, linked: LinkedPosting) -> TransactionResult:
        await self._troubles.meet("linked")
        return await self._inner.post_linked(linked)

    async def record_action(self, action: OperatorAction) -> None:
        await self._inner.record_action(action)

    async def reject(self, rejection: Rejection) -> TransactionResult:
        await self._troubles.meet("reject")
        return await self._inner.reject(rejection)


class TroubledRates:
    def __init__(self, inner: ExchangeRates, troubles: Troubles) -> None:
        self._inner, self._troubles = inner, troubles

    async def quote(self, base: str, quote: str, *, on: dt.date) -> ExchangeRate | None:
        await self._troubles.meet("rate")
        return await self._inner.quote(base, quote, on=on)


class TroubledPublisher:
    def __init__(self, inner: EventPublisher, troubles: Troubles) -> None:
        self._inner, self._troubles = inner, troubles

    async def publish(self, events: Sequence[Event]) -> None:
        await self._troubles.meet("publish")
        await self._inner.publish(events)


@dataclass
class RecordedBank:
    """Accounts A (100.00 EUR), B and D (empty, EUR), C (CZK), and whoever carries their transactions."""

    client: Client
    starter: TransactionStarter
    accounts: PostgresAccounts
    settings: Settings
    parts: dict[str, Any]
    troubles: Troubles = field(default_factory=Troubles)
    prefix: str = field(default_factory=lambda: f"replay-{uuid.uuid4().hex[:10]}")

    def worker(self, *, max_age_days: int = 36_500) -> Worker:
        """The worker that casaflow runs, on a task queue of this bank's own. The packaged rates age with the wheel."""
        return transaction_worker(
            self.client,
            self.settings.model_copy(update={"rates_max_age_days": max_age_days}),
            ledger=TroubledLedger(self.parts["ledger"], self.troubles),
            holds=self.parts["holds"],
            outbox=self.parts["outbox"],
            publisher=TroubledPublisher(self.parts["publisher"], self.troubles),
            rates=TroubledRates(self.parts["rates"], self.troubles),
        )

    def account_id(self, letter: str) -> str:
        return f"{self.prefix}-{letter}"

    async def open(self) -> None:
        for letter, currency in (("A", "EUR"), ("B", "EUR"), ("C", "CZK"), ("D", "EUR")):
            await self.accounts.open_account(
                tenant=DEFAULT_TENANT, account_id=self.account_id(letter), currency=currency, kind=AccountKind.CURRENT
            )
        async with self.worker():
            funded = await self.start(creditor="A", amount="100")
            assert (await funded.result()).status is TransactionStatus.COMPLETED

    async def start(
        self, *, debtor: str | None = None, creditor: str | None = None, amount: str = "12.50", currency: str = "EUR", **fields: Any
    ) -> Handle:
        """Start a transaction between the accounts of these letters, as the API would; `fields` are the request's own."""
        return await self.submit(self.request(debtor=debtor, creditor=creditor, amount=amount, currency=currency, **fields))

    async def submit(self, asked: TransactionRequest) -> Handle:
        """Start what was asked, as the API would."""
        await self.starter.submit(asked, wait_seconds=0)
        return self.client.get_workflow_handle_for(TransactionWorkflow.run, workflow_id(asked.tenant, asked.transaction_id))

    async def settle(self, asked: TransactionRequest, *, found: str) -> Handle:
        """Start the run that settles what was asked, as the sweep would that found its workflow so."""
        return await self.client.start_workflow(
            TransactionWorkflow.run,
            asked.model_copy(update={"settles": found}),
            id=settlement_id(asked.tenant, asked.transaction_id),
            task_queue=self.settings.task_queue,
            memo={FINGERPRINT_MEMO: asked.fingerprint},
            search_attributes=visibility.attributes_of_settlement(asked, found),
            static_summary=visibility.settlement_summary(asked),
            static_details=visibility.settlement_details(asked, found),
        )

    def request(
        self, *, debtor: str | None = None, creditor: str | None = None, amount: str = "12.50", currency: str = "EUR", **fields: Any
    ) -> TransactionRequest:
        """A request between the accounts of these letters."""
        return request(
            debtor=self._ref(debtor),
            creditor=self._ref(creditor),
            amount=amount,
            currency=currency,
            transaction_id=str(uuid.uuid4()),
            submitted_by="recorder",
            submitted_at=dt.datetime.now(dt.UTC),
            **fields,
        )

    def refuse(self, name: str, *, times: int) -> None:
        self.troubles.errors[name].extend([REFUSES] * times)

    def hang(self, name: str, *, times: int) -> None:
        self.troubles.errors[name].extend([None] * times)

    def hold_up(self, name: str | LegName) -> Gate:
        return self.troubles.gates.setdefault(str(name), Gate())

    def _ref(self, letter: str | None) -> str | None:
        if letter is None:
            return None
        return f"{self.account_id(letter)}:{'CZK' if letter == 'C' else 'EUR'}"


@asynccontextmanager
async def recorded_bank(*, postgres_url: str, temporal_address: str, kafka_bootstrap_servers: str) -> AsyncIterator[RecordedBank]:
    """A bank with funded accounts of its own on running servers."""
    async with AsyncExitStack() as stack:
        database = Database.open(postgres_url, pool_size=4)
        stack.push_async_callback(database.close)
        publisher = KafkaPublisher(kafka_bootstrap_servers)
        stack.push_async_callback(publisher.stop)
        await publisher.start()
        settings = Settings(
            task_queue=f"replay-{uuid.uuid4()}", temporal_address=temporal_address, command_secrets=SecretStr(SECRET.decode())
        )
        client = await connect(settings, identity=IDENTITY)
        starter = TransactionStarter(
            TemporalConnection(settings), PostgresTransactions(database), task_queue=settings.task_queue, transfers="saga"
        )
        bank = RecordedBank(
            client=client,
            starter=starter,
            accounts=PostgresAccounts(database),
            settings=settings,
            parts={
                "ledger": PostgresLedger(database),
                "holds": PostgresHolds(database),
                "outbox": PostgresOutbox(database),
                "publisher": publisher,
                "rates": EcbHistoryRates(),
            },
        )
        await bank.open()
        yield bank
