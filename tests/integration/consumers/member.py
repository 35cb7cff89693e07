"""A member of a group as a process of its own, to be killed: ``python member.py BOOTSTRAP GROUP TOPIC URL``."""

from __future__ import annotations

import asyncio
import sys

from infra.kafka.consumer import ConsumerLoop
from infra.postgres.audit import AuditEffects
from infra.postgres.database import Database


async def main(bootstrap_servers: str, group: str, topic: str, url: str) -> None:
    effects = AuditEffects(Database.open(url, pool_size=2), consumer_group=group)
    await ConsumerLoop(bootstrap_servers, group=group, topics=[topic], effects=effects).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
