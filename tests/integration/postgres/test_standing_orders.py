"""The register of standing orders: entered once, changed one after the other, and never behind anybody's back."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import psycopg
import pytest

from infra.postgres.standing_orders import PostgresStandingOrders
from ledger.errors import NotFoundError, StandingOrderConflictError, StandingOrderEndedError
from ledger.money import Money
from ledger.refusals import Refusal, RefusalCode
from ledger.requests import AccountRef
from ledger.results import TransactionResult, TransactionStatus
from ledger.standing_orders import (
    Frequency,
    OnRefusal,
    OrderChange,
    OrderSchedule,
    OrderStatus,
    RefusalRule,
    RunKey,
    StandingOrder,
)
from tests.integration.postgres.bank import Bank, new_id

NOW = dt.datetime(2026, 1, 10, 9, 0, tzinfo=dt.UTC)


def _orders(bank: Bank) -> PostgresStandingOrders:
    return PostgresStandingOrders(bank.database)


def _order(bank: Bank, **fields: Any) -> StandingOrder:
    values: dict[str, Any] = {
        "tenant": bank.tenant,
        "order_id": new_id(),
        "debtor": AccountRef(account_id="A", currency="EUR"),
        "creditor": AccountRef(account_id="B", currency="CZK"),
        "amount": Money.parse("12.50", "EUR"),
        "reference": "rent",
        "schedule": OrderSchedule(frequency=Frequency.MONTHLY, day=31, time_zone="Europe/Prague", start_date=dt.date(2026, 1, 31), count=4),
        "on_refusal": OnRefusal(rule=RefusalRule.RETRY, retry_until_hours=4, every_hours=2),
        "created_by": "teller",
        "created_at": NOW,
    }
    return StandingOrder(**{**values, **fields})


async def test_an_order_is_found_as_it_was_entered_and_its_repeat_changes_nothing(bank: Bank) -> None:
    orders, order = _orders(bank), _order(bank)
    assert await orders.create(order) == (order, True)
    assert await orders.get(bank.tenant, order.order_id) == order
    again = order.model_copy(update={"created_by": "colleague", "created_at": NOW + dt.timedelta(days=1)})
    assert await orders.create(again) == (order, False)
    with pytest.raises(StandingOrderConflictError):
        await orders.create(order.model_copy(update={"amount": Money.parse("1.00", "EUR")}))
    assert await orders.get("another tenant", order.order_id) is None


async def test_the_same_order_entered_at_once_is_one_order(bank: Bank) -> None:
    orders, order = _orders(bank), _order(bank)
    entered = await asyncio.gather(*(orders.create(order) for _ in range(6)))
    assert [is_new for _, is_new in entered].count(True) == 1
    assert await bank.value("SELECT count(*) FROM standing_order_change WHERE order_id = CAST(%(id)s AS uuid)", id=order.order_id) == 1


async def test_changes_that_come_at_once_follow_one_another_and_each_is_noted(bank: Bank) -> None:
    orders, order = _orders(bank), _order(bank)
    await orders.create(order)
    changes = [OrderChange.PAUSE, OrderChange.RESUME] * 4
    await asyncio.gather(
        *(orders.change(bank.tenant, order.order_id, change, by=f"clerk {number}", now=NOW) for number, change in enumerate(changes))
    )
    after = await orders.get(bank.tenant, order.order_id)
    assert after is not None
    noted = await bank.select(
        "SELECT version, action FROM standing_order_change WHERE order_id = CAST(%(id)s AS uuid) ORDER BY version", id=order.order_id
    )
    assert [row["version"] for row in noted] == list(range(1, after.version + 1))
    actions = [row["action"] for row in noted[1:]]
    assert actions == (["pause", "resume"] * len(actions))[: len(actions)], "each was a change of what the one before had left"
    assert after.status is (OrderStatus.PAUSED if actions and actions[-1] == "pause" else OrderStatus.ACTIVE)


async def test_of_a_pause_and_a_cancellation_the_cancellation_stands(bank: Bank) -> None:
    orders = _orders(bank)
    for _ in range(5):
        order = _order(bank)
        await orders.create(order)
        await asyncio.gather(
            *(
                orders.change(bank.tenant, order.order_id, change, by="clerk", now=NOW)
                for change in (OrderChange.PAUSE, OrderChange.CANCEL)
            ),
            return_exceptions=True,
        )
        ended = await orders.get(bank.tenant, order.order_id)
        assert ended is not None
        assert ended.status is OrderStatus.CANCELLED
        with pytest.raises(StandingOrderEndedError):
            await orders.change(bank.tenant, order.order_id, OrderChange.RESUME, by="clerk", now=NOW)
    with pytest.raises(NotFoundError):
        await orders.change(bank.tenant, new_id(), OrderChange.PAUSE, by="clerk", now=NOW)


async def test_the_first_outcome_of_an_attempt_stands(bank: Bank) -> None:
    orders, order = _orders(bank), _order(bank)
    await orders.create(order)
    key = RunKey(tenant=bank.tenant, order_id=order.order_id, due_date=dt.date(2026, 1, 31))
    begun = await orders.start_run(key, now=NOW)
    assert (begun.transaction_id, begun.outcome) == (key.transaction_id, None)
    refusal = Refusal(code=RefusalCode.INSUFFICIENT_FUNDS, detail="too much")
    refused = TransactionResult(transaction_id=key.transaction_id, status=TransactionStatus.REJECTED, reason=refusal)
    await orders.finish_run(key, refused, now=NOW)
    await orders.finish_run(key, refused.model_copy(update={"status": TransactionStatus.COMPLETED, "reason": None}), now=NOW)
    again = await orders.start_run(key, now=NOW + dt.timedelta(hours=1))
    assert (again.started_at, again.outcome, again.refusal) == (NOW, TransactionStatus.REJECTED, refusal)
    second = key.model_copy(update={"attempt": 2})
    await orders.start_run(second, now=NOW)
    assert [run.key for run in await orders.runs(bank.tenant, order.order_id, at_most=10)] == [second, key]


async def test_what_needs_a_schedule_is_found_until_it_has_one_and_again_when_it_is_overdue(bank: Bank) -> None:
    orders, order = _orders(bank), _order(bank)
    await orders.create(order)

    async def in_need(overdue: dt.datetime) -> bool:
        return (bank.tenant, order.order_id) in await orders.in_need(overdue=overdue, at_most=1_000)

    assert await in_need(NOW)
    due = dt.datetime(2026, 1, 31, 5, 0, tzinfo=dt.UTC)
    await orders.scheduled(order, next_due_at=due)
    assert not await in_need(NOW)
    assert not await in_need(due)
    assert await in_need(due + dt.timedelta(seconds=1))
    paused = await orders.change(bank.tenant, order.order_id, OrderChange.PAUSE, by="clerk", now=NOW)
    assert await in_need(NOW)
    await orders.scheduled(order, next_due_at=due)
    assert await in_need(NOW), "of an older version"
    await orders.scheduled(paused, next_due_at=None)
    assert not await in_need(due + dt.timedelta(days=1))


async def test_pages_are_whole_though_orders_share_an_instant(bank: Bank) -> None:
    orders = _orders(bank)
    entered = {(await orders.create(_order(bank)))[0].order_id for _ in range(7)}
    found: list[str] = []
    after = None
    while page := await orders.page(bank.tenant, after=after, at_most=3):
        found += [order.order_id for order in page]
        after = page[-1].created_at, page[-1].order_id
    assert sorted(found) == sorted(entered)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE standing_order_change SET by = 'nobody'",
        "DELETE FROM standing_order_change",
        "UPDATE standing_order SET amount = 1",
        "UPDATE standing_order SET creditor = 'C'",
        "DELETE FROM standing_order",
        "UPDATE standing_order_run SET transaction_id = gen_random_uuid()",
    ],
)
async def test_the_application_cannot_rewrite_what_was_entered(bank: Bank, statement: str) -> None:
    await _orders(bank).create(_order(bank))
    async with await psycopg.AsyncConnection.connect(bank.url) as connection:
        await connection.execute("SET ROLE casaflow_app")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute(statement)
