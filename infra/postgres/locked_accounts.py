"""One account's state under its locks, for whoever decides something about it apart from legs: holds, and changes of its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from infra.postgres.account_states import account_state

if TYPE_CHECKING:
    import datetime as dt

    import psycopg

    from ledger.accounts import AccountState

_OPEN: Final = "SELECT * FROM open_accounts(ARRAY[%s], ARRAY[%s], ARRAY[true])"


class LockedAccount(NamedTuple):
    """An account whose online row is locked until the end of the database transaction."""

    state: AccountState
    at: dt.datetime
    """When, by the database's clock."""


class Opening:
    """An account that is being opened; a class, so that more can be sent to the database before its answer is awaited."""

    def __init__(self, cursor: psycopg.AsyncCursor[tuple[Any, ...]]) -> None:
        self._cursor = cursor

    @classmethod
    async def send(cls, driver: psycopg.AsyncConnection[Any], tenant: str, account_id: str) -> Opening:
        """Lock an account's online row, hold its rules lock, and read its state, in the database transaction that is open.

        Raises:
            psycopg.Error: as the driver raised it.
        """
        cursor = driver.cursor()
        await cursor.execute(_OPEN, [tenant, account_id])
        return cls(cursor)

    async def account(self) -> LockedAccount | None:
        """The account; None when the tenant has none of this id, or when it is the bank's own.

        Raises:
            psycopg.Error: as the driver raised it.
        """
        row = await self._cursor.fetchone()
        return None if row is None else LockedAccount(account_state(row), row[-1])
