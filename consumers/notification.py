"""The notification group: tells customers of their transactions, by e-mail and by webhook.

A member does two things side by side. Its effects store messages, in the database transaction in which the group's offset moves; its
deliverer hands to the channels what is due, so that no slow endpoint keeps an event waiting. See ``docs/decisions/0029-notifications.md``.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from consumers.member import member_of
from infra.notifications.deliverer import Deliverer
from infra.notifications.metrics import NotificationMetrics
from infra.notifications.smtp import SmtpAccess, SmtpSender
from infra.notifications.templates import MessageTemplates
from infra.notifications.webhooks import WebhookSender
from infra.postgres.notifications import NotificationEffects, PostgresMessageQueue
from ledger.events import TOPIC_TRANSACTION_FINISHED
from ledger.notifications import Channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from consumers.member import GroupMember, Surroundings
    from infra.notifications.deliverer import Sender
    from infra.postgres.database import Database
    from infra.settings import Settings

GROUP: Final = "notification"
TOPICS: Final = (TOPIC_TRANSACTION_FINISHED,)
"""What happens to a balance is told with its transaction, so the other topic is not read."""


class _Delivery:
    """Hands out what is due, beside the loop."""

    def __init__(self, given: Surroundings) -> None:
        self._given = given
        self._deliverer: Deliverer | None = None
        self._stopped = False

    def stop(self) -> None:
        """End what is at hand, and return from :meth:`run`."""
        self._stopped = True
        if self._deliverer is not None:
            self._deliverer.stop()

    async def run(self) -> None:
        """Deliver until :meth:`stop`."""
        async with open_deliverer(self._given.settings, self._given.database) as self._deliverer:
            if not self._stopped:
                await self._deliverer.run()


def notification_member(given: Surroundings) -> GroupMember:
    """A member of the notification group."""
    return member_of(GROUP, TOPICS, effects(given.settings), given, parts=(_Delivery(given),))


def effects(settings: Settings) -> NotificationEffects:
    """What the group does with events: an :class:`infra.postgres.consumption.EventHandler`."""
    return NotificationEffects(MessageTemplates(settings.notification_templates))


@asynccontextmanager
async def open_deliverer(settings: Settings, database: Database) -> AsyncIterator[Deliverer]:
    """A deliverer by e-mail, where there is an SMTP server, and by webhook; its :meth:`~Deliverer.run` goes beside the consumer loop.

    Raises:
        ValueError: the sender of e-mails is no address.
        OSError: the file of the SMTP server's certificate authorities can't be read.
    """
    async with WebhookSender(allow_private=settings.webhook_allow_private, timeout_seconds=settings.webhook_timeout_seconds) as webhooks:
        senders: dict[Channel, Sender] = {Channel.WEBHOOK: webhooks}
        access = _smtp_access(settings)
        if access is not None:
            senders[Channel.EMAIL] = SmtpSender(access)
        yield Deliverer(
            PostgresMessageQueue(database),
            senders,
            NotificationMetrics(),
            at_once=settings.notifications_at_once,
            most_attempts=settings.notification_attempts,
        )


def _smtp_access(settings: Settings) -> SmtpAccess | None:
    if settings.smtp_host is None or settings.smtp_from is None:
        return None
    return SmtpAccess(
        host=settings.smtp_host,
        sender=settings.smtp_from,
        security=settings.smtp_security,
        port=settings.smtp_port,
        username=settings.smtp_username,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password is not None else None,
        certificate_authorities=settings.smtp_ca,
        timeout_seconds=settings.smtp_timeout_seconds,
    )
