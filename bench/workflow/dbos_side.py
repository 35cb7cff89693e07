"""DBOS Transact: a durable workflow with one step that debits the one balance row. A process of its own, asked by lines of JSON.

``python -m bench.workflow.dbos_side URL`` answers each line ``{"in_flight": 50, "seconds": 3.0}`` on its input with a line of figures.
"""

from __future__ import annotations

import asyncio
import json
import sys
import uuid
from typing import TYPE_CHECKING, Final

import uvloop
from dbos import DBOS, AsyncSQLAlchemyDatasource, DBOSConfig
from sqlalchemy import text

from bench.ledger.measuring import closed_loop
from bench.ledger.server import database_url, own_database

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

CONNECTIONS: Final = 16
"""Of the pool, as casaflow's worker has."""
_SCHEMA: Final = (
    "CREATE TABLE balance (account_id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))",
    "CREATE TABLE entry (account_id text, transaction_id uuid PRIMARY KEY, amount bigint, balance_after bigint)",
    "INSERT INTO balance VALUES ('hot', 100000000000000)",
)
_DEBIT: Final = text("UPDATE balance SET balance = balance - :amount WHERE account_id = :account_id RETURNING balance")
_ENTRY: Final = text("INSERT INTO entry VALUES (:account_id, CAST(:transaction_id AS uuid), :amount, :balance_after)")


async def _serve(url: str) -> None:
    datasource = await AsyncSQLAlchemyDatasource.create(
        url.replace("postgresql://", "postgresql+psycopg://"), {"pool_size": CONNECTIONS, "max_overflow": 0}
    )
    withdraw = _withdrawal(datasource)
    config: DBOSConfig = {"name": "bench", "system_database_url": url, "sys_db_pool_size": CONNECTIONS, "log_level": "WARNING"}
    DBOS(config=config)
    DBOS.launch()
    async with datasource.engine.begin() as connection:
        for statement in _SCHEMA:
            await connection.execute(text(statement))
    print("ready", flush=True)
    try:
        while line := await asyncio.to_thread(sys.stdin.readline):
            asked = json.loads(line)
            items = (str(uuid.uuid4()) for _ in range(1_000_000))
            run = await closed_loop(withdraw, items, in_flight=asked["in_flight"], seconds=asked["seconds"])
            print(json.dumps({**run.figures("transactions_per_second"), "transactions": len(run.latencies_ms)}), flush=True)
    finally:
        DBOS.destroy()
        await datasource.engine.dispose()


def _withdrawal(datasource: AsyncSQLAlchemyDatasource) -> Callable[[str], Coroutine[None, None, int]]:
    async def debit(transaction_id: str) -> int:
        session = datasource.sql_session()
        what = {"account_id": "hot", "amount": 1, "transaction_id": transaction_id}
        balance = (await session.execute(_DEBIT, what)).scalar_one()
        await session.execute(_ENTRY, {**what, "balance_after": balance})
        return int(balance)

    @DBOS.workflow()
    async def withdraw(transaction_id: str) -> int:
        return await datasource.run_tx_step_async({"name": "debit", "isolation_level": "READ COMMITTED"}, debit, transaction_id)

    return withdraw


def main() -> None:
    """Serve until the input ends, on a database that is dropped then."""
    url = sys.argv[1]
    with own_database(url) as name:
        uvloop.run(_serve(database_url(url, name)))


if __name__ == "__main__":
    main()
