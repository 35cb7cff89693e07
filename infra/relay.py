"""Publishes what no workflow has: it was terminated, it waits for days, or the broker was away. See decision record 0023."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from typing import TYPE_CHECKING, Final

import structlog

from infra.postgres.outbox import RELAYED_AT_ONCE
from ledger.errors import CasaflowError, UnavailableError

if TYPE_CHECKING:
    from infra.postgres.outbox import PostgresOutbox
    from ledger.ports import EventPublisher

_log = structlog.get_logger(__name__)

LONGEST_PAUSE_SECONDS: Final = 10.0
"""Between two attempts while the broker, or the database, is away."""


class EventRelay:
    """Safe beside workflows and other relays: an event keeps its id, and of each share of the keys one relay at a time takes care."""

    def __init__(self, outbox: PostgresOutbox, publisher: EventPublisher, *, after_seconds: float) -> None:
        """Take what it works with.

        Args:
            outbox: where events wait.
            publisher: where they go.
            after_seconds: how long an event is left to its workflow.
        """
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
