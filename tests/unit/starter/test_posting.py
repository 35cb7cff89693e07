"""Order, windows and failures of posting many transactions, with a client that answers when the test says so."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from casaflow_client import ApiError, AsyncClient, models
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import CasaflowError
from starter.posting import WINDOW_PER_SLOT, Order, OrderConflictError, Tally, post_all


class FakeClient:
    """Answers each submission after a few turns of the loop, and remembers what was sent and what was under way at the same time."""

    def __init__(self, answer: Callable[[dict[str, Any], int], dict[str, Any] | Exception] | None = None) -> None:
        self._answer = answer or (lambda body, _attempt: {"transaction_id": body["id"], "status": "completed"})
        self._attempts: defaultdict[str, int] = defaultdict(int)
        self.sent: list[str] = []
        self.done: list[str] = []
        self.under_way: set[str] = set()
        self.most_under_way = 0
        self.met: list[tuple[str, str]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def submit(self, body: dict[str, Any], *, wait_seconds: int) -> models.Transaction:
        assert wait_seconds > 0
        identifier = body["id"]
        self.sent.append(identifier)
        self.met.extend((identifier, other) for other in self.under_way)
        self.under_way.add(identifier)
        self.most_under_way = max(self.most_under_way, len(self.under_way))
        try:
            await self.may_answer.wait()
            for _ in range(body.get("turns", 1)):
                await asyncio.sleep(0)
        finally:
            self.under_way.discard(identifier)
        self._attempts[identifier] += 1
        answer = self._answer(body, self._attempts[identifier])
        if isinstance(answer, Exception):
            raise answer
        self.done.append(identifier)
        submitted = models.Transaction.model_construct(transaction_id=identifier, status=answer["status"], legs=[])
        submitted._content, submitted._status = answer, 200 if body.get("repeated") else 201
        return submitted


def _order(number: int, *accounts: str, **body: Any) -> Order:
    return Order(body={"id": str(number), **body}, accounts=accounts, label=f"line {number}")


async def _post(client: FakeClient, orders: Iterator[Order] | list[Order], tally: Tally, *, in_flight: int = 4) -> int:
    outcomes = 0

    def on_done() -> None:
        nonlocal outcomes
        outcomes += 1

    await post_all(cast("AsyncClient", client), orders, in_flight=in_flight, tally=tally, on_done=on_done)
    return outcomes


@given(
    orders=st.lists(
        st.tuples(st.lists(st.sampled_from("abcde"), min_size=1, max_size=2, unique=True), st.integers(0, 5)), min_size=1, max_size=60
    ),
    in_flight=st.integers(1, 5),
)
def test_orders_of_one_account_are_sent_one_after_the_other(orders: list[tuple[list[str], int]], in_flight: int) -> None:
    listed = [_order(number, *accounts, turns=turns) for number, (accounts, turns) in enumerate(orders)]

    async def scenario() -> FakeClient:
        client, tally = FakeClient(), Tally()
        assert await _post(client, listed, tally, in_flight=in_flight) == len(listed) == tally.total
        return client

    client = asyncio.run(scenario())
    for account in "abcde":
        own = [order.body["id"] for order in listed if account in order.accounts]
        assert [identifier for identifier in client.sent if identifier in own] == own
        assert not [pair for pair in client.met if set(pair) <= set(own)]
    assert client.most_under_way <= in_flight


async def test_different_accounts_go_at_once_up_to_the_slots() -> None:
    client = FakeClient()
    client.may_answer.clear()
    running = asyncio.create_task(_post(client, [_order(number, f"A{number}") for number in range(20)], Tally(), in_flight=4))
    for _ in range(200):
        await asyncio.sleep(0)
    assert len(client.under_way) == 4
    client.may_answer.set()
    assert await running == 20
    assert client.most_under_way == 4


async def test_long_run_of_one_account_does_not_keep_the_others_waiting() -> None:
    client = FakeClient()
    client.may_answer.clear()
    orders = [*(_order(number, "busy") for number in range(WINDOW_PER_SLOT)), _order(1000, "other")]
    running = asyncio.create_task(_post(client, orders, Tally(), in_flight=2))
    for _ in range(200):
        await asyncio.sleep(0)
    assert client.under_way == {"0", "1000"}
    client.may_answer.set()
    await running


async def test_orders_are_read_as_they_are_needed() -> None:
    read = 0

    def orders() -> Iterator[Order]:
        nonlocal read
        for number in range(10_000):
            read += 1
            yield _order(number, "busy")

    client = FakeClient()
    client.may_answer.clear()
    running = asyncio.create_task(_post(client, orders(), Tally(), in_flight=2))
    for _ in range(500):
        await asyncio.sleep(0)
    assert read <= 2 * WINDOW_PER_SLOT + 1
    running.cancel()
    client.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await running


async def test_transaction_under_way_is_asked_for_again_until_it_is_final() -> None:
    def answer(body: dict[str, Any], attempt: int) -> dict[str, Any]:
        return {"transaction_id": body["id"], "status": "processing" if attempt < 3 else "rejected", "reason": {"code": "account-closed"}}

    client, tally = FakeClient(answer), Tally()
    await _post(client, [_order(1, "a")], tally)
    assert client.sent == ["1", "1", "1"]
    assert (dict(tally.statuses), dict(tally.reasons)) == ({"rejected": 1}, {"account-closed": 1})


async def test_transaction_that_this_run_started_is_no_repeat_however_often_it_asks() -> None:
    client, tally = FakeClient(), Tally()

    def answer(body: dict[str, Any], attempt: int) -> dict[str, Any]:
        body["repeated"] = attempt > 1
        return {"transaction_id": body["id"], "status": "processing" if attempt < 3 else "completed"}

    client._answer = answer
    await _post(client, [_order(1, "a")], tally)
    assert (tally.total, tally.repeated, len(tally.latencies_ms)) == (1, 0, 1)


def _conflict(body: dict[str, Any], _attempt: int) -> dict[str, Any] | Exception:
    if body.get("wrong"):
        return ApiError({"code": "transaction-conflict", "detail": f"{body['id']} was used before with other content"}, 409)
    return {"transaction_id": body["id"], "status": "completed"}


async def test_conflict_names_its_line_and_all_lines_before_it_have_their_outcome() -> None:
    # Line 3 is refused at once, while lines 0 and 2, before it, wait for slow ones; line 4 must not be sent after it.
    orders = [
        _order(0, "a", turns=40),
        _order(1, "b", turns=2),
        _order(2, "a", turns=2),
        _order(3, "c", wrong=True, turns=0),
        _order(4, "a"),
        _order(5, "b", turns=1),
    ]
    client, tally = FakeClient(_conflict), Tally()
    with pytest.raises(OrderConflictError, match="line 3: 3 was used before with other content"):
        await _post(client, orders, tally)
    assert {"0", "1", "2"} <= set(client.done)
    assert "4" not in client.sent
    assert tally.total == len(client.done)


@pytest.mark.parametrize("turns", [(3, 30), (30, 3)])
async def test_first_of_several_conflicts_is_the_one_that_is_named(turns: tuple[int, int]) -> None:
    orders = [_order(0, "a", wrong=True, turns=turns[0]), _order(1, "b", wrong=True, turns=turns[1])]
    with pytest.raises(OrderConflictError, match="line 0: "):
        await _post(FakeClient(_conflict), orders, Tally())


async def test_order_that_cannot_be_sent_is_not_lost_in_silence() -> None:
    def answer(body: dict[str, Any], _attempt: int) -> dict[str, Any] | Exception:
        return CasaflowError("the wire is cut") if body["id"] == "1" else {"transaction_id": body["id"], "status": "completed"}

    client = FakeClient(answer)
    with pytest.raises(CasaflowError, match="the wire is cut"):
        await _post(client, [_order(number, "a") for number in range(200)], Tally(), in_flight=1)
    assert client.done == ["0"]


async def test_orders_that_break_off_are_posted_up_to_there() -> None:
    def orders() -> Iterator[Order]:
        yield from (_order(number, "a", turns=3) for number in range(5))
        message = "line 6 is broken"
        raise CasaflowError(message)

    client, tally = FakeClient(), Tally()
    with pytest.raises(CasaflowError, match="line 6 is broken"):
        await _post(client, orders(), tally)
    assert client.done == ["0", "1", "2", "3", "4"]
    assert tally.total == 5


async def test_earlier_conflict_is_the_news_when_the_orders_break_off_later() -> None:
    def orders() -> Iterator[Order]:
        yield _order(1, "a", wrong=True, turns=20)
        message = "line 2 is broken"
        raise CasaflowError(message)

    with pytest.raises(OrderConflictError, match="line 1: "):
        await _post(FakeClient(_conflict), orders(), Tally())


async def test_interrupted_run_waits_for_what_was_sent_and_sends_nothing_more() -> None:
    client, tally = FakeClient(), Tally()
    client.may_answer.clear()
    running = asyncio.create_task(_post(client, [_order(number, f"A{number}") for number in range(30)], tally, in_flight=3))
    for _ in range(100):
        await asyncio.sleep(0)
    running.cancel()
    for _ in range(100):
        await asyncio.sleep(0)
    assert not running.done()
    client.may_answer.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert client.sent == client.done == ["0", "1", "2"]
    assert tally.total == 3


async def test_repeats_are_counted_apart_from_what_this_run_started() -> None:
    tally = Tally()
    await _post(FakeClient(), [_order(1, "a", repeated=True), _order(2, "a")], tally)
    assert (tally.total, tally.repeated, len(tally.latencies_ms)) == (2, 1, 1)
    assert tally.as_json()["already_posted"] == 1


def test_percentiles_are_by_nearest_rank() -> None:
    tally = Tally(latencies_ms=[float(value) for value in range(1, 101)])
    assert (tally.percentile_ms(50), tally.percentile_ms(99), tally.percentile_ms(100)) == (50.0, 99.0, 100.0)
    assert Tally().percentile_ms(50) is None
