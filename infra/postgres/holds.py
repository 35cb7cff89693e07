"""Holds: money set aside for later debits. A hold changes only under its account's online row; captures are debits, and are posted.

See ``docs/decisions/0011-rules-and-holds.md``.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import psycopg
from psycopg.rows import dict_row

from infra.postgres.json import from_jsonb, to_jsonb
from infra.postgres.locked_accounts import Opening
from infra.postgres.outbox import store_event
from ledger.errors import HoldConflictError, NotFoundError, UnknownAccountError
from ledger.events import hold_event
from ledger.holds import Hold, HoldStatus, check_hold, check_void, hold_refusal
from ledger.money import Money
from ledger.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from infra.postgres.database import Database
    from infra.postgres.locked_accounts import LockedAccount
    from ledger.holds import HoldRequest

SWEPT_AT_ONCE: Final = 500
"""Holds that one database transaction of the sweep expires at most; it locks the online rows of their accounts."""

_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_FIND: Final = "SELECT * FROM hold_now WHERE tenant = %s AND hold_id = CAST(%s AS uuid)"
_LOCK: Final = "SELECT * FROM lock_hold(%s, CAST(%s AS uuid))"
_AUTHORISE: Final = """
    SELECT authorise_hold(%(tenant)s, %(account_id)s, CAST(%(hold_id)s AS uuid), %(amount)s, %(currency)s, %(status)s,
                          CAST(%(reason)s AS jsonb), %(reference)s, %(fingerprint)s, %(created_at)s, %(expires_at)s, %(authorised_by)s,
                          %(spending_day)s, CAST(%(spent_on_day)s AS numeric), CAST(%(spent_in_month)s AS numeric), %(announced)s)
"""
_VOID: Final = "SELECT void_hold(%s, CAST(%s AS uuid)) AS closed_at"
_EXPIRE: Final = "SELECT due, expired FROM expire_holds(%s, NULL, NULL)"
_EXPIRE_OF_ACCOUNT: Final = "SELECT due FROM expire_holds(NULL, %s, %s)"
_EXPIRY_IS_TOLD: Final = "UPDATE hold SET expiry_told = true WHERE tenant = %s AND hold_id = CAST(%s AS uuid) AND NOT expiry_told"
# Two partial indexes have these: of expired holds, and of events that wait.
_UNTOLD: Final = """
    SELECT n.* FROM (SELECT tenant, hold_id FROM hold
                      WHERE announced AND NOT expiry_told AND status IN ('open', 'expired')
                        AND expires_at < clock_timestamp() - %(older_than)s
                      ORDER BY expires_at LIMIT %(at_most)s) AS w
      JOIN hold_now n USING (tenant, hold_id)
     ORDER BY n.expires_at
"""
_UNPUBLISHED: Final = """
    SELECT n.* FROM (SELECT e.tenant, e.transaction_id AS hold_id, min(e.created_at) AS since
                       FROM event_outbox e
                      WHERE e.published_at IS NULL AND e.created_at < clock_timestamp() - %(older_than)s
                        AND e.type LIKE 'casaflow.casa.hold-%%'
                      GROUP BY 1, 2) AS w
      JOIN hold_now n USING (tenant, hold_id)
     ORDER BY w.since LIMIT %(at_most)s
"""
_SETTLED: Final = """
    SELECT CAST(transaction_id AS text) FROM transaction
     WHERE tenant = %s AND transaction_id = ANY (CAST(%s AS uuid[])) AND finished_at IS NOT NULL
"""
_IS_STORED: Final = "SELECT EXISTS (SELECT FROM event_outbox WHERE event_id = CAST(%s AS uuid))"


_KEY_OF_A_HOLD: Final = "hold_once"


class _IdInUseError(Exception):
    """Another connection stored a hold of this id. Nothing was written."""


class PostgresHolds:
    """Holds of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def authorise(self, request: HoldRequest) -> tuple[Hold, bool]:
        """Decide a hold by the rules of a debit, and set its amount aside; a repeat gets the hold as it stands, a refused one included.

        Returns:
            The hold, of status `refused` when it was not authorised; and whether this call stored it.

        Raises:
            UnknownAccountError: the tenant has no such account, or it is the bank's own.
            InvalidInputError: the amount, its currency, or the end breaks a rule.
            HoldConflictError: the id was used before with other content.
            UnavailableError: the outcome is unknown; authorise the same hold again.
        """

        async def work(driver: psycopg.AsyncConnection[Any]) -> tuple[Hold, bool]:
            async with driver.pipeline():
                await driver.execute(_BEGIN)
                opening = await Opening.send(driver, request.tenant, request.account_id)
                # A new statement, after the lock was granted: it sees what another connection has made of this id.
                finding = await driver.cursor(row_factory=dict_row).execute(_FIND, [request.tenant, request.hold_id])
            stored, account = await finding.fetchone(), await opening.account()
            if stored is not None:
                return _same(stored, request), False
            if account is None:
                raise UnknownAccountError(field="account_id", account_id=request.account_id)
            check_hold(request, currency=account.state.currency, now=account.at)
            hold = _decided(request, account)
            await _store(driver, request, hold, account)
            return hold, True

        try:
            return await self._database.run_on_driver(work)
        except _IdInUseError:
            # On another account, since holds of one account are decided one by one. Other content, then.
            raise HoldConflictError(hold_id=request.hold_id) from None

    async def void(self, tenant: str, hold_id: str) -> Hold:
        """Release what an open hold still holds. Voiding a voided hold changes nothing.

        Raises:
            NotFoundError: the tenant has no such hold.
            HoldNotVoidableError: it was captured or refused, or has expired.
            UnavailableError: the outcome is unknown; void again.
        """

        async def work(driver: psycopg.AsyncConnection[Any]) -> Hold:
            hold = await _begin_with(driver, tenant, hold_id)
            if not check_void(hold):
                return hold
            async with driver.pipeline():
                voided = await driver.execute(_VOID, [tenant, hold_id])
            (closed_at,) = await voided.fetchone() or (None,)
            hold = hold.model_copy(update={"status": HoldStatus.VOIDED, "closed_at": closed_at})
            async with driver.pipeline():
                if hold.announced:
                    await store_event(driver, hold_event(hold), tenant=tenant, of=hold_id)
                await driver.execute("COMMIT")
            return hold

        return await self._database.run_on_driver(work)

    async def expire_one(self, tenant: str, hold_id: str) -> Hold:
        """Close a hold that is past its end, and store its event, each once; any other stays as it is.

        It has expired by the clock, whoever comes by: the sweep may have closed it before, and left the event to this.

        Raises:
            NotFoundError: the tenant has no such hold.
            UnavailableError: the outcome is unknown; expire it again.
        """

        async def work(driver: psycopg.AsyncConnection[Any]) -> Hold:
            hold = await _begin_with(driver, tenant, hold_id)
            if hold.status is not HoldStatus.EXPIRED:
                return hold
            event = hold_event(hold)
            async with driver.pipeline():
                await driver.execute(_EXPIRE_OF_ACCOUNT, [tenant, hold.account_id])
                found = await driver.execute(_IS_STORED, [event.event_id])
            (is_stored,) = await found.fetchone() or (False,)
            async with driver.pipeline():
                if hold.announced and not is_stored:
                    await store_event(driver, event, tenant=tenant, of=hold_id)
                await driver.execute(_EXPIRY_IS_TOLD, [tenant, hold_id])
                await driver.execute("COMMIT")
            return hold

        return await self._database.run_on_driver(work)

    async def get(self, tenant: str, hold_id: str) -> Hold | None:
        """The hold as it stands now, or None.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(driver: psycopg.AsyncConnection[Any]) -> Hold | None:
            found = await _find(driver, tenant, hold_id)
            return hold_from_row(found) if found else None

        return await self._database.run_on_driver(work)

    async def untold(self, *, older_than: dt.timedelta, at_most: int) -> tuple[HoldRequest, ...]:
        """See :meth:`ledger.ports.UntoldHolds.untold`."""
        values = {"older_than": older_than, "at_most": at_most}

        async def work(driver: psycopg.AsyncConnection[Any]) -> tuple[HoldRequest, ...]:
            found: dict[tuple[str, str], HoldRequest] = {}
            for query in (_UNTOLD, _UNPUBLISHED):
                rows = await (await driver.cursor(row_factory=dict_row).execute(query, values)).fetchall()
                for hold in map(hold_from_row, rows):
                    found.setdefault((hold.tenant, hold.hold_id), hold.request)
            return tuple(found.values())[:at_most]

        return await self._database.run_on_driver(work)

    async def settled(self, tenant: str, transaction_ids: Sequence[str]) -> tuple[str, ...]:
        """Those of the transactions that are over.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(driver: psycopg.AsyncConnection[Any]) -> tuple[str, ...]:
            found = await driver.execute(_SETTLED, [tenant, list(transaction_ids)])
            return tuple(row[0] for row in await found.fetchall())

        return await self._database.run_on_driver(work)

    async def expire(self, *, at_once: int = SWEPT_AT_ONCE) -> int:
        """Close all holds that are past their end, in chunks of a database transaction each. Several may run at the same time.

        It stores no events: those are for each hold's workflow, by :meth:`expire_one`. Nothing depends on it: an expired hold holds nothing
        from its end on. It keeps short what debits and the view have to take off.

        Args:
            at_once: holds of one chunk at most.

        Returns:
            How many holds this call closed.

        Raises:
            UnavailableError: the database did not answer; what was closed stays closed.
        """

        async def chunk(driver: psycopg.AsyncConnection[Any]) -> tuple[int, int]:
            due, expired = await (await driver.execute(_EXPIRE, [at_once])).fetchone() or (0, 0)
            return due, expired

        closed = 0
        while True:
            due, expired = await self._database.run_on_driver(chunk)
            closed += expired
            if due < at_once:
                return closed


async def _find(driver: psycopg.AsyncConnection[Any], tenant: str, hold_id: str) -> Mapping[str, Any] | None:
    return await (await driver.cursor(row_factory=dict_row).execute(_FIND, [tenant, hold_id])).fetchone()


def _same(stored: Mapping[str, Any], request: HoldRequest) -> Hold:
    if stored["fingerprint"] != request.fingerprint:
        raise HoldConflictError(hold_id=request.hold_id)
    return hold_from_row(stored)


def _decided(request: HoldRequest, account: LockedAccount) -> Hold:
    refusal = hold_refusal(account.state, request.amount.minor_units)
    return Hold(
        **request.model_dump(include={"tenant", "hold_id", "account_id", "reference", "authorised_by"}),
        amount=request.amount,
        captured=Money(minor_units=0, currency=request.amount.currency),
        status=HoldStatus.REFUSED if refusal else HoldStatus.OPEN,
        created_at=account.at,
        expires_at=request.expires_at.astimezone(dt.UTC),
        closed_at=account.at if refusal else None,
        refusal=refusal,
        announced=refusal is None,
    )


async def _store(driver: psycopg.AsyncConnection[Any], request: HoldRequest, hold: Hold, account: LockedAccount) -> None:
    amount = request.amount.minor_units
    values = {
        **hold.model_dump(
            include={"tenant", "account_id", "hold_id", "reference", "authorised_by", "created_at", "expires_at", "announced"}
        ),
        "amount": amount,
        "currency": hold.amount.currency,
        "status": hold.status.value,
        "reason": to_jsonb(hold.refusal) if hold.refusal is not None else None,
        "fingerprint": request.fingerprint,
        "spending_day": account.state.local_day,
        "spent_on_day": str(account.state.spent_on_day + amount),
        "spent_in_month": str(account.state.spent_in_month + amount),
    }
    try:
        async with driver.pipeline():
            await driver.execute(_AUTHORISE, values)
            if hold.announced:
                await store_event(driver, hold_event(hold), tenant=hold.tenant, of=hold.hold_id)
            await driver.execute("COMMIT")
    except psycopg.errors.UniqueViolation as error:
        if error.diag.constraint_name == _KEY_OF_A_HOLD:
            raise _IdInUseError from error
        raise


async def _begin_with(driver: psycopg.AsyncConnection[Any], tenant: str, hold_id: str) -> Hold:
    """Begin a database transaction, with the hold under its account's lock.

    Raises:
        NotFoundError: the tenant has no such hold.
    """
    async with driver.pipeline():
        await driver.execute(_BEGIN)
        locked = await driver.cursor(row_factory=dict_row).execute(_LOCK, [tenant, hold_id])
    row = await locked.fetchone()
    if row is None:
        raise NotFoundError(kind="hold", identifier=hold_id)
    return hold_from_row(row)


def hold_from_row(row: Mapping[str, Any]) -> Hold:
    """The hold that a row of the view ``hold_now`` holds."""
    return Hold(
        tenant=row["tenant"],
        hold_id=str(row["hold_id"]),
        account_id=row["account_id"],
        amount=Money(minor_units=row["amount"], currency=row["currency"]),
        captured=Money(minor_units=row["captured"], currency=row["currency"]),
        status=HoldStatus(row["status"]),
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        closed_at=row["closed_at"],
        reference=row["reference"],
        authorised_by=row["authorised_by"],
        refusal=from_jsonb(Refusal, row["reason"]),
        announced=row["announced"],
    )
