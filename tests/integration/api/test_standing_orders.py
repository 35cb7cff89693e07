"""Standing orders over HTTP, carried out by Temporal's Schedules on the real stack."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any

import httpx
import psycopg
import pytest
from temporalio.client import Client, ScheduleActionExecutionStartWorkflow, ScheduleHandle
from temporalio.service import RPCError

from infra.postgres.database import Database
from infra.postgres.standing_orders import PostgresStandingOrders
from infra.settings import Settings
from infra.temporal.client import connect
from infra.temporal.standing_orders import StandingOrderKeeper
from ledger.ids import standing_order_schedule_id, standing_order_transaction_id
from tests.integration.api.bank import Bank, Records, assert_problem
from tests.stack_fixtures import RunningStack

NOW = dt.datetime.now(dt.UTC)
TODAY, TOMORROW = NOW.date(), NOW.date() + dt.timedelta(days=1)


def _in_the_future(**fields: Any) -> dict[str, Any]:
    return {"frequency": "monthly", "time_zone": "Europe/Berlin", "start_date": "2094-01-31", **fields}


async def _body(bank: Bank, **fields: Any) -> dict[str, Any]:
    funds = fields.pop("funds", "100.00")
    return {
        "order_id": str(uuid.uuid4()),
        "debtor": await bank.open(funds=funds),
        "creditor": await bank.open(),
        "amount": "12.50",
        "currency": "EUR",
        "reference": "rent",
        "schedule": _in_the_future(),
        **fields,
    }


async def _create(bank: Bank, **fields: Any) -> dict[str, Any]:
    answer = await bank.http.post("/v1/standing-orders", json=await _body(bank, **fields))
    assert answer.status_code == 201, answer.text
    content: dict[str, Any] = answer.json()
    return content


async def _show(bank: Bank, order_id: str) -> dict[str, Any]:
    content: dict[str, Any] = (await bank.http.get(f"/v1/standing-orders/{order_id}")).json()
    return content


async def _when_run(bank: Bank, order_id: str, runs: int = 1) -> dict[str, Any]:
    """The order once so many attempts have ended."""
    async with asyncio.timeout(90):
        while True:
            order = await _show(bank, order_id)
            if len([run for run in order["runs"] if run["outcome"] is not None]) >= runs:
                return order
            await asyncio.sleep(0.1)


async def _when(bank: Bank, order_id: str, status: str) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while (order := await _show(bank, order_id))["status"] != status:  # noqa: ASYNC110  over HTTP nobody tells
            await asyncio.sleep(0.1)
        return order


@pytest.fixture
async def temporal(stack: RunningStack) -> Client:
    return await connect(stack.temporal_settings)


def _schedule(temporal: Client, bank: Bank, order_id: str) -> ScheduleHandle:
    return temporal.get_schedule_handle(standing_order_schedule_id(bank.tenant, order_id))


async def _exists(handle: ScheduleHandle) -> bool:
    try:
        await handle.describe()
    except RPCError:
        return False
    return True


async def _change(bank: Bank, order_id: str, change: str, reason: str | None = None) -> httpx.Response:
    body = {"reason": reason} if reason else None
    return await bank.http.post(f"/v1/standing-orders/{order_id}/{change}", json=body)


def _soon(seconds: float) -> dict[str, Any]:
    """A schedule that is due today at this minute: in the past by some seconds, so at once."""
    now = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    return {"frequency": "daily", "time_zone": "UTC", "start_date": now.date().isoformat(), "time": now.strftime("%H:%M"), "count": 1}


async def test_an_order_is_entered_once_found_again_and_has_a_schedule_with_its_due_dates(bank: Bank, temporal: Client) -> None:
    body = await _body(bank, schedule=_in_the_future(day=31, calendar="following", count=4), on_refusal={"retry_until": 48, "every": 6})
    first, again = [await bank.http.post("/v1/standing-orders", json=body) for _ in range(2)]
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.headers["Location"] == f"/v1/standing-orders/{body['order_id']}"
    order = first.json()
    assert order == again.json()
    assert (order["status"], order["amount"], order["on_refusal"]) == ("active", "12.50", {"retry_until": 48, "every": 6})
    dates = [due["due_date"] for due in order["next_due"]]
    assert dates == ["2094-02-01", "2094-03-01", "2094-03-31", "2094-04-30"]  # January 31 and February 28 are Sundays
    described = await _schedule(temporal, bank, body["order_id"]).describe()
    assert [at.isoformat() for at in described.info.next_action_times] == [due["at"].replace("Z", "+00:00") for due in order["next_due"]]
    assert described.schedule.policy.catchup_window == dt.timedelta(days=7)
    assert (await bank.http.get(first.headers["Location"])).json() == {**order, "runs": []}


async def test_an_order_that_is_due_is_carried_out_once_and_ends_with_its_last_due_date(
    bank: Bank, temporal: Client, records: Records
) -> None:
    order = await _create(bank, schedule=_soon(0))
    ran = await _when_run(bank, order["order_id"])
    (run,) = ran["runs"]
    assert (run["outcome"], run["due_date"], run["attempt"]) == ("completed", TODAY.isoformat(), 1)
    assert run["transaction_id"] == standing_order_transaction_id(bank.tenant, order["order_id"], TODAY)
    assert await bank.ledger(order["creditor"]) == "12.50"
    transaction = (await bank.http.get(f"/v1/transactions/{run['transaction_id']}")).json()
    assert (transaction["status"], transaction["reference"], transaction["submitted_by"]) == ("completed", "rent", "teller")
    assert transaction["metadata"] == {"standing_order_id": order["order_id"], "due_date": TODAY.isoformat()}
    assert await records.workflow_exists(bank.tenant, run["transaction_id"])
    assert (await _when(bank, order["order_id"], "completed"))["next_due"] == []
    assert not await _exists(_schedule(temporal, bank, order["order_id"]))


async def test_a_due_date_that_comes_while_the_stack_runs_is_carried_out_by_its_schedule(bank: Bank, temporal: Client) -> None:
    order = await _create(bank)
    # The API takes whole minutes; the register may say seconds.
    at = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(seconds=4)
    schedule = f'{{"frequency": "daily", "time": "{at.time().isoformat()}", "start_date": "{at.date()}", "time_zone": "UTC"}}'
    await _rewrite(bank, order["order_id"], schedule)
    await _keep(temporal, bank, order["order_id"])
    ran = await _when_run(bank, order["order_id"])
    assert [run["outcome"] for run in ran["runs"]] == ["completed"]
    assert dt.datetime.fromisoformat(ran["runs"][0]["started_at"]) >= at
    assert ran["status"] == "active"


async def test_a_trigger_by_hand_carries_out_what_is_due_and_never_more(bank: Bank, temporal: Client) -> None:
    order = await _create(bank, schedule={**_soon(0), "count": 2})
    await _when_run(bank, order["order_id"])
    handle = _schedule(temporal, bank, order["order_id"])
    for _ in range(2):
        await _triggered(handle)
    ran = await _show(bank, order["order_id"])
    assert len(ran["runs"]) == 1
    assert await bank.ledger(order["creditor"]) == "12.50"


async def test_a_trigger_before_anything_is_due_moves_no_money(bank: Bank, temporal: Client) -> None:
    order = await _create(bank)
    handle = _schedule(temporal, bank, order["order_id"])
    await _triggered(handle)
    assert (await _show(bank, order["order_id"]))["runs"] == []


async def test_a_paused_order_does_nothing_and_a_resumed_one_does_not_make_up_for_it(
    bank: Bank, temporal: Client, records: Records
) -> None:
    order = await _create(bank)
    paused = await _change(bank, order["order_id"], "pause", reason="on holiday")
    assert (paused.status_code, paused.json()["status"], paused.json()["next_due"]) == (200, "paused", [])
    handle = _schedule(temporal, bank, order["order_id"])
    assert (await handle.describe()).schedule.state.paused
    schedule = f'{{"frequency": "daily", "time": "00:00:00", "start_date": "{TODAY}", "time_zone": "UTC"}}'
    await _rewrite(bank, order["order_id"], schedule)
    await _keep(temporal, bank, order["order_id"])
    await _triggered(handle)
    assert (await _show(bank, order["order_id"]))["runs"] == []
    assert (await _change(bank, order["order_id"], "resume")).json()["status"] == "active"
    assert not (await handle.describe()).schedule.state.paused
    assert (await _show(bank, order["order_id"]))["next_due"][0]["due_date"] == TOMORROW.isoformat()
    await _triggered(handle)
    assert (await _show(bank, order["order_id"]))["runs"] == []
    changes = records.one(
        "SELECT string_agg(action || ' by ' || by || coalesce(': ' || reason, ''), ', ' ORDER BY version) FROM standing_order_change"
        " WHERE order_id = CAST(%s AS uuid)",
        order["order_id"],
    )
    assert changes == "create by teller, pause by teller: on holiday, resume by teller"


async def test_a_cancelled_order_has_no_schedule_and_takes_no_change(bank: Bank, temporal: Client) -> None:
    order = await _create(bank)
    cancelled = [await _change(bank, order["order_id"], "cancel") for _ in range(2)]
    assert [answer.json()["status"] for answer in cancelled] == ["cancelled"] * 2
    assert not await _exists(_schedule(temporal, bank, order["order_id"]))
    for change in ("pause", "resume"):
        assert_problem(await _change(bank, order["order_id"], change), 409, "standing-order-ended")


@pytest.mark.parametrize(("on_refusal", "status"), [("skip", "active"), ("stop", "stopped")])
async def test_a_refused_due_date_is_recorded_and_the_order_goes_on_or_stops(bank: Bank, on_refusal: str, status: str) -> None:
    order = await _create(bank, funds="1.00", schedule={**_soon(0), "count": 2}, on_refusal=on_refusal)
    ran = await _when_run(bank, order["order_id"])
    (run,) = ran["runs"]
    assert (run["outcome"], run["reason"]["code"]) == ("rejected", "insufficient-funds")
    assert await bank.ledger(order["creditor"]) == "0.00"
    await _when(bank, order["order_id"], status)


async def test_a_schedule_that_was_deleted_is_made_again_and_what_it_missed_is_made_up_for(bank: Bank, temporal: Client) -> None:
    order = await _create(bank)
    handle = _schedule(temporal, bank, order["order_id"])
    await handle.delete()
    schedule = f'{{"frequency": "daily", "time": "00:00:00", "start_date": "{TODAY - dt.timedelta(days=2)}", "time_zone": "UTC"}}'
    await _rewrite(bank, order["order_id"], schedule)
    keeper, database = _keeper(temporal, bank)
    async with asyncio.timeout(60):
        # Temporal's list may go on showing a Schedule for a moment after it was deleted.
        while not await _exists(handle):
            await keeper.reconcile(now=dt.datetime.now(dt.UTC), whole=True)
            await asyncio.sleep(0.2)
    await database.close()
    ran = await _when_run(bank, order["order_id"], runs=3)
    assert sorted(run["due_date"] for run in ran["runs"]) == [(TODAY - dt.timedelta(days=days)).isoformat() for days in (2, 1, 0)]
    assert await bank.ledger(order["creditor"]) == "37.50"


async def test_pages_of_orders_are_whole_and_each_order_is_on_one(other_bank: Bank) -> None:
    orders = [(await _create(other_bank))["order_id"] for _ in range(5)]
    found: list[str] = []
    cursor = None
    while True:
        query = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        page = (await other_bank.http.get("/v1/standing-orders", params=query)).json()
        found += [order["order_id"] for order in page["orders"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == orders
    assert_problem(await other_bank.http.get("/v1/standing-orders", params={"cursor": "x"}), 422, "invalid-input")


async def test_an_order_is_its_tenants_alone(bank: Bank, other_bank: Bank) -> None:
    order = await _create(bank)
    for method, path in (("GET", ""), ("POST", "/pause"), ("POST", "/resume"), ("POST", "/cancel")):
        assert_problem(await other_bank.http.request(method, f"/v1/standing-orders/{order['order_id']}{path}"), 404, "not-found")
    assert (await _show(bank, order["order_id"]))["status"] == "active"


async def test_a_key_stands_for_one_order_and_other_content_under_an_id_is_a_conflict(bank: Bank) -> None:
    body = await _body(bank)
    keyed = {name: value for name, value in body.items() if name != "order_id"}
    key = {"Idempotency-Key": f"key-{uuid.uuid4()}"}
    first, second = [await bank.http.post("/v1/standing-orders", json=keyed, headers=key) for _ in range(2)]
    assert (first.status_code, second.status_code, first.json()) == (201, 200, second.json())
    other = await bank.http.post("/v1/standing-orders", json={**keyed, "amount": "1.00"}, headers=key)
    assert_problem(other, 422, "idempotency-key-conflict")
    await bank.http.post("/v1/standing-orders", json=body)
    assert_problem(await bank.http.post("/v1/standing-orders", json={**body, "amount": "1.00"}), 409, "standing-order-conflict")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("debtor", {"debtor": "Unknown1"}),
        ("creditor", {"creditor": "Unknown1"}),
        ("amount", {"amount": "0"}),
        ("amount", {"amount": 12.5}),
        ("currency", {"currency": "USD"}),
        ("schedule.day", {"schedule": _in_the_future(day=32)}),
        ("schedule.day", {"schedule": _in_the_future(day="1")}),
        ("schedule.time", {"schedule": _in_the_future(time="6:00")}),
        ("schedule.time", {"schedule": _in_the_future(time="24:00")}),
        ("schedule.time_zone", {"schedule": _in_the_future(time_zone="Mars/Base")}),
        ("schedule.time_zone", {"schedule": _in_the_future(time_zone="../../etc/passwd")}),
        ("schedule.start_date", {"schedule": _in_the_future(start_date="2020-01-01")}),
        ("schedule.end_date", {"schedule": _in_the_future(end_date="2093-01-01")}),
        ("schedule.count", {"schedule": _in_the_future(count=0)}),
        ("schedule.frequency", {"schedule": _in_the_future(frequency="hourly")}),
        ("schedule.calendar", {"schedule": _in_the_future(calendar="never")}),
        ("on_refusal.every", {"on_refusal": {"retry_until": 1, "every": 2}}),
        ("on_refusal.retry_until", {"on_refusal": {"retry_until": 0}}),
        ("reference", {"reference": "x" * 36}),
        ("interval", {"interval": 1}),
    ],
    ids=str,
)
async def test_a_malformed_order_names_field_value_and_rule_and_enters_nothing(bank: Bank, field: str, change: dict[str, Any]) -> None:
    body = await _body(bank)
    answer = await bank.http.post("/v1/standing-orders", json={**body, **change})
    problem = assert_problem(answer, 422, answer.json()["code"])
    assert problem["errors"][0]["field"].startswith(field.partition(".")[0])
    assert problem["errors"][0]["rule"]
    assert_problem(await bank.http.get(f"/v1/standing-orders/{body['order_id']}"), 404, "not-found")


_DSN: dict[str, str] = {}


@pytest.fixture(autouse=True)
def _dsn(stack: RunningStack) -> None:
    _DSN["dsn"] = stack.postgres_dsn


async def _rewrite(bank: Bank, order_id: str, schedule: str) -> None:
    """As no caller can: give the order another schedule."""
    async with await psycopg.AsyncConnection.connect(_DSN["dsn"]) as connection:
        await connection.execute(
            "UPDATE standing_order SET schedule = schedule || CAST(%s AS jsonb) WHERE tenant = %s AND order_id = CAST(%s AS uuid)",
            (schedule, bank.tenant, order_id),
        )


def _keeper(temporal: Client, bank: Bank) -> tuple[StandingOrderKeeper, Database]:
    async def client() -> Client:
        return temporal

    database = Database.open(_DSN["dsn"], pool_size=1)
    return StandingOrderKeeper(PostgresStandingOrders(database), client, task_queue=Settings().task_queue), database


async def _keep(temporal: Client, bank: Bank, order_id: str) -> None:
    keeper, database = _keeper(temporal, bank)
    order = await keeper.keep(bank.tenant, order_id, now=dt.datetime.now(dt.UTC))
    assert order is not None
    await database.close()


async def _triggered(handle: ScheduleHandle) -> None:
    """Trigger a Schedule, and wait until what that started has ended."""
    before = (await handle.describe()).info.num_actions
    await handle.trigger()
    async with asyncio.timeout(60):
        while True:
            info = (await handle.describe()).info
            if info.num_actions > before:
                break
            await asyncio.sleep(0.1)
        # The Schedule itself may go on listing what has ended as running.
        for result in info.recent_actions:
            assert isinstance(result.action, ScheduleActionExecutionStartWorkflow)
            await handle._client.get_workflow_handle(result.action.workflow_id).result()
