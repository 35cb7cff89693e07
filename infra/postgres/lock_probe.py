"""Tries on the running database that a credit waits for nobody and a debit for no credit. Everything it does is rolled back."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import psycopg
from sqlalchemy import text

from infra.postgres.ledger import post_on
from ledger.money import Money
from ledger.postings import first_posting
from ledger.requests import AccountRef, TransactionRequest

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Awaitable, Callable

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.postings import Posting

LOCK_TIMEOUT_SECONDS: Final = 3
"""A wait this long is a lock that somebody holds, not a busy machine."""

# The busiest account is the one for which waiting would matter most.
_BUSIEST = text("""
    SELECT a.tenant, a.account_id, a.currency, clock_timestamp() AS now
      FROM account a JOIN online_balance o USING (tenant, account_id)
     WHERE a.status = 'active'
     ORDER BY o.version DESC, a.tenant, a.account_id
     LIMIT 1
""")
# SET takes no parameters.
_LIMIT_WAITS = text("SELECT set_config('lock_timeout', :timeout, true)")


@dataclass(frozen=True)
class Probed:
    """What the probe found."""

    account: str
    """Tenant and account id; empty when there is no active account to try it on."""
    waits: tuple[str, ...]
    """One sentence for each wait that must not be."""


@dataclass(frozen=True)
class _Account:
    tenant: str
    account_id: str
    currency: str
    now: dt.datetime


class _RolledBackError(Exception):
    """Ends a database transaction that must leave nothing behind."""


async def probe_locks(database: Database) -> Probed:
    """Post beside postings that are not committed yet, on the busiest active account, and roll all of it back.

    For some milliseconds the account's real debits wait, as they wait for each other; its real credits don't.

    Args:
        database: with at least three connections.

    Raises:
        UnavailableError: the database did not answer.
    """

    async def find(connection: AsyncConnection) -> _Account | None:
        found = (await connection.execute(_BUSIEST)).mappings().one_or_none()
        return _Account(**found) if found else None

    account = await database.run(find)
    if account is None:
        return Probed(account="", waits=())
    waits: list[str] = []

    def attempt(what: str, *, debit: bool, then: Callable[[], Awaitable[None]] | None = None) -> Callable[[], Awaitable[None]]:
        return lambda: _post_and_roll_back(database, account, what=what, debit=debit, waits=waits, then=then)

    beside_a_debit = attempt("a credit waited for a credit or a debit that was not committed yet", debit=False)
    await attempt(
        "", debit=True, then=attempt("a credit waited for a debit that was not committed yet", debit=False, then=beside_a_debit)
    )()
    await attempt("", debit=False, then=attempt("a debit waited for a credit that was not committed yet", debit=True))()
    return Probed(account=f"{account.tenant}/{account.account_id}", waits=tuple(waits))


async def _post_and_roll_back(
    database: Database, account: _Account, *, what: str, debit: bool, waits: list[str], then: Callable[[], Awaitable[None]] | None
) -> None:
    """Post one minor unit, do `then` while that is not committed, and roll back. A wait is noted as `what`, unless that is empty."""

    async def work(connection: AsyncConnection) -> None:
        await connection.execute(_LIMIT_WAITS, {"timeout": f"{LOCK_TIMEOUT_SECONDS}s"})
        try:
            await post_on(connection, [_posting(account, debit=debit)])
        except psycopg.errors.LockNotAvailable as error:
            if what:
                waits.append(f"account {account.account_id} of tenant {account.tenant}: {what}")
            raise _RolledBackError from error
        if then is not None:
            await then()
        raise _RolledBackError

    try:
        await database.run(work)
    except _RolledBackError:
        return


def _posting(account: _Account, *, debit: bool) -> Posting:
    side = AccountRef(account_id=account.account_id, currency=account.currency)
    request = TransactionRequest(
        tenant=account.tenant,
        transaction_id=str(uuid.uuid4()),
        debtor=side if debit else None,
        creditor=None if debit else side,
        amount=Money(minor_units=1, currency=account.currency),
        submitted_by="casaflow-check",
        submitted_at=account.now,
    )
    return first_posting(request, conversion=None, booking_date=account.now.date())
