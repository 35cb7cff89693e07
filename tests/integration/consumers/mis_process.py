"""A member of the group mis as a process of its own, to be killed: ``python mis_process.py BOOTSTRAP GROUP TOPIC URL``."""

from __future__ import annotations

import asyncio
import sys

from infra.kafka.consumer import ConsumerLoop
from infra.postgres.consumption import GroupStore
from infra.postgres.database import Database
from infra.postgres.mis import MisEffects
from infra.postgres.privileges import APPLICATION_ROLE


async def main(bootstrap_servers: str, group: str, topic: str, url: str) -> None:
    store = GroupStore(Database.open(url, pool_size=2, role=APPLICATION_ROLE), MisEffects(), consumer_group=group)
    await ConsumerLoop(bootstrap_servers, group=group, topics=[topic], effects=store).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
