"""A post office for each test: the real database, a clock that the test sets, and receivers on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncConnection

from infra.kafka.received import ReceivedEvent
from infra.notifications.deliverer import Deliverer, Sender
from infra.notifications.metrics import NotificationMetrics
from infra.notifications.smtp import SmtpAccess, SmtpSender
from infra.notifications.templates import MessageTemplates
from infra.notifications.webhooks import WebhookSender
from infra.postgres.database import Database
from infra.postgres.notification_preferences import PostgresNotificationPreferences
from infra.postgres.notifications import NotificationEffects, PostgresMessageQueue
from infra.postgres.privileges import APPLICATION_ROLE
from ledger.decisions import LegName
from ledger.event_writer import transaction_finished
from ledger.events import Event
from ledger.notifications import Channel, NotificationPreferences, WebhookSecret
from ledger.results import TransactionResult, TransactionStatus
from tests.integration.notifications.receivers import Hook, Mailbox
from tests.integration.postgres.bank import connected
from tests.unit.ledger.builders import posted, request

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
WEBHOOK_TIMEOUT_SECONDS = 0.5


@dataclass
class PostOffice:
    """Stores messages and delivers them, at the time that the test says."""

    database: Database
    rows: psycopg.AsyncConnection[dict[str, Any]]
    """The owner's, for what no adapter shows."""
    mailbox: Mailbox
    hook: Hook
    webhooks: WebhookSender
    now: dt.datetime = field(default_factory=lambda: dt.datetime.now(dt.UTC))
    jitter: float = 1.0
    tenant: str = field(default_factory=lambda: f"bank-{uuid.uuid4().hex[:8]}")
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)
    _offsets: itertools.count[int] = field(default_factory=itertools.count)
    _deliverer: Deliverer | None = None

    @property
    def queue(self) -> PostgresMessageQueue:
        return PostgresMessageQueue(self.database)

    @property
    def senders(self) -> dict[Channel, Sender]:
        smtp = SmtpAccess(
            host="127.0.0.1", port=self.mailbox.port, sender="Bank <no-reply@bank.example>", security="none", timeout_seconds=5
        )
        return {Channel.EMAIL: SmtpSender(smtp), Channel.WEBHOOK: self.webhooks}

    def deliverer(self, **options: Any) -> Deliverer:
        senders = options.pop("senders", self.senders)
        registry = options.pop("registry", CollectorRegistry())
        values = {"clock": lambda: self.now, "jitter": lambda: self.jitter, **options}
        return Deliverer(self.queue, senders, NotificationMetrics(registry), **values)

    async def deliver(self) -> int:
        """One attempt for each message that is due now."""
        if self._deliverer is None:
            self._deliverer = self.deliverer(registry=self.registry)
        return await self._deliverer.deliver_due()

    async def enter(self, customer_id: str = "jana", *, accounts: Sequence[str] = ("A",), **fields: Any) -> NotificationPreferences:
        """Enter a customer, with the hook as webhook unless another channel is given."""
        if "email" not in fields and "webhook_url" not in fields:
            fields["webhook_url"] = self.hook.url
        if fields.get("webhook_url") is not None:
            fields.setdefault("webhook_secrets", (WebhookSecret(secret=SECRET),))
        values = {"tenant": self.tenant, "customer_id": customer_id, "accounts": tuple(accounts), "since": self.now, **fields}
        wanted = NotificationPreferences(**values)
        store = PostgresNotificationPreferences(self.database)
        return await store.set(self.tenant, customer_id, lambda _: wanted, by="teller", now=self.now)

    def event(self, *, debtor: str | None = None, creditor: str | None = None, rejected: bool = False, **fields: Any) -> ReceivedEvent:
        """A finished transaction, of now, as the consumer gets it."""
        asked = request(debtor=debtor, creditor=creditor, tenant=self.tenant, transaction_id=str(uuid.uuid4()), **fields)
        legs = tuple(
            posted(leg, account_id, asked.amount)
            for leg, account_id in ((LegName.DEBIT, debtor), (LegName.CREDIT, creditor))
            if account_id is not None and not rejected
        )
        status = TransactionStatus.REJECTED if rejected else TransactionStatus.COMPLETED
        result = TransactionResult(transaction_id=asked.transaction_id, status=status, legs=legs)
        return self.received(transaction_finished(asked, result, finished_at=self.now))

    def received(self, event: Event, **fields: Any) -> ReceivedEvent:
        names = ("event_id", "type", "source", "subject", "time", "topic", "key", "data")
        values = {name: getattr(event, name) for name in names}
        return ReceivedEvent(**{**values, "partition": 0, "offset": next(self._offsets), **fields})

    async def apply(self, *events: ReceivedEvent) -> None:
        """What the consumer does, in a database transaction."""
        effects = NotificationEffects(MessageTemplates(), clock=lambda: self.now)

        async def work(connection: AsyncConnection) -> None:
            await effects.apply(connection, events)

        await self.database.run(work)

    async def tell(self, **fields: Any) -> None:
        """Store the messages of one finished transaction; of a credit to the account A unless sides are given."""
        if "debtor" not in fields and "creditor" not in fields:
            fields["creditor"] = "A"
        await self.apply(self.event(**fields))

    async def messages(self) -> list[dict[str, Any]]:
        found = await self.rows.execute(
            "SELECT * FROM notification.message WHERE tenant = %s ORDER BY created_at, customer_id, channel", [self.tenant]
        )
        return await found.fetchall()

    async def message(self) -> dict[str, Any]:
        (message,) = await self.messages()
        return message

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(f"casaflow_notification_{name}", labels) or 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what happens in this process or on its loopback."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  what it looks at sets no event
            await asyncio.sleep(0.02)


# As production runs: by the role that may not do more than is granted.
@pytest.fixture(scope="module")
async def database(postgres_url: str) -> AsyncIterator[Database]:
    database = Database.open(postgres_url, pool_size=8, role=APPLICATION_ROLE)
    yield database
    await database.close()


@pytest.fixture
async def office(postgres_url: str, database: Database) -> AsyncIterator[PostOffice]:
    async with (
        connected(postgres_url, autocommit=True) as rows,
        Mailbox.open() as mailbox,
        Hook.open() as hook,
        WebhookSender(allow_private=True, timeout_seconds=WEBHOOK_TIMEOUT_SECONDS) as webhooks,
    ):
        # What another test has left waiting would be delivered here.
        await rows.execute("UPDATE notification.message SET status = 'dead' WHERE status = 'waiting'")
        yield PostOffice(database=database, rows=rows, mailbox=mailbox, hook=hook, webhooks=webhooks)
