"""A member of a group of the test's own, traced as `python -m consumers` is: ``python traced_consumer.py GROUP``."""

from __future__ import annotations

import asyncio
import sys

from infra.kafka.consumer import ConsumerLoop
from infra.logs import configure_logging
from infra.postgres.audit import AuditEffects
from infra.postgres.database import Database
from infra.settings import Settings
from infra.tracing import start_tracing
from ledger.events import TOPICS


async def main(group: str) -> None:
    settings = Settings()
    configure_logging(settings)
    start_tracing(settings, service=f"casaflow-consumer-{group}")
    assert settings.postgres_url is not None
    assert settings.kafka_bootstrap_servers is not None
    effects = AuditEffects(Database.open(settings.postgres_url.get_secret_value(), pool_size=2), consumer_group=group)
    await ConsumerLoop(settings.kafka_bootstrap_servers, group=group, topics=TOPICS, effects=effects).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
