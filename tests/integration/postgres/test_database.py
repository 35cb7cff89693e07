"""The pool's two ways to work: a database transaction, and a statement that is one by itself."""

from __future__ import annotations

import psycopg
from psycopg.pq import TransactionStatus
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.database import Database


async def _status_after_a_statement(connection: AsyncConnection) -> TransactionStatus:
    await connection.execute(text("SELECT 1"))
    driver = (await connection.get_raw_connection()).driver_connection
    assert isinstance(driver, psycopg.AsyncConnection)
    return driver.info.transaction_status


async def test_a_statement_alone_begins_no_transaction_and_its_connection_does_so_again_afterwards(postgres_url: str) -> None:
    database = Database.open(postgres_url, pool_size=1)
    try:
        for _ in range(2):
            assert await database.run_statement(_status_after_a_statement) is TransactionStatus.IDLE
            assert await database.run(_status_after_a_statement) is TransactionStatus.INTRANS
    finally:
        await database.close()
