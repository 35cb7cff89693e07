"""A balance row that credits and debits lock, batched as casaflow batches its debits: what batching brings without the split."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json
from sqlalchemy import text

from bench.ledger.rows import BalanceRow, LegRows, Row, leg_rows
from infra.postgres.database import Database
from infra.postgres.group_commit import Lane

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from ledger.postings import Posting

SCHEMA: Final = "batched"
LANES: Final = 4
"""As many database transactions at one time as casaflow's debits and credits have together."""
MAX_BATCH_LEGS: Final = 256
MAX_WAITING_LEGS: Final = 4_096

_SEPARATOR: Final = "\x1f"
"""Between the values of a column on their way to the server; in no id, and JSON escapes it."""

_COLUMNS: Final[dict[str, dict[str, str]]] = {
    "transaction": {
        "tenant": "text", "transaction_id": "uuid", "fingerprint": "text", "kind": "text", "debtor": "text", "creditor": "text",
        "request": "jsonb", "status": "text", "reason": "jsonb", "submitted_by": "text", "submitted_at": "timestamptz",
        "finished_at": "timestamptz",
    },
    "decision": {
        "tenant": "text", "account_id": "text", "transaction_id": "uuid", "leg": "text", "outcome": "text", "reason": "jsonb",
        "amount": "bigint", "currency": "text", "value_date": "date", "decided_at": "timestamptz", "version": "bigint",
        "ledger_after": "numeric", "available_after": "numeric",
    },
    "offline_entry": {
        "tenant": "text", "account_id": "text", "currency": "text", "amount": "bigint", "transaction_id": "uuid", "leg": "text",
        "posted_at": "timestamptz", "value_date": "date",
    },
    "online_entry": {
        "tenant": "text", "account_id": "text", "version": "bigint", "currency": "text", "amount": "bigint", "balance_after": "numeric",
        "available_after": "numeric", "transaction_id": "uuid", "leg": "text", "posted_at": "timestamptz", "value_date": "date",
    },
    "gl_entry": {
        "tenant": "text", "account_id": "text", "currency": "text", "amount": "bigint", "transaction_id": "uuid", "leg": "text",
        "customer_account_id": "text", "posted_at": "timestamptz",
    },
    "event_outbox": {
        "event_id": "uuid", "topic": "text", "key": "text", "payload": "text", "type": "text", "source": "text", "subject": "text",
        "time": "timestamptz", "tenant": "text", "transaction_id": "uuid", "position": "smallint",
    },
}  # fmt: skip
_MOVED: Final = {"tenant": "text", "account_id": "text", "balance": "numeric", "version": "bigint"}


def _unnested(table: str, columns: dict[str, str]) -> str:
    arrays = (f"CAST(string_to_array(:{table}_{name}, '{_SEPARATOR}', '') AS {kind}[])" for name, kind in columns.items())
    return f"unnest({', '.join(arrays)})"


def _insert(table: str) -> str:
    columns = _COLUMNS[table]
    return f"INSERT INTO {SCHEMA}.{table} ({', '.join(columns)}) SELECT * FROM {_unnested(table, columns)}"  # noqa: S608  constants above


_LOCK: Final = text(f"""
    SELECT account_id, status, overdraft_limit, balance, version FROM {SCHEMA}.balance
     WHERE tenant = :tenant AND account_id = ANY (CAST(:account_ids AS text[])) ORDER BY account_id FOR UPDATE
""")  # noqa: S608
_RECORD: Final = text(
    f"WITH {', '.join(f'into_{table} AS ({_insert(table)})' for table in _COLUMNS)} "  # noqa: S608
    f"UPDATE {SCHEMA}.balance b SET balance = m.balance, version = m.version "
    f"FROM {_unnested('balance', _MOVED)} AS m ({', '.join(_MOVED)}) WHERE b.tenant = m.tenant AND b.account_id = m.account_id"
)


class BatchedRow:
    """Lanes of batches; all legs of an account take the same one, since each of them locks the balance row.

    An id that comes twice is an error here, and fails its batch: the benchmark sends none, and to answer it would cost this side time.
    """

    def __init__(self, url: str, *, connections: int) -> None:
        self._database = Database.open(url, pool_size=connections)
        self._lanes = [Lane(self._post_batch, max_batch=MAX_BATCH_LEGS, max_waiting=MAX_WAITING_LEGS) for _ in range(LANES)]
        self._next = itertools.cycle(self._lanes)
        self._lane_of: dict[str, Lane[Posting, bool]] = {}

    async def post(self, posting: Posting) -> bool:
        """Book the leg or refuse it; whether it was posted."""
        lane = self._lane_of.get(posting.account_id)
        if lane is None:
            lane = self._lane_of[posting.account_id] = next(self._next)
        return await lane.submit(posting)

    async def close(self) -> None:
        """Wait for what runs, and close all connections."""
        for lane in self._lanes:
            await lane.drain()
        await self._database.close()

    async def _post_batch(self, postings: Sequence[Posting], _let_next_begin: Callable[[], None]) -> Sequence[bool | Exception]:
        async def work(connection: AsyncConnection) -> Sequence[bool | Exception]:
            return await _post_on(connection, postings)

        return await self._database.run(work)


async def _post_on(connection: AsyncConnection, postings: Sequence[Posting]) -> Sequence[bool | Exception]:
    tenant = postings[0].request.tenant
    account_ids = list({posting.account_id for posting in postings})
    found = await connection.execute(_LOCK, {"tenant": tenant, "account_ids": account_ids})
    balances = {row.account_id: BalanceRow(row.status, row.overdraft_limit, int(row.balance), row.version) for row in found}
    answers: list[bool | Exception] = []
    rows: list[LegRows] = []
    for posting in postings:
        balance = balances[posting.account_id]
        refusal = balance.decide(posting)
        rows.append(leg_rows(posting, refusal, balance))
        answers.append(refusal is None)
    booked_on = {posting.account_id for posting, posted in zip(postings, answers, strict=True) if posted}
    moved: list[Row] = [
        {"tenant": tenant, "account_id": account_id, "balance": balances[account_id].balance, "version": balances[account_id].version}
        for account_id in booked_on
    ]
    await connection.execute(_RECORD, _parameters(rows, moved))
    return answers


def _parameters(rows: Sequence[LegRows], moved: Sequence[Row]) -> dict[str, str]:
    values: dict[str, str] = {}
    for table, of_table in (
        ("transaction", [row.transaction for row in rows]),
        ("decision", [row.decision for row in rows]),
        ("offline_entry", [row.credit for row in rows if row.credit]),
        ("online_entry", [row.debit for row in rows if row.debit]),
        ("gl_entry", [row.internal for row in rows if row.internal]),
        ("event_outbox", [event for row in rows for event in row.events]),
    ):
        values |= _columns(table, _COLUMNS[table], of_table)
    return values | _columns("balance", _MOVED, moved)


def _columns(table: str, columns: Iterable[str], rows: Sequence[Row]) -> dict[str, str]:
    return {f"{table}_{name}": _SEPARATOR.join(_written(row[name]) for row in rows) for name in columns}


def _written(value: Any) -> str:  # noqa: ANN401  whatever a row holds
    if value is None:
        return ""
    return to_json(value).decode() if isinstance(value, dict) else str(value)
