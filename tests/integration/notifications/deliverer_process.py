"""A deliverer that never gets to mark what it delivered; it says when the other side has it, and waits to be killed."""

from __future__ import annotations

import asyncio
import sys

from prometheus_client import CollectorRegistry

from infra.notifications.deliverer import Deliverer
from infra.notifications.metrics import NotificationMetrics
from infra.notifications.smtp import SmtpAccess, SmtpSender
from infra.notifications.webhooks import WebhookSender
from infra.postgres.database import Database
from infra.postgres.notifications import PostgresMessageQueue
from infra.postgres.privileges import APPLICATION_ROLE
from ledger.notifications import Channel


class _NeverMarked(PostgresMessageQueue):
    async def delivered(self, *_: object, **__: object) -> None:
        sys.stdout.write("delivered\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


async def main(postgres_url: str, smtp_port: int) -> None:
    queue = _NeverMarked(Database.open(postgres_url, pool_size=2, role=APPLICATION_ROLE))
    smtp = SmtpSender(SmtpAccess(host="127.0.0.1", port=smtp_port, sender="no-reply@bank.example", security="none"))
    async with WebhookSender(allow_private=True, timeout_seconds=10) as webhooks:
        await Deliverer(queue, {Channel.EMAIL: smtp, Channel.WEBHOOK: webhooks}, NotificationMetrics(CollectorRegistry())).run()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
