"""A ledger as it is usually written: lock the balance row, decide, insert, commit, one leg after the other, with SQLAlchemy Core."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Column, Date, DateTime, MetaData, Numeric, SmallInteger, Table, Text, Uuid, insert, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as insert_or_skip
from sqlalchemy.ext.asyncio import create_async_engine

from bench.ledger.rows import BalanceRow, leg_rows
from infra.postgres.database import driver_url

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ledger.postings import Posting

SCHEMA: Final = "naive"
_TABLES: Final = MetaData(schema=SCHEMA)


def _text(*names: str) -> list[Column[Any]]:
    return [Column(name, Text) for name in names]


def _uuid(*names: str) -> list[Column[Any]]:
    return [Column(name, Uuid(as_uuid=False)) for name in names]


def _times(*names: str) -> list[Column[Any]]:
    return [Column(name, DateTime(timezone=True)) for name in names]


def _sums(*names: str) -> list[Column[Any]]:
    return [Column(name, Numeric(38, 0, asdecimal=False)) for name in names]


_BALANCE: Final = Table(
    "balance",
    _TABLES,
    *_text("tenant", "account_id", "status"),
    Column("overdraft_limit", BigInteger),
    Column("balance", Numeric(38, 0)),
    Column("version", BigInteger),
)
_TRANSACTION: Final = Table(
    "transaction",
    _TABLES,
    *_text("tenant", "fingerprint", "kind", "debtor", "creditor", "status", "submitted_by"),
    *_uuid("transaction_id"),
    Column("request", JSONB),
    Column("reason", JSONB(none_as_null=True)),
    *_times("submitted_at", "finished_at"),
)
_DECISION: Final = Table(
    "decision",
    _TABLES,
    *_text("tenant", "account_id", "leg", "outcome", "currency"),
    *_uuid("transaction_id"),
    Column("reason", JSONB(none_as_null=True)),
    Column("amount", BigInteger),
    Column("value_date", Date),
    *_times("decided_at"),
    Column("version", BigInteger),
    *_sums("ledger_after", "available_after"),
)
_CREDIT: Final = Table(
    "offline_entry",
    _TABLES,
    *_text("tenant", "account_id", "leg", "currency"),
    *_uuid("transaction_id"),
    Column("amount", BigInteger),
    *_times("posted_at"),
    Column("value_date", Date),
)
_DEBIT: Final = Table(
    "online_entry",
    _TABLES,
    *_text("tenant", "account_id", "leg", "currency"),
    *_uuid("transaction_id"),
    Column("amount", BigInteger),
    Column("version", BigInteger),
    *_sums("balance_after", "available_after"),
    *_times("posted_at"),
    Column("value_date", Date),
)
_INTERNAL: Final = Table(
    "gl_entry",
    _TABLES,
    *_text("tenant", "account_id", "leg", "currency", "customer_account_id"),
    *_uuid("transaction_id"),
    Column("amount", BigInteger),
    *_times("posted_at"),
)
_EVENT: Final = Table(
    "event_outbox",
    _TABLES,
    *_text("topic", "key", "payload", "type", "source", "subject", "tenant"),
    *_uuid("event_id", "transaction_id"),
    *_times("time"),
    Column("position", SmallInteger),
)


class OneByOne:
    """Each leg in a database transaction of its own, on a connection of its own."""

    def __init__(self, url: str, *, connections: int) -> None:
        self._engine = create_async_engine(driver_url(url), isolation_level="READ COMMITTED", pool_size=connections, max_overflow=0)

    async def post(self, posting: Posting) -> bool:
        """Book the leg or refuse it; whether it stands as posted."""
        async with self._engine.begin() as connection:
            return await _post_on(connection, posting)

    async def close(self) -> None:
        """Close all connections."""
        await self._engine.dispose()


async def _post_on(connection: AsyncConnection, posting: Posting) -> bool:
    of_account = (_BALANCE.c.tenant == posting.request.tenant, _BALANCE.c.account_id == posting.account_id)
    columns = (_BALANCE.c.status, _BALANCE.c.overdraft_limit, _BALANCE.c.balance, _BALANCE.c.version)
    found = (await connection.execute(select(*columns).where(*of_account).with_for_update())).one()
    row = BalanceRow(found.status, found.overdraft_limit, int(found.balance), found.version)
    refusal = row.decide(posting)
    rows = leg_rows(posting, refusal, row)
    new = await connection.execute(
        insert_or_skip(_TRANSACTION).values(rows.transaction).on_conflict_do_nothing().returning(_TRANSACTION.c.transaction_id)
    )
    if new.scalar_one_or_none() is None:
        return await _stored_answer(connection, posting)
    await connection.execute(insert(_DECISION).values(rows.decision))
    if rows.credit:
        await connection.execute(insert(_CREDIT).values(rows.credit))
    if rows.debit:
        await connection.execute(insert(_DEBIT).values(rows.debit))
    if rows.internal:
        await connection.execute(insert(_INTERNAL).values(rows.internal))
        await connection.execute(update(_BALANCE).where(*of_account).values(balance=row.balance, version=row.version))
    await connection.execute(insert(_EVENT).values(rows.events))
    return refusal is None


async def _stored_answer(connection: AsyncConnection, posting: Posting) -> bool:
    stored = await connection.execute(
        select(_DECISION.c.outcome).where(
            _DECISION.c.tenant == posting.request.tenant,
            _DECISION.c.account_id == posting.account_id,
            _DECISION.c.transaction_id == posting.request.transaction_id,
            _DECISION.c.leg == posting.leg.value,
        )
    )
    return bool(stored.scalar_one() == "posted")
