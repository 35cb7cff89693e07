"""What a ledger must answer, predicted in plain Python from the documented rules. It shares no code with the ledger.

Amounts are `Decimal`, in major units of the account's currency. The model is told when something was decided, since limits count by days.
"""

from __future__ import annotations

import copy
import datetime as dt
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from functools import partial
from typing import Literal

ZERO = Decimal(0)
SMALLEST = {"EUR": Decimal("0.01"), "CZK": Decimal("0.01"), "JPY": Decimal(1)}
"""The minor unit of each currency that a test uses (ISO 4217)."""

_NO_DEBITS = {"closed": "account-closed", "frozen": "account-frozen", "debit-frozen": "account-debit-frozen", "dormant": "account-dormant"}
_NO_CREDITS = {"closed": "account-closed", "frozen": "account-frozen", "credit-frozen": "account-credit-frozen"}


class RefusedError(Exception):
    """The first reason that holds, by the documented order of precedence."""


@dataclass
class Hold:
    amount: Decimal
    captured: Decimal = ZERO
    state: Literal["open", "captured", "voided", "expired", "refused"] = "open"

    @property
    def holds(self) -> Decimal:
        return self.amount - self.captured if self.state == "open" else ZERO


@dataclass
class Account:
    currency: str
    overdraft: Decimal = ZERO
    minimum: Decimal = ZERO
    maximum: Decimal | None = None
    transaction_limit: Decimal | None = None
    daily_limit: Decimal | None = None
    monthly_limit: Decimal | None = None
    status: str = "active"
    before_freeze: str = "active"
    credits: Decimal = ZERO
    debits: Decimal = ZERO
    number_of_debits: int = 0
    spent: dict[dt.date, Decimal] = field(default_factory=dict)
    holds: dict[str, Hold] = field(default_factory=dict)

    @property
    def ledger(self) -> Decimal:
        return self.credits - self.debits

    @property
    def held(self) -> Decimal:
        return sum((hold.holds for hold in self.holds.values()), ZERO)

    @property
    def available(self) -> Decimal:
        return self.ledger - self.held + self.overdraft

    def spent_in_month(self, day: dt.date) -> Decimal:
        return sum((spent for when, spent in self.spent.items() if (when.year, when.month) == (day.year, day.month)), ZERO)


@dataclass(frozen=True)
class Leg:
    """A leg as it stands: what moved, or would have."""

    name: str
    account: str
    posted: bool
    amount: Decimal


@dataclass(frozen=True)
class Payment:
    """All that a request may ask for; a deposit has no debtor, a withdrawal no creditor."""

    amount: Decimal
    currency: str
    debtor: str | None = None
    creditor: str | None = None
    shares: tuple[tuple[str, Decimal], ...] = ()
    """Several creditors; in a reversal, who gives back."""
    fee: Decimal | None = None
    balancing: bool = False
    override: bool = False
    hold: str | None = None
    releases_hold: bool = False
    reverses: str | None = None
    rate: Decimal | None = None
    """What one unit of `currency` buys of the creditor's; None where both are the same."""
    reference: str = ""


@dataclass
class Transaction:
    payment: Payment
    status: str
    reason: str | None = None
    legs: tuple[Leg, ...] = ()
    reversed: Decimal = ZERO
    """Of what it moved."""
    taken_back: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    """By leg and account, in the account's currency."""

    @property
    def told(self) -> tuple[str, str | None, tuple[Leg, ...]]:
        """What anyone who asks is told."""
        return self.status, self.reason, self.legs

    @property
    def moved(self) -> Decimal:
        """What its reversals may take back together, in the payment's currency."""
        return self.legs[0].amount if self.payment.balancing else self.payment.amount


class Ledger:
    """The model: accounts and transactions, changed by operations that answer as the ledger must."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.transactions: dict[str, Transaction] = {}

    # ---- payments ----

    def pay_together(self, transaction_id: str, payment: Payment, *, at: dt.date) -> Transaction:
        """All legs or none."""
        accounts = copy.deepcopy(self.accounts)
        original = copy.deepcopy(self.transactions.get(payment.reverses or ""))
        try:
            legs = tuple(leg() for leg in self._steps(payment, at))
        except _LegRefusedError as refused:
            # Only what was refused is told of, and nothing of the rest has happened.
            self.accounts = accounts
            if original is not None and payment.reverses is not None:
                self.transactions[payment.reverses] = original
            told = Transaction(payment, "rejected", str(refused), (refused.leg,))
        else:
            told = Transaction(payment, "completed", None, legs)
            if payment.reverses is not None:
                self.transactions[payment.reverses].reversed += payment.amount
        self.transactions[transaction_id] = told
        return told

    def pay_by_legs(self, transaction_id: str, payment: Payment, *, at: dt.date) -> Transaction:
        """A transfer as a saga: debit, credit, and the debit given back if the credit is refused."""
        debited = self.begin_by_legs(transaction_id, payment, at=at)
        return debited if debited.status == "rejected" else self.end_by_legs(transaction_id)

    def begin_by_legs(self, transaction_id: str, payment: Payment, *, at: dt.date) -> Transaction:
        """The debit of a saga; with it, the transaction is open."""
        told = self.pay_together(transaction_id, _only_debit(payment), at=at)
        told.payment = payment
        if told.status == "completed":
            told.status = "processing"
        return told

    def end_by_legs(self, transaction_id: str) -> Transaction:
        """The other legs of a saga."""
        told = self.transactions[transaction_id]
        payment, debit = told.payment, told.legs[0]
        assert payment.creditor is not None
        amount = self._converted(payment)
        try:
            credit = self._credit("credit", payment.creditor, amount)
            told.status, told.legs = "completed", (debit, credit)
        except _LegRefusedError as refused:
            # What it took is given back: no status and no maximum may stand in the way.
            self.accounts[debit.account].credits += debit.amount
            back = Leg("compensation", debit.account, posted=True, amount=debit.amount)
            told.status, told.reason, told.legs = "reversed", str(refused), (debit, refused.leg, back)
        return told

    def reject(self, transaction_id: str, payment: Payment, reason: str) -> Transaction:
        """An outcome without any leg."""
        told = self.transactions[transaction_id] = Transaction(payment, "rejected", reason)
        return told

    def _steps(self, payment: Payment, at: dt.date) -> Iterable[Callable[[], Leg]]:
        """The legs in the order in which they are decided: debit, fee, credits."""
        taken: list[Leg] = []

        def debit() -> Leg:
            taken.append(self._debit("debit", payment, payment.amount, at))
            return taken[0]

        if payment.debtor is not None:
            yield debit
            if payment.fee is not None:
                fee = payment.fee
                yield lambda: self._debit("fee", payment, fee, at)
        for account, amount in payment.shares if payment.reverses else ():
            yield partial(self._debit, "debit", replace(payment, debtor=account), amount, at, payment)
        if payment.creditor is not None:
            creditor = payment.creditor
            yield lambda: self._credit("credit", creditor, self._brought(payment, taken), payment)
        for account, amount in () if payment.reverses else payment.shares:
            yield partial(self._credit, "credit", account, amount)

    def _brought(self, payment: Payment, taken: list[Leg]) -> Decimal:
        """What the creditor gets: of a balancing payment, what the debtor could give."""
        return taken[0].amount if payment.balancing else self._converted(payment)

    def _converted(self, payment: Payment) -> Decimal:
        assert payment.creditor is not None
        if payment.rate is None:
            return payment.amount
        return (payment.amount * payment.rate).quantize(SMALLEST[self.accounts[payment.creditor].currency], rounding=ROUND_HALF_EVEN)

    def _debit(self, name: str, payment: Payment, amount: Decimal, at: dt.date, whole: Payment | None = None) -> Leg:
        assert payment.debtor is not None
        account = self.accounts[payment.debtor]
        captures = payment.hold is not None and name == "debit"
        refused: str | None = _NO_DEBITS.get(account.status)
        if payment.reverses is not None:
            # A reversal is the bank's doing: dormancy and limits are about the customer's own debits.
            if account.status == "dormant":
                refused = None
            share = None if refused else self._share(whole or payment, "credit", payment.debtor)
            if isinstance(share, str):
                refused = share
            amount = share if isinstance(share, Decimal) else amount
        elif payment.balancing and name == "debit":
            amount = min(amount, max(account.available - account.minimum, ZERO)) or amount
        if refused is None and captures:
            refused = _why_not_captured(account.holds.get(payment.hold or ""), amount)
        elif refused is None and not payment.override:
            refused = (None if payment.reverses else _over_limit(account, amount, at)) or _too_little(account, amount)
        if refused is not None:
            raise _LegRefusedError(refused, Leg(name, payment.debtor, posted=False, amount=amount))
        if captures:
            _capture(account.holds[payment.hold or ""], amount, final=payment.releases_hold)
        account.debits += amount
        account.number_of_debits += 1
        if not captures and payment.reverses is None:
            account.spent[at] = account.spent.get(at, ZERO) + amount
        return Leg(name, payment.debtor, posted=True, amount=amount)

    def _credit(self, name: str, creditor: str, amount: Decimal, payment: Payment | None = None) -> Leg:
        account = self.accounts[creditor]
        refused = _NO_CREDITS.get(account.status)
        if refused is None and payment is not None and payment.reverses is not None:
            share = self._share(payment, "debit", creditor)
            if isinstance(share, str):
                refused = share
            else:
                amount = share
        if refused is None and account.maximum is not None and account.ledger + amount > account.maximum:
            refused = "maximum-balance"
        if refused is not None:
            raise _LegRefusedError(refused, Leg(name, creditor, posted=False, amount=amount))
        account.credits += amount
        return Leg(name, creditor, posted=True, amount=amount)

    # ---- reversals ----

    def _share(self, payment: Payment, leg_name: str, account: str) -> Decimal | str:
        """What a reversal takes back of a leg of its original, so that all parts sum to the leg; or why it can't."""
        original = self.transactions.get(payment.reverses or "")
        if original is None or original.status != "completed" or original.payment.reverses is not None:
            return "not-reversible"
        # No side may be left out; the fee, which is kept, isn't one.
        if _sides(original.payment) != _sides(payment)[::-1]:
            return "not-reversible"
        if payment.shares and payment.amount < original.moved:
            return "not-reversible"
        if payment.currency != original.payment.currency or original.reversed + payment.amount > original.moved:
            return "reversal-exceeds-original"
        leg = next(leg for leg in original.legs if (leg.name, leg.account) == (leg_name, account))
        before = original.taken_back.get((leg_name, account), ZERO)
        smallest = SMALLEST[self.accounts[account].currency]
        due = Fraction(leg.amount / smallest) * Fraction(original.reversed + payment.amount) / Fraction(original.moved)
        share = Decimal(round(due)) * smallest - before
        if share <= 0:
            return "conversion-rounds-to-zero"
        original.taken_back[leg_name, account] = before + share
        return share

    # ---- holds ----

    def authorise(self, hold_id: str, account_id: str, amount: Decimal, *, at: dt.date) -> str | None:
        """Set money aside as a debit would take it; why not, or None."""
        account = self.accounts[account_id]
        refused = _NO_DEBITS.get(account.status) or _over_limit(account, amount, at) or _too_little(account, amount)
        account.holds[hold_id] = Hold(amount, state="refused" if refused else "open")
        if refused is None:
            account.spent[at] = account.spent.get(at, ZERO) + amount
        return refused

    # ---- accounts ----

    def change_status(self, account_id: str, change: str) -> str | None:
        """Freeze one side or both, unfreeze, make dormant or reactivate; why not, or None."""
        account = self.accounts[account_id]
        if account.status == "closed":
            return "account-closed"
        is_frozen = "frozen" in account.status
        if change.startswith("freeze"):
            side = {"freeze": "frozen", "freeze-debits": "debit-frozen", "freeze-credits": "credit-frozen"}[change]
            account.before_freeze = account.before_freeze if is_frozen else account.status
            both = is_frozen and side != account.status
            # A dormant account takes no debit of its customer; frozen for credits alone it would.
            both = both or (account.before_freeze == "dormant" and side == "credit-frozen")
            account.status = "frozen" if both else side
        elif change == "unfreeze":
            account.status = account.before_freeze if is_frozen else account.status
        elif is_frozen:
            return "account-frozen"
        else:
            account.status = {"dormant": "dormant", "reactivate": "active"}[change]
        return None

    def why_no_overdraft(self, account_id: str, limit: Decimal) -> str | None:
        """An overdraft limit can't be less than what is used of it."""
        account = self.accounts[account_id]
        if account.status == "closed":
            return "account-closed"
        return "overdraft-in-use" if account.held - account.ledger > limit else None

    def why_not_closed(self, account_id: str) -> str | None:
        """Money, a hold or an open transaction keeps an account open."""
        account = self.accounts[account_id]
        if account.status == "closed":
            return None
        if account.ledger != 0:
            return "money"
        if account.held != 0:
            return "hold"
        is_open = any(told.status == "processing" and told.payment.debtor == account_id for told in self.transactions.values())
        return "transaction" if is_open else None


class _LegRefusedError(RefusedError):
    def __init__(self, code: str, leg: Leg) -> None:
        super().__init__(code)
        self.leg = leg


def _sides(payment: Payment) -> tuple[set[str], set[str]]:
    """Who gives and who gets."""
    several = {name for name, _ in payment.shares}
    giving = {payment.debtor} if payment.debtor is not None else set()
    getting = {payment.creditor} if payment.creditor is not None else set()
    return (giving | several, getting) if payment.reverses else (giving, getting | several)


def _only_debit(payment: Payment) -> Payment:
    return Payment(amount=payment.amount, currency=payment.currency, debtor=payment.debtor, override=payment.override)


def _over_limit(account: Account, amount: Decimal, day: dt.date) -> str | None:
    if account.transaction_limit is not None and amount > account.transaction_limit:
        return "transaction-limit"
    if account.daily_limit is not None and account.spent.get(day, ZERO) + amount > account.daily_limit:
        return "daily-limit"
    if account.monthly_limit is not None and account.spent_in_month(day) + amount > account.monthly_limit:
        return "monthly-limit"
    return None


def _too_little(account: Account, amount: Decimal) -> str | None:
    if amount > account.available:
        return "insufficient-funds"
    return "minimum-balance" if account.available - amount < account.minimum else None


def _why_not_captured(hold: Hold | None, amount: Decimal) -> str | None:
    if hold is None or hold.state == "refused":
        return "hold-unknown"
    if hold.state == "expired":
        return "hold-expired"
    if hold.state != "open":
        return "hold-closed"
    return "hold-exceeded" if amount > hold.holds else None


def _capture(hold: Hold, amount: Decimal, *, final: bool) -> None:
    hold.captured += amount
    if final or hold.captured == hold.amount:
        hold.state = "captured"
