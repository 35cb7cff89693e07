"""Composition root of consumers: ``python -m consumers GROUP [GROUP ...]``, with the settings in the environment."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from consumers import audit, balance, mis, notification, statement
from consumers.member import Surroundings
from infra.kafka.connection import KafkaConnection, connection_of
from infra.logs import configure_logging
from infra.metrics import ConsumerMetrics
from infra.metrics_server import served_metrics
from infra.postgres.database import Database
from infra.postgres.privileges import CONSUMER_ROLE
from infra.settings import Settings
from infra.tracing import start_tracing
from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from consumers.member import Member

_log = structlog.get_logger("consumers")

GROUPS: Final[dict[str, Callable[[Surroundings], Member]]] = {
    audit.GROUP: audit.audit_member,
    statement.GROUP: statement.statement_member,
    mis.GROUP: mis.mis_member,
    notification.GROUP: notification.notification_member,
    balance.GROUP: balance.balance_member,
}
_POOL_SIZE: Final = 4
"""A member applies one batch at a time; what runs beside it seldom needs a connection."""
_EXIT_CONFIGURATION: Final = 2


async def consume(groups: Sequence[str], settings: Settings, *, servers: KafkaConnection, postgres_url: str, prefix: str = "") -> None:
    """Be a member of each group until SIGTERM or SIGINT; the batches at hand are finished.

    Args:
        groups: names in :data:`GROUPS`.
        settings: of this process.
        servers: where Kafka is, and how it is reached.
        postgres_url: where the groups' schemas are.
        prefix: see :attr:`consumers.member.Surroundings.prefix`.
    """
    role = settings.role_of(CONSUMER_ROLE)
    databases = [Database.open(postgres_url, pool_size=_POOL_SIZE, role=role) for _ in groups]
    metrics = ConsumerMetrics() if settings.metrics_address is not None else None
    members = [
        GROUPS[group](Surroundings(settings, servers, database, prefix, metrics)) for group, database in zip(groups, databases, strict=True)
    ]

    def stop() -> None:
        for member in members:
            member.stop()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    _log.info("consumer.started", groups=list(groups))
    try:
        # One that fails ends the process, and with it the others: whoever started it starts all of them again.
        with served_metrics(settings.metrics_address):
            async with asyncio.TaskGroup() as running:
                for member in members:
                    running.create_task(member.run())
    finally:
        for database in databases:
            await database.close()
    _log.info("consumer.stopped", groups=list(groups))


def main(arguments: Sequence[str]) -> int:
    """Run one member of each group that the command line names; the exit code."""
    if not arguments or not set(arguments) <= set(GROUPS) or len(set(arguments)) < len(arguments):
        names = "|".join(GROUPS)
        sys.stderr.write(f"usage: python -m consumers {{{names}}} [{{{names}}} ...]\n")
        return _EXIT_CONFIGURATION
    settings = Settings()
    configure_logging(settings)
    start_tracing(settings, service=f"casaflow-consumer-{'-'.join(arguments)}")
    if settings.postgres_url is None or settings.kafka_bootstrap_servers is None:
        _log.error("consumer.not-configured", needs=["CASAFLOW_POSTGRES_URL", "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS"])
        return _EXIT_CONFIGURATION
    try:
        servers = connection_of(settings)
    except InvalidInputError as error:
        _log.error("consumer.misconfigured", error=str(error))
        return _EXIT_CONFIGURATION
    uvloop.run(consume(arguments, settings, servers=servers, postgres_url=settings.postgres_url.get_secret_value()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
