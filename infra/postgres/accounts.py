"""Accounts: opened, read, their balance, and changes of their status."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from sqlalchemy import text

from ledger.accounts import Account, AccountKind, AccountStatus, Balance
from ledger.errors import AccountClosedError, AccountConflictError, AccountNotClosableError, NotFoundError

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database

_COLUMNS: Final = (
    "tenant, account_id, currency, kind, status, overdraft_limit, minimum_balance, maximum_balance, transaction_limit, daily_limit, "
    "monthly_limit, time_zone, opened_at"
)
_INSERT = text(f"""
    WITH opened AS (
        INSERT INTO account (tenant, account_id, currency, kind, overdraft_limit)
        VALUES (:tenant, :account_id, :currency, :kind, :overdraft_limit)
        ON CONFLICT DO NOTHING
        RETURNING {_COLUMNS}),
    online AS (INSERT INTO online_balance (tenant, account_id) SELECT tenant, account_id FROM opened)
    SELECT {_COLUMNS} FROM opened
""")  # noqa: S608  the columns are a constant of this module
_SELECT = text(f"SELECT {_COLUMNS} FROM account WHERE tenant = :tenant AND account_id = ANY (CAST(:account_ids AS text[]))")  # noqa: S608
_BALANCE = text("""
    SELECT tenant, account_id, currency, offline, online, ledger, held, available, clock_timestamp() AS as_of
      FROM account_balance WHERE tenant = :tenant AND account_id = :account_id
""")
# Whoever changes an account's rules takes the online row, then the rules lock alone: debits wait for the first, credits for the second.
_LOCK_ROW = text("SELECT 1 FROM online_balance WHERE tenant = :tenant AND account_id = :account_id FOR UPDATE")
_LOCK_RULES = text("SELECT pg_advisory_xact_lock(rules_lock_key(:tenant, :account_id))")
_SET_STATUS = text(f"""
    UPDATE account SET status = :status WHERE tenant = :tenant AND account_id = :account_id RETURNING {_COLUMNS}
""")  # noqa: S608
_OPEN_TRANSACTIONS = text("""
    SELECT count(*) FROM transaction
     WHERE tenant = :tenant AND debtor = :account_id AND status IN ('processing', 'parked')
""")


class PostgresAccounts:
    """Accounts of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def open_account(
        self, *, tenant: str, account_id: str, currency: str, kind: AccountKind, overdraft_limit: int
    ) -> tuple[Account, bool]:
        """Open an account, or find it opened with the same content.

        Args:
            tenant: whose account it is.
            account_id: its id, unique for the tenant.
            currency: ISO 4217 code; never changes.
            kind: current, savings or internal.
            overdraft_limit: minor units that the ledger balance may go below zero.

        Returns:
            The account, and whether this call opened it.

        Raises:
            AccountConflictError: it exists with other content.
            UnavailableError: the database did not answer.
        """
        content = {"currency": currency, "kind": kind, "overdraft_limit": overdraft_limit}

        async def work(connection: AsyncConnection) -> tuple[Account, bool]:
            inserted = await connection.execute(_INSERT, {"tenant": tenant, "account_id": account_id, **content})
            opened = inserted.mappings().one_or_none()
            if opened is not None:
                return Account.model_validate(dict(opened)), True
            found = await _find(connection, tenant, [account_id])
            return found[account_id], False

        account, created = await self._database.run(work)
        if not created and account.model_dump(include=set(content)) != content:
            raise AccountConflictError(account_id=account_id)
        return account, created

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

    async def change_status(self, tenant: str, account_id: str, status: AccountStatus) -> Account:
        """Freeze, unfreeze or reactivate an account. Legs in flight are decided before or after it, never in between.

        Raises:
            NotFoundError: there is no such account.
            AccountClosedError: the account is closed.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Account:
            await _lock_rules(connection, tenant, account_id)
            return await _set_status(connection, tenant, account_id, status)

        return await self._database.run(work)

    async def close(self, tenant: str, account_id: str) -> Account:
        """Close an account that has no money, no hold and no open transaction. Closing a closed account changes nothing.

        Raises:
            NotFoundError: there is no such account.
            AccountNotClosableError: money, a hold or an open transaction is left.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Account:
            before = await _lock_rules(connection, tenant, account_id)
            if before.status is AccountStatus.CLOSED:
                return before
            key = {"tenant": tenant, "account_id": account_id}
            # New statements, after the locks were granted, so that they see every leg that was decided before.
            balance = (await connection.execute(_BALANCE, key)).mappings().one()
            if balance["ledger"] != 0:
                raise AccountNotClosableError(account_id=account_id, rule="its ledger balance must be zero")
            if balance["held"] != 0:
                raise AccountNotClosableError(account_id=account_id, rule="it must have no open hold")
            if (await connection.execute(_OPEN_TRANSACTIONS, key)).scalar_one():
                raise AccountNotClosableError(account_id=account_id, rule="its transactions must have ended")
            return await _set_status(connection, tenant, account_id, AccountStatus.CLOSED)

        return await self._database.run(work)


async def _find(connection: AsyncConnection, tenant: str, account_ids: Collection[str]) -> dict[str, Account]:
    found = await connection.execute(_SELECT, {"tenant": tenant, "account_ids": list(account_ids)})
    return {row["account_id"]: Account.model_validate(dict(row)) for row in found.mappings()}


async def _lock_rules(connection: AsyncConnection, tenant: str, account_id: str) -> Account:
    key = {"tenant": tenant, "account_id": account_id}
    await connection.execute(_LOCK_ROW, key)
    await connection.execute(_LOCK_RULES, key)
    found = await _find(connection, tenant, [account_id])
    if account_id not in found:
        raise NotFoundError(kind="account", identifier=account_id)
    return found[account_id]


async def _set_status(connection: AsyncConnection, tenant: str, account_id: str, status: AccountStatus) -> Account:
    # The check and the change stand under the rules lock, so nothing can come in between.
    if (await _find(connection, tenant, [account_id]))[account_id].status is AccountStatus.CLOSED:
        raise AccountClosedError(account_id=account_id)
    changed = await connection.execute(_SET_STATUS, {"tenant": tenant, "account_id": account_id, "status": status})
    return Account.model_validate(dict(changed.mappings().one()))
