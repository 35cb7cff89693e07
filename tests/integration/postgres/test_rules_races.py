"""Changes of an account's rules among many legs: each leg is decided before the change or after it, and the entries prove which.

A change notes its instant while it holds the account's locks alone. Whatever was decided before it obeys the old rules, what was decided
after it the new ones, and nobody waits for ever.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.accounts import AccountStatus
from ledger.decisions import Decision, LegName
from ledger.errors import AccountNotClosableError
from ledger.holds import Hold, HoldStatus
from ledger.refusals import RefusalCode
from ledger.rules import StatusChange
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank
from tests.integration.postgres.linked import assert_nothing_is_wrong

CALLERS = 24
"""Of each kind, in each of the processes' stead."""
PROCESSES = 3
"""Ledgers with connections of their own, as so many workers would have."""


@dataclass
class Traffic:
    """Credits, debits and holds on one account, from many connections, one after the other from each caller."""

    bank: Bank
    account: str
    amount: int = 5
    decisions: list[Decision] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
    """How many answers each caller has had."""
    stopped: bool = False

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():  # noqa: ASYNC110  the callers tell nobody
                await asyncio.sleep(0.01)

    async def until_every_caller_has_had_another_answer(self) -> None:
        before = list(self.rounds)
        await self.until(lambda: all(now > then for now, then in zip(self.rounds, before, strict=True)))

    async def call(self, number: int, ledger: PostgresLedger) -> None:
        while not self.stopped:
            match number % 3:
                case 0:
                    self.decisions.append(await ledger.post(self.bank.deposit(self.account, self.amount)))
                case 1:
                    self.decisions.append(await ledger.post(self.bank.withdrawal(self.account, self.amount)))
                case _:
                    hold, _ = await self.bank.holds.authorise(self.bank.hold_request(self.account, self.amount))
                    self.holds.append(hold)
                    if hold.status is HoldStatus.OPEN:
                        await self.bank.holds.void(self.bank.tenant, hold.hold_id)
            self.rounds[number] += 1


@asynccontextmanager
async def traffic_on(bank: Bank, account: str, *, amount: int = 5) -> AsyncIterator[Traffic]:
    """Legs and holds, until the end of the block; then all of them are answered."""
    traffic = Traffic(bank, account, amount=amount, rounds=[0] * CALLERS)
    databases = [Database.open(bank.url, pool_size=4) for _ in range(PROCESSES)]
    ledgers = [PostgresLedger(database) for database in databases]
    callers = [asyncio.create_task(traffic.call(number, ledgers[number % PROCESSES])) for number in range(CALLERS)]
    try:
        await traffic.until_every_caller_has_had_another_answer()
        yield traffic
        await traffic.until_every_caller_has_had_another_answer()
    finally:
        traffic.stopped = True
        async with asyncio.timeout(PATIENCE_SECONDS):
            await asyncio.gather(*callers)
        for database in databases:
            await database.close()


async def _changes(bank: Bank, account: str) -> list[tuple[dt.datetime, str]]:
    """When the account's status became what."""
    found = await bank.select(
        "SELECT changed_at, after ->> 'status' AS status FROM account_change WHERE tenant = %(tenant)s AND account_id = %(account)s "
        "ORDER BY changed_at",
        account=account,
    )
    return [(change["changed_at"], change["status"]) for change in found]


def _status_at(changes: list[tuple[dt.datetime, str]], instant: dt.datetime) -> AccountStatus:
    before = [status for changed_at, status in changes if changed_at < instant]
    return AccountStatus(before[-1]) if before else AccountStatus.ACTIVE


_REFUSED = {
    AccountStatus.ACTIVE: (None, None),
    AccountStatus.FROZEN: (RefusalCode.ACCOUNT_FROZEN, RefusalCode.ACCOUNT_FROZEN),
    AccountStatus.DEBIT_FROZEN: (RefusalCode.ACCOUNT_DEBIT_FROZEN, None),
    AccountStatus.CREDIT_FROZEN: (None, RefusalCode.ACCOUNT_CREDIT_FROZEN),
    AccountStatus.DORMANT: (RefusalCode.ACCOUNT_DORMANT, None),
    AccountStatus.CLOSED: (RefusalCode.ACCOUNT_CLOSED, RefusalCode.ACCOUNT_CLOSED),
}
"""What each status answers a debit and a credit with."""


async def _assert_that_each_leg_obeyed_the_status_of_its_instant(traffic: Traffic) -> None:
    bank, account = traffic.bank, traffic.account
    changes = await _changes(bank, account)
    for decision in traffic.decisions:
        by_debit, by_credit = _REFUSED[_status_at(changes, decision.decided_at)]
        expected = by_debit if decision.leg is LegName.DEBIT else by_credit
        assert (decision.refusal.code if decision.refusal else None) is expected, (decision, changes)
    for hold in traffic.holds:
        expected, _ = _REFUSED[_status_at(changes, hold.created_at)]
        assert (hold.refusal.code if hold.refusal else None) is expected, (hold, changes)
    # The same of the entries, which are what counts.
    entries = await bank.select(
        """
        SELECT posted_at, 'debit' AS side FROM online_entry WHERE tenant = %(tenant)s AND account_id = %(account)s
        UNION ALL
        SELECT posted_at, 'credit' FROM offline_entry WHERE tenant = %(tenant)s AND account_id = %(account)s
        """,
        account=account,
    )
    for entry in entries:
        by_debit, by_credit = _REFUSED[_status_at(changes, entry["posted_at"])]
        assert (by_debit if entry["side"] == "debit" else by_credit) is None, (entry, changes)
    await assert_nothing_is_wrong(bank)


@pytest.mark.parametrize(
    "change", [StatusChange.FREEZE, StatusChange.FREEZE_DEBITS, StatusChange.FREEZE_CREDITS, StatusChange.DORMANT], ids=str
)
async def test_each_leg_among_freezes_obeys_the_status_of_its_instant_and_nobody_starves(bank: Bank, change: StatusChange) -> None:
    account = await bank.open(funds=1_000_000)
    back = StatusChange.REACTIVATE if change is StatusChange.DORMANT else StatusChange.UNFREEZE
    async with traffic_on(bank, account) as traffic:
        for step in (change, back) * 3:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await bank.accounts.change_status(bank.tenant, account, step, by="teller")
            await traffic.until_every_caller_has_had_another_answer()
    outcomes = [decision.posted for decision in traffic.decisions]
    assert min(outcomes.count(True), outcomes.count(False)) > 0
    assert len(await _changes(bank, account)) == 6
    await _assert_that_each_leg_obeyed_the_status_of_its_instant(traffic)


async def test_an_account_closes_among_legs_only_when_it_is_empty_and_then_takes_nothing(bank: Bank) -> None:
    account = await bank.open()
    async with traffic_on(bank, account) as traffic:
        with suppress(AccountNotClosableError):
            await bank.close(account)
        await bank.accounts.change_status(bank.tenant, account, StatusChange.FREEZE_CREDITS, by="teller")
        # What is left is withdrawn by the traffic itself, and its holds are voided: at some instant the account is empty.
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                with suppress(AccountNotClosableError):
                    await bank.close(account)
                    break
        await traffic.until_every_caller_has_had_another_answer()
    assert (await bank.balance(account)).ledger == 0
    changes = await _changes(bank, account)
    closed_at, status = changes[-1]
    assert status == "closed"
    newest = await bank.value(
        """
        SELECT max(posted_at) FROM (SELECT tenant, account_id, posted_at FROM online_entry
                                     UNION ALL SELECT tenant, account_id, posted_at FROM offline_entry) AS entries
         WHERE tenant = %(tenant)s AND account_id = %(account)s
        """,
        account=account,
    )
    assert newest < closed_at
    codes = {decision.refusal.code for decision in traffic.decisions if decision.refusal and decision.decided_at > closed_at}
    assert codes == {RefusalCode.ACCOUNT_CLOSED}
    await assert_nothing_is_wrong(bank)


async def test_debits_among_changes_of_a_limit_obey_the_limit_of_their_instant(bank: Bank) -> None:
    account = await bank.open(funds=1_000_000)
    async with traffic_on(bank, account) as traffic:
        for limit in (4, None, 4, 5, 3):
            async with asyncio.timeout(PATIENCE_SECONDS):
                await bank.change(account, transaction_limit=limit)
            await traffic.until_every_caller_has_had_another_answer()
    changes = await bank.select(
        "SELECT changed_at, CAST(after ->> 'transaction_limit' AS bigint) AS most FROM account_change WHERE tenant = %(tenant)s "
        "AND account_id = %(account)s ORDER BY changed_at",
        account=account,
    )
    decided = 0
    for decision in traffic.decisions:
        if decision.leg is not LegName.DEBIT:
            assert decision.posted
            continue
        before = [change["most"] for change in changes if change["changed_at"] < decision.decided_at]
        limit = before[-1] if before else None
        assert decision.posted == (limit is None or traffic.amount <= limit)
        decided += not decision.posted
    assert decided > 0
    await assert_nothing_is_wrong(bank)


async def test_a_maximum_that_comes_and_goes_among_credits_is_never_exceeded_while_it_stands(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    async with traffic_on(bank, account) as traffic:
        for _ in range(3):
            balance = await bank.balance(account)
            maximum = balance.ledger + 20
            changed = await bank.change(account, maximum_balance=maximum)
            assert changed.maximum_balance == maximum
            before = await bank.balance(account)
            await traffic.until_every_caller_has_had_another_answer()
            # It may have been above when the maximum came, but no credit has brought it there.
            assert (await bank.balance(account)).ledger <= max(maximum, before.ledger)
            await bank.change(account, maximum_balance=None)
            await traffic.until_every_caller_has_had_another_answer()
    await assert_nothing_is_wrong(bank)


Work = Callable[[Bank, str], Coroutine[Any, Any, Any]]
CHANGES: dict[str, Work] = {
    "a freeze": lambda bank, account: bank.set_status(account, AccountStatus.FROZEN),
    "a limit": lambda bank, account: bank.change(account, daily_limit=5),
    "a close": lambda bank, account: bank.close(account),
}


@pytest.mark.parametrize("what", CHANGES)
async def test_a_change_that_waits_for_a_debit_keeps_no_credit_of_another_account_waiting(bank: Bank, what: str) -> None:
    account, other = await bank.open(funds=10), await bank.open()
    async with bank.in_flight(bank.withdrawal(account, 10)):
        change = asyncio.create_task(CHANGES[what](bank, account))
        await bank.until_blocked()
        # It waits at the online row, before the rules lock: even credits of its own account pass.
        for target in (account, other):
            assert (await bank.post(bank.deposit(target, 5))).posted
        assert not change.done()
    with suppress(AccountNotClosableError):
        await change


async def test_credits_wait_for_neither_credits_nor_debits_nor_holds_of_an_account_with_rules(bank: Bank) -> None:
    account = await bank.open(
        funds=1000, overdraft_limit=5, minimum_balance=5, transaction_limit=500, daily_limit=500, monthly_limit=500, time_zone="Asia/Tokyo"
    )
    async with bank.in_flight(bank.withdrawal(account, 5)), bank.in_flight(bank.deposit(account, 5)):
        hold = asyncio.create_task(bank.holds.authorise(bank.hold_request(account, 5)))
        await bank.until_blocked()
        assert (await bank.post(bank.deposit(account, 5))).posted
        assert not hold.done()
    await hold


async def test_credits_of_an_account_with_a_maximum_wait_for_its_debits_and_for_no_other_accounts(bank: Bank) -> None:
    account, other = await bank.open(funds=1000, maximum_balance=1000), await bank.open(funds=1000, maximum_balance=2000)
    async with bank.in_flight(bank.withdrawal(account, 5)):
        waiting = asyncio.create_task(bank.post(bank.deposit(account, 5)))
        await bank.until_blocked()
        assert (await bank.post(bank.deposit(other, 5))).posted
        assert not waiting.done()
    assert (await waiting).posted
