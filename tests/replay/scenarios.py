"""What is recorded: one scenario for each way in which a transaction may go, played on real servers."""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from unittest.mock import patch

from infra.postgres.ledger import PostgresLedger
from ledger.approvals import Approval, ApprovalAsked, ApprovalStage
from ledger.commands import RETRY, REVERSE, SETTLE_TO
from ledger.decisions import LegName
from ledger.errors import LedgerIntegrityError
from ledger.money import Money
from ledger.postings import credit_posting, first_posting
from ledger.refusals import RefusalCode
from ledger.requests import Override
from ledger.results import TransactionResult, TransactionStatus
from ledger.rules import StatusChange
from tests.replay.bank import Handle, RecordedBank
from tests.workflow.conftest import eventually
from tests.workflow.operators import command
from workflows import policies
from workflows.transaction import TransactionWorkflow

COMPLETED, REJECTED, REVERSED = TransactionStatus.COMPLETED, TransactionStatus.REJECTED, TransactionStatus.REVERSED

DEFECT = LedgerIntegrityError("a check failed")
FEE = Money(minor_units=50, currency="EUR")
LOCAL_AND_ORDINARY = 4
"""Refusals that outlast every service's local attempts, and the first ordinary ones."""


@dataclass(frozen=True)
class Scenario:
    """How a transaction is played, and how it must have ended; status None: the workflow itself fails."""

    play: Callable[[RecordedBank], Awaitable[Handle]]
    status: TransactionStatus | None
    reason: RefusalCode | None = None


async def _deposit(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(creditor="A"))


async def _withdrawal(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A"))


async def _transfer(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="B"))


async def _transfer_across_currencies(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="C"))


async def _insufficient_funds(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="B", amount="1000"))


async def _cancelled_before_any_task(bank: RecordedBank) -> Handle:
    handle = await bank.start(debtor="A", creditor="B")
    await handle.cancel()
    async with bank.worker():
        return await _ended(handle)


async def _cancelled_while_the_rate_is_awaited(bank: RecordedBank) -> Handle:
    bank.refuse("rate", times=2)  # the local attempts
    gate = bank.hold_up("rate")
    async with bank.worker():
        handle = await bank.start(debtor="A", creditor="C")
        gate.opened.set()
        await eventually(lambda: not bank.troubles.errors["rate"])
        gate.opened.clear()
        await handle.cancel()
        return await _ended(handle)


async def _rate_too_old(bank: RecordedBank) -> Handle:
    async with bank.worker(max_age_days=0):
        return await _ended(await bank.start(debtor="A", creditor="C"))


async def _no_rate_for_the_pair(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(creditor="A", amount="10", currency="XPF"))


async def _rate_that_never_came(bank: RecordedBank) -> Handle:
    bank.refuse("rate", times=1000)
    # The deadline is two minutes. How long it is has no part in a replay; that it passed has.
    with patch.object(policies, "RATE", replace(policies.RATE, deadline=timedelta(seconds=1))):
        async with bank.worker():
            return await _ended(await bank.start(debtor="A", creditor="C"))


async def _credit_refused(bank: RecordedBank) -> Handle:
    await bank.accounts.change_status("main", bank.account_id("B"), StatusChange.FREEZE_CREDITS, by="teller")
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="B"))


async def _everything_fell_back(bank: RecordedBank) -> Handle:
    for name in ("rate", LegName.DEBIT, LegName.CREDIT, "publish"):
        bank.refuse(name, times=LOCAL_AND_ORDINARY)
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="C"))


async def _everything_hung_at_first(bank: RecordedBank) -> Handle:
    for name, local_attempts in (("rate", 2), (LegName.DEBIT, 2), (LegName.CREDIT, 2), ("publish", 1)):
        bank.hang(name, times=local_attempts)
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="C"))


async def _rejection_hung_at_first(bank: RecordedBank) -> Handle:
    bank.hang("reject", times=2)
    return await _rate_too_old(bank)


async def _compensation_fell_back(bank: RecordedBank) -> Handle:
    bank.refuse(LegName.COMPENSATION, times=LOCAL_AND_ORDINARY)
    return await _credit_refused(bank)


async def _rejection_fell_back(bank: RecordedBank) -> Handle:
    bank.refuse("reject", times=LOCAL_AND_ORDINARY)
    return await _rate_too_old(bank)


async def _answered_before_it_was_published(bank: RecordedBank) -> Handle:
    bank.refuse("publish", times=LOCAL_AND_ORDINARY)
    async with bank.worker():
        handle = await bank.start(debtor="A", creditor="B")
        answer = await handle.execute_update("final_result", result_type=TransactionResult)
        assert answer.status is COMPLETED
        return await _ended(handle)


async def _cancelled_while_posting(bank: RecordedBank) -> Handle:
    bank.refuse(LegName.DEBIT, times=2)
    gate = bank.hold_up(LegName.CREDIT)
    async with bank.worker():
        handle = await bank.start(debtor="A", creditor="B")
        await gate.reached.wait()
        await handle.cancel()
        gate.opened.set()
        return await _ended(handle)


async def _parked_at_the_credit(bank: RecordedBank) -> Handle:
    bank.troubles.errors[LegName.CREDIT].append(DEFECT)
    async with bank.worker():
        return await _ended(await _retried(await bank.start(debtor="A", creditor="B")))


async def _parked_at_the_compensation(bank: RecordedBank) -> Handle:
    await bank.accounts.change_status("main", bank.account_id("B"), StatusChange.FREEZE, by="teller")
    bank.troubles.errors[LegName.COMPENSATION].append(DEFECT)
    async with bank.worker():
        return await _ended(await _retried(await bank.start(debtor="A", creditor="B")))


async def _defect_at_the_first_leg(bank: RecordedBank) -> Handle:
    bank.troubles.errors[LegName.DEBIT].append(DEFECT)
    async with bank.worker():
        handle = await bank.start(debtor="A", creditor="B")
        await eventually(lambda: _closed(handle))
        return handle


async def _parked_and_settled_to_another(bank: RecordedBank) -> Handle:
    return await _parked_and_moved_on(bank, SETTLE_TO, account_id=bank.account_id("D"), currency="EUR")


async def _parked_and_reversed(bank: RecordedBank) -> Handle:
    return await _parked_and_moved_on(bank, REVERSE)


async def _parked_and_moved_on(bank: RecordedBank, action: str, **fields: Any) -> Handle:
    bank.troubles.errors[LegName.CREDIT].append(DEFECT)
    async with bank.worker():
        handle = await bank.start(debtor="A", creditor="B")
        await eventually(lambda: _is_parked(handle), seconds=30)
        await command(handle, action, **fields)
        return await _ended(handle)


async def _plain_linked(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="B", linked=True))


async def _plain_linked_across_currencies(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="C", linked=True))


async def _plain_linked_refused(bank: RecordedBank) -> Handle:
    await bank.accounts.change_status("main", bank.account_id("B"), StatusChange.FREEZE_CREDITS, by="teller")
    return await _plain_linked(bank)


async def _settled_though_never_begun(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.settle(bank.request(debtor="A", creditor="B", linked=True), found="terminated"))


async def _settled_half_way(bank: RecordedBank) -> Handle:
    """The debit is posted, and whoever posted it is no more."""
    asked = bank.request(debtor="A", creditor="B")
    ledger: PostgresLedger = bank.parts["ledger"]
    await ledger.post(first_posting(asked, conversion=None, booking_date=asked.submitted_at.date()))
    async with bank.worker():
        return await _ended(await bank.settle(asked, found="terminated"))


async def _settled_half_way_and_credit_refused(bank: RecordedBank) -> Handle:
    await bank.accounts.change_status("main", bank.account_id("B"), StatusChange.FREEZE_CREDITS, by="teller")
    return await _settled_half_way(bank)


async def _linked(bank: RecordedBank, **fields: Any) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="B", fee=FEE, **fields))


async def _linked_refused(bank: RecordedBank) -> Handle:
    return await _linked(bank, amount="100")


async def _linked_across_currencies(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="C", fee=FEE))


async def _linked_cancelled(bank: RecordedBank) -> Handle:
    handle = await bank.start(debtor="A", creditor="B", fee=FEE)
    await handle.cancel()
    async with bank.worker():
        return await _ended(handle)


async def _linked_fell_back(bank: RecordedBank) -> Handle:
    bank.refuse("linked", times=LOCAL_AND_ORDINARY)
    return await _linked(bank)


async def _linked_hung_at_first(bank: RecordedBank) -> Handle:
    bank.hang("linked", times=2)
    return await _linked(bank)


async def _linked_defect(bank: RecordedBank) -> Handle:
    bank.troubles.errors["linked"].append(DEFECT)
    async with bank.worker():
        handle = await bank.start(debtor="A", creditor="B", fee=FEE)
        await eventually(lambda: _closed(handle))
        return handle


async def _linked_after_legs_one_by_one(bank: RecordedBank) -> Handle:
    """As a worker that knew no linked legs would have left it; an operator carries it on by hand, then asks for another try."""
    asked = bank.request(debtor="A", creditor="B", override=Override(by="operator", reason="agreed"))
    ledger: PostgresLedger = bank.parts["ledger"]
    debit = first_posting(asked, conversion=None, booking_date=asked.submitted_at.date())
    debited = await ledger.post(debit)
    async with bank.worker():
        handle = await bank.submit(asked)
        await eventually(lambda: _is_parked(handle), seconds=30)
        await ledger.post(credit_posting(debit, debited, conversion=None))
        await command(handle, RETRY)
        return await _ended(handle)


async def _reversal(bank: RecordedBank) -> Handle:
    """Of a transfer across currencies: it asks for no rate."""
    async with bank.worker():
        original = await (await bank.start(debtor="A", creditor="C")).result()
        return await _ended(await bank.start(debtor="C", creditor="A", reverses=original.transaction_id))


async def _balancing(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await bank.start(debtor="A", creditor="B", amount="1000", balancing=True))


async def _retried(handle: Handle) -> Handle:
    await eventually(lambda: _is_parked(handle), seconds=30)
    await command(handle, RETRY)
    return handle


async def _waiting(bank: RecordedBank, **fields: Any) -> Handle:
    """A transaction that somebody or some day is waited for; whoever asks for its result hears so."""
    handle = await bank.start(**{"debtor": "A", "creditor": "B", **fields})
    answer = await handle.execute_update("final_result", result_type=TransactionResult)
    assert answer.waiting_for is not None
    return handle


async def _approved(bank: RecordedBank) -> Handle:
    async with bank.worker():
        handle = await _waiting(bank, approval_asked=ApprovalAsked())
        await _decide(handle, "approve")
        return await _ended(handle)


async def _declined(bank: RecordedBank) -> Handle:
    async with bank.worker():
        handle = await _waiting(bank, approval_asked=ApprovalAsked())
        await _decide(handle, "decline")
        return await _ended(handle)


async def _approval_expired(bank: RecordedBank) -> Handle:
    async with bank.worker():
        return await _ended(await _waiting(bank, approval_asked=ApprovalAsked(expires_in_seconds=2)))


async def _credit_approved(bank: RecordedBank) -> Handle:
    async with bank.worker():
        handle = await _waiting(bank, approval_asked=ApprovalAsked(before=ApprovalStage.CREDIT))
        await _decide(handle, "approve")
        return await _ended(handle)


async def _credit_declined(bank: RecordedBank) -> Handle:
    async with bank.worker():
        handle = await _waiting(bank, approval_asked=ApprovalAsked(before=ApprovalStage.CREDIT))
        await _decide(handle, "decline")
        return await _ended(handle)


async def _credit_approval_expired(bank: RecordedBank) -> Handle:
    async with bank.worker():
        asked = ApprovalAsked(expires_in_seconds=3, before=ApprovalStage.CREDIT)
        return await _ended(await _waiting(bank, approval_asked=asked))


async def _approved_and_dated(bank: RecordedBank) -> Handle:
    """Of a day that is about to begin."""
    now = dt.datetime.now(dt.UTC)
    approval = Approval(expires_at=now + timedelta(hours=1))
    dated = {"requested_execution_date": now.date(), "executes_at": now + timedelta(seconds=10)}
    async with bank.worker():
        handle = await _waiting(bank, approval=approval, **dated)
        await _decide(handle, "approve")
        return await _ended(handle)


async def _cancelled_while_it_waits(bank: RecordedBank) -> Handle:
    async with bank.worker():
        handle = await _waiting(bank, requested_execution_date=_in_three_days())
        await _decide(handle, "cancel")
        return await _ended(handle)


async def _cancelled_by_temporal_while_it_waits(bank: RecordedBank) -> Handle:
    async with bank.worker():
        handle = await _waiting(bank, requested_execution_date=_in_three_days())
        await handle.cancel()
        return await _ended(handle)


async def _decide(handle: Handle, action: str) -> None:
    await command(handle, action, by="colleague", reason="seen the invoice")


def _in_three_days() -> dt.date:
    return dt.datetime.now(dt.UTC).date() + timedelta(days=3)


async def _is_parked(handle: Handle) -> bool:
    return (await handle.query(TransactionWorkflow.current)).status is TransactionStatus.PARKED


async def _ended(handle: Handle) -> Handle:
    await handle.result()
    return handle


async def _closed(handle: Handle) -> bool:
    return (await handle.describe()).close_time is not None


SCENARIOS = {
    "completed-deposit": Scenario(_deposit, COMPLETED),
    "completed-withdrawal": Scenario(_withdrawal, COMPLETED),
    "completed-transfer": Scenario(_transfer, COMPLETED),
    "completed-cross-currency": Scenario(_transfer_across_currencies, COMPLETED),
    "completed-though-cancelled-while-posting": Scenario(_cancelled_while_posting, COMPLETED),
    "completed-by-ordinary-activities": Scenario(_everything_fell_back, COMPLETED),
    "completed-after-local-attempts-timed-out": Scenario(_everything_hung_at_first, COMPLETED),
    "completed-and-answered-before-published": Scenario(_answered_before_it_was_published, COMPLETED),
    "completed-after-parking-and-retry": Scenario(_parked_at_the_credit, COMPLETED),
    "rejected-insufficient-funds": Scenario(_insufficient_funds, REJECTED, RefusalCode.INSUFFICIENT_FUNDS),
    "rejected-cancelled-at-once": Scenario(_cancelled_before_any_task, REJECTED, RefusalCode.CANCELLED),
    "rejected-cancelled-while-rate-awaited": Scenario(_cancelled_while_the_rate_is_awaited, REJECTED, RefusalCode.CANCELLED),
    "rejected-rate-too-old": Scenario(_rate_too_old, REJECTED, RefusalCode.RATE_TOO_OLD),
    "rejected-rate-unavailable": Scenario(_no_rate_for_the_pair, REJECTED, RefusalCode.RATE_UNAVAILABLE),
    "rejected-rate-never-came": Scenario(_rate_that_never_came, REJECTED, RefusalCode.RATE_UNAVAILABLE),
    "rejected-by-an-ordinary-activity": Scenario(_rejection_fell_back, REJECTED, RefusalCode.RATE_TOO_OLD),
    "rejected-after-local-attempts-timed-out": Scenario(_rejection_hung_at_first, REJECTED, RefusalCode.RATE_TOO_OLD),
    "reversed-credit-refused": Scenario(_credit_refused, REVERSED, RefusalCode.ACCOUNT_CREDIT_FROZEN),
    "reversed-by-ordinary-activities": Scenario(_compensation_fell_back, REVERSED, RefusalCode.ACCOUNT_CREDIT_FROZEN),
    "reversed-after-parking-and-retry": Scenario(_parked_at_the_compensation, REVERSED, RefusalCode.ACCOUNT_FROZEN),
    "failed-defect-before-posting": Scenario(_defect_at_the_first_leg, None),
    "linked-completed": Scenario(_linked, COMPLETED),
    "linked-completed-cross-currency": Scenario(_linked_across_currencies, COMPLETED),
    "linked-completed-by-an-ordinary-activity": Scenario(_linked_fell_back, COMPLETED),
    "linked-completed-after-local-attempts-timed-out": Scenario(_linked_hung_at_first, COMPLETED),
    "linked-completed-after-parking-and-retry": Scenario(_linked_after_legs_one_by_one, COMPLETED),
    "linked-rejected-insufficient-funds": Scenario(_linked_refused, REJECTED, RefusalCode.INSUFFICIENT_FUNDS),
    "linked-rejected-cancelled-at-once": Scenario(_linked_cancelled, REJECTED, RefusalCode.CANCELLED),
    "linked-failed-defect": Scenario(_linked_defect, None),
    "linked-plain-completed": Scenario(_plain_linked, COMPLETED),
    "linked-plain-completed-cross-currency": Scenario(_plain_linked_across_currencies, COMPLETED),
    "linked-plain-rejected-credit-refused": Scenario(_plain_linked_refused, REJECTED, RefusalCode.ACCOUNT_CREDIT_FROZEN),
    "completed-after-parking-and-settling-to-another": Scenario(_parked_and_settled_to_another, COMPLETED),
    "reversed-after-parking-by-an-operator": Scenario(_parked_and_reversed, REVERSED, RefusalCode.REVERSED_BY_OPERATOR),
    "settlement-rejected-abandoned": Scenario(_settled_though_never_begun, REJECTED, RefusalCode.ABANDONED),
    "settlement-completed-half-done": Scenario(_settled_half_way, COMPLETED),
    "settlement-reversed-half-done": Scenario(_settled_half_way_and_credit_refused, REVERSED, RefusalCode.ACCOUNT_CREDIT_FROZEN),
    "balancing-completed": Scenario(_balancing, COMPLETED),
    "reversal-completed-cross-currency": Scenario(_reversal, COMPLETED),
    "waited-approved": Scenario(_approved, COMPLETED),
    "waited-approved-then-for-its-date": Scenario(_approved_and_dated, COMPLETED),
    "waited-declined": Scenario(_declined, REJECTED, RefusalCode.DECLINED),
    "waited-approval-expired": Scenario(_approval_expired, REJECTED, RefusalCode.APPROVAL_EXPIRED),
    "waited-credit-approved": Scenario(_credit_approved, COMPLETED),
    "waited-credit-declined": Scenario(_credit_declined, REVERSED, RefusalCode.DECLINED),
    "waited-credit-approval-expired": Scenario(_credit_approval_expired, REVERSED, RefusalCode.APPROVAL_EXPIRED),
    "waited-cancelled-by-command": Scenario(_cancelled_while_it_waits, REJECTED, RefusalCode.CANCELLED),
    "waited-cancelled-by-temporal": Scenario(_cancelled_by_temporal_while_it_waits, REJECTED, RefusalCode.CANCELLED),
}
"""By the name of the recording."""
