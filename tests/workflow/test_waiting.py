"""Approval by a second person and future-dated transactions: who may end a wait, what becomes of it, and what it shows meanwhile."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from temporalio.client import WorkflowExecutionStatus, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from ledger import visibility
from ledger.accounts import AccountStatus
from ledger.approvals import Approval, ApprovalStage
from ledger.commands import Command, sign
from ledger.errors import ApprovalExpiredError, NotCancellableError, NotWaitingError, SamePrincipalError, UnauthenticatedCommandError
from ledger.money import Money
from ledger.refusals import RefusalCode
from ledger.results import TransactionResult, TransactionStatus, WaitingFor, WaitingKind
from tests.workflow.conftest import Bank, Handle, eventually, search_attribute
from workflows import authority
from workflows.transaction import TransactionWorkflow
from workflows.visibility import WAITING_UNTIL_KEY

COMPLETED, REJECTED, REVERSED = TransactionStatus.COMPLETED, TransactionStatus.REJECTED, TransactionStatus.REVERSED
SECRET, FOREIGN_SECRET = b"s" * 32, b"f" * 32
DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _trusted() -> Iterator[None]:
    authority.trust([SECRET])
    yield
    authority.trust([])


async def now(bank: Bank) -> dt.datetime:
    return await bank.environment.get_current_time()


async def start(bank: Bank, *, before: str = "posting", expires_in: dt.timedelta = DAY, **fields: Any) -> Handle:
    """A transfer from A to B, submitted by `teller`, that needs an approval."""
    approval = Approval(expires_at=await now(bank) + expires_in, before=ApprovalStage(before))
    return await bank.start(**{"debtor": "A", "creditor": "B", "approval": approval, **fields})


async def start_dated(bank: Bank, days: int, **fields: Any) -> Handle:
    """A transfer whose execution date begins in so many days."""
    begins_at = (await now(bank)) + days * DAY
    dated = {"requested_execution_date": begins_at.date(), "executes_at": begins_at}
    return await bank.start(**{"debtor": "A", "creditor": "B", **dated, **fields})


def command(handle: Handle, action: str, by: str = "colleague", *, secret: bytes = SECRET, **fields: Any) -> Command:
    transaction_id = handle.id.removeprefix("transaction-main-")
    values = {"tenant": "main", "transaction_id": transaction_id, "at": dt.datetime.now(dt.UTC), **fields}
    return sign(secret, action=action, by=by, **values)


async def tell(handle: Handle, action: str, by: str = "colleague", *, reason: str | None = None) -> TransactionResult:
    """Send a command as the API does."""
    answer: TransactionResult = await handle.execute_update(
        action, command(handle, action, by, reason=reason), result_type=TransactionResult
    )
    return answer


async def refused_with(handle: Handle, update: str, argument: object) -> str | None:
    """Send an update that must be refused by its validator; the type of the failure."""
    with pytest.raises(WorkflowUpdateFailedError) as failed:
        await handle.execute_update(update, argument, result_type=TransactionResult)
    assert isinstance(failed.value.cause, ApplicationError)
    return failed.value.cause.type


async def waits_for(handle: Handle, what: WaitingKind) -> WaitingFor:
    async def waiting() -> WaitingFor | None:
        found = (await handle.query(TransactionWorkflow.current)).waiting_for
        return found if found is not None and found.what is what else None

    found = await eventually(waiting)
    assert isinstance(found, WaitingFor)
    return found


def code(result: TransactionResult) -> RefusalCode | None:
    return result.reason.code if result.reason is not None else None


# ---- approval before posting ----


async def test_nothing_is_posted_before_somebody_else_approves_and_all_of_it_after(bank: Bank) -> None:
    handle = await start(bank)
    found = await waits_for(handle, WaitingKind.APPROVAL)
    assert bank.ledger.calls.total() == 0
    assert await search_attribute(handle, visibility.WAITING_FOR) == "approval"
    assert await search_attribute(handle, visibility.STATUS) == "processing"
    described = await handle.describe()
    assert described.typed_search_attributes[WAITING_UNTIL_KEY] == found.until
    result = await tell(handle, "approve")
    assert (result.status, result.waiting_for) == (COMPLETED, None)
    assert await handle.result() == result
    assert (bank.balance("A"), bank.balance("B")) == (8_750, 1_250)
    assert await search_attribute(handle, visibility.WAITING_FOR) is None


@pytest.mark.parametrize("action", ["approve", "decline", "cancel"])
async def test_who_ended_a_wait_and_why_is_recorded_once_with_the_transaction(bank: Bank, action: str) -> None:
    handle = await start(bank)
    await waits_for(handle, WaitingKind.APPROVAL)
    await tell(handle, action, "director", reason="seen the invoice")
    await handle.result()
    assert [(done.action, done.by, done.reason) for done in bank.ledger.actions] == [(action, "director", "seen the invoice")]


async def test_an_approval_that_comes_with_the_start_counts(bank: Bank) -> None:
    idle = Bank(bank.environment, ledger=bank.ledger, publisher=bank.publisher)  # its task queue has no worker yet
    handle = await start(idle)
    approving = asyncio.create_task(tell(handle, "approve"))
    await asyncio.sleep(0)
    async with idle.worker():
        assert (await approving).status is COMPLETED


async def test_who_submitted_it_can_neither_approve_nor_decline(bank: Bank) -> None:
    handle = await start(bank)
    for action in ("approve", "decline"):
        assert await refused_with(handle, action, command(handle, action, by="teller")) == SamePrincipalError.__name__
    assert (await tell(handle, "approve")).status is COMPLETED


@pytest.mark.parametrize("action", ["approve", "decline", "cancel"])
async def test_a_forged_command_is_refused_and_changes_nothing(bank: Bank, action: str) -> None:
    handle = await start(bank)
    await waits_for(handle, WaitingKind.APPROVAL)
    signed = command(handle, action)
    forged = [
        command(handle, action, secret=FOREIGN_SECRET),
        signed.model_copy(update={"by": "director"}),
        signed.model_copy(update={"signature": ""}),
        command(handle, action, transaction_id=str(uuid.uuid4())),
        command(handle, action, tenant="other"),
        command(handle, "retry"),
    ]
    for each in forged:
        assert await refused_with(handle, action, each) == UnauthenticatedCommandError.__name__
    assert (await waits_for(handle, WaitingKind.APPROVAL)).what is WaitingKind.APPROVAL
    assert bank.ledger.calls.total() == 0


@pytest.mark.parametrize("action", ["approve", "decline", "cancel"])
@pytest.mark.parametrize("typed", [{}, {"by": "director"}, "yes", None])
async def test_what_one_can_type_into_the_web_ui_is_refused(bank: Bank, action: str, typed: object) -> None:
    handle = await start(bank)
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update(action, typed)
    assert (await waits_for(handle, WaitingKind.APPROVAL)).what is WaitingKind.APPROVAL
    assert bank.ledger.calls.total() == 0


async def test_what_is_declined_is_rejected_and_says_who_and_why(bank: Bank) -> None:
    handle = await start(bank)
    result = await tell(handle, "decline", reason="no invoice")
    assert (result.status, code(result)) == (REJECTED, RefusalCode.DECLINED)
    assert result.reason is not None
    assert result.reason.detail == "it was declined by colleague: no invoice"
    assert bank.balance("A") == 10_000
    assert await handle.result() == result
    assert bank.publisher.types(result.transaction_id) == ["accounting.transaction-rejected"]
    assert await search_attribute(handle, visibility.REASON) == "declined"


async def test_what_nobody_approves_in_time_is_rejected(skipping_bank: Bank) -> None:
    bank = skipping_bank
    handle = await start(bank)
    result = await handle.result()
    assert (result.status, code(result)) == (REJECTED, RefusalCode.APPROVAL_EXPIRED)
    assert (await now(bank)) >= (await handle.describe()).start_time + DAY
    assert bank.balance("A") == 10_000
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_an_approval_whose_time_is_over_when_the_workflow_begins_is_not_waited_for(bank: Bank) -> None:
    # As after a reset: the workflow begins again, and the instant stays.
    result = await (await start(bank, expires_in=-DAY)).result()
    assert code(result) is RefusalCode.APPROVAL_EXPIRED


async def test_an_approval_that_comes_too_late_is_refused_as_expired(bank: Bank) -> None:
    bank.publisher.faults.for_good = OSError("kafka is away")  # it goes on running
    handle = await start(bank, expires_in=dt.timedelta(seconds=-1))
    await eventually(lambda: bank.publisher.calls)
    assert await refused_with(handle, "approve", command(handle, "approve")) == ApprovalExpiredError.__name__
    bank.publisher.faults.for_good = None
    assert code(await handle.result()) is RefusalCode.APPROVAL_EXPIRED


async def test_of_an_approval_and_its_expiry_in_one_moment_one_wins_and_both_say_so(skipping_bank: Bank) -> None:
    bank = skipping_bank
    outcomes = set()
    for seconds in (1, 2, 3):
        handle = await start(bank, expires_in=dt.timedelta(seconds=seconds))
        await waits_for(handle, WaitingKind.APPROVAL)
        approval, ended = await asyncio.gather(tell(handle, "approve"), handle.result(), return_exceptions=True)
        assert isinstance(ended, TransactionResult)
        if isinstance(approval, TransactionResult):
            assert approval == ended
            assert ended.status is COMPLETED
        else:
            assert code(ended) is RefusalCode.APPROVAL_EXPIRED
        outcomes.add(ended.status)
    assert outcomes <= {COMPLETED, REJECTED}


async def test_the_same_approval_twice_is_one_and_another_one_after_it_is_refused(bank: Bank) -> None:
    handle = await start_dated(bank, 3, approval=Approval(expires_at=await now(bank) + DAY))
    first = await tell(handle, "approve")
    assert (first.status, first.waiting_for and first.waiting_for.what) == (TransactionStatus.PROCESSING, WaitingKind.EXECUTION_DATE)
    assert await tell(handle, "approve") == first
    assert await refused_with(handle, "approve", command(handle, "approve", by="director")) == NotWaitingError.__name__
    assert await refused_with(handle, "decline", command(handle, "decline")) == NotWaitingError.__name__


async def test_of_an_approval_and_a_decline_at_once_the_first_counts(bank: Bank) -> None:
    idle = Bank(bank.environment, ledger=bank.ledger, publisher=bank.publisher)
    handle = await start(idle)
    both = [asyncio.create_task(tell(handle, "approve", "colleague")), asyncio.create_task(tell(handle, "decline", "director"))]
    await asyncio.sleep(0)
    async with idle.worker():
        answers = await asyncio.gather(*both, return_exceptions=True)
        result = await handle.result()
    assert sum(isinstance(answer, TransactionResult) for answer in answers) == 1
    assert result in answers
    assert result.status is (COMPLETED if isinstance(answers[0], TransactionResult) else REJECTED)


async def test_a_transaction_that_needs_no_approval_takes_none(bank: Bank) -> None:
    handle = await start_dated(bank, 3)
    await waits_for(handle, WaitingKind.EXECUTION_DATE)
    assert await refused_with(handle, "approve", command(handle, "approve")) == NotWaitingError.__name__


@pytest.mark.parametrize("fields", [{"fee": Money(minor_units=50, currency="EUR")}, {"balancing": True}, {"creditor": "B:CZK"}])
async def test_an_approval_before_posting_goes_with_whatever_is_posted(bank: Bank, fields: dict[str, Any]) -> None:
    handle = await start(bank, **fields)
    assert (await tell(handle, "approve")).status is COMPLETED
    assert bank.balance("B") > 0


# ---- cancelling ----


@pytest.mark.parametrize("by_command", [True, False])
@pytest.mark.parametrize("what", ["approval", "execution-date"])
async def test_what_is_cancelled_while_it_waits_is_rejected_as_cancelled(bank: Bank, what: str, by_command: bool) -> None:
    handle = await (start(bank) if what == "approval" else start_dated(bank, 30))
    await waits_for(handle, WaitingKind(what))
    if by_command:
        assert code(await tell(handle, "cancel", "teller", reason="a mistake")) is RefusalCode.CANCELLED
    else:
        await handle.cancel()
    result = await handle.result()
    assert (result.status, code(result), result.waiting_for) == (REJECTED, RefusalCode.CANCELLED, None)
    assert result.reason is not None
    assert ("by teller" in result.reason.detail) is by_command
    assert bank.balance("A") == 10_000
    assert await search_attribute(handle, visibility.WAITING_FOR) is None
    assert (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED


async def test_a_cancel_once_posting_has_begun_is_refused(bank: Bank) -> None:
    bank.publisher.faults.for_good = OSError("kafka is away")
    handle = await bank.start(debtor="A", creditor="B")
    await eventually(lambda: bank.publisher.calls)
    assert await refused_with(handle, "cancel", command(handle, "cancel", "teller")) == NotCancellableError.__name__
    bank.publisher.faults.for_good = None
    assert (await handle.result()).status is COMPLETED


async def test_a_cancel_that_comes_with_the_start_of_a_plain_transfer_counts_or_is_refused(bank: Bank) -> None:
    idle = Bank(bank.environment, ledger=bank.ledger, publisher=bank.publisher)
    handle = await idle.start(debtor="A", creditor="B")
    cancelling = asyncio.create_task(tell(handle, "cancel", "teller"))
    await asyncio.sleep(0)
    async with idle.worker():
        (answer,) = await asyncio.gather(cancelling, return_exceptions=True)
        result = await handle.result()
    assert (code(result) is RefusalCode.CANCELLED) is isinstance(answer, TransactionResult)
    assert bank.balance("A") == (10_000 if code(result) is RefusalCode.CANCELLED else 8_750)


# ---- approval before the credit ----


async def test_a_credit_that_waits_is_posted_after_the_approval(bank: Bank) -> None:
    handle = await start(bank, before="credit")
    await waits_for(handle, WaitingKind.APPROVAL)
    assert (bank.balance("A"), bank.balance("B")) == (8_750, 0)
    result = await tell(handle, "approve")
    assert result.status is COMPLETED
    assert (bank.balance("A"), bank.balance("B")) == (8_750, 1_250)


@pytest.mark.parametrize("creditor_status", [AccountStatus.ACTIVE, AccountStatus.CLOSED])
async def test_a_credit_that_is_declined_is_never_tried_and_the_debtor_gets_his_money_back(
    bank: Bank, creditor_status: AccountStatus
) -> None:
    bank.ledger.open("B", status=creditor_status)
    handle = await start(bank, before="credit")
    await waits_for(handle, WaitingKind.APPROVAL)
    result = await tell(handle, "decline", reason="no invoice")
    assert (result.status, code(result)) == (REVERSED, RefusalCode.DECLINED)
    assert [(leg.leg, leg.outcome) for leg in result.legs] == [("debit", "posted"), ("compensation", "posted")]
    assert (bank.balance("A"), bank.balance("B")) == (10_000, 0)
    expected = ["casa.debited", "casa.credited", "accounting.transaction-reversed"]
    assert await handle.result() == result
    assert bank.publisher.types(result.transaction_id) == expected


async def test_a_credit_that_nobody_approves_in_time_is_taken_back(skipping_bank: Bank) -> None:
    bank = skipping_bank
    result = await (await start(bank, before="credit")).result()
    assert (result.status, code(result)) == (REVERSED, RefusalCode.APPROVAL_EXPIRED)
    assert (bank.balance("A"), bank.balance("B")) == (10_000, 0)


async def test_while_a_credit_waits_no_cancel_is_taken(bank: Bank) -> None:
    handle = await start(bank, before="credit")
    await waits_for(handle, WaitingKind.APPROVAL)
    assert await refused_with(handle, "cancel", command(handle, "cancel", "teller")) == NotCancellableError.__name__
    await handle.cancel()
    await waits_for(handle, WaitingKind.APPROVAL)
    assert (await tell(handle, "approve")).status is COMPLETED


async def test_before_there_is_a_debit_its_credit_can_not_be_approved(bank: Bank) -> None:
    approval = Approval(expires_at=await now(bank) + 9 * DAY, before=ApprovalStage.CREDIT)
    handle = await start_dated(bank, 3, approval=approval)
    await waits_for(handle, WaitingKind.EXECUTION_DATE)
    assert await refused_with(handle, "approve", command(handle, "approve")) == NotWaitingError.__name__


# ---- future-dated ----


async def test_a_future_dated_transaction_is_posted_when_its_day_begins(skipping_bank: Bank) -> None:
    bank = skipping_bank
    handle = await start_dated(bank, 30)
    found = await waits_for(handle, WaitingKind.EXECUTION_DATE)
    assert bank.ledger.calls.total() == 0
    assert await search_attribute(handle, visibility.WAITING_FOR) == "execution-date"
    result = await handle.result()
    assert result.status is COMPLETED
    assert (await now(bank)) >= found.until
    assert {leg.value_date for leg in result.legs} == {found.until.date()}


async def test_the_rate_is_that_of_the_execution_date_and_so_are_the_checks(skipping_bank: Bank) -> None:
    bank = skipping_bank
    handle = await start_dated(bank, 30, creditor="B:CZK")
    found = await waits_for(handle, WaitingKind.EXECUTION_DATE)
    assert bank.rates.calls == 0
    bank.ledger.open("A", balance=0)
    result = await handle.result()
    assert code(result) is RefusalCode.INSUFFICIENT_FUNDS
    assert result.legs[0].value_date == found.until.date()
    assert bank.rates.calls == 1


async def test_where_the_banks_midnight_lies_before_that_of_utc_the_booking_is_of_the_day_that_was_asked_for(skipping_bank: Bank) -> None:
    bank = skipping_bank
    day = (await now(bank)).date() + 3 * DAY
    begins_at = dt.datetime.combine(day, dt.time.min, tzinfo=dt.UTC) - dt.timedelta(hours=2)
    result = await (await bank.start(debtor="A", creditor="B", requested_execution_date=day, executes_at=begins_at)).result()
    assert {leg.value_date for leg in result.legs} == {day}


async def test_approval_comes_first_and_then_the_date(skipping_bank: Bank) -> None:
    bank = skipping_bank
    handle = await start_dated(bank, 30, approval=Approval(expires_at=await now(bank) + DAY))
    await waits_for(handle, WaitingKind.APPROVAL)
    approved = await tell(handle, "approve")
    assert approved.waiting_for is not None
    assert approved.waiting_for.what is WaitingKind.EXECUTION_DATE
    assert bank.ledger.calls["debit"] == 0
    assert (await handle.result()).status is COMPLETED
    assert (await now(bank)) >= approved.waiting_for.until


async def test_without_an_approval_the_date_is_not_waited_for(skipping_bank: Bank) -> None:
    bank = skipping_bank
    handle = await start_dated(bank, 30, approval=Approval(expires_at=await now(bank) + DAY))
    assert code(await handle.result()) is RefusalCode.APPROVAL_EXPIRED
    assert (await now(bank)) < (await handle.describe()).start_time + 2 * DAY


# ---- what a wait shows, and what it needs ----


async def test_whoever_waits_for_the_result_hears_that_somebody_else_is_waited_for(bank: Bank) -> None:
    handle = await start(bank)
    answer = await handle.execute_update("final_result", result_type=TransactionResult)
    assert (answer.status, answer.waiting_for and answer.waiting_for.what) == (TransactionStatus.PROCESSING, WaitingKind.APPROVAL)


async def test_a_wait_outlives_the_worker_and_another_one_carries_it_on(bank: Bank) -> None:
    idle = Bank(bank.environment, ledger=bank.ledger, publisher=bank.publisher)
    async with idle.worker(max_cached_workflows=0):  # the test server would go on looking for a worker that had it cached
        handle = await start(idle, before="credit")
        await waits_for(handle, WaitingKind.APPROVAL)
    assert await search_attribute(handle, visibility.WAITING_FOR) == "approval"  # no worker runs
    async with idle.worker():
        assert (await tell(handle, "approve")).status is COMPLETED
        assert (await handle.result()).status is COMPLETED
