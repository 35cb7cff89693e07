"""A process that posts the legs given on standard input as fast as it can, and prints the answers. Run with ``python -m``."""

from __future__ import annotations

import asyncio
import json
import sys

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.postings import Posting

_AT_ONCE = 4


async def _ready(connection: AsyncConnection) -> None:
    """Wait until the parent lets everyone begin, by releasing its advisory lock."""
    await connection.execute(text("SELECT pg_advisory_xact_lock_shared(1)"))


async def main() -> None:
    work = json.load(sys.stdin)
    postings = [Posting.model_validate_json(json.dumps(posting)) for posting in work["postings"]]
    database = Database.open(work["url"], pool_size=_AT_ONCE)
    ledger = PostgresLedger(database)
    turn = asyncio.Semaphore(_AT_ONCE)

    async def post(posting: Posting) -> str:
        async with turn:
            return (await ledger.post(posting)).model_dump_json()

    await database.run(_ready)
    answers = await asyncio.gather(*(post(posting) for posting in postings))
    await database.close()
    sys.stdout.write(json.dumps([json.loads(answer) for answer in answers]))


if __name__ == "__main__":
    asyncio.run(main())
