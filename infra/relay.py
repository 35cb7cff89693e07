"""Publishes what no workflow has: it was terminated, it waits for days, or the broker was away. See decision record 0023.

Each worker has one, or ``python -m infra.relay`` is one and nothing else.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import signal
import sys
from typing import TYPE_CHECKING, Final

import structlog
import uvloop

from infra.kafka.connection import KafkaConnection, connection_of
from infra.kafka.publisher import KafkaPublisher
from infra.logs import configure_logging
from infra.metrics import RelayMetrics
from infra.metrics_server import served_metrics
from infra.postgres.database import Database
from infra.postgres.outbox import RELAYED_AT_ONCE, PostgresOutbox
from infra.postgres.privileges import RELAY_ROLE
from infra.settings import Settings
from infra.tracing import start_tracing
from ledger.errors import CasaflowError, InvalidInputError, UnavailableError

if TYPE_CHECKING:
    from ledger.ports import EventPublisher

_log = structlog.get_logger(__name__)

LONGEST_PAUSE_SECONDS: Final = 10.0
"""Between two attempts while the broker, or the database, is away."""
RELAY_EVERY_SECONDS: Final = 1.0
"""Between two looks at what has waited too long."""
_POOL_SIZE: Final = 2
"""A relay reads, publishes and marks by turns."""
_EXIT_CONFIGURATION: Final = 2


class EventRelay:
    """Safe beside workflows and other relays: an event keeps its id, and of each share of the keys one relay at a time takes care."""

    def __init__(
        self, outbox: PostgresOutbox, publisher: EventPublisher, *, after_seconds: float, metrics: RelayMetrics | None = None
    ) -> None:
        """Take what it works with.

        Args:
            outbox: where events wait.
            publisher: where they go.
            after_seconds: how long an event is left to its workflow.
            metrics: is told what it has published.
        """
        self._metrics = metrics
        self._outbox = outbox
        self._publisher = publisher
        self._older_than = dt.timedelta(seconds=after_seconds)

    async def run(self) -> int:
        """Publish all that has waited too long, but for what other relays are at work on; how many events that was.

        Raises:
            UnavailableError: the database or the publisher did not answer; what was published before is marked.
        """
        relayed = 0
        shares = await self._outbox.overdue_shares(older_than=self._older_than)
        # In another order each time: a share whose events can't be published ends a run, and must not end each before the same others.
        random.shuffle(shares)
        # Half of the shares at a time, so that another worker's relay finds some; in turn, so that none waits for the end of the others.
        halves = [half for half in (shares[::2], shares[1::2]) if half]
        while halves:
            for half in tuple(halves):
                published = await self._outbox.relay(half, older_than=self._older_than, publish=self._publisher.publish)
                relayed += published
                if self._metrics is not None:
                    self._metrics.relayed(published)
                if published < RELAYED_AT_ONCE:
                    halves.remove(half)
        return relayed

    async def keep_up(self, *, every_seconds: float) -> None:
        """Run again and again until cancelled. What fails is said in the log, and tried again after pauses that grow."""
        pause = every_seconds
        while True:
            try:
                if relayed := await self.run():
                    _log.info("relay.published", events=relayed)
                pause = every_seconds
            except UnavailableError as error:
                _log.warning("relay.not-now", part=error.part, detail=error.detail, tries_again_in_seconds=pause)
                pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            except CasaflowError as error:
                _log.error("relay.failed", error=str(error))
                pause = LONGEST_PAUSE_SECONDS
            await asyncio.sleep(pause)


async def relay_until_signalled(settings: Settings, *, servers: KafkaConnection, postgres_url: str) -> None:
    """Keep up until SIGTERM or SIGINT, which cuts it off: each of its steps is whole."""
    database = Database.open(postgres_url, pool_size=_POOL_SIZE, role=settings.role_of(RELAY_ROLE))
    publisher = KafkaPublisher(servers, client_id="casaflow-relay")
    metrics = RelayMetrics() if settings.metrics_address is not None else None
    relay = EventRelay(PostgresOutbox(database), publisher, after_seconds=settings.relay_after_seconds, metrics=metrics)
    try:
        await publisher.start()
        running = asyncio.create_task(relay.keep_up(every_seconds=RELAY_EVERY_SECONDS))
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, running.cancel)
        _log.info("relay.started", after_seconds=settings.relay_after_seconds)
        await asyncio.wait([running])
        if not running.cancelled():
            running.result()
        _log.info("relay.stopped")
    finally:
        await publisher.stop()
        await database.close()


def main() -> int:
    """Relay with the settings of the environment; the exit code, 2 where one is missing or breaks a rule."""
    settings = Settings()
    configure_logging(settings)
    try:
        servers, postgres_url = _configured(settings)
    except InvalidInputError as error:
        _log.error("relay.misconfigured", error=str(error))
        return _EXIT_CONFIGURATION
    start_tracing(settings, service="casaflow-relay")
    with served_metrics(settings.metrics_address):
        uvloop.run(relay_until_signalled(settings, servers=servers, postgres_url=postgres_url))
    return 0


def _configured(settings: Settings) -> tuple[KafkaConnection, str]:
    """Where broker and database are; refused where one is missing, or where the settings want no relay."""
    if settings.postgres_url is None:
        raise InvalidInputError(field="CASAFLOW_POSTGRES_URL", value=None, rule="must be set; `casaflow up` sets it for its relay")
    if not settings.relay_after_seconds:
        rule = "must be above 0 for a relay; 0 is for workers that leave it to one"
        raise InvalidInputError(field="CASAFLOW_RELAY_AFTER_SECONDS", value=0, rule=rule)
    return connection_of(settings), settings.postgres_url.get_secret_value()


if __name__ == "__main__":
    sys.exit(main())
