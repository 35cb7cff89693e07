"""A member of a group as a process: ``python -m bench.events.member GROUP PREFIX``, with the settings in the environment."""

from __future__ import annotations

import sys

import uvloop

from consumers.__main__ import consume
from infra.logs import configure_logging
from infra.settings import Settings


def main(group: str, prefix: str) -> None:
    """Consume until SIGTERM, as ``python -m consumers GROUP`` does.

    Args:
        group: its name.
        prefix: what the names of the group and its topics begin with.
    """
    settings = Settings()
    configure_logging(settings)
    if settings.postgres_url is None or settings.kafka_bootstrap_servers is None:
        sys.exit("bench.events.member needs CASAFLOW_POSTGRES_URL and CASAFLOW_KAFKA_BOOTSTRAP_SERVERS")
    uvloop.run(
        consume(
            [group],
            settings,
            bootstrap_servers=settings.kafka_bootstrap_servers,
            postgres_url=settings.postgres_url.get_secret_value(),
            prefix=prefix,
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
