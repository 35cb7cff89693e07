"""Operations of every kind from 32 connections at once, on a few accounts. No model could tell the order; what must be true always, is."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from decimal import Decimal

import pytest

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.postgres.proof import PostgresProof
from ledger.accounts import AccountStatus
from ledger.errors import BusyError, HoldConflictError, ImpossibleChangeError, TransactionConflictError
from ledger.holds import HoldRequest
from ledger.refusals import Refusal, RefusalCode
from ledger.results import Rejection
from ledger.rules import StatusChange
from tests.integration.postgres.bank import PATIENCE_SECONDS, Bank, new_id
from tests.integration.postgres.linked import assert_nothing_is_wrong, euro
from tests.integration.postgres.model import Payment
from tests.integration.postgres.teller import Teller, Way
from tests.integration.postgres.test_model import A_LONG_TIME_AHEAD

CONNECTIONS = 32
LEDGERS = 8
"""Each with lanes of its own, as worker processes have them, so that batches of one account meet in the database only."""
ACCOUNTS = 6


@pytest.fixture
async def crowded(postgres_url: str) -> AsyncIterator[Database]:
    database = Database.open(postgres_url, pool_size=CONNECTIONS)
    yield database
    await database.close()


class Storm:
    """Any of 32 callers may do anything to any account."""

    def __init__(self, bank: Bank, seed: int) -> None:
        self.bank = bank
        self.chance = random.Random(seed)  # noqa: S311  repeatable, not secret
        self.tellers = [Teller(bank, PostgresLedger(bank.database)) for _ in range(LEDGERS)]
        self.accounts: list[str] = []
        self.closed: set[str] = set()
        self.holds: list[HoldRequest] = []
        self.paid: dict[str, tuple[Payment, Way]] = {}
        self.counts: dict[str, Counter[bool]] = {}

    def count(self, kind: str, *, accepted: bool) -> None:
        self.counts.setdefault(kind, Counter())[accepted] += 1

    async def open(self) -> None:
        self.accounts.append(await self.bank.open(overdraft_limit=self.chance.choice([0, 200])))
        await self.bank.post(self.bank.deposit(self.accounts[-1], 2_000))

    def amount(self) -> Decimal:
        return Decimal(self.chance.randint(1, 600)) / 100

    def some(self, count: int) -> list[str]:
        return self.chance.sample(self.accounts[-ACCOUNTS:], count)

    async def one(self) -> None:
        """An operation of any kind."""
        payments: dict[str, Callable[[], tuple[Payment, Way]]] = {
            "deposit": lambda: (
                replace(self.payment(creditor=True), amount=Decimal(self.chance.randint(1, 25))),
                self.either(Way.LEG, Way.TOGETHER),
            ),
            "withdrawal": lambda: (self.payment(debtor=True), self.either(Way.LEG, Way.TOGETHER)),
            "transfer, saga": lambda: (self.payment(debtor=True, creditor=True), Way.SAGA),
            "transfer, together": lambda: (self.payment(debtor=True, creditor=True), Way.TOGETHER),
            "fee": lambda: (replace(self.payment(debtor=True, creditor=True), fee=Decimal("0.25")), Way.TOGETHER),
            "balancing": lambda: (
                replace(self.payment(debtor=True, creditor=True), balancing=True, amount=Decimal(self.chance.randint(1, 40))),
                Way.TOGETHER,
            ),
            "several creditors": lambda: (self.several(), Way.TOGETHER),
            "override": lambda: (replace(self.payment(debtor=True), override=True), self.either(Way.LEG, Way.TOGETHER)),
        }
        others: dict[str, Callable[[], Awaitable[None]]] = {
            "reversal": self.reverse,
            "capture": self.capture,
            "hold": self.authorise,
            "void": self.void,
            "end of a hold": self.expire,
            "the same again": self.repeat,
            "other content": self.repeat_otherwise,
            "rejection": self.reject,
            "change of status": self.change_status,
            "change of rules": self.change_rules,
            "close": self.close,
        }
        kind = self.chance.choice([*payments, *payments, *others, "deposit", "transfer, saga", "transfer, saga", "close"])
        if kind in payments:
            await self.pay(kind, *payments[kind]())
        else:
            await others[kind]()

    def either(self, *ways: Way) -> Way:
        return self.chance.choice(ways)

    def payment(self, *, debtor: bool = False, creditor: bool = False) -> Payment:
        one, other = self.some(2)
        return Payment(self.amount(), "EUR", debtor=one if debtor else None, creditor=other if creditor else None)

    def several(self) -> Payment:
        debtor, *creditors = self.some(self.chance.randint(2, 4))
        shares = tuple((name, self.amount()) for name in creditors)
        return Payment(sum((amount for _, amount in shares), Decimal(0)), "EUR", debtor=debtor, shares=shares)

    async def pay(self, kind: str, payment: Payment, way: Way) -> None:
        transaction_id = new_id()
        teller = self.chance.choice(self.tellers)
        await self.until_answered(lambda: teller.pay(payment, transaction_id, way))
        told = await teller.told(transaction_id)
        assert told is not None
        assert told[0] in {"completed", "rejected", "reversed"}
        self.paid[transaction_id] = payment, way
        self.count("compensation" if told[0] == "reversed" else kind, accepted=told[0] != "rejected")

    async def until_answered(self, ask: Callable[[], Awaitable[None]]) -> None:
        """Whoever gives way in a deadlock may ask again; that it is seldom is what the count is for."""
        while True:
            try:
                return await ask()
            except BusyError:
                self.count("gave way", accepted=False)

    async def reverse(self) -> None:
        if self.paid:
            name = self.chance.choice(list(self.paid)[-40:])
            original, _ = self.paid[name]
            part = original.amount if self.chance.random() < 0.5 else max(original.amount / 4, Decimal("0.01")).quantize(Decimal("0.01"))
            swapped = Payment(part, "EUR", debtor=original.creditor, creditor=original.debtor, shares=original.shares, reverses=name)
            if not original.reverses and (not original.shares or part == original.amount):
                await self.pay("reversal", swapped, Way.TOGETHER)

    async def authorise(self) -> None:
        amount = euro(int(self.amount() * 100))
        request = HoldRequest(
            tenant=self.bank.tenant, hold_id=new_id(), account_id=self.some(1)[0], amount=amount, expires_at=A_LONG_TIME_AHEAD,
            authorised_by="shop",
        )  # fmt: skip
        # Twice at once: one of them stores it, and both get the same.
        (one, is_new), (other, is_new_too) = await asyncio.gather(self.bank.holds.authorise(request), self.bank.holds.authorise(request))
        assert {is_new, is_new_too} == {True, False}
        assert one.refusal == other.refusal
        self.holds.append(request)
        self.count("hold", accepted=one.refusal is None)

    async def capture(self) -> None:
        if self.holds:
            hold = self.chance.choice(self.holds[-6:])
            part = hold.amount.decimal if self.chance.random() < 0.5 else max(hold.amount.decimal / 3, Decimal("0.01"))
            payment = Payment(part.quantize(Decimal("0.01")), "EUR", debtor=hold.account_id, hold=hold.hold_id)
            await self.pay("capture", replace(payment, releases_hold=self.chance.random() < 0.5), Way.TOGETHER)

    async def void(self) -> None:
        if self.holds:
            await self.changed("void", self.bank.holds.void(self.bank.tenant, self.chance.choice(self.holds[-6:]).hold_id))

    async def expire(self) -> None:
        """Some hold's end comes, and the sweep passes by."""
        if self.holds:
            ends = "UPDATE hold SET expires_at = created_at WHERE tenant = %s AND hold_id = %s AND status = 'open'"
            await self.bank.rows.execute(ends, (self.bank.tenant, self.chance.choice(self.holds[-6:]).hold_id))
            await self.bank.holds.expire()
            self.count("end of a hold", accepted=True)

    async def repeat(self) -> None:
        """By two ledgers at once."""
        if self.paid:
            name = self.chance.choice(list(self.paid)[-40:])
            payment, way = self.paid[name]
            before = await self.tellers[0].told(name)
            one, other = self.chance.sample(self.tellers, 2)
            await asyncio.gather(
                *(self.until_answered(lambda teller=teller: teller.pay(payment, name, way)) for teller in (one, other))  # type: ignore[misc]
            )
            assert await self.tellers[0].told(name) == before
            self.count("the same again", accepted=True)

    async def repeat_otherwise(self) -> None:
        if self.paid:
            name = self.chance.choice(list(self.paid)[-40:])
            payment, way = self.paid[name]
            with pytest.raises(TransactionConflictError):
                await self.until_answered(lambda: self.chance.choice(self.tellers).pay(replace(payment, reference="another"), name, way))
            self.count("other content", accepted=False)

    async def reject(self) -> None:
        """Beside the same transaction being posted: one of the two settles it."""
        payment, transaction_id = self.payment(debtor=True), new_id()
        one, other = self.chance.sample(self.tellers, 2)
        refusal = Refusal(code=RefusalCode.CANCELLED, detail="by the caller")
        paying = asyncio.create_task(self.until_answered(lambda: other.pay(payment, transaction_id, Way.LEG)))
        for _ in range(self.chance.randint(0, 60)):
            await asyncio.sleep(0)  # a turn for the others, so that now one and now the other comes first
        result = await one.ledger.reject(Rejection(request=one.request(payment, transaction_id), refusal=refusal))
        await paying
        assert result.status == (await one.told(transaction_id) or ("",))[0]
        self.paid[transaction_id] = payment, Way.LEG
        self.count("rejection", accepted=result.reason == refusal)

    async def change_status(self) -> None:
        account, change = self.some(1)[0], self.chance.choice(list(StatusChange))
        await self.changed("change of status", self.bank.accounts.change_status(self.bank.tenant, account, change, by="operator"))
        if self.chance.random() < 0.3:
            return
        # Soon given free again, so that the others have something to do.
        await self.changed("change of status", self.bank.accounts.change_status(self.bank.tenant, account, StatusChange.UNFREEZE, by="op"))
        await self.changed(
            "change of status", self.bank.accounts.change_status(self.bank.tenant, account, StatusChange.REACTIVATE, by="op")
        )

    async def change_rules(self) -> None:
        rules: dict[str, int | None] = self.chance.choice(
            [
                {"overdraft_limit": self.chance.choice([0, 100, 500])},
                {"maximum_balance": self.chance.choice([None, None, 1_500])},
                {"minimum_balance": self.chance.choice([0, 0, 100])},
                {"transaction_limit": self.chance.choice([None, 400])},
                {"daily_limit": self.chance.choice([None, 20_000]), "monthly_limit": None},
            ]
        )
        await self.changed("change of rules", self.bank.change(self.some(1)[0], **rules))

    async def close(self) -> None:
        """An account whose balance was made zero just now, and which others may use meanwhile."""
        account = self.some(1)[0]
        units = (await self.bank.balance(account)).ledger
        amount = Decimal(abs(units)) / 100
        if units > 0:
            await self.pay("override", Payment(amount, "EUR", debtor=account, override=True), Way.LEG)
        elif units < 0:
            await self.pay("deposit", Payment(amount, "EUR", creditor=account), Way.LEG)
        if await self.changed("close", self.bank.close(account)):
            self.closed.add(account)
        if len(self.closed.intersection(self.accounts[-ACCOUNTS:])) > 1:
            await self.open()

    async def changed(self, kind: str, change: Awaitable[object]) -> bool:
        try:
            await change
        except (ImpossibleChangeError, HoldConflictError):
            self.count(kind, accepted=False)
            return False
        self.count(kind, accepted=True)
        return True


ONE_SIDED = {"the same again", "other content", "compensation", "end of a hold", "gave way"}
"""Kinds of operations that are only ever accepted, or only ever refused."""


async def _assert_events_are_complete(bank: Bank) -> None:
    proof = PostgresProof(bank.database)
    shown = (await proof.events(await proof.now(), ["audit"])).violations.shown
    # Nobody publishes here.
    assert [line for line in shown if bank.tenant in line and not line.endswith("is not published")] == []


async def _storm(bank: Bank, *, seed: int, operations: int) -> None:
    storm = Storm(bank, seed)
    for _ in range(ACCOUNTS):
        await storm.open()
    deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
    before = await bank.value(deadlocks)

    async def work(left: Iterator[int]) -> None:
        for _ in left:
            async with asyncio.timeout(PATIENCE_SECONDS):  # nobody is starved
                await storm.one()

    async def run(operations: int) -> None:
        left = iter(range(operations))
        await asyncio.gather(*(work(left) for _ in range(CONNECTIONS)))

    await run(operations)
    for _ in range(6):  # the order of events is chance, and so is whether a rare kind was both accepted and refused
        if all(told[True] and told[False] for kind, told in storm.counts.items() if kind not in ONE_SIDED):
            break
        await run(operations // 3)
    for kind, told in sorted(storm.counts.items()):
        print(f"{kind:24} {told[True]:6} accepted {told[False]:6} refused")  # noqa: T201
    kinds = storm.counts.keys() - {"gave way"}
    assert len(kinds) == 20
    assert {kind for kind in kinds if not storm.counts[kind][True]} == {"other content"}
    assert {kind for kind in kinds if not storm.counts[kind][False]} <= ONE_SIDED
    await assert_nothing_is_wrong(bank)
    await _assert_events_are_complete(bank)
    assert await bank.value("SELECT coalesce(sum(amount), 0) FROM gl_entry WHERE tenant = %(tenant)s AND account_id = 'transit'") == 0
    closed = await bank.value(
        "SELECT count(*) FROM account a JOIN account_balance b USING (tenant, account_id)"
        " WHERE a.tenant = %(tenant)s AND a.status = %(closed)s AND (b.ledger <> 0 OR b.held <> 0)",
        closed=AccountStatus.CLOSED.value,
    )
    assert closed == 0, "money was left on a closed account"
    assert await bank.value(deadlocks) == before
    assert "gave way" not in storm.counts


@pytest.mark.parametrize("seed", [1])
async def test_operations_of_every_kind_at_once_break_no_rule(bank: Bank, crowded: Database, seed: int) -> None:
    await _storm(replace(bank, database=crowded), seed=seed, operations=1_500)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
async def test_very_many_operations_of_every_kind_at_once_break_no_rule(bank: Bank, crowded: Database, seed: int) -> None:
    await _storm(replace(bank, database=crowded), seed=seed, operations=5_000)
