"""When a statement may be closed: once it is certain that nothing of its period is missing, and not by a guess about how late events are.

What was booked before the period's end is booked for good (the ledger says so), its events are published (the outbox says so), and the
group has come to where the topic ended after that (Kafka and the group's own offsets say so). See decision record 0031.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo

import structlog

from infra.kafka.offsets import end_offsets
from ledger.closings import StatementPeriod, period_start
from ledger.errors import CasaflowError
from ledger.events import TOPIC_BALANCE_UPDATED

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.kafka.connection import KafkaConnection
    from infra.postgres.statement_closing import LedgerHorizon, StatementClosing
    from infra.postgres.stored_offsets import StoredOffsets

_log = structlog.get_logger(__name__)

_EVERY_SECONDS: Final = 30.0
_ARRIVE_SECONDS: Final = 20.0
"""How long one attempt waits for the group to come to the ends that it has read; then another reads newer ends."""
_POLL_SECONDS: Final = 0.5


class StatementCloser:
    """Runs beside a member of the statement group; several do no harm."""

    def __init__(
        self,
        closing: StatementClosing,
        horizon: LedgerHorizon,
        offsets: StoredOffsets,
        *,
        servers: KafkaConnection | str,
        period: StatementPeriod,
        time_zone: str,
        topic: str = TOPIC_BALANCE_UPDATED,
        now: Callable[[], dt.datetime] = lambda: dt.datetime.now(dt.UTC),
    ) -> None:
        """Take what it works with.

        Args:
            closing: the group's statements.
            horizon: the ledger's word on completeness.
            offsets: how far the group has come.
            servers: where Kafka is, and how it is reached.
            period: how long a statement's period is.
            time_zone: the bank's, an IANA name.
            topic: what the group reads.
            now: the clock.
        """
        self._closing = closing
        self._horizon = horizon
        self._offsets = offsets
        self._servers = servers
        self._period = period
        self._time_zone = time_zone
        self._topic = topic
        self._now = now

    async def keep_up(self) -> None:
        """Close what can be closed, again and again, until cancelled."""
        while True:
            try:
                if closed := await self.run():
                    _log.info("statements.closed", statements=closed)
            except CasaflowError as error:
                _log.warning("statements.not-now", error=str(error))
            await asyncio.sleep(_EVERY_SECONDS)

    async def run(self) -> int | None:
        """Close all periods that have ended; how many statements that made. None: it isn't certain yet that nothing is missing.

        Raises:
            UnavailableError: a server did not answer; what was closed stays closed.
        """
        until = period_start(self._period, self._now(), ZoneInfo(self._time_zone))
        if await self._closing.is_finished(until):
            return 0
        if not await self._horizon.all_published_before(until) or not await self._has_arrived():
            return None
        statements, after = 0, ("", "")
        while True:
            step = await self._closing.close(after, until=until, period=self._period, time_zone=self._time_zone)
            if step is None:
                return None
            statements += step.statements
            if step.last is None:
                break
            after = step.last
        await self._closing.finish(until, statements)
        return statements

    async def _has_arrived(self) -> bool:
        ends = await end_offsets(self._servers, (self._topic,))
        try:
            async with asyncio.timeout(_ARRIVE_SECONDS):
                while True:
                    stored = await self._offsets.stored()
                    if all(stored.get(partition, 0) >= end for partition, end in ends.items()):
                        return True
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError:
            return False
