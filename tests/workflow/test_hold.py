"""The story of a hold: expiry, captures, voids, with time skipped."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import pytest
from temporalio import workflow
from temporalio.client import WorkflowFailureError, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.runtime import Runtime
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.holds import HoldActivities
from activities.notification import NotificationActivities
from ledger.commands import Command, sign
from ledger.errors import HoldNotVoidableError, UnavailableError, UnknownAccountError
from ledger.events import Event, hold_event
from ledger.holds import Hold, HoldRequest, HoldStatus
from ledger.ids import hold_workflow_id
from ledger.money import Money
from ledger.refusals import Refusal, RefusalCode
from tests.workflow.conftest import eventually, search_attribute, time_skipping_server
from tests.workflow.fakes import FakePublisher
from workflows import authority, visibility
from workflows.hold import HoldInstruction, HoldWorkflow
from workflows.runner import workflow_runner

SECRET = b"s" * 32


def _euro(minor_units: int) -> Money:
    return Money(minor_units=minor_units, currency="EUR")


@dataclass
class FakeHolds:
    """One account with 100.00; its clock is the server's."""

    environment: WorkflowEnvironment
    available: int = 10_000
    holds: dict[str, Hold] = field(default_factory=dict)
    over: set[str] = field(default_factory=set)
    """Transactions that are over."""
    outbox: list[Event] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)
    errors: list[Exception] = field(default_factory=list)

    async def _enter(self, name: str) -> None:
        self.calls[name] += 1
        if self.errors:
            raise self.errors.pop(0)

    async def authorise(self, request: HoldRequest) -> tuple[Hold, bool]:
        await self._enter("authorise")
        if request.account_id != "A":
            raise UnknownAccountError(field="account_id", account_id=request.account_id)
        if request.hold_id in self.holds:
            hold = self.holds[request.hold_id]
            if hold.status is HoldStatus.OPEN and hold.expires_at <= await self.environment.get_current_time():
                # By the clock, and nobody has closed it yet.
                hold = hold.model_copy(update={"status": HoldStatus.EXPIRED, "closed_at": hold.expires_at})
            return hold, False
        refusal = None
        if request.amount.minor_units > self.available:
            refusal = Refusal(code=RefusalCode.INSUFFICIENT_FUNDS, detail="too much")
        hold = Hold(
            **request.model_dump(include={"tenant", "hold_id", "account_id", "expires_at", "authorised_by"}),
            amount=request.amount,
            captured=_euro(0),
            status=HoldStatus.REFUSED if refusal else HoldStatus.OPEN,
            created_at=await self.environment.get_current_time(),
            refusal=refusal,
            announced=refusal is None,
        )
        self._store(hold, told=refusal is None)
        return hold, True

    async def get(self, tenant: str, hold_id: str) -> Hold | None:  # noqa: ARG002  one tenant only
        await self._enter("get")
        return self.holds.get(hold_id)

    async def void(self, tenant: str, hold_id: str) -> Hold:  # noqa: ARG002
        await self._enter("void")
        hold = self.holds[hold_id]
        if hold.status is not HoldStatus.OPEN:
            raise HoldNotVoidableError(hold_id=hold_id, status=hold.status.value)
        return self._store(hold.model_copy(update={"status": HoldStatus.VOIDED, "closed_at": await self.environment.get_current_time()}))

    async def expire_one(self, tenant: str, hold_id: str) -> Hold:  # noqa: ARG002
        await self._enter("expire")
        hold = self.holds[hold_id]
        if hold.status is not HoldStatus.OPEN or hold.expires_at > await self.environment.get_current_time():
            return hold
        return self._store(hold.model_copy(update={"status": HoldStatus.EXPIRED, "closed_at": hold.expires_at}))

    async def settled(self, tenant: str, transaction_ids: Sequence[str]) -> tuple[str, ...]:  # noqa: ARG002
        return tuple(each for each in transaction_ids if each in self.over)

    def capture(self, hold_id: str, minor_units: int, *, final: bool = False) -> str:
        """As a transaction would; gives its id."""
        hold, transaction_id = self.holds[hold_id], str(uuid.uuid4())
        captured = hold.captured.minor_units + minor_units
        closed = final or captured == hold.amount.minor_units
        status = HoldStatus.CAPTURED if closed else HoldStatus.OPEN
        self._store(hold.model_copy(update={"captured": _euro(captured), "status": status}), told=False)
        self.over.add(transaction_id)
        return transaction_id

    def _store(self, hold: Hold, *, told: bool = True) -> Hold:
        self.holds[hold.hold_id] = hold
        if told:
            self.outbox.append(hold_event(hold))
        return hold

    async def unpublished(self, tenant: str, transaction_id: str) -> tuple[Event, ...]:  # noqa: ARG002
        return tuple(event for event in self.outbox if event.subject == transaction_id and event.event_id not in self.published)

    def note_published(self, events: Sequence[Event]) -> None:
        self.published.update(event.event_id for event in events)


Handle = WorkflowHandle[HoldWorkflow, Hold]


@dataclass
class HoldBank:
    environment: WorkflowEnvironment
    holds: FakeHolds
    publisher: FakePublisher = field(default_factory=FakePublisher)
    task_queue: str = field(default_factory=lambda: f"test-{uuid.uuid4()}")

    def worker(self) -> Worker:
        hold = HoldActivities(self.holds)
        return Worker(
            self.environment.client,
            task_queue=self.task_queue,
            workflows=[HoldWorkflow],
            activities=[
                hold.authorise,
                hold.void,
                hold.expire,
                hold.look_up,
                NotificationActivities(self.holds, self.publisher).publish,
            ],
            workflow_runner=workflow_runner(),
        )

    async def start(self, minor_units: int = 4_000, *, account_id: str = "A", days: float = 7) -> Handle:
        request = HoldRequest(
            tenant="main",
            hold_id=str(uuid.uuid4()),
            account_id=account_id,
            amount=_euro(minor_units),
            expires_at=await self.environment.get_current_time() + dt.timedelta(days=days),
            authorised_by="teller",
        )
        return await self.environment.client.start_workflow(
            HoldWorkflow.run,
            HoldInstruction(request=request),
            id=hold_workflow_id("main", request.hold_id),
            task_queue=self.task_queue,
            search_attributes=visibility.attributes_of_new_hold(request),
            static_summary=visibility.hold_summary(request),
        )

    @property
    def told(self) -> list[str]:
        """What was published, in order."""
        return [event.type.split("hold-")[1].removesuffix(".v1") for event in self.publisher.topics]


@pytest.fixture
async def bank(runtime: Runtime) -> AsyncIterator[HoldBank]:
    """On a server of its own: what one test does to time is no other's concern."""
    authority.trust([SECRET])
    async with AsyncExitStack() as stack:
        environment = await stack.enter_async_context(time_skipping_server(runtime))
        opened = HoldBank(environment, FakeHolds(environment))
        await stack.enter_async_context(opened.worker())
        yield opened
    authority.trust([])


def _id_of(handle: Handle) -> str:
    return handle.id.removeprefix("hold-main-")


def _void(handle: Handle, *, secret: bytes = SECRET, **fields: Any) -> Command:
    content = {"action": "void", "tenant": "main", "transaction_id": _id_of(handle), "by": "teller", **fields}
    return sign(secret, at=dt.datetime.now(dt.UTC), **content)


async def _update(handle: Handle, name: str, *arguments: Any) -> Hold:
    answer: Hold = await handle.execute_update(name, args=arguments, result_type=Hold)
    return answer


async def test_a_hold_expires_by_itself_at_its_end_and_tells_so(bank: HoldBank) -> None:
    handle = await bank.start(days=30)
    assert (await _update(handle, "authorised")).status is HoldStatus.OPEN
    assert await search_attribute(handle, "CasaflowStatus") == "open"
    assert await search_attribute(handle, "CasaflowKind") == "hold"
    expired = await handle.result()
    assert expired.status is HoldStatus.EXPIRED
    assert await bank.environment.get_current_time() >= expired.expires_at
    assert bank.told == ["authorised", "expired"]
    assert await search_attribute(handle, "CasaflowStatus") == "expired"
    assert bank.holds.calls == {"authorise": 1, "expire": 1}


async def test_a_refused_hold_ends_at_once_and_tells_nothing(bank: HoldBank) -> None:
    handle = await bank.start(10_001)
    refused = await handle.result()
    assert (refused.status, bank.told) == (HoldStatus.REFUSED, [])
    assert await search_attribute(handle, "CasaflowReason") == "insufficient-funds"


async def test_a_void_through_the_api_ends_the_hold_at_once(bank: HoldBank) -> None:
    handle = await bank.start()
    voided = await _update(handle, "void", _void(handle))
    assert voided.status is HoldStatus.VOIDED
    ended = await handle.result()
    assert (ended.status, bank.holds.calls["expire"]) == (HoldStatus.VOIDED, 0)
    assert bank.told == ["authorised", "voided"]


@pytest.mark.parametrize(
    "wrong", [{"secret": b"x" * 32}, {"action": "capture"}, {"transaction_id": str(uuid.uuid4())}, {"tenant": "other"}]
)
async def test_a_void_that_the_api_has_not_signed_for_this_hold_releases_nothing(bank: HoldBank, wrong: dict[str, Any]) -> None:
    handle = await bank.start()
    await _update(handle, "authorised")
    with pytest.raises(WorkflowUpdateFailedError) as found:
        await _update(handle, "void", _void(handle, **wrong))
    assert isinstance(found.value.cause, ApplicationError)
    assert found.value.cause.type == "UnauthenticatedCommandError"
    assert bank.holds.holds[_id_of(handle)].status is HoldStatus.OPEN
    assert bank.holds.calls["void"] == 0


async def test_a_void_that_comes_too_late_answers_what_became_of_the_hold(bank: HoldBank) -> None:
    handle = await bank.start()
    await _update(handle, "authorised")
    bank.holds.capture(_id_of(handle), 1_000, final=True)
    assert (await _update(handle, "void", _void(handle))).status is HoldStatus.CAPTURED
    assert (await handle.result()).status is HoldStatus.CAPTURED
    assert bank.told == ["authorised"], "a capture is its transaction's to publish"


async def test_captures_in_parts_leave_the_hold_open_and_the_last_one_ends_it(bank: HoldBank) -> None:
    handle = await bank.start(4_000)
    await _update(handle, "authorised")
    first = bank.holds.capture(_id_of(handle), 1_500)
    await handle.execute_update("capture", first)
    await eventually(lambda: _captured(handle, 1_500))
    assert await search_attribute(handle, "CasaflowStatus") == "open"
    await handle.execute_update("capture", bank.holds.capture(_id_of(handle), 2_500))
    ended = await handle.result()
    assert (ended.status, ended.captured, bank.holds.calls["expire"]) == (HoldStatus.CAPTURED, _euro(4_000), 0)


async def test_a_capture_that_is_still_under_way_is_looked_for_until_it_is_over(bank: HoldBank) -> None:
    handle = await bank.start(4_000)
    await _update(handle, "authorised")
    transaction_id = bank.holds.capture(_id_of(handle), 1_500)
    bank.holds.over.clear()
    await handle.execute_update("capture", transaction_id)
    looks = bank.holds.calls["get"]
    await eventually(lambda: bank.holds.calls["get"] > looks + 1)
    bank.holds.over.add(transaction_id)
    waiting = asyncio.create_task(handle.result())  # while somebody waits for it, time is skipped
    assert (await waiting).status is HoldStatus.EXPIRED
    assert bank.told == ["authorised", "expired"]


async def test_a_hold_whose_capture_never_ends_expires_all_the_same(bank: HoldBank) -> None:
    handle = await bank.start(4_000, days=1 / 24)
    await handle.execute_update("capture", str(uuid.uuid4()))
    assert (await handle.result()).status is HoldStatus.EXPIRED
    looks = bank.holds.calls["get"]
    assert 60 <= looks <= 60 + 10, "after the first few it is looked once a minute"


async def test_a_capture_of_which_nobody_told_is_seen_at_the_end(bank: HoldBank) -> None:
    handle = await bank.start()
    await _update(handle, "authorised")
    bank.holds.capture(_id_of(handle), 4_000)
    assert (await handle.result()).status is HoldStatus.CAPTURED
    assert bank.told == ["authorised"]


async def test_a_cancel_releases_nothing(bank: HoldBank) -> None:
    handle = await bank.start()
    await _update(handle, "authorised")
    await handle.cancel()
    ended = await handle.result()
    assert ended.status is HoldStatus.EXPIRED
    assert await bank.environment.get_current_time() >= ended.expires_at


async def test_a_database_that_is_away_delays_the_hold_and_loses_nothing(bank: HoldBank) -> None:
    bank.holds.errors = [UnavailableError(part="postgres", detail="refused")] * 4
    handle = await bank.start()
    assert (await handle.result()).status is HoldStatus.EXPIRED
    assert bank.told == ["authorised", "expired"]


async def test_a_hold_that_cannot_be_decided_fails_and_says_why(bank: HoldBank) -> None:
    handle = await bank.start(account_id="unknown")
    with pytest.raises(WorkflowFailureError) as found:
        await handle.result()
    assert isinstance(found.value.cause, ApplicationError)
    assert found.value.cause.type == "UnknownAccountError"


async def test_a_workflow_of_a_hold_that_exists_takes_it_over(bank: HoldBank) -> None:
    handle = await bank.start()
    await _update(handle, "authorised")
    await handle.terminate()
    request = HoldRequest(
        **bank.holds.holds[_id_of(handle)].model_dump(include={"tenant", "hold_id", "account_id", "expires_at", "authorised_by"}),
        amount=_euro(4_000),
    )
    again = await bank.environment.client.start_workflow(
        HoldWorkflow.run, HoldInstruction(request=request), id=handle.id, task_queue=bank.task_queue
    )
    assert (await _update(again, "void", _void(again))).status is HoldStatus.VOIDED
    assert bank.told == ["authorised", "voided"]


async def test_a_workflow_that_takes_a_hold_over_after_its_end_tells_of_it(bank: HoldBank) -> None:
    handle = await bank.start(days=1)
    hold = await _update(handle, "authorised")
    await handle.terminate()
    await bank.environment.sleep(dt.timedelta(days=2))
    again = await bank.environment.client.start_workflow(
        HoldWorkflow.run, HoldInstruction(request=hold.request), id=handle.id, task_queue=bank.task_queue
    )
    assert (await again.result()).status is HoldStatus.EXPIRED
    assert bank.told == ["authorised", "expired"]


@pytest.mark.slow
async def test_a_long_history_is_handed_over_without_losing_the_hold(bank: HoldBank) -> None:
    """The server suggests it after thousands of events; here it is said to suggest it at once."""
    with patch.object(workflow.Info, "is_continue_as_new_suggested", lambda info: info.continued_run_id is None):
        handle = await bank.start(4_000)
        await handle.execute_update("capture", "still-under-way")
        await eventually(lambda: bank.holds.calls["get"] >= 2)
        expired = await handle.result()
    assert expired.status is HoldStatus.EXPIRED
    described = await bank.environment.client.get_workflow_handle(handle.id).describe()
    assert described.run_id != handle.first_execution_run_id
    assert bank.holds.calls["authorise"] == 1
    assert bank.told == ["authorised", "expired"]


async def _captured(handle: Handle, minor_units: int) -> bool:
    hold = await handle.query(HoldWorkflow.current)
    return hold is not None and hold.captured == _euro(minor_units)
