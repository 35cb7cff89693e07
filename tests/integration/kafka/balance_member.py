"""A member of a balance group as a process of its own: ``python balance_member.py BOOTSTRAP GROUP SOURCE TOPIC URL``.

With a file's path at the end it stands still after each reading of the database until the file is there, and says so before.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Collection
from pathlib import Path

from infra.kafka.balance_topic import BalanceLoop
from infra.postgres.balance_states import PostgresBalanceStates
from infra.postgres.database import Database
from infra.postgres.privileges import APPLICATION_ROLE
from ledger.balances import AccountStateV1


class _Paused:
    """Stands still between what was read and what will be written of it."""

    def __init__(self, states: PostgresBalanceStates, go_on: Path) -> None:
        self._states = states
        self._go_on = go_on

    async def read(self, accounts: Collection[tuple[str, str]]) -> list[AccountStateV1]:
        states = await self._states.read(accounts)
        print("read", *(f"{state.account_id}:{state.version}" for state in states), flush=True)  # noqa: T201  for the test that started it
        while not self._go_on.exists():  # noqa: ASYNC110  the test tells by a file
            await asyncio.sleep(0.01)
        return states


async def main(bootstrap_servers: str, group: str, source: str, topic: str, url: str, go_on: str = "") -> None:
    database = Database.open(url, pool_size=2, role=APPLICATION_ROLE)
    states = PostgresBalanceStates(database)
    loop = BalanceLoop(bootstrap_servers, _Paused(states, Path(go_on)) if go_on else states, group=group, source=source, topic=topic)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, loop.stop)
    await loop.run()
    await database.close()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
