"""What is posted: requests made ahead, so that making them is never on the clock."""

from __future__ import annotations

import datetime as dt
import random
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from bench.legs import leg
from ledger.money import Money

if TYPE_CHECKING:
    from ledger.postings import Posting

TENANT: Final = "bench"
CURRENCY: Final = "EUR"
SPREAD_ACCOUNTS: Final = 1_000
ZIPF_EXPONENT: Final = 1.1
"""The busiest of the 1,000 accounts then has 18 % of the load. ``zipf_accounts.sql`` has the same; pgbench takes nothing below 1.001."""
FUNDS: Final = 10**14
"""Minor units on each account at the start: no run empties it."""
TOO_MUCH: Final = 10**15
"""Minor units of a debit that is refused: more than any account has."""
ACCEPTED_OF_TEN: Final = 1
"""Where most debits are refused, every tenth is accepted."""

_SEED: Final = 1993
TELLERS: Final = 10
"""Of TPC-B at scale 1, which has one branch."""


class Mix(StrEnum):
    """Which legs."""

    CREDITS = "credits"
    DEBITS = "debits"
    HALF = "half and half"
    MOSTLY_REFUSED = "debits, 90 % refused"


class Accounts(StrEnum):
    """On which accounts."""

    ONE = "one account"
    ZIPF = "1,000 accounts, Zipf"
    EVEN = "1,000 accounts, evenly"


class WrongAnswerError(Exception):
    """A side accepted what it had to refuse, or the other way round: its rate would mean nothing."""


def account_id(number: int) -> str:
    """The id of one of the accounts; number 0 is the busy one."""
    return f"bench-{number}"


def teller_id(number: int) -> str:
    """The id of one of TPC-B's tellers, as an account."""
    return f"teller-{number}"


BRANCH_ID: Final = "branch-0"
STORM_ACCOUNT: Final = 1
"""The other account, for a storm that has nothing to do with the busy one."""


def all_account_ids() -> list[str]:
    """Every account that is opened and funded through the ledger."""
    return [*(account_id(number) for number in range(SPREAD_ACCOUNTS)), *(teller_id(number) for number in range(TELLERS)), BRANCH_ID]


class Loads:
    """Makes postings. The accounts follow one seed, so that all sides get them in the same order; the ids are new each time."""

    def __init__(self) -> None:
        self._now = dt.datetime.now(dt.UTC)
        self._weights: dict[Accounts, list[float]] = {
            Accounts.ONE: [1],
            Accounts.ZIPF: [1 / rank**ZIPF_EXPONENT for rank in range(1, SPREAD_ACCOUNTS + 1)],
            Accounts.EVEN: [1] * SPREAD_ACCOUNTS,
        }

    def postings(self, mix: Mix, accounts: Accounts, count: int) -> list[Posting]:
        """The first legs of `count` deposits or withdrawals, as new transactions."""
        weights = self._weights[accounts]
        numbers = random.Random(_SEED).choices(range(len(weights)), weights, k=count)  # noqa: S311  a load, not a secret
        return [self._of_mix(mix, position, account_id(number)) for position, number in enumerate(numbers)]

    def _of_mix(self, mix: Mix, position: int, account: str) -> Posting:
        match mix:
            case Mix.CREDITS:
                return self.posting(account, debit=False)
            case Mix.DEBITS:
                return self.posting(account, debit=True)
            case Mix.HALF:
                return self.posting(account, debit=position % 2 == 0)
            case Mix.MOSTLY_REFUSED:
                return self.posting(account, debit=True, amount=1 if position % 10 < ACCEPTED_OF_TEN else TOO_MUCH)

    def tpcb(self, count: int) -> list[tuple[Posting, ...]]:
        """Transactions in the style of TPC-B: one amount, added to or taken from an account, a teller and the branch: three legs."""
        chosen = random.Random(_SEED)  # noqa: S311
        made = []
        for position in range(count):
            three = (account_id(chosen.randrange(SPREAD_ACCOUNTS)), teller_id(chosen.randrange(TELLERS)), BRANCH_ID)
            made.append(tuple(self.posting(account, debit=position % 2 == 0) for account in three))
        return made

    def posting(self, account: str, *, debit: bool, amount: int = 1) -> Posting:
        """The leg of a new withdrawal or deposit of `amount` minor units."""
        return leg(TENANT, account, Money(minor_units=amount, currency=CURRENCY), debit=debit, at=self._now)


def expect(posting: Posting, *, posted: bool) -> None:
    """Compare an answer with what it has to be.

    Raises:
        WrongAnswerError: they differ.
    """
    if posted == (posting.amount.minor_units == TOO_MUCH):
        message = f"a {posting.leg} of {posting.amount} on {posting.account_id} was {'posted' if posted else 'refused'}"
        raise WrongAnswerError(message)
