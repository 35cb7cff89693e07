"""A process that posts the legs given on standard input, and tells each answer at once, until it is killed. Run with ``python -m``."""

from __future__ import annotations

import asyncio
import json
import sys

from infra.postgres.database import Database
from infra.postgres.ledger import PostgresLedger
from ledger.postings import Posting


async def main() -> None:
    work = json.load(sys.stdin)
    postings = [Posting.model_validate_json(json.dumps(posting)) for posting in work["postings"]]
    ledger = PostgresLedger(Database.open(work["url"], pool_size=4))
    turn = asyncio.Semaphore(work["in_flight"])

    async def post(place: int, posting: Posting) -> None:
        async with turn:
            decision = await ledger.post(posting)
        # The place in the list first; each line is whole once its end is there.
        sys.stdout.write(f"[{place}, {decision.model_dump_json()}]\n")
        sys.stdout.flush()

    await asyncio.gather(*(post(place, posting) for place, posting in enumerate(postings)))
    await asyncio.Event().wait()  # whoever started it kills it


if __name__ == "__main__":
    asyncio.run(main())
