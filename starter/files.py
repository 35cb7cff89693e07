"""`casaflow submit FILE`: every line of a file of entries is a transaction of its own."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from casaflow_client import ConflictError, NotFoundError

from ledger.money import Money
from starter.entries import AccountHistory, FileError, FileSummary, read_entries, summarise
from starter.posting import Order, OrderConflictError, Tally, post_all

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator
    from pathlib import Path

    from casaflow_client import AsyncClient

ACCOUNTS_AT_ONCE: Final = 16


@dataclass(frozen=True)
class ComparedBalance:
    """An account's ledger balance beside what the file says it should be."""

    account_id: str
    currency: str
    entries: int
    ledger: str
    running_total: str

    @property
    def equal(self) -> bool:
        """To the last minor unit."""
        return self.ledger == self.running_total


@dataclass
class Outcome:
    """What a run came to."""

    tally: Tally = field(default_factory=Tally)
    opened: int = 0
    """Accounts that this run opened."""
    balances: list[ComparedBalance] = field(default_factory=list)
    problem: str = ""
    """Why the run stopped early; empty when it did not."""

    @property
    def proven(self) -> bool:
        """Every line has an outcome, and every balance is what the file says."""
        return not self.problem and bool(self.balances) and all(balance.equal for balance in self.balances)


async def submit_file(
    client: AsyncClient,
    path: Path,
    *,
    tenant: str,
    in_flight: int,
    open_accounts: bool,
    on_start: Callable[[FileSummary], Callable[[], None]],
) -> Outcome:
    """Submit a file, and compare the balances. A second run of the same file posts nothing again.

    Args:
        client: of the API.
        path: of the file.
        tenant: of the client's key; transaction ids are derived from it.
        in_flight: transactions at one time.
        open_accounts: open accounts that are missing, with the overdraft that their history needs.
        on_start: called once the file was looked through; gives what to call after each line's outcome.

    Raises:
        FileError: nothing of the file can be used.
        ApiError: an account is missing, or can't be opened.
    """
    summary = await asyncio.to_thread(summarise, path)
    on_done = on_start(summary)
    outcome = Outcome()
    outcome.opened = await prepare_accounts(client, summary.accounts.values(), open_accounts=open_accounts)
    try:
        await post_all(client, orders_of(path, tenant), in_flight=in_flight, tally=outcome.tally, on_done=on_done)
    except FileError as error:
        outcome.problem = str(error)
    except OrderConflictError as error:
        outcome.problem = f"{path}: {error}"
    outcome.balances = await compare(client, summary.accounts.values())
    return outcome


def orders_of(path: Path, tenant: str) -> Iterator[Order]:
    """The transactions of a file, in its order."""
    for entry in read_entries(path):
        yield Order(body=entry.transaction(tenant), accounts=(entry.account_id,), label=f"line {entry.line}")


async def prepare_accounts(client: AsyncClient, histories: Collection[AccountHistory], *, open_accounts: bool) -> int:
    """Find the accounts, and open those that are missing; returns how many were opened.

    Raises:
        ApiError: an account is missing, or exists in another currency.
    """
    slots = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

    async def prepare(history: AccountHistory) -> bool:
        async with slots:
            try:
                found = await client.account(history.account_id)
            except NotFoundError:
                if not open_accounts:
                    raise
            else:
                if found.currency != history.currency:
                    detail = f"account {history.account_id} is kept in {found.currency}, the file has {history.currency}"
                    raise ConflictError({"code": "account-conflict", "detail": detail}, 409)
                return False
            await client.open_account(account_body(history))
            return True

    return sum(await asyncio.gather(*(prepare(history) for history in histories)))


def account_body(history: AccountHistory) -> dict[str, Any]:
    """The account that a history needs."""
    limit = history.overdraft_needed.decimal_string
    return {"account_id": history.account_id, "currency": history.currency, "kind": "current", "overdraft_limit": limit}


async def compare(client: AsyncClient, histories: Collection[AccountHistory]) -> list[ComparedBalance]:
    """The accounts' ledger balances beside their last running totals."""
    slots = asyncio.Semaphore(ACCOUNTS_AT_ONCE)

    async def one(history: AccountHistory) -> ComparedBalance:
        async with slots:
            balance = await client.balance(history.account_id)
        expected = Money(minor_units=history.running_total, currency=history.currency).decimal_string
        return ComparedBalance(history.account_id, history.currency, history.entries, str(balance.ledger), expected)

    return list(await asyncio.gather(*(one(history) for history in histories)))
