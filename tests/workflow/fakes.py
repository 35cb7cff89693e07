"""Ports that answer at once, from memory, by the ledger's own rules. Workflow tests only: local activities take real time there."""

from __future__ import annotations

import asyncio
import copy
import datetime as dt
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from ledger.accounts import AccountState, AccountStatus, credit_refusal, debit_refusal
from ledger.commands import OperatorAction
from ledger.decisions import Decision, LegName, Outcome
from ledger.event_writer import events_of_leg, transaction_finished
from ledger.events import Event
from ledger.postings import LinkedPosting, Posting
from ledger.rates import ExchangeRate, cross_rate
from ledger.results import Rejection, TransactionResult, TransactionStatus

NOW = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)


class Hang:
    """A fault: the port never answers. What it was asked to do is done all the same, if `after_the_work`."""

    def __init__(self, *, after_the_work: bool = False) -> None:
        self.after_the_work = after_the_work


Fault = Exception | Hang


@dataclass
class Faults:
    """What goes wrong in the next calls, in order; then all is well again, unless `for_good` is set."""

    next: deque[Fault] = field(default_factory=deque)
    for_good: Fault | None = None

    def take(self) -> Fault | None:
        return self.next.popleft() if self.next else self.for_good


async def _suffer(fault: Fault | None) -> None:
    if isinstance(fault, Exception):
        raise fault
    if isinstance(fault, Hang) and not fault.after_the_work:
        await asyncio.Event().wait()


async def _hang_after(fault: Fault | None) -> None:
    if isinstance(fault, Hang):
        await asyncio.Event().wait()


@dataclass
class FakeAccount:
    balance: int = 0
    status: AccountStatus = AccountStatus.ACTIVE
    version: int = 0


class FakeLedger:
    """Ledger and outbox in one, as they are one database."""

    def __init__(self) -> None:
        self.accounts: dict[str, FakeAccount] = {}
        self.decisions: dict[tuple[str, LegName, str], Decision] = {}
        self.results: dict[str, TransactionResult] = {}
        self.outbox: list[Event] = []
        self.published: set[str] = set()
        self.faults: dict[str, Faults] = {name: Faults() for name in ("debit", "credit", "compensation", "linked", "reject", "outbox")}
        self.actions: list[OperatorAction] = []
        self.calls: Counter[str] = Counter()
        self.entered = {name: asyncio.Event() for name in (*LegName, "linked")}
        self.gates = {name: asyncio.Event() for name in (*LegName, "linked")}
        """Posting a leg, or all together, waits for its gate, so that a test can do something meanwhile. All are open at first."""
        self.open_gates()

    def open(self, account_id: str, *, balance: int = 0, status: AccountStatus = AccountStatus.ACTIVE) -> None:
        self.accounts[account_id] = FakeAccount(balance=balance, status=status)

    def open_gates(self) -> None:
        for gate in self.gates.values():
            gate.set()

    async def post(self, posting: Posting) -> Decision:
        self.calls[posting.leg] += 1
        self.entered[posting.leg].set()
        await self.gates[posting.leg].wait()
        fault = self.faults[posting.leg].take()
        await _suffer(fault)
        key = (posting.request.transaction_id, posting.leg, posting.account_id)
        if key not in self.decisions:
            decision = self._decide(posting)
            self.decisions[key] = decision
            self.outbox.extend(events_of_leg(posting, decision))
            self.results[posting.request.transaction_id] = TransactionResult(
                transaction_id=posting.request.transaction_id,
                status=posting.status_if_posted if decision.posted else posting.status_if_refused,
                reason=posting.because or decision.refusal,
                legs=(*posting.earlier, decision),
            )
        await _hang_after(fault)
        return self.decisions[key]

    async def post_linked(self, linked: LinkedPosting) -> TransactionResult:
        self.calls["linked"] += 1
        self.entered["linked"].set()
        await self.gates["linked"].wait()
        fault = self.faults["linked"].take()
        await _suffer(fault)
        key = linked.request.transaction_id
        if key not in self.results:
            self.results[key] = self._decide_together(linked)
        await _hang_after(fault)
        return self.results[key]

    def _decide_together(self, linked: LinkedPosting) -> TransactionResult:
        before = copy.deepcopy(self.accounts)
        legs: list[Decision] = []
        events: list[Event] = []
        for posting in linked.legs:
            decision = self._decide(posting)
            if not decision.posted:
                self.accounts, legs, events = before, [decision], []
                break
            legs.append(decision)
            events.append(events_of_leg(posting, decision)[0])
        refusal = legs[0].refusal
        status = TransactionStatus.REJECTED if refusal is not None else TransactionStatus.COMPLETED
        result = TransactionResult(transaction_id=linked.request.transaction_id, status=status, reason=refusal, legs=tuple(legs))
        self.outbox.extend([*events, transaction_finished(linked.request, result, finished_at=NOW)])
        return result

    async def reject(self, rejection: Rejection) -> TransactionResult:
        self.calls["reject"] += 1
        await _suffer(self.faults["reject"].take())
        key = rejection.request.transaction_id
        if key not in self.results:
            self.results[key] = TransactionResult(transaction_id=key, status=TransactionStatus.REJECTED, reason=rejection.refusal)
            self.outbox.append(transaction_finished(rejection.request, self.results[key], finished_at=NOW))
        return self.results[key]

    async def record_action(self, action: OperatorAction) -> None:
        if action not in self.actions:
            self.actions.append(action)

    async def unpublished(self, tenant: str, transaction_id: str) -> tuple[Event, ...]:  # noqa: ARG002  one tenant only
        self.calls["outbox"] += 1
        await _suffer(self.faults["outbox"].take())
        return tuple(event for event in self.outbox if event.subject == transaction_id and event.event_id not in self.published)

    def note_published(self, events: Sequence[Event]) -> None:
        self.published.update(event.event_id for event in events)

    def _decide(self, posting: Posting) -> Decision:
        account, units = self.accounts[posting.account_id], posting.amount.minor_units
        state = AccountState(
            account_id=posting.account_id,
            currency=posting.amount.currency,
            status=account.status,
            overdraft_limit=0,
            ledger=account.balance,
            held=0,
            version=account.version,
        )
        refusal = None
        if posting.is_debit:
            refusal = debit_refusal(state, units)
        elif posting.leg is LegName.CREDIT:
            refusal = credit_refusal(state, units)
        booked = refusal is None
        after = state.after_debit(units) if booked and posting.is_debit else None
        if booked:
            account.balance += -units if posting.is_debit else units
            account.version += posting.is_debit
        return Decision(
            leg=posting.leg,
            account_id=posting.account_id,
            outcome=Outcome.POSTED if booked else Outcome.REFUSED,
            amount=posting.amount,
            conversion=posting.conversion,
            value_date=posting.value_date,
            decided_at=NOW,
            refusal=refusal,
            version=after.version if after else None,
            ledger_after=after.ledger if after else None,
            available_after=after.available if after else None,
        )


class FakeRates:
    def __init__(self) -> None:
        self.faults = Faults()
        self.per_euro: dict[str, Decimal] = {"CZK": Decimal("24.5"), "JPY": Decimal(163)}
        self.age_days = 0
        self.calls = 0

    async def quote(self, base: str, quote: str, *, on: dt.date) -> ExchangeRate | None:
        self.calls += 1
        await _suffer(self.faults.take())
        return cross_rate(base, quote, per_euro=self.per_euro, as_of=on - dt.timedelta(days=self.age_days), source="test")


class FakePublisher:
    def __init__(self) -> None:
        self.faults = Faults()
        self.topics: list[Event] = []
        self.calls = 0

    async def publish(self, events: Sequence[Event]) -> None:
        self.calls += 1
        await _suffer(self.faults.take())
        self.topics.extend(events)

    def types(self, transaction_id: str) -> list[str]:
        """Types of a transaction's published events, without prefix and version: ``casa.debited``."""
        mine = [event for event in self.topics if event.subject == transaction_id]
        return [event.type.removeprefix("casaflow.").removesuffix(".v1") for event in mine]
