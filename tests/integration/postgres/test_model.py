"""Random operations of every kind, one after the other, beside an independent model that predicts each answer and each balance."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_UP, Decimal
from typing import Any, ClassVar, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.accounts import Account, AccountKind, AccountRules
from ledger.errors import AccountConflictError, HoldConflictError, HoldNotVoidableError, ImpossibleChangeError, TransactionConflictError
from ledger.holds import HoldRequest
from ledger.refusals import Refusal, RefusalCode
from ledger.results import Rejection
from ledger.rules import StatusChange
from tests.integration.postgres import model
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank, connected, new_id
from tests.integration.postgres.linked import assert_nothing_is_wrong
from tests.integration.postgres.model import SMALLEST, Payment, Transaction
from tests.integration.postgres.teller import Digest, Teller, Way, rate_between, without_refused_amounts

Answer = TypeVar("Answer")

WHAT_A_REFUSAL_RECORDS = {"transaction", "decision", "event_outbox"}
ALWAYS_ACCEPTED = {"the same again", "compensation", "opening again", "end of a saga", "end of a hold"}
ALWAYS_REFUSED = {"other content under the same id"}

KINDS = 27
REASONS = {
    "account-closed",
    "account-frozen",
    "account-debit-frozen",
    "account-credit-frozen",
    "account-dormant",
    "hold-unknown",
    "hold-closed",
    "hold-expired",
    "hold-exceeded",
    "not-reversible",
    "reversal-exceeds-original",
    "transaction-limit",
    "daily-limit",
    "monthly-limit",
    "insufficient-funds",
    "minimum-balance",
    "maximum-balance",
}
"""All that the ledger decides by itself, but for what the rounding of a reversal seldom brings."""
LEAST_OPEN = 5
ON_THE_EDGE = 0.3
"""Share of the amounts that are exactly what a rule allows, or a minor unit more."""
WORDS = {
    "account-closed": "stays closed",
    "account-frozen": "is frozen",
    "overdraft-in-use": "use",
    "money": "balance",
    "hold": "hold",
    "transaction": "transactions",
}
"""What the refusal of a change says."""
A_LONG_TIME_AHEAD = dt.datetime(2200, 1, 1, tzinfo=dt.UTC)

Draw = Callable[[random.Random], Any]
"""How an argument is chosen."""


def any_of(*values: object) -> Draw:
    return lambda chance: chance.choice(values)


def yes_or_no(chance: random.Random) -> bool:
    return chance.random() < 0.5


def number(lowest: int, highest: int) -> Draw:
    return lambda chance: chance.randint(lowest, highest)


def either(*draws: Draw) -> Draw:
    return lambda chance: chance.choice(draws)(chance)


def many(draw: Draw, count: int) -> Draw:
    return lambda chance: [draw(chance) for _ in range(count)]


SLOTS = number(0, 5)
"""Which of the bank's accounts; taken modulo their number."""
AMOUNTS = either(number(1, 500), number(1, 60))
"""Minor units."""
LIMITS = either(any_of(None), any_of(None), number(50, 1_500))


Operation = Callable[..., None]
OPERATIONS: list[tuple[Operation, Mapping[str, Draw]]] = []


def operation(*, times: int = 1, **arguments: Draw) -> Callable[[Operation], Operation]:
    """An operation of the machine, chosen `times` as often as others. Of rules of their own, Hypothesis would leave many out of a run."""

    def register(method: Operation) -> Operation:
        OPERATIONS.extend([(method, arguments)] * times)
        return method

    return register


class Machine(RuleBasedStateMachine):
    """One bank after the other; each rule is one operation, carried out and compared at once."""

    url: ClassVar[str]
    database: ClassVar[Database]
    loop: ClassVar[asyncio.AbstractEventLoop]
    counts: ClassVar[dict[str, Counter[bool]]]
    """By kind of operation: accepted, refused."""
    reasons: ClassVar[Counter[str]]
    """Of rejected and reversed transactions."""

    def __init__(self) -> None:
        super().__init__()
        self.connection = connected(self.url, autocommit=True)
        self.bank = Bank(url=self.url, database=self.database, rows=self.do(self.connection.__aenter__()))
        self.teller = Teller(self.bank, PostgresLedger(self.database))
        self.model = model.Ledger()
        self.ways: dict[str, Way] = {}
        self.opened_with: dict[str, int] = {}
        """Overdraft limits in minor units: an opening is the same again by what it said, whatever has been changed since."""
        self.holds: dict[str, HoldRequest] = {}
        self.before: Digest
        self.chance: random.Random

    def teardown(self) -> None:
        self.do(self.connection.__aexit__(None, None, None))

    def do(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        """Wait for what runs on the test's event loop; this machine has a thread of its own."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, PATIENCE_SECONDS), self.loop).result()

    @rule()
    def step(self) -> None:
        """One operation of any kind."""
        method, draws = self.chance.choice(OPERATIONS)
        arguments = {name: draw(self.chance) for name, draw in draws.items()}
        note(f"{method.__name__}({arguments})")
        method(self, **arguments)

    # ---- looking and comparing ----

    def count(self, kind: str, *, accepted: bool) -> None:
        self.counts.setdefault(kind, Counter())[accepted] += 1

    def account(self, slot: int) -> str:
        ids = list(self.model.accounts)
        return ids[slot % len(ids)]

    def amount(self, account: str, minor_units: int) -> Decimal:
        return minor_units * SMALLEST[self.model.accounts[account].currency]

    def to_credit(self, account: str, minor_units: int) -> Decimal:
        """An amount, or now and then exactly what fits, or a minor unit more."""
        one = self.model.accounts[account]
        return self.near(account, [] if one.maximum is None else [one.maximum - one.ledger]) or self.amount(account, minor_units)

    def to_debit(self, account: str, minor_units: int) -> Decimal:
        """As :meth:`to_credit`."""
        one, today = self.model.accounts[account], self.today()
        limits = (
            (one.transaction_limit, model.ZERO),
            (one.daily_limit, one.spent.get(today, model.ZERO)),
            (one.monthly_limit, one.spent_in_month(today)),
        )
        edges = [one.available, one.available - one.minimum, *(limit - spent for limit, spent in limits if limit is not None)]
        return self.near(account, edges) or self.amount(account, minor_units)

    def near(self, account: str, edges: Sequence[Decimal]) -> Decimal | None:
        smallest = SMALLEST[self.model.accounts[account].currency]
        near = [edge + more for edge in edges for more in (model.ZERO, smallest) if edge + more > 0]
        return self.chance.choice(near) if near and self.chance.random() < ON_THE_EDGE else None

    def compare(self, *, may_change: set[str] | None = None) -> None:
        """Balances are the model's. With `may_change`, nothing else changed, and of these tables each got one row at most."""
        now = self.do(self.teller.digest())
        changed = now.changed(self.before)
        if may_change is not None:
            assert changed.keys() <= may_change
            assert set(changed.values()) <= {0, 1}
        self.before = now
        expected = {
            name: {"ledger": one.ledger, "held": one.held, "available": one.available, "debits": one.number_of_debits}
            for name, one in self.model.accounts.items()
        }
        assert self.do(self.teller.balances()) == expected

    def today(self) -> dt.date:
        """By the database's clock, as the ledger's decisions are. The seconds around midnight are the caller's business."""
        today: dt.date = self.do(self.bank.value("SELECT CAST(clock_timestamp() AT TIME ZONE 'UTC' AS date)"))
        return today

    def settled(self, kind: str, transaction_id: str, expected: Transaction) -> None:
        """The ledger tells what the model tells, and a refusal left everything else as it was."""
        assert self.do(self.teller.told(transaction_id)) == without_refused_amounts(expected.told)
        refused = expected.status == "rejected"
        if expected.reason is not None:
            self.reasons[expected.reason] += 1
        self.count(kind, accepted=not refused)
        self.compare(may_change=WHAT_A_REFUSAL_RECORDS if refused else None)

    def pay(self, kind: str, payment: Payment, way: Way = Way.TOGETHER) -> None:
        transaction_id = new_id()
        self.ways[transaction_id] = way
        at = self.today()
        self.do(self.teller.pay(payment, transaction_id, way))
        if way is Way.SAGA:
            told = self.model.pay_by_legs(transaction_id, payment, at=at)
            if told.status == "reversed":
                self.count("compensation", accepted=True)
        else:
            told = self.model.pay_together(transaction_id, payment, at=at)
        self.settled(kind, transaction_id, told)

    def between(self, debtor: str, creditor: str, minor_units: int, **fields: Any) -> Payment:
        """A transfer; what would round to nothing on the other side is made larger, since no leg of it would ever be posted."""
        currency, other = self.model.accounts[debtor].currency, self.model.accounts[creditor].currency
        rate = None if currency == other else rate_between(currency, other)
        amount = self.to_debit(debtor, minor_units)
        if rate is not None and amount * rate < SMALLEST[other]:
            amount += (SMALLEST[other] / rate).quantize(SMALLEST[currency], rounding=ROUND_UP)
        return Payment(amount, currency, debtor=debtor, creditor=creditor, rate=rate, **fields)

    # ---- accounts ----

    @initialize(seed=st.integers(0, 2**64))
    def found(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.before = self.do(self.teller.digest())
        for currency, overdraft in (("EUR", 300), ("EUR", 0), ("EUR", 100), ("CZK", 0), ("JPY", 50)):
            self.open(currency, overdraft)
        for account, minor_units in zip(self.model.accounts, (900, 900, 0, 9_000, 900), strict=True):
            if minor_units:
                currency = self.model.accounts[account].currency
                self.pay("deposit", Payment(self.amount(account, minor_units), currency, creditor=account), Way.LEG)

    def open(self, currency: str, overdraft: int) -> None:
        account = f"acc-{len(self.model.accounts)}"
        self.do(self.bank.open(account, currency=currency, overdraft_limit=overdraft))
        self.opened_with[account] = overdraft
        self.model.accounts[account] = model.Account(currency, overdraft=overdraft * SMALLEST[currency])
        self.compare()

    @operation(currency=any_of("EUR", "EUR", "CZK"), overdraft=any_of(0, 200))
    def open_another(self, currency: str, overdraft: int) -> None:
        if sum(account.status != "closed" for account in self.model.accounts.values()) < LEAST_OPEN:
            self.open(currency, overdraft)

    @operation(slot=SLOTS, same=yes_or_no)
    def open_again(self, slot: int, *, same: bool) -> None:
        account = self.account(slot)
        opening = self.bank.accounts.open_account(
            tenant=self.bank.tenant,
            account_id=account,
            currency=self.model.accounts[account].currency if same else "CHF",
            kind=AccountKind.CURRENT,
            rules=AccountRules(overdraft_limit=self.opened_with[account]),
        )
        if same:
            assert self.do(opening)[1] is False
        else:
            with pytest.raises(AccountConflictError):
                self.do(opening)
        self.count("opening again", accepted=True)
        self.compare(may_change=set())

    @operation(times=3, slot=SLOTS, change=any_of(*StatusChange, *[StatusChange.UNFREEZE, StatusChange.REACTIVATE] * 3))
    def change_status(self, slot: int, change: StatusChange) -> None:
        account = self.account(slot)
        why_not = self.model.change_status(account, change)
        changing = self.bank.accounts.change_status(self.bank.tenant, account, change, by="operator")
        self.change("change of status", account, changing, why_not)

    @operation(slot=SLOTS, overdraft=any_of(0, 0, 100, 300))
    def change_overdraft(self, slot: int, overdraft: int) -> None:
        account = self.account(slot)
        limit = self.amount(account, overdraft)
        why_not = self.model.why_no_overdraft(account, limit)
        if why_not is None:
            self.model.accounts[account].overdraft = limit
        self.change("change of overdraft", account, self.bank.change(account, overdraft_limit=overdraft), why_not)

    @operation(
        times=3,
        slot=SLOTS,
        minimum=any_of(0, 0, 50, 200),
        maximum=either(any_of(None), number(200, 2_000)),
        limits=many(LIMITS, 3),
    )
    def change_limits(self, slot: int, minimum: int, maximum: int | None, limits: list[int | None]) -> None:
        account = self.account(slot)
        one = self.model.accounts[account]
        why_not = "account-closed" if one.status == "closed" else None
        if why_not is None:
            one.minimum = self.amount(account, minimum)
            one.maximum, one.transaction_limit, one.daily_limit, one.monthly_limit = (
                None if limit is None else self.amount(account, limit) for limit in (maximum, *limits)
            )
        rules = dict(zip(("transaction_limit", "daily_limit", "monthly_limit"), limits, strict=True))
        changing = self.bank.change(account, minimum_balance=minimum, maximum_balance=maximum, **rules)
        self.change("change of limits", account, changing, why_not)

    @operation(times=3, slot=SLOTS)
    def close(self, slot: int) -> None:
        account = self.account(slot)
        why_not = self.model.why_not_closed(account)
        if why_not is None:
            self.model.accounts[account].status = "closed"
        self.change("close", account, self.bank.close(account), why_not)

    def change(self, kind: str, account: str, changing: Coroutine[Any, Any, Account], why_not: str | None) -> None:
        self.count(kind, accepted=why_not is None)
        if why_not is None:
            assert self.do(changing).status == self.model.accounts[account].status
            self.compare()
        else:
            with pytest.raises(ImpossibleChangeError, match=WORDS[why_not]):
                self.do(changing)
            self.compare(may_change=set())

    # ---- holds ----

    @operation(times=3, slot=SLOTS, minor_units=AMOUNTS)
    def authorise(self, slot: int, minor_units: int) -> None:
        account, hold_id = self.account(slot), new_id()
        amount = self.to_debit(account, minor_units)
        request = self.holds[hold_id] = HoldRequest(
            tenant=self.bank.tenant,
            hold_id=hold_id,
            account_id=account,
            amount=self.teller.money(amount, self.model.accounts[account].currency),
            expires_at=A_LONG_TIME_AHEAD,
            authorised_by="shop",
        )
        at = self.today()
        hold, is_new = self.do(self.bank.holds.authorise(request))
        refused = self.model.authorise(hold_id, account, amount, at=at)
        assert is_new
        assert (hold.refusal.code if hold.refusal else None) == refused
        self.count("hold", accepted=refused is None)
        self.compare(may_change={"hold"} if refused else None)

    @operation(which=number(0, 20), same=yes_or_no)
    def authorise_again(self, which: int, *, same: bool) -> None:
        if not self.holds:
            return
        request = self.some_hold(which)
        if same:
            hold, is_new = self.do(self.bank.holds.authorise(request))
            assert (hold.status, is_new) == (self.held(request).state, False)
        else:
            with pytest.raises(HoldConflictError):
                self.do(self.bank.holds.authorise(request.model_copy(update={"reference": "another"})))
        self.count("hold, the same again", accepted=same)
        self.compare(may_change=set())

    @operation(times=4, which=number(0, 20), percent=any_of(40, 100, 100, 130), final=yes_or_no, known=number(0, 9))
    def capture(self, which: int, percent: int, *, final: bool, known: int) -> None:
        if not self.holds:
            return
        request = self.some_hold(which)
        currency = self.model.accounts[request.account_id].currency
        part = max(self.held(request).amount * percent / 100, SMALLEST[currency]).quantize(SMALLEST[currency])
        hold_id = request.hold_id if known else new_id()
        self.pay("capture", Payment(part, currency, debtor=request.account_id, hold=hold_id, releases_hold=final))

    @operation(which=number(0, 20))
    def void(self, which: int) -> None:
        if not self.holds:
            return
        request = self.some_hold(which)
        hold = self.held(request)
        possible = hold.state in {"open", "voided"}
        self.count("void", accepted=possible)
        if possible:
            hold.state = "voided"
            assert self.do(self.bank.holds.void(self.bank.tenant, request.hold_id)).status == "voided"
            self.compare()
        else:
            with pytest.raises(HoldNotVoidableError):
                self.do(self.bank.holds.void(self.bank.tenant, request.hold_id))
            self.compare(may_change=set())

    @operation(times=3, which=number(0, 20), sweep=yes_or_no)
    def expire(self, which: int, *, sweep: bool) -> None:
        """Its end comes; the sweep passes by, or it doesn't."""
        if not self.holds:
            return
        request = self.some_hold(which)
        ends = "UPDATE hold SET expires_at = created_at WHERE tenant = %s AND hold_id = %s AND status = 'open'"
        self.do(self.bank.rows.execute(ends, (self.bank.tenant, request.hold_id)))
        hold = self.held(request)
        if hold.state == "open":
            hold.state = "expired"
        self.holds[request.hold_id] = request.model_copy(update={"expires_at": A_LONG_TIME_AHEAD})
        if sweep:
            self.do(self.bank.holds.expire())
        self.count("end of a hold", accepted=True)
        self.compare()

    def some_hold(self, which: int) -> HoldRequest:
        """Of the newest, since they are more often still open."""
        return list(self.holds.values())[-1 - which % min(len(self.holds), 3)]

    def held(self, request: HoldRequest) -> model.Hold:
        return self.model.accounts[request.account_id].holds[request.hold_id]

    # ---- payments ----

    @operation(times=5, slot=SLOTS, minor_units=number(1, 1_500), way=any_of(Way.LEG, Way.TOGETHER))
    def deposit(self, slot: int, minor_units: int, way: Way) -> None:
        account = self.account(slot)
        self.pay("deposit", Payment(self.to_credit(account, minor_units), self.model.accounts[account].currency, creditor=account), way)

    @operation(times=4, slot=SLOTS, minor_units=AMOUNTS, way=any_of(Way.LEG, Way.TOGETHER))
    def withdraw(self, slot: int, minor_units: int, way: Way) -> None:
        account = self.account(slot)
        self.pay("withdrawal", Payment(self.to_debit(account, minor_units), self.model.accounts[account].currency, debtor=account), way)

    @operation(times=4, slots=many(SLOTS, 2), minor_units=AMOUNTS, way=any_of(Way.SAGA, Way.TOGETHER))
    def transfer(self, slots: list[int], minor_units: int, way: Way) -> None:
        debtor, creditor = map(self.account, slots)
        if debtor != creditor:
            self.pay(f"transfer, {way}", self.between(debtor, creditor, minor_units), way)

    @operation(times=2, slots=many(SLOTS, 2), minor_units=AMOUNTS, fee=number(1, 80))
    def transfer_with_fee(self, slots: list[int], minor_units: int, fee: int) -> None:
        debtor, creditor = map(self.account, slots)
        if debtor != creditor:
            self.pay("fee", self.between(debtor, creditor, minor_units, fee=self.amount(debtor, fee)))

    @operation(times=3, slot=SLOTS, others=many(SLOTS, 3), parts=many(AMOUNTS, 3))
    def pay_several(self, slot: int, others: list[int], parts: list[int]) -> None:
        debtor = self.account(slot)
        currency = self.model.accounts[debtor].currency
        creditors = [name for name in dict.fromkeys(map(self.account, others)) if name != debtor]
        shares = tuple(
            (name, self.amount(debtor, part))
            for name, part in zip(creditors, parts, strict=False)
            if self.model.accounts[name].currency == currency
        )
        if shares:
            total = sum((amount for _, amount in shares), model.ZERO)
            self.pay("several creditors", Payment(total, currency, debtor=debtor, shares=shares))

    @operation(times=2, slots=many(SLOTS, 2), minor_units=number(1, 3_000), transfers=yes_or_no)
    def balance_out(self, slots: list[int], minor_units: int, *, transfers: bool) -> None:
        debtor, creditor = map(self.account, slots)
        if not transfers:
            currency = self.model.accounts[debtor].currency
            self.pay("balancing", Payment(self.amount(debtor, minor_units), currency, debtor=debtor, balancing=True))
        elif debtor != creditor and self.model.accounts[creditor].currency == self.model.accounts[debtor].currency:
            self.pay("balancing", self.between(debtor, creditor, minor_units, balancing=True))

    @operation(slot=SLOTS, minor_units=AMOUNTS, way=any_of(Way.LEG, Way.TOGETHER))
    def override(self, slot: int, minor_units: int, way: Way) -> None:
        account = self.account(slot)
        currency = self.model.accounts[account].currency
        self.pay("override", Payment(self.amount(account, minor_units), currency, debtor=account, override=True), way)

    @operation(times=2, slots=many(SLOTS, 2), minor_units=AMOUNTS)
    def begin_saga(self, slots: list[int], minor_units: int) -> None:
        debtor, creditor = map(self.account, slots)
        if debtor == creditor:
            return
        payment, transaction_id = self.between(debtor, creditor, minor_units), new_id()
        self.ways[transaction_id] = Way.LEG
        at = self.today()
        self.do(self.teller.begin(payment, transaction_id))
        self.settled("begin of a saga", transaction_id, self.model.begin_by_legs(transaction_id, payment, at=at))

    @operation(times=2, which=number(0, 5))
    def end_saga(self, which: int) -> None:
        still_open = [name for name, told in self.model.transactions.items() if told.status == "processing"]
        if not still_open:
            return
        transaction_id = still_open[which % len(still_open)]
        self.do(self.teller.end(self.model.transactions[transaction_id].payment, transaction_id))
        told = self.model.end_by_legs(transaction_id)
        if told.status == "reversed":
            self.count("compensation", accepted=True)
        self.ways[transaction_id] = Way.SAGA
        self.settled("end of a saga", transaction_id, told)

    @operation(times=7, which=number(0, 30), percent=any_of(100, 100, 30, 50, 90), way=any_of(Way.LEG, Way.TOGETHER))
    def reverse(self, which: int, percent: int, way: Way) -> None:
        # Of several who give back, none can be asked for the creditor's side: no request for that is well-formed.
        known = [
            (name, told)
            for name, told in self.model.transactions.items()
            if told.payment.hold is None and not (told.payment.shares and told.payment.reverses)
        ]
        name, told = known[-1 - which % len(known)]
        original = told.payment
        part = max(original.amount * percent / 100, SMALLEST[original.currency]).quantize(SMALLEST[original.currency])
        if original.balancing and told.legs and percent == 100:
            part = told.legs[0].amount
        rate = None
        if original.debtor and original.creditor:
            base, other = self.model.accounts[original.debtor].currency, self.model.accounts[original.creditor].currency
            rate = None if base == other else rate_between(base, other)
        payment = Payment(part, original.currency, debtor=original.creditor, creditor=original.debtor, reverses=name, rate=rate)
        if original.shares and percent == 100:
            payment = replace(payment, shares=original.shares)
        elif original.shares:
            payment = replace(payment, debtor=original.shares[0][0])
        one_leg = len({original.debtor, original.creditor, *(name for name, _ in original.shares)} - {None}) == 1
        whole = "whole" if percent == 100 else "part"
        kind = f"reversal, {'several creditors' if original.shares else whole}"
        self.pay(kind, payment, way if one_leg and not original.shares else Way.TOGETHER)

    # ---- repeats and rejections ----

    @operation(times=2, which=number(0, 60), other_way=yes_or_no)
    def repeat(self, which: int, *, other_way: bool) -> None:
        transaction_id = list(self.model.transactions)[which % len(self.model.transactions)]
        told = self.model.transactions[transaction_id]
        way = self.ways[transaction_id]
        if other_way:
            way = Way.TOGETHER
        self.do(self.teller.pay(told.payment, transaction_id, way))
        assert self.do(self.teller.told(transaction_id)) == without_refused_amounts(told.told)
        self.count("the same again", accepted=True)
        self.compare(may_change=set())

    @operation(which=number(0, 60), what=any_of("amount", "reference"))
    def repeat_with_other_content(self, which: int, what: str) -> None:
        transaction_id = list(self.model.transactions)[which % len(self.model.transactions)]
        payment = self.model.transactions[transaction_id].payment
        if what == "amount" and not payment.shares:
            other = replace(payment, amount=payment.amount + SMALLEST[payment.currency])
        else:
            other = replace(payment, reference="another")
        with pytest.raises(TransactionConflictError):
            self.do(self.teller.pay(other, transaction_id, Way.TOGETHER if payment.shares else self.ways[transaction_id]))
        self.count("other content under the same id", accepted=False)
        self.compare(may_change=set())

    @operation(slot=SLOTS, minor_units=AMOUNTS, which=number(0, 30), new=yes_or_no)
    def reject(self, slot: int, minor_units: int, which: int, *, new: bool) -> None:
        if new or not self.model.transactions:
            account, transaction_id = self.account(slot), new_id()
            payment = Payment(self.amount(account, minor_units), self.model.accounts[account].currency, debtor=account)
            told = self.model.reject(transaction_id, payment, "cancelled")
            self.ways[transaction_id] = Way.LEG
        else:
            transaction_id = list(self.model.transactions)[which % len(self.model.transactions)]
            told = self.model.transactions[transaction_id]
        refusal = Refusal(code=RefusalCode.CANCELLED, detail="by the caller")
        rejection = Rejection(request=self.teller.request(told.payment, transaction_id), refusal=refusal)
        self.do(self.teller.ledger.reject(rejection))
        # Whoever comes first settles an id: what was decided before stands.
        assert self.do(self.teller.told(transaction_id)) == without_refused_amounts(told.told)
        self.count("rejection", accepted=new)
        self.compare(may_change={"transaction", "event_outbox"} if new else set())


async def _run(url: str, database: Database, *, banks: int, steps: int, derandomize: bool) -> None:
    class Run(Machine):
        pass

    Run.url, Run.database, Run.loop, Run.counts, Run.reasons = url, database, asyncio.get_running_loop(), {}, Counter()
    chosen = settings(
        max_examples=banks,
        stateful_step_count=steps,
        derandomize=derandomize,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        # Shrinking takes minutes against a database, and the steps that were taken say enough.
        phases=[Phase.generate],
        report_multiple_bugs=False,
    )
    await asyncio.to_thread(run_state_machine_as_test, Run, settings=chosen)
    for kind, told in sorted(Run.counts.items()):
        print(f"{kind:34} {told[True]:6} accepted {told[False]:6} refused")  # noqa: T201
    print(f"{'all':34} {sum(told.total() for told in Run.counts.values()):6}")  # noqa: T201
    print("reasons:", ", ".join(f"{reason} {times}" for reason, times in sorted(Run.reasons.items())))  # noqa: T201
    assert len(Run.counts) == KINDS
    assert Run.reasons.keys() >= REASONS
    never_accepted = {kind for kind, told in Run.counts.items() if not told[True]} - ALWAYS_REFUSED
    never_refused = {kind for kind, told in Run.counts.items() if not told[False]} - ALWAYS_ACCEPTED
    assert (never_accepted, never_refused) == (set(), set())
    await assert_nothing_is_wrong(database)


async def test_random_operations_of_every_kind_are_answered_as_an_independent_model_predicts(postgres_url: str, database: Database) -> None:
    await _run(postgres_url, database, banks=24, steps=100, derandomize=True)


@pytest.mark.slow
async def test_many_random_operations_of_every_kind_are_answered_as_an_independent_model_predicts(
    postgres_url: str, database: Database
) -> None:
    await _run(postgres_url, database, banks=25, steps=200, derandomize=False)
