"""Where operators' commands find the stores of the consumer groups."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, TypeVar

from infra.settings import Settings
from infra.stack.control import read_stack_info
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from infra.kafka.connection import KafkaConnection
    from infra.postgres.database import Database

Answer = TypeVar("Answer")

_OPERATION_SECONDS: Final = 900.0
"""Reading all records of a large store takes minutes."""


def on_stores(work: Callable[[Settings, Database], Awaitable[Answer]]) -> Answer:
    """Do `work` on the stores of the groups, with the rights that their members have."""
    from infra.postgres.database import Database  # noqa: PLC0415  the driver is loaded only where it is used

    settings = Settings()
    info = read_stack_info(settings.home)
    url = settings.postgres_url.get_secret_value() if settings.postgres_url else info.postgres_dsn if info else None
    if url is None:
        raise UnavailableError(part="postgres", detail=f"nothing runs in {settings.home.absolute()}, and CASAFLOW_POSTGRES_URL is not set")

    async def whole() -> Answer:
        database = Database.open(url, pool_size=2, operation_timeout_seconds=_OPERATION_SECONDS, role=settings.postgres_role)
        try:
            return await work(settings, database)
        finally:
            await database.close()

    return asyncio.run(whole())


def kafka_of(settings: Settings) -> KafkaConnection:
    """The Kafka that the settings name, or that of the running stack.

    Raises:
        InvalidInputError: a setting breaks a rule.
        UnavailableError: there is neither.
    """
    from infra.kafka.connection import KafkaConnection, connection_of  # noqa: PLC0415  as above

    if settings.kafka_bootstrap_servers is not None:
        return connection_of(settings)
    info = read_stack_info(settings.home)
    if info is None:
        detail = f"nothing runs in {settings.home.absolute()}, and CASAFLOW_KAFKA_BOOTSTRAP_SERVERS is not set"
        raise UnavailableError(part="kafka", detail=detail)
    return KafkaConnection(info.kafka_bootstrap_servers)
