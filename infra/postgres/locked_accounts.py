"""One account's state under its locks, for whoever decides something about it apart from legs: holds, and changes of its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from psycopg.rows import dict_row

from ledger.accounts import AccountState, AccountStatus

if TYPE_CHECKING:
    import datetime as dt

    import psycopg

_OPEN: Final = """
    SELECT account_id, currency, status, overdraft_limit, minimum_balance, maximum_balance, transaction_limit, daily_limit, monthly_limit,
           local_day, CAST(spent_on_day AS text), CAST(spent_in_month AS text), locked, CAST(ledger AS text), CAST(held AS text), version,
           opened_at
      FROM open_accounts(ARRAY[%s], ARRAY[%s], ARRAY[true])
"""
_SUMS: Final = ("spent_on_day", "spent_in_month", "ledger", "held")


class LockedAccount(NamedTuple):
    """An account whose online row is locked until the end of the database transaction."""

    state: AccountState
    at: dt.datetime
    """When, by the database's clock."""


class Opening:
    """An account that is being opened; a class, so that more can be sent to the database before its answer is awaited."""

    def __init__(self, cursor: psycopg.AsyncCursor[dict[str, Any]]) -> None:
        self._cursor = cursor

    @classmethod
    async def send(cls, driver: psycopg.AsyncConnection[Any], tenant: str, account_id: str) -> Opening:
        """Lock an account's online row, hold its rules lock, and read its state, in the database transaction that is open.

        Raises:
            psycopg.Error: as the driver raised it.
        """
        cursor = driver.cursor(row_factory=dict_row)
        await cursor.execute(_OPEN, [tenant, account_id])
        return cls(cursor)

    async def account(self) -> LockedAccount | None:
        """The account; None when the tenant has none of this id, or when it is the bank's own.

        Raises:
            psycopg.Error: as the driver raised it.
        """
        row = await self._cursor.fetchone()
        if row is None:
            return None
        at = row.pop("opened_at")
        # Sums travel as text: they may have 38 digits, and are whole.
        values = {**row, "status": AccountStatus(row["status"])} | {name: int(row[name]) for name in _SUMS}
        return LockedAccount(AccountState(**values), at)
