"""A member of a group as a process: ``python -m bench.events.member GROUP PREFIX``, with the settings in the environment."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import uvloop

from consumers.__main__ import consume
from infra.kafka.connection import connection_of
from infra.logs import configure_logging
from infra.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str]) -> None:
    """Consume until SIGTERM, as ``python -m consumers GROUP`` does.

    Args:
        arguments: the group's name, and what its own name and those of its topics begin with on the broker.
    """
    group, prefix = arguments
    settings = Settings()
    configure_logging(settings)
    if settings.postgres_url is None or settings.kafka_bootstrap_servers is None:
        sys.exit("bench.events.member needs CASAFLOW_POSTGRES_URL and CASAFLOW_KAFKA_BOOTSTRAP_SERVERS")
    uvloop.run(
        consume(
            [group],
            settings,
            servers=connection_of(settings),
            postgres_url=settings.postgres_url.get_secret_value(),
            prefix=prefix,
        )
    )


if __name__ == "__main__":
    main(sys.argv[1:])
