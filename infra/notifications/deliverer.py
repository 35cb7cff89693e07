"""The loop that hands due messages to their channels: a bounded number at a time, and none waits for an endpoint that isn't its own."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections import Counter
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from infra.postgres.notifications import EMAIL_ENDPOINT
from ledger.deliveries import MOST_ATTEMPTS, DeliveryOutcome, DeliveryResult, earliest, next_attempt
from ledger.errors import UnavailableError
from ledger.notifications import Channel

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from infra.notifications.metrics import NotificationMetrics
    from infra.postgres.notifications import PostgresMessageQueue
    from ledger.deliveries import DueMessage

_log = structlog.get_logger(__name__)

LEASE: Final = dt.timedelta(minutes=5)
"""Longer than any attempt takes, with the waits of its time-outs: what a killed deliverer had is due again after it."""
_PAUSE_SECONDS: Final = 1.0
"""Between two looks for due messages, when nothing else happens."""
_LONGEST_PAUSE_SECONDS: Final = 30.0
_FAILING_ROOM: Final = 1
"""Messages at a time for an endpoint whose last attempt failed, so that those that hang can't take all places."""
_COUNTED_AT_MOST: Final = 10_000
_COUNTED_EVERY: Final = dt.timedelta(minutes=1)


class Sender(Protocol):
    """Delivers messages by one channel."""

    async def send(self, message: DueMessage, *, now: dt.datetime) -> DeliveryResult:
        """Make one attempt. What the other side does is a result, never an error."""


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


class Deliverer:
    """Delivers messages until it is stopped. Several deliverers, in any processes, may work on the same queue."""

    def __init__(  # noqa: PLR0913  each has a meaning of its own
        self,
        queue: PostgresMessageQueue,
        senders: Mapping[Channel, Sender],
        metrics: NotificationMetrics,
        *,
        at_once: int = 32,
        per_endpoint: int = 4,
        most_attempts: int = MOST_ATTEMPTS,
        lease: dt.timedelta = LEASE,
        clock: Callable[[], dt.datetime] = _now,
        jitter: Callable[[], float] = random.random,
        pause_seconds: float = _PAUSE_SECONDS,
    ) -> None:
        """Prepare.

        Args:
            queue: of the messages.
            senders: by channel. Messages for a channel without one wait.
            metrics: what is counted.
            at_once: messages that are on their way at one time.
            per_endpoint: of them, for one endpoint.
            most_attempts: after so many failures a message is dead.
            lease: for how long a claimed message is this deliverer's; longer than a sender takes.
            clock: what time it is.
            jitter: random numbers from 0 to 1, which spread retries.
            pause_seconds: between two looks for due messages.
        """
        self._queue = queue
        self._senders = senders
        self._metrics = metrics
        self._at_once = at_once
        self._per_endpoint = per_endpoint
        self._most_attempts = most_attempts
        self._lease = lease
        self._clock = clock
        self._jitter = jitter
        self._pause_seconds = pause_seconds
        self._under_way: dict[asyncio.Task[None], str] = {}
        self._failing: set[str] = set()
        self._stopping = asyncio.Event()
        self._counted_at: dt.datetime | None = None

    def stop(self) -> None:
        """Take no further messages, end the attempts at hand, and return from :meth:`run`."""
        self._stopping.set()

    async def run(self) -> None:
        """Deliver until :meth:`stop`. While the database is away, wait."""
        if Channel.EMAIL not in self._senders:
            _log.warning("notification.no-smtp", detail="CASAFLOW_SMTP_HOST is not set: e-mails wait until it is")
        pause = self._pause_seconds
        while not self._stopping.is_set():
            try:
                claimed = await self._claim()
                await self._count_waiting()
                pause = self._pause_seconds
            except UnavailableError as error:
                claimed, pause = 0, min(2 * pause, _LONGEST_PAUSE_SECONDS)
                _log.warning("notification.waits", error=str(error))
            except Exception as error:  # noqa: BLE001  messages wait for whoever mends it, and the loop goes on
                claimed, pause = 0, min(2 * pause, _LONGEST_PAUSE_SECONDS)
                _log.exception("notification.loop-failed", error=str(error))
            if not claimed:
                await self._wait(pause)
        if self._under_way:
            await asyncio.wait(self._under_way)

    async def deliver_due(self) -> int:
        """Make one attempt for each message that is due now and has room, and wait for them; how many those were.

        Raises:
            UnavailableError: the database did not answer.
        """
        claimed = await self._claim()
        if self._under_way:
            await asyncio.wait(self._under_way)
        return claimed

    async def _claim(self) -> int:
        free = self._at_once - len(self._under_way)
        if free <= 0:
            return 0
        now = self._clock()
        messages = await self._queue.claim(now=now, lease=self._lease, at_most=free, per_endpoint=self._per_endpoint, rooms=self._rooms())
        for message in messages:
            task = asyncio.create_task(self._deliver(message, leased_until=now + self._lease))
            self._under_way[task] = message.endpoint
            task.add_done_callback(self._under_way.pop)
        return len(messages)

    def _rooms(self) -> dict[str, int]:
        """How many messages may be claimed for the endpoints that are busy, fail, or can't be reached."""
        busy = Counter(self._under_way.values())
        rooms = {
            endpoint: max((_FAILING_ROOM if endpoint in self._failing else self._per_endpoint) - busy[endpoint], 0)
            for endpoint in busy.keys() | self._failing
        }
        if Channel.EMAIL not in self._senders:
            rooms[EMAIL_ENDPOINT] = 0
        return rooms

    async def _wait(self, seconds: float) -> None:
        """Until an attempt ends and makes room, a stop, or the time is over."""
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([stopping, *self._under_way], timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()

    async def _deliver(self, message: DueMessage, *, leased_until: dt.datetime) -> None:
        """One attempt, and its mark. Nothing is raised: what isn't marked is due again when the lease ends."""
        log = _log.bind(message_id=message.message_id, channel=message.channel, endpoint=message.endpoint, attempt=message.attempts)
        try:
            now = self._clock()
            if message.channel not in message.preferences.channels:
                result = DeliveryResult.of(DeliveryOutcome.REFUSED, f"the customer is not reached by {message.channel} any more")
            elif (not_before := earliest(message.preferences, message.kind, now)) > now:
                self._metrics.postponed(message.channel)
                await self._marked(lambda: self._queue.postponed(message, not_before=not_before), leased_until, log)
                return
            else:
                result = await self._sent(message, now, log)
            self._metrics.attempted(message.channel, result.outcome)
            await self._marked(lambda: self._settle(message, result, log), leased_until, log)
        except Exception as error:
            # A defect that one message meets must not stop the others.
            log.exception("notification.defect", error=str(error))

    async def _sent(self, message: DueMessage, now: dt.datetime, log: structlog.stdlib.BoundLogger) -> DeliveryResult:
        try:
            result = await self._senders[message.channel].send(message, now=now)
        except Exception as error:
            # Counted as a failure, so that it ends as dead, and isn't tried for ever.
            log.exception("notification.sender-failed", error=str(error))
            result = DeliveryResult.of(DeliveryOutcome.FAILED, f"defect: {type(error).__name__}")
        if result.outcome is DeliveryOutcome.FAILED:
            self._failing.add(message.endpoint)
        else:
            self._failing.discard(message.endpoint)
        return result

    async def _settle(self, message: DueMessage, result: DeliveryResult, log: structlog.stdlib.BoundLogger) -> None:
        # What the other side said is stored, and not logged: it often names the customer.
        now = self._clock()
        if result.outcome is DeliveryOutcome.DELIVERED:
            await self._queue.delivered(message, now=now)
            log.info("notification.delivered")
            return
        not_before = next_attempt(message, result, now=now, jitter=self._jitter(), most_attempts=self._most_attempts)
        if not_before is not None:
            await self._queue.failed(message, error=result.detail, not_before=not_before)
            log.info("notification.failed", not_before=not_before.isoformat())
            return
        await self._queue.dead(message, error=result.detail, endpoint_gone=result.outcome is DeliveryOutcome.GONE, now=now)
        log.warning("notification.dead", outcome=result.outcome)
        self._metrics.died(message.channel)

    async def _marked(self, mark: Callable[[], Awaitable[None]], leased_until: dt.datetime, log: structlog.stdlib.BoundLogger) -> None:
        """Note what became of a message, again and again while the database is away and the message is this deliverer's."""
        while True:
            try:
                await mark()
            except UnavailableError as error:
                if self._stopping.is_set() or self._clock() >= leased_until:
                    log.warning("notification.not-marked", error=str(error))
                    return
                await self._stopped_within(self._pause_seconds)
            else:
                return

    async def _stopped_within(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._stopping.wait()
        except TimeoutError:
            return

    async def _count_waiting(self) -> None:
        now = self._clock()
        if self._counted_at is not None and now - self._counted_at < _COUNTED_EVERY:
            return
        self._counted_at = now
        waiting = await self._queue.waiting([EMAIL_ENDPOINT], at_most=_COUNTED_AT_MOST)
        self._metrics.emails_waiting(waiting[EMAIL_ENDPOINT])
