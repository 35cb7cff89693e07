"""Composition root of a consumer: ``python -m consumers GROUP``, with the settings in the environment."""

from __future__ import annotations

import asyncio
import signal
import sys
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from consumers import audit, balance
from infra.kafka.connection import KafkaConnection, connection_of
from infra.logs import configure_logging
from infra.postgres.database import Database
from infra.settings import Settings
from infra.tracing import start_tracing
from ledger.errors import InvalidInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from infra.kafka.balance_topic import BalanceLoop
    from infra.kafka.consumer import ConsumerLoop

_log = structlog.get_logger("consumers")

GROUPS: Final[dict[str, Callable[[KafkaConnection | str, Database], ConsumerLoop | BalanceLoop]]] = {
    audit.GROUP: audit.audit_loop,
    balance.GROUP: balance.balance_loop,
}
_POOL_SIZE: Final = 2
"""A member applies one batch at a time."""
_EXIT_CONFIGURATION: Final = 2


async def consume(group: str, *, servers: KafkaConnection | str, postgres_url: str, postgres_role: str | None) -> None:
    """Be a member of the group until SIGTERM or SIGINT; the batch at hand is finished."""
    database = Database.open(postgres_url, pool_size=_POOL_SIZE, role=postgres_role)
    member = GROUPS[group](servers, database)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, member.stop)
    _log.info("consumer.started", group=group)
    try:
        await member.run()
    finally:
        await database.close()
    _log.info("consumer.stopped", group=group)


def main(arguments: Sequence[str]) -> int:
    """Run one member of the group that the command line names; the exit code."""
    if len(arguments) != 1 or arguments[0] not in GROUPS:
        sys.stderr.write(f"usage: python -m consumers {{{'|'.join(GROUPS)}}}\n")
        return _EXIT_CONFIGURATION
    settings = Settings()
    configure_logging(settings)
    start_tracing(settings, service=f"casaflow-consumer-{arguments[0]}")
    if settings.postgres_url is None or settings.kafka_bootstrap_servers is None:
        _log.error("consumer.not-configured", needs=["CASAFLOW_POSTGRES_URL", "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS"])
        return _EXIT_CONFIGURATION
    try:
        servers = connection_of(settings)
    except InvalidInputError as error:
        _log.error("consumer.misconfigured", error=str(error))
        return _EXIT_CONFIGURATION
    postgres_url = settings.postgres_url.get_secret_value()
    uvloop.run(
        consume(
            arguments[0],
            servers=servers,
            postgres_url=postgres_url,
            postgres_role=settings.postgres_role,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
