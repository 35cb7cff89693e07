"""What is recorded of holds, standing orders and payment files: one scenario for each way that they may go, played on real servers."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from activities.standing_orders import StandingOrderActivities
from infra.kafka.publisher import KafkaPublisher
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.holds import PostgresHolds
from infra.postgres.ledger import PostgresLedger
from infra.postgres.outbox import PostgresOutbox
from infra.postgres.standing_orders import PostgresStandingOrders
from infra.postgres.transactions import PostgresTransactions
from infra.rates import EcbHistoryRates
from infra.settings import Settings
from infra.temporal.client import connect
from infra.temporal.standing_orders import StandingOrderKeeper
from ledger.accounts import AccountKind
from ledger.commands import sign
from ledger.holds import Hold, HoldRequest
from ledger.ids import hold_workflow_id, standing_order_schedule_id
from ledger.money import Money
from ledger.requests import AccountRef
from ledger.rules import StatusChange
from ledger.standing_orders import (
    Frequency,
    OnRefusal,
    OrderChange,
    OrderKey,
    OrderSchedule,
    RefusalRule,
    StandingOrder,
    due_by,
    transaction_of,
)
from ledger.standing_orders import RunKey as Run
from starter.submit import TemporalConnection, TransactionStarter
from tests.replay.bank import REFUSES, Troubles
from tests.replay.file_scenarios import FILE_PLAYS
from tests.replay.recordings import HISTORIES, IDENTITY
from tests.unit.ledger.builders import request
from tests.workflow.conftest import eventually
from worker import transaction_worker
from workflows import visibility
from workflows.hold import HoldInstruction, HoldWorkflow
from workflows.payment_file import PaymentFileWorkflow
from workflows.standing_order import StandingOrderWorkflow

FOLDERS = {
    HoldWorkflow: HISTORIES / "holds",
    StandingOrderWorkflow: HISTORIES / "standing-orders",
    PaymentFileWorkflow: HISTORIES / "files",
}
SECRET = b"the secret of the recorder of histories"
LOCAL_AND_ORDINARY = 4
"""Refusals that outlast the local attempts, and the first ordinary ones."""

Handle = WorkflowHandle[Any, Any]


class TroubledHolds:
    """The hold service of a database that is away now and then."""

    def __init__(self, inner: PostgresHolds, troubles: Troubles) -> None:
        self._inner, self._troubles = inner, troubles

    async def authorise(self, asked: HoldRequest) -> tuple[Hold, bool]:
        await self._troubles.meet("authorise")
        return await self._inner.authorise(asked)

    async def get(self, tenant: str, hold_id: str) -> Hold | None:
        return await self._inner.get(tenant, hold_id)

    async def void(self, tenant: str, hold_id: str) -> Hold:
        await self._troubles.meet("void")
        return await self._inner.void(tenant, hold_id)

    async def expire_one(self, tenant: str, hold_id: str) -> Hold:
        await self._troubles.meet("expire")
        return await self._inner.expire_one(tenant, hold_id)

    async def settled(self, tenant: str, transaction_ids: Any) -> tuple[str, ...]:
        return await self._inner.settled(tenant, transaction_ids)


@dataclass
class WaitingBank:
    """Accounts A (100.00) and B (empty), and a worker for all that happens to them."""

    client: Client
    settings: Settings
    database: Database
    publisher: KafkaPublisher
    starter: TransactionStarter
    ledger: PostgresLedger
    orders: PostgresStandingOrders
    troubles: Troubles = field(default_factory=Troubles)
    prefix: str = field(default_factory=lambda: f"replay-{uuid.uuid4().hex[:10]}")

    def worker(self) -> Worker:
        async def client() -> Client:
            return self.client

        keeper = StandingOrderKeeper(self.orders, client, task_queue=self.settings.task_queue)
        records = PostgresTransactions(self.database)
        return transaction_worker(
            self.client,
            self.settings,
            ledger=self.ledger,
            holds=TroubledHolds(PostgresHolds(self.database), self.troubles),
            outbox=PostgresOutbox(self.database),
            publisher=self.publisher,
            rates=EcbHistoryRates(),
            standing_orders=StandingOrderActivities(self.orders, keeper, records, self.settings.waiting_rules, links_transfers=True),
        )

    def ref(self, letter: str) -> AccountRef:
        return AccountRef(account_id=f"{self.prefix}-{letter}", currency="EUR")

    async def open(self) -> None:
        accounts = PostgresAccounts(self.database)
        for letter in "AB":
            await accounts.open_account(tenant="main", account_id=self.ref(letter).account_id, currency="EUR", kind=AccountKind.CURRENT)
        await self.pay_in("100")

    async def pay_in(self, amount: str) -> None:
        await self.starter.submit(self._request(creditor=self.ref("A").account_id, amount=amount), wait_seconds=30)

    def _request(self, **fields: Any) -> Any:
        now = dt.datetime.now(dt.UTC)
        return request(**{"transaction_id": str(uuid.uuid4()), "submitted_by": "recorder", "submitted_at": now, **fields})

    async def hold(self, amount: str = "40", *, seconds: float = 3_600, letter: str = "A") -> Handle:
        asked = HoldRequest(
            tenant="main",
            hold_id=str(uuid.uuid4()),
            account_id=self.ref(letter).account_id,
            amount=Money.parse(amount, "EUR"),
            expires_at=dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds),
            authorised_by="recorder",
        )
        return await self.client.start_workflow(
            HoldWorkflow.run,
            HoldInstruction(request=asked),
            id=hold_workflow_id("main", asked.hold_id),
            task_queue=self.settings.task_queue,
            search_attributes=visibility.attributes_of_new_hold(asked),
            static_summary=visibility.hold_summary(asked),
        )

    async def capture(self, handle: Handle, amount: str) -> None:
        hold_id = handle.id.removeprefix("hold-main-")
        asked = self._request(debtor=self.ref("A").account_id, amount=amount, hold_id=hold_id)
        await self.starter.submit(asked, wait_seconds=30)
        await handle.execute_update("capture", asked.transaction_id)

    async def order(self, *, amount: str = "12.50", on_refusal: OnRefusal | None = None, days_ahead: int = 0) -> StandingOrder:
        now = dt.datetime.now(dt.UTC)
        start = now.date() + dt.timedelta(days=days_ahead)
        schedule = OrderSchedule(frequency=Frequency.MONTHLY, time=dt.time(0, 0), start_date=start)
        order = StandingOrder(
            tenant="main",
            order_id=str(uuid.uuid4()),
            debtor=self.ref("A"),
            creditor=self.ref("B"),
            amount=Money.parse(amount, "EUR"),
            schedule=schedule,
            on_refusal=on_refusal or OnRefusal(),
            created_by="recorder",
            created_at=now,
        )
        await self.orders.create(order)
        return order

    async def run(self, order: StandingOrder) -> Handle:
        return await self.client.start_workflow(
            StandingOrderWorkflow.run,
            OrderKey(tenant="main", order_id=order.order_id),
            id=f"{standing_order_schedule_id('main', order.order_id)}-by-hand",
            task_queue=self.settings.task_queue,
        )


@dataclass(frozen=True)
class WaitingScenario:
    """How a workflow is played, and the status of the hold, the transaction or the file that it must have ended with; None: none."""

    workflow: type
    play: Callable[[WaitingBank], Awaitable[Handle]]
    status: str | None


async def _expired(bank: WaitingBank) -> Handle:
    return await _ended(await bank.hold(seconds=2))


async def _refused(bank: WaitingBank) -> Handle:
    return await _ended(await bank.hold("100.01"))


async def _voided(bank: WaitingBank) -> Handle:
    handle = await bank.hold()
    await handle.execute_update("authorised", result_type=Hold)
    hold_id = handle.id.removeprefix("hold-main-")
    command = sign(SECRET, action="void", tenant="main", transaction_id=hold_id, by="recorder", at=dt.datetime.now(dt.UTC))
    await handle.execute_update("void", command)
    return await _ended(handle)


async def _captured(bank: WaitingBank) -> Handle:
    handle = await bank.hold("40")
    await handle.execute_update("authorised", result_type=Hold)
    await bank.capture(handle, "15")
    await bank.capture(handle, "25")
    return await _ended(handle)


async def _captured_late(bank: WaitingBank) -> Handle:
    """The workflow is told of a capture that isn't over, and looks again and again."""
    handle = await bank.hold("40", seconds=20)
    await handle.execute_update("authorised", result_type=Hold)
    await handle.execute_update("capture", str(uuid.uuid4()))
    await eventually(lambda: _has_slept(handle), seconds=30)
    await bank.capture(handle, "40")
    return await _ended(handle)


async def _fell_back(bank: WaitingBank) -> Handle:
    for name in ("authorise", "expire"):
        bank.troubles.errors[name].extend([REFUSES] * LOCAL_AND_ORDINARY)
    return await _ended(await bank.hold(seconds=8))


async def _cancelled(bank: WaitingBank) -> Handle:
    handle = await bank.hold(seconds=5)
    await handle.execute_update("authorised", result_type=Hold)
    await handle.cancel()
    return await _ended(handle)


async def _order_completed(bank: WaitingBank) -> Handle:
    return await _ended(await bank.run(await bank.order()))


async def _order_refused(bank: WaitingBank) -> Handle:
    return await _ended(await bank.run(await bank.order(amount="100.01")))


async def _order_stopped(bank: WaitingBank) -> Handle:
    return await _ended(await bank.run(await bank.order(amount="100.01", on_refusal=OnRefusal(rule=RefusalRule.STOP))))


async def _order_retried(bank: WaitingBank) -> Handle:
    """Without an hour between the attempts, which has no part in a replay."""
    rule = OnRefusal(rule=RefusalRule.RETRY, retry_until_hours=1, every_hours=None)
    order = await bank.order(amount="100.01", on_refusal=rule)
    await PostgresAccounts(bank.database).change_status("main", bank.ref("B").account_id, StatusChange.FREEZE, by="teller")
    handle = await bank.run(order)
    await eventually(lambda: _attempts(bank, order), seconds=30)
    await bank.orders.change("main", order.order_id, OrderChange.CANCEL, by="recorder", now=dt.datetime.now(dt.UTC))
    await handle.cancel()  # it would wait for an hour
    await eventually(lambda: _closed(handle), seconds=30)
    return handle


async def _order_not_due(bank: WaitingBank) -> Handle:
    return await _ended(await bank.run(await bank.order(days_ahead=40)))


async def _order_joined(bank: WaitingBank) -> Handle:
    order = await bank.order()
    due = due_by(order, dt.datetime.now(dt.UTC))
    assert due is not None
    key = Run(tenant="main", order_id=order.order_id, due_date=due.date)
    await bank.starter.submit(transaction_of(order, key, now=dt.datetime.now(dt.UTC)), wait_seconds=30)
    return await _ended(await bank.run(order))


async def _attempts(bank: WaitingBank, order: StandingOrder) -> bool:
    runs = await bank.orders.runs("main", order.order_id, at_most=10)
    return bool(runs) and all(run.outcome is not None for run in runs)


async def _has_slept(handle: Handle) -> bool:
    history = await handle.fetch_history()
    return any(event.HasField("timer_fired_event_attributes") for event in history.events)


async def _closed(handle: Handle) -> bool:
    return (await handle.describe()).close_time is not None


async def _ended(handle: Handle) -> Handle:
    await handle.result()
    return handle


WAITING_SCENARIOS = {
    "expired": WaitingScenario(HoldWorkflow, _expired, "expired"),
    "refused": WaitingScenario(HoldWorkflow, _refused, "refused"),
    "voided": WaitingScenario(HoldWorkflow, _voided, "voided"),
    "captured-in-parts": WaitingScenario(HoldWorkflow, _captured, "captured"),
    "captured-after-looking-for-it": WaitingScenario(HoldWorkflow, _captured_late, "captured"),
    "expired-by-ordinary-activities": WaitingScenario(HoldWorkflow, _fell_back, "expired"),
    "expired-though-cancelled": WaitingScenario(HoldWorkflow, _cancelled, "expired"),
    "completed": WaitingScenario(StandingOrderWorkflow, _order_completed, "completed"),
    "rejected-and-skipped": WaitingScenario(StandingOrderWorkflow, _order_refused, "rejected"),
    "rejected-and-stopped": WaitingScenario(StandingOrderWorkflow, _order_stopped, "rejected"),
    "rejected-and-cancelled-before-the-next-attempt": WaitingScenario(StandingOrderWorkflow, _order_retried, None),
    "nothing-due": WaitingScenario(StandingOrderWorkflow, _order_not_due, None),
    "completed-by-a-transaction-that-was-there": WaitingScenario(StandingOrderWorkflow, _order_joined, "completed"),
    **{name: WaitingScenario(PaymentFileWorkflow, play, status) for name, (play, status) in FILE_PLAYS.items()},
}
"""By the name of the recording."""


def folder_of(scenario: WaitingScenario) -> Path:
    return FOLDERS[scenario.workflow]


@asynccontextmanager
async def waiting_bank(stack: dict[str, str], home: Path) -> AsyncIterator[WaitingBank]:
    """A bank with a funded account on the servers of a stack."""
    async with AsyncExitStack() as exits:
        database = Database.open(stack["postgres_dsn"], pool_size=4)
        exits.push_async_callback(database.close)
        publisher = KafkaPublisher(stack["kafka_bootstrap_servers"])
        exits.push_async_callback(publisher.stop)
        await publisher.start()
        settings = Settings.model_validate(
            {
                "home": home,
                "task_queue": f"replay-{uuid.uuid4()}",
                "temporal_address": stack["temporal_address"],
                "command_secrets": SECRET.decode(),
                "payload_encryption": "off",
            }
        )
        ledger = PostgresLedger(database)
        exits.push_async_callback(ledger.drain)
        bank = WaitingBank(
            client=await connect(settings, identity=IDENTITY),
            settings=settings,
            database=database,
            publisher=publisher,
            starter=TransactionStarter(TemporalConnection(settings), PostgresTransactions(database), task_queue=settings.task_queue),
            ledger=ledger,
            orders=PostgresStandingOrders(database),
        )
        async with bank.worker():
            await bank.open()
            yield bank
