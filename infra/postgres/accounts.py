"""Accounts: opened, read, their balance, and changes of their rules and status.

See ``docs/decisions/0011-rules-and-holds.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from psycopg.rows import dict_row
from sqlalchemy import text

from infra.postgres.json import to_jsonb
from infra.postgres.locked_accounts import Opening
from ledger.accounts import Account, AccountRules, Balance
from ledger.errors import AccountConflictError, InvalidInputError, NotFoundError
from ledger.rules import TIME_ZONE_RULE, after_close, after_rules_change, after_status_change

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    import psycopg
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.accounts import AccountKind, AccountState
    from ledger.principals import Actor
    from ledger.rules import StatusChange

_COLUMNS: Final = (
    "tenant, account_id, currency, kind, status, overdraft_limit, minimum_balance, maximum_balance, transaction_limit, daily_limit, "
    "monthly_limit, time_zone, status_before_freeze, opened_at"
)
_RULES: Final = tuple(AccountRules.model_fields)
_INSERT = text(f"""
    WITH opened AS (
        INSERT INTO account (tenant, account_id, currency, kind, {", ".join(_RULES)})
        VALUES (:tenant, :account_id, :currency, :kind, {", ".join(f":{name}" for name in _RULES)})
        ON CONFLICT DO NOTHING
        RETURNING {_COLUMNS}),
    noted AS (
        INSERT INTO administrative_act (tenant, by, key_id, address, action, subject, detail)
        SELECT tenant, :by, :key_id, :address, 'account.opened', 'account ' || account_id, CAST(:detail AS jsonb)
          FROM opened WHERE CAST(:by AS text) IS NOT NULL)
    SELECT {_COLUMNS} FROM opened CROSS JOIN LATERAL open_online_row(tenant, account_id)
""")  # noqa: S608  the columns are a constant of this module
_OPENED_WITH = text("SELECT opened_with FROM account WHERE tenant = :tenant AND account_id = :account_id")
_SELECT = text(f"SELECT {_COLUMNS} FROM account WHERE tenant = :tenant AND account_id = ANY (CAST(:account_ids AS text[]))")  # noqa: S608
_BALANCE = text("""
    SELECT tenant, account_id, currency, offline, online, ledger, held, available, clock_timestamp() AS as_of
      FROM account_balance WHERE tenant = :tenant AND account_id = :account_id
""")
# Whoever changes an account's rules takes the online row, then the rules lock alone: debits wait for the first, credits for the second.
_BEGIN: Final = "BEGIN ISOLATION LEVEL READ COMMITTED"
_LOCK: Final = "SELECT lock_account(%s, %s)"
_ACTOR: Final = "SELECT set_config('casaflow.key_id', %s, true), set_config('casaflow.address', %s, true)"
_EXPIRE_HOLDS: Final = "SELECT due FROM expire_holds(NULL, %s, %s)"
_READ: Final = f"SELECT {_COLUMNS} FROM account WHERE tenant = %s AND account_id = %s"  # noqa: S608
_TIME_ZONE_IS_KNOWN: Final = "SELECT time_zone_is_known(%s)"
_CHANGE: Final = """
    SELECT change_account(%(tenant)s, %(account_id)s, %(status)s, %(status_before_freeze)s, %(overdraft_limit)s, %(minimum_balance)s,
                          %(maximum_balance)s, %(transaction_limit)s, %(daily_limit)s, %(monthly_limit)s, %(time_zone)s, %(changed_by)s)
"""
_OPEN_TRANSACTIONS: Final = """
    SELECT count(*) FROM transaction WHERE tenant = %s AND debtor = %s AND status IN ('processing', 'parked')
"""

_IS_TIME_ZONE = text("SELECT time_zone_is_known(:time_zone)")
_NO_RULES: Final = AccountRules()


class PostgresAccounts:
    """Accounts of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_account(
        self,
        *,
        tenant: str,
        account_id: str,
        currency: str,
        kind: AccountKind,
        rules: AccountRules = _NO_RULES,
        actor: Actor | None = None,
    ) -> tuple[Account, bool]:
        """Open an account, or find it opened with the same content.

        Args:
            tenant: whose account it is.
            account_id: its id, unique for the tenant.
            currency: ISO 4217 code; never changes.
            kind: current, savings or internal.
            rules: what its legs are decided by, until they are changed.
            actor: who opens it, who is recorded; None: a benchmark, or a test.

        Returns:
            The account as it is now, and whether this call opened it.

        Raises:
            AccountConflictError: it was opened with other content.
            InvalidInputError: the database knows no such time zone.
            UnavailableError: the database did not answer.
        """
        content = {"tenant": tenant, "account_id": account_id, "currency": currency, "kind": kind, **rules.model_dump()}
        act = {
            "by": actor.name if actor is not None else None,
            "key_id": actor.key_id if actor is not None else None,
            "address": actor.address if actor is not None else None,
            "detail": to_jsonb({"after": {name: value for name, value in content.items() if name not in {"tenant", "account_id"}}}),
        }

        async def work(connection: AsyncConnection) -> tuple[Account, bool]:
            if rules.time_zone != _NO_RULES.time_zone:
                known = await connection.execute(_IS_TIME_ZONE, {"time_zone": rules.time_zone})
                _check_time_zone(rules.time_zone, is_known=known.scalar_one())
            inserted = (await connection.execute(_INSERT, {**content, **act})).mappings().one_or_none()
            if inserted is not None:
                return Account.model_validate(dict(inserted)), True
            account = (await _find(connection, tenant, [account_id]))[account_id]
            stored = (await connection.execute(_OPENED_WITH, {"tenant": tenant, "account_id": account_id})).scalar_one()
            opened_with = AccountRules.model_validate(stored or account.model_dump(include=set(_RULES)))
            if (account.currency, account.kind, opened_with) != (currency, kind, rules):
                raise AccountConflictError(account_id=account_id)
            return account, False

        return await self._database.run(work)

    async def get(self, tenant: str, account_id: str) -> Account | None:
        """The account, or None.

        Raises:
            UnavailableError: the database did not answer.
        """
        return (await self.get_many(tenant, [account_id])).get(account_id)

    async def get_many(self, tenant: str, account_ids: Collection[str]) -> dict[str, Account]:
        """Those of the accounts that exist, by id.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> dict[str, Account]:
            return await _find(connection, tenant, account_ids)

        return await self._database.run_statement(work)

    async def balance(self, tenant: str, account_id: str) -> Balance | None:
        """The account's balance now, or None when there is no such account.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Balance | None:
            found = (await connection.execute(_BALANCE, {"tenant": tenant, "account_id": account_id})).mappings().one_or_none()
            return Balance.model_validate(dict(found)) if found else None

        return await self._database.run_statement(work)

    async def change_status(self, tenant: str, account_id: str, change: StatusChange, *, by: str, actor: Actor | None = None) -> Account:
        """Freeze, unfreeze, make dormant or reactivate. Legs in flight are decided before it or after it, never in between.

        Args:
            tenant: whose account it is.
            account_id: its id.
            change: what to do.
            by: the principal who does it.
            actor: with which key, and from where; None: neither is recorded.

        Raises:
            NotFoundError: there is no such account.
            AccountClosedError: the account is closed.
            AccountFrozenError: it is frozen, and the change isn't about that.
            UnavailableError: the outcome is unknown; change it again.
        """
        return await self._change(tenant, account_id, lambda account, _: after_status_change(account, change), by=by, actor=actor)

    async def change_rules(
        self, tenant: str, account_id: str, changes: Mapping[str, int | str | None], *, by: str, actor: Actor | None = None
    ) -> Account:
        """Give an account other rules. What was decided before stays decided, whatever the new rules say of it.

        Args:
            tenant: whose account it is.
            account_id: its id.
            changes: new values, in minor units where they are amounts, by the fields of :class:`ledger.accounts.AccountRules`.
            by: the principal who does it.
            actor: with which key, and from where; None: neither is recorded.

        Raises:
            NotFoundError: there is no such account.
            AccountClosedError: the account is closed.
            OverdraftInUseError: the new overdraft limit is less than what debits and holds use of it.
            InvalidInputError: the database knows no such time zone.
            UnavailableError: the outcome is unknown; change it again.
        """
        if "time_zone" in changes:
            await self._check_time_zone(str(changes["time_zone"]))
        return await self._change(
            tenant, account_id, lambda account, state: after_rules_change(account, state, changes), by=by, actor=actor
        )

    async def close(self, tenant: str, account_id: str, *, by: str, actor: Actor | None = None) -> Account:
        """Close an account that has no money, no hold and no open transaction. Closing a closed account changes nothing.

        Raises:
            NotFoundError: there is no such account.
            AccountNotClosableError: money, a hold or an open transaction is left.
            UnavailableError: the outcome is unknown; close it again.
        """

        async def work(driver: psycopg.AsyncConnection[Any]) -> Account:
            key = [tenant, account_id]
            async with driver.pipeline():
                await driver.execute(_BEGIN)
                await driver.execute(_LOCK, key)
                await driver.execute(_EXPIRE_HOLDS, key)
                counted = await driver.execute(_OPEN_TRANSACTIONS, key)
                before, state = await _read_locked(driver, tenant, account_id)
            (open_transactions,) = await counted.fetchone() or (0,)
            after = after_close(before, state, open_transactions=open_transactions)
            return await _store(driver, before, after, by=by, actor=actor)

        return await self._database.run_on_driver(work)

    async def _change(
        self, tenant: str, account_id: str, decide: Callable[[Account, AccountState], Account], *, by: str, actor: Actor | None
    ) -> Account:
        async def work(driver: psycopg.AsyncConnection[Any]) -> Account:
            async with driver.pipeline():
                await driver.execute(_BEGIN)
                await driver.execute(_LOCK, [tenant, account_id])
                before, state = await _read_locked(driver, tenant, account_id)
            return await _store(driver, before, decide(before, state), by=by, actor=actor)

        return await self._database.run_on_driver(work)

    async def _check_time_zone(self, time_zone: str) -> None:
        async def work(driver: psycopg.AsyncConnection[Any]) -> bool:
            (is_known,) = await (await driver.execute(_TIME_ZONE_IS_KNOWN, [time_zone])).fetchone() or (False,)
            return bool(is_known)

        _check_time_zone(time_zone, is_known=await self._database.run_on_driver(work))


def _check_time_zone(time_zone: str, *, is_known: bool) -> None:
    if not is_known:
        raise InvalidInputError(field="time_zone", value=time_zone, rule=TIME_ZONE_RULE)


async def _find(connection: AsyncConnection, tenant: str, account_ids: Collection[str]) -> dict[str, Account]:
    found = await connection.execute(_SELECT, {"tenant": tenant, "account_ids": list(account_ids)})
    return {row["account_id"]: Account.model_validate(dict(row)) for row in found.mappings()}


async def _read_locked(driver: psycopg.AsyncConnection[Any], tenant: str, account_id: str) -> tuple[Account, AccountState]:
    """An account and its state, in new statements, after its locks were granted: they see every leg that was decided before."""
    reading = await driver.cursor(row_factory=dict_row).execute(_READ, [tenant, account_id])
    opening = await Opening.send(driver, tenant, account_id)
    row, opened = await reading.fetchone(), await opening.account()
    if row is None or opened is None:  # without a state it is one of the bank's own, which takes no leg
        raise NotFoundError(kind="account", identifier=account_id)
    return Account.model_validate(row), opened.state


async def _store(driver: psycopg.AsyncConnection[Any], before: Account, after: Account, *, by: str, actor: Actor | None) -> Account:
    if after == before:
        return before
    async with driver.pipeline():
        if actor is not None:
            await driver.execute(_ACTOR, [actor.key_id or "", actor.address or ""])
        await driver.execute(_CHANGE, {**after.model_dump(), "changed_by": by})
        await driver.execute("COMMIT")
    return after
