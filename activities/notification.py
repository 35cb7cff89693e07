"""The notification service: brings a transaction's stored events to where downstream systems read them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel, ConfigDict
from temporalio import activity

from activities.call import transaction_call
from ledger.errors import UnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.events import Event
    from ledger.ports import EventOutbox, EventPublisher

OUTAGE_MEMORY_SECONDS: Final = 5.0
"""After a failed publication, local attempts give way at once for this long. See docs/decisions/0004."""


class Publication(BaseModel):
    """Whose events are to be published."""

    model_config = ConfigDict(frozen=True)

    tenant: str
    transaction_id: str


class NotificationActivities:
    """Publishes what waits in the outbox. Safe to repeat: an event keeps its id, and consumers apply each id once."""

    def __init__(self, outbox: EventOutbox, publisher: EventPublisher) -> None:
        self._outbox = outbox
        self._publisher = publisher
        self._away_until = 0.0

    @activity.defn(name="notification.publish")
    async def publish(self, publication: Publication) -> int:
        """Publish a transaction's unpublished events, and have them marked.

        A local activity holds back its workflow's answer while it runs. So once the publisher failed, local attempts of all
        transactions fail at once for :data:`OUTAGE_MEMORY_SECONDS`, and only the ordinary activities keep trying.

        Returns:
            How many events were published; zero when somebody else has published them.

        Raises:
            ApplicationError: UnavailableError, retryable: the outbox or the publisher did not answer.
        """
        with transaction_call(publication.tenant, publication.transaction_id):
            if activity.info().is_local and time.monotonic() < self._away_until:
                raise UnavailableError(part="kafka", detail=f"it did not answer within the last {OUTAGE_MEMORY_SECONDS:.0f} s")
            events = await self._outbox.unpublished(publication.tenant, publication.transaction_id)
            if events:
                await self._publish(events)
                self._outbox.note_published(events)
            return len(events)

    async def _publish(self, events: Sequence[Event]) -> None:
        arrived = False
        try:
            await self._publisher.publish(events)
            arrived = True
        finally:
            # A publisher that hangs is cut off by the activity's time-out, which arrives as a cancellation; it counts as away too.
            self._away_until = 0.0 if arrived else time.monotonic() + OUTAGE_MEMORY_SECONDS
