"""The story of a due date: its transaction, what a refusal leads to, and that it is one transaction however often it is started."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any

import pytest
from temporalio.api.enums.v1 import ParentClosePolicy, WorkflowIdReusePolicy
from temporalio.client import WorkflowExecutionStatus, WorkflowHandle
from temporalio.runtime import Runtime
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from activities.casa import CasaActivities
from activities.notification import NotificationActivities
from activities.standing_orders import DueInquiry, StandingOrderActivities
from ledger.accounts import AccountStatus
from ledger.approvals import ApprovalStage
from ledger.ids import workflow_id
from ledger.money import Money
from ledger.requests import AccountRef
from ledger.results import TransactionResult, TransactionStatus
from ledger.standing_orders import (
    Frequency,
    OnRefusal,
    OrderChange,
    OrderKey,
    OrderRun,
    OrderSchedule,
    OrderStatus,
    RefusalRule,
    RunKey,
    StandingOrder,
    after_change,
    due_by,
    dues_after,
)
from ledger.waits import ApprovalThresholds, WaitingRules
from tests.workflow.conftest import Bank, eventually, open_bank, search_attribute, time_skipping_server
from workflows.runner import workflow_runner
from workflows.standing_order import OrderRunOutcome, StandingOrderWorkflow
from workflows.transaction import TransactionWorkflow

RETRY = OnRefusal(rule=RefusalRule.RETRY, retry_until_hours=12, every_hours=4)


@dataclass
class FakeOrders:
    """Register and Schedules of one order, by the ledger's own rules; its clock is the server's."""

    bank: Bank
    order: StandingOrder
    runs_by_key: dict[RunKey, OrderRun] = field(default_factory=dict)
    changes: list[tuple[OrderChange, str | None]] = field(default_factory=list)
    kept: int = 0

    async def get(self, tenant: str, order_id: str) -> StandingOrder | None:
        return self.order if (tenant, order_id) == (self.order.tenant, self.order.order_id) else None

    async def start_run(self, key: RunKey, *, now: dt.datetime) -> OrderRun:
        return self.runs_by_key.setdefault(key, OrderRun(key=key, transaction_id=key.transaction_id, started_at=now))

    async def finish_run(self, key: RunKey, result: TransactionResult, *, now: dt.datetime) -> None:
        run = self.runs_by_key[key]
        if run.outcome is None:
            self.runs_by_key[key] = run.model_copy(update={"outcome": result.status, "refusal": result.reason, "finished_at": now})

    async def change(
        self, tenant: str, order_id: str, change: OrderChange, *, by: str, now: dt.datetime, reason: str | None = None
    ) -> StandingOrder:
        assert by
        assert (tenant, order_id) == (self.order.tenant, self.order.order_id)
        after = after_change(self.order, change, now=now)
        if after is not self.order:
            self.changes.append((change, reason))
        self.order = after
        return after

    async def keep(self, tenant: str, order_id: str, *, now: dt.datetime) -> StandingOrder:  # noqa: ARG002  the server's clock counts
        self.kept += 1
        at = await self.bank.environment.get_current_time()
        if self.order.status is OrderStatus.ACTIVE and not dues_after(self.order, at, at_most=1):
            await self.change(tenant, order_id, OrderChange.COMPLETE, by="casaflow", now=at)
        return self.order

    @property
    def runs(self) -> list[tuple[int, int, str | None]]:
        """Day of the month, attempt and outcome of each run, in order."""
        runs = sorted(self.runs_by_key.values(), key=lambda run: (run.key.due_date, run.key.attempt))
        return [(run.key.due_date.day, run.key.attempt, run.outcome.value if run.outcome is not None else None) for run in runs]


Handle = WorkflowHandle[StandingOrderWorkflow, OrderRunOutcome]


@dataclass
class OrderBank:
    bank: Bank
    orders: FakeOrders
    rules: WaitingRules = field(default_factory=WaitingRules)

    def worker(self) -> Worker:
        order = StandingOrderActivities(self.orders, self.orders, self._records(), self.rules, links_transfers=True)
        casa = CasaActivities(self.bank.ledger)
        return Worker(
            self.bank.client,
            task_queue=self.task_queue,
            workflows=[TransactionWorkflow, StandingOrderWorkflow],
            activities=[
                casa.post,
                casa.post_linked,
                casa.reject,
                NotificationActivities(self.bank.ledger, self.bank.publisher).publish,
                order.due,
                order.outcome,
                order.record,
                order.keep,
            ],
            workflow_runner=workflow_runner(),
        )

    def _records(self) -> Any:
        ledger = self.bank.ledger

        class _Results:
            async def get(self, tenant: str, transaction_id: str) -> Any:  # noqa: ARG002  one tenant only
                result = ledger.results.get(transaction_id)
                return None if result is None else type("Record", (), {"result": result})

        return _Results()

    @property
    def task_queue(self) -> str:
        return f"{self.bank.task_queue}-orders"

    async def start(self) -> Handle:
        """As the order's Schedule does: the same workflow id never, since a time is appended."""
        order = self.orders.order
        return await self.bank.client.start_workflow(
            StandingOrderWorkflow.run,
            OrderKey(tenant=order.tenant, order_id=order.order_id),
            id=f"standing-order-main-{order.order_id}-{uuid.uuid4()}",
            task_queue=self.task_queue,
        )

    async def run(self) -> OrderRunOutcome:
        return await (await self.start()).result()

    def change_order(self, **fields: Any) -> None:
        self.orders.order = self.orders.order.model_copy(update=fields)

    def due(self) -> RunKey:
        """What is due today."""
        order = self.orders.order
        found = due_by(order, dt.datetime.combine(order.schedule.start_date, dt.time(23, 59), tzinfo=dt.UTC))
        assert found is not None
        return RunKey(tenant=order.tenant, order_id=order.order_id, due_date=found.date)


@pytest.fixture
async def bank(runtime: Runtime) -> AsyncIterator[OrderBank]:
    """A has 100.00; the order is due each day at midnight, today for the first time."""
    async with AsyncExitStack() as stack:
        environment = await stack.enter_async_context(time_skipping_server(runtime))
        opened = await stack.enter_async_context(open_bank(environment))
        today = (await environment.get_current_time()).date()
        order = StandingOrder(
            tenant="main",
            order_id=str(uuid.uuid4()),
            debtor=AccountRef(account_id="A", currency="EUR"),
            creditor=AccountRef(account_id="B", currency="EUR"),
            amount=Money.parse("12.50", "EUR"),
            schedule=OrderSchedule(frequency=Frequency.DAILY, time=dt.time(0, 0), start_date=today),
            created_by="teller",
            created_at=dt.datetime.now(dt.UTC),
        )
        made = OrderBank(opened, FakeOrders(opened, order))
        await stack.enter_async_context(made.worker())
        yield made
        opened.ledger.open_gates()


async def test_a_due_date_is_one_transaction_and_its_outcome_is_recorded(bank: OrderBank) -> None:
    handle = await bank.start()
    outcome = await handle.result()
    due = bank.due()
    assert outcome.run == due
    assert outcome.result is not None
    assert (outcome.result.status, outcome.result.transaction_id) == (TransactionStatus.COMPLETED, due.transaction_id)
    assert bank.orders.runs == [(due.due_date.day, 1, "completed")]
    assert (bank.bank.balance("A"), bank.bank.balance("B"), bank.orders.kept) == (8_750, 1_250, 1)
    child = bank.bank.client.get_workflow_handle(workflow_id("main", due.transaction_id))
    assert (await child.describe()).status is WorkflowExecutionStatus.COMPLETED
    assert await search_attribute(handle, "CasaflowStatus") == "completed"
    assert bank.bank.ledger.calls["linked"] == 1, "a plain transfer posts its legs together, as through the API"


async def test_the_same_due_date_started_twice_at_once_is_one_transaction(bank: OrderBank) -> None:
    bank.bank.ledger.gates["linked"].clear()
    first, second = await bank.start(), await bank.start()
    await bank.bank.ledger.entered["linked"].wait()
    await eventually(lambda: len(bank.orders.runs_by_key) == 1)
    bank.bank.ledger.gates["linked"].set()
    with bank.bank.environment.auto_time_skipping_disabled():  # the slower one looks again after a second
        outcomes = await asyncio.gather(first.result(), second.result())
    assert {outcome.result.status for outcome in outcomes if outcome.result is not None} == {TransactionStatus.COMPLETED}
    assert bank.bank.balance("B") == 1_250
    assert len(bank.orders.runs) == 1


async def test_a_due_date_that_has_ended_is_not_started_again(bank: OrderBank) -> None:
    await bank.run()
    again = await bank.run()
    assert (again.run, again.result) == (None, None)
    assert "has ended before, as completed" in again.why
    assert bank.bank.balance("B") == 1_250


@pytest.mark.parametrize("change", [OrderChange.PAUSE, OrderChange.CANCEL])
async def test_an_order_that_is_paused_or_cancelled_moves_no_money(bank: OrderBank, change: OrderChange) -> None:
    bank.orders.order = after_change(bank.orders.order, change, now=dt.datetime.now(dt.UTC))
    handle = await bank.start()
    outcome = await handle.result()
    assert outcome.run is None
    assert (bank.orders.runs, bank.bank.balance("B")) == ([], 0)
    assert await search_attribute(handle, "CasaflowStatus") == "nothing-done"


async def test_nothing_is_done_before_the_first_due_date(bank: OrderBank) -> None:
    later = bank.orders.order.schedule.model_copy(update={"start_date": bank.due().due_date + dt.timedelta(days=30)})
    bank.change_order(schedule=later)
    assert (await bank.run()).why == "nothing was due by then"
    assert bank.bank.balance("B") == 0


async def test_a_refusal_is_skipped_and_the_order_goes_on(bank: OrderBank) -> None:
    bank.change_order(amount=Money.parse("100.01", "EUR"))
    outcome = await bank.run()
    assert outcome.result is not None
    assert outcome.result.status is TransactionStatus.REJECTED
    assert bank.orders.runs == [(bank.due().due_date.day, 1, "rejected")]
    assert (bank.orders.order.status, bank.orders.changes) == (OrderStatus.ACTIVE, [])


async def test_a_refusal_stops_the_order_that_says_so(bank: OrderBank) -> None:
    bank.change_order(amount=Money.parse("100.01", "EUR"), on_refusal=OnRefusal(rule=RefusalRule.STOP))
    await bank.run()
    assert bank.orders.order.status is OrderStatus.STOPPED
    assert bank.orders.changes == [(OrderChange.STOP, f"due date {bank.due().due_date}: insufficient-funds")]
    assert bank.orders.kept == 1


async def test_an_order_that_stops_on_refusals_goes_on_without_one(bank: OrderBank) -> None:
    bank.change_order(on_refusal=OnRefusal(rule=RefusalRule.STOP))
    await bank.run()
    assert bank.orders.order.status is OrderStatus.ACTIVE


async def test_a_refusal_is_tried_again_by_further_transactions_until_the_money_is_there(bank: OrderBank) -> None:
    bank.change_order(amount=Money.parse("100.01", "EUR"), on_refusal=RETRY)
    handle = await bank.start()
    await eventually(lambda: bank.orders.runs == [(bank.due().due_date.day, 1, "rejected")])
    bank.bank.ledger.accounts["A"].balance += 1
    outcome = await handle.result()
    assert outcome.result is not None
    assert outcome.result.status is TransactionStatus.COMPLETED
    day = bank.due().due_date.day
    assert bank.orders.runs == [(day, 1, "rejected"), (day, 2, "completed")]
    assert bank.bank.balance("B") == 10_001


async def test_a_refusal_that_nothing_mends_is_tried_until_the_time_is_up(bank: OrderBank) -> None:
    bank.change_order(amount=Money.parse("100.01", "EUR"), on_refusal=RETRY)
    begun = await bank.bank.environment.get_current_time()
    outcome = await bank.run()
    assert outcome.run is not None
    assert outcome.run.attempt == 4, "at once, after 4, 8 and 12 hours"
    assert [run[1:] for run in bank.orders.runs] == [(attempt, "rejected") for attempt in (1, 2, 3, 4)]
    assert await bank.bank.environment.get_current_time() - begun >= dt.timedelta(hours=12)
    assert len({run.transaction_id for run in bank.orders.runs_by_key.values()}) == 4


async def test_a_cancellation_between_two_attempts_ends_the_trying(bank: OrderBank) -> None:
    bank.change_order(amount=Money.parse("100.01", "EUR"), on_refusal=RETRY)
    handle = await bank.start()
    await eventually(lambda: bank.orders.runs == [(bank.due().due_date.day, 1, "rejected")])
    bank.orders.order = after_change(bank.orders.order, OrderChange.CANCEL, now=dt.datetime.now(dt.UTC))
    outcome = await handle.result()
    assert outcome.run is not None
    assert (outcome.run.attempt, len(bank.orders.runs)) == (1, 1)


async def test_a_closed_account_is_not_tried_again(bank: OrderBank) -> None:
    bank.change_order(on_refusal=RETRY)
    bank.bank.ledger.accounts["B"].status = AccountStatus.CLOSED
    outcome = await bank.run()
    assert outcome.run is not None
    assert outcome.run.attempt == 1


async def test_the_last_due_date_completes_the_order_and_a_further_attempt_still_comes(bank: OrderBank) -> None:
    schedule = bank.orders.order.schedule.model_copy(update={"count": 1})
    bank.change_order(schedule=schedule, amount=Money.parse("100.01", "EUR"), on_refusal=RETRY)
    handle = await bank.start()
    await eventually(lambda: bank.orders.runs == [(bank.due().due_date.day, 1, "rejected")])
    bank.orders.order = after_change(bank.orders.order, OrderChange.COMPLETE, now=dt.datetime.now(dt.UTC))  # as the upkeep would
    bank.bank.ledger.accounts["A"].balance += 1
    outcome = await handle.result()
    assert outcome.result is not None
    assert outcome.result.status is TransactionStatus.COMPLETED
    assert bank.orders.order.status is OrderStatus.COMPLETED


async def test_an_order_whose_end_date_has_passed_is_completed_by_its_last_run(bank: OrderBank) -> None:
    schedule = bank.orders.order.schedule.model_copy(update={"end_date": bank.due().due_date})
    bank.change_order(schedule=schedule)
    await bank.run()
    assert bank.orders.changes == [(OrderChange.COMPLETE, None)]


async def test_the_due_date_is_the_last_one_of_a_month_that_is_shorter(bank: OrderBank) -> None:
    today = bank.due().due_date
    first = (today.replace(day=1) - dt.timedelta(days=1)).replace(day=1)  # of the month before
    schedule = OrderSchedule(frequency=Frequency.MONTHLY, day=31, time=dt.time(0, 0), start_date=first)
    bank.change_order(schedule=schedule)
    outcome = await bank.run()
    assert outcome.run is not None
    tomorrow = today + dt.timedelta(days=1)
    last = today if tomorrow.day == 1 else today.replace(day=1) - dt.timedelta(days=1)
    assert outcome.run.due_date == last


async def test_a_transaction_outlives_the_termination_of_the_run_that_started_it(bank: OrderBank) -> None:
    bank.bank.ledger.gates["linked"].clear()
    handle = await bank.start()
    await bank.bank.ledger.entered["linked"].wait()
    await handle.terminate()
    bank.bank.ledger.gates["linked"].set()
    child = bank.bank.client.get_workflow_handle_for(TransactionWorkflow.run, workflow_id("main", bank.due().transaction_id))
    assert (await child.result()).status is TransactionStatus.COMPLETED
    (started,) = [
        event.start_child_workflow_execution_initiated_event_attributes
        async for event in handle.fetch_history_events()
        if event.HasField("start_child_workflow_execution_initiated_event_attributes")
    ]
    # The test server ends no children with their parents, whatever was asked for; a real one does.
    assert started.parent_close_policy == ParentClosePolicy.PARENT_CLOSE_POLICY_ABANDON
    assert started.workflow_id_reuse_policy == WorkflowIdReusePolicy.WORKFLOW_ID_REUSE_POLICY_REJECT_DUPLICATE
    assert bank.orders.runs == [(bank.due().due_date.day, 1, None)]
    again = await bank.run()  # the upkeep, or an operator, has it run again
    assert again.result is not None
    assert again.result.status is TransactionStatus.COMPLETED
    assert bank.orders.runs == [(bank.due().due_date.day, 1, "completed")]
    assert bank.bank.balance("B") == 1_250


async def test_a_cancelled_run_leaves_its_transaction_alone(bank: OrderBank) -> None:
    bank.bank.ledger.gates["linked"].clear()
    handle = await bank.start()
    await bank.bank.ledger.entered["linked"].wait()
    await handle.cancel()
    bank.bank.ledger.gates["linked"].set()
    child = bank.bank.client.get_workflow_handle_for(TransactionWorkflow.run, workflow_id("main", bank.due().transaction_id))
    assert (await child.result()).status is TransactionStatus.COMPLETED


async def test_an_amount_above_the_banks_threshold_waits_for_its_approval(bank: OrderBank) -> None:
    rules = WaitingRules(thresholds=ApprovalThresholds.parse({"EUR": "10.00"}))
    activities = StandingOrderActivities(bank.orders, bank.orders, bank._records(), rules, links_transfers=True)
    order = bank.orders.order
    inquiry = DueInquiry(key=OrderKey(tenant="main", order_id=order.order_id), at=dt.datetime.now(dt.UTC) + dt.timedelta(days=1))
    due = await ActivityEnvironment().run(activities.due, inquiry)
    assert due.request is not None
    assert due.request.approval is not None
    assert due.request.approval.before is ApprovalStage.POSTING
