"""What the transactions of the benchmark are: new requests on accounts with money enough, made ahead."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import random
import uuid
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from bench.ledger.sides import POOL_SIZE
from bench.legs import leg
from infra.postgres.accounts import PostgresAccounts
from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from infra.settings import DEFAULT_TENANT
from ledger.accounts import AccountKind
from ledger.money import Money
from ledger.requests import AccountRef, TransactionRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

SPREAD_ACCOUNTS: Final = 1_000
FUNDS: Final = 10**14
"""Minor units on each account at the start: no run empties it."""
_SEED: Final = 1993
CURRENCY: Final = "EUR"
OTHER_CURRENCY: Final = "USD"


class Accounts(StrEnum):
    """On which accounts."""

    ONE = "one account"
    SPREAD = "1,000 accounts"


class What(StrEnum):
    """Which transaction."""

    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    TRANSFER = "transfer"
    CROSS_CURRENCY = "cross-currency transfer"


def _debtors(accounts: Accounts) -> Iterator[AccountRef]:
    """The busy account again and again, or the thousand in a random order that is the same in each run."""
    if accounts is Accounts.ONE:
        return itertools.repeat(AccountRef(account_id="bench-0", currency=CURRENCY))
    chosen = random.Random(_SEED)  # noqa: S311  a load, not a secret
    return (AccountRef(account_id=f"bench-{chosen.randrange(SPREAD_ACCOUNTS)}", currency=CURRENCY) for _ in itertools.count())


def requests(what: What, accounts: Accounts) -> Iterator[TransactionRequest]:
    """New requests without end. `accounts` are those that are debited, or credited by a deposit; a transfer's creditor is another one."""
    creditors = itertools.cycle(
        AccountRef(account_id=f"other-{number}", currency=OTHER_CURRENCY)
        if what is What.CROSS_CURRENCY
        else AccountRef(account_id=f"creditor-{number}", currency=CURRENCY)
        for number in range(10)
    )
    for side, creditor in zip(_debtors(accounts), creditors, strict=False):
        yield TransactionRequest(
            tenant=DEFAULT_TENANT,
            transaction_id=str(uuid.uuid4()),
            debtor=None if what is What.DEPOSIT else side,
            creditor=side if what is What.DEPOSIT else None if what is What.WITHDRAWAL else creditor,
            amount=Money(minor_units=100, currency=CURRENCY),
            submitted_by="bench",
            submitted_at=dt.datetime.now(dt.UTC),
        )


async def open_accounts(url: str) -> None:
    """Open and fund every account."""
    database = Database.open(url, pool_size=POOL_SIZE)
    accounts, ledger = PostgresAccounts(database), PostgresLedger(database)
    now = dt.datetime.now(dt.UTC)
    names = [f"bench-{number}" for number in range(SPREAD_ACCOUNTS)] + [f"creditor-{number}" for number in range(10)]
    others = [f"other-{number}" for number in range(10)]
    # No more at a time than there are connections: who waits for one longer than the pool allows would end the run.
    slots = asyncio.Semaphore(POOL_SIZE)

    async def open_one(account_id: str, currency: str) -> None:
        async with slots:
            await accounts.open_account(tenant=DEFAULT_TENANT, account_id=account_id, currency=currency, kind=AccountKind.CURRENT)
        await ledger.post(leg(DEFAULT_TENANT, account_id, Money(minor_units=FUNDS, currency=currency), debit=False, at=now))

    try:
        pairs = [*((name, CURRENCY) for name in names), *((name, OTHER_CURRENCY) for name in others)]
        await asyncio.gather(*(open_one(name, currency) for name, currency in pairs))
    finally:
        await ledger.drain()
        await database.close()
