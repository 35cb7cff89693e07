"""Delivery to real servers on loopback: what arrives, what is tried again and when, what is dead, and what is replayed."""

from __future__ import annotations

import asyncio
import datetime as dt
import signal
import socket
import subprocess
import sys
from email.utils import parseaddr
from pathlib import Path

from prometheus_client import CollectorRegistry
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection
from standardwebhooks import Webhook

from infra.notifications.webhooks import WebhookSender
from infra.postgres.database import Database
from infra.postgres.notification_messages import PostgresMessages
from infra.postgres.notification_preferences import PostgresNotificationPreferences
from infra.postgres.notifications import PostgresMessageQueue
from infra.postgres.privileges import APPLICATION_ROLE
from ledger.deliveries import MOST_ATTEMPTS, RETRY_CEILINGS
from ledger.notifications import Channel, QuietHours, WebhookSecret, after_rotation
from tests.integration.notifications.conftest import SECRET, WEBHOOK_TIMEOUT_SECONDS, PostOffice, until
from tests.integration.notifications.receivers import HANG, HANG_UP, Hook

OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
SECOND = dt.timedelta(seconds=1)


async def test_a_webhook_arrives_signed_as_standard_webhooks_says(office: PostOffice) -> None:
    await office.enter()
    await office.tell(amount="12.50", remittance_information="Nájem za březen")
    assert await office.deliver() == 1

    (request,) = office.hook.requests
    message = await office.message()
    assert (message["status"], message["attempts"], message["last_error"]) == ("delivered", 1, None)
    assert message["delivered_at"] == office.now
    assert request.headers["webhook-id"] == str(message["message_id"])
    assert request.headers["webhook-timestamp"] == str(int(office.now.timestamp()))
    assert request.headers["content-type"] == "application/json"
    assert request.headers["host"] == f"127.0.0.1:{office.hook.port}"
    payload = Webhook(SECRET).verify(request.body, request.headers)
    assert payload["type"] == "notification.credit"
    assert payload["data"]["entries"] == [{"account_id": "A", "direction": "credit", "amount": {"value": "12.50", "currency": "EUR"}}]
    assert payload["data"]["remittance_information"] == "Nájem za březen"
    assert await office.deliver() == 0, "delivered once"
    assert office.counted("attempts_total", channel="webhook", outcome="delivered") == 1


async def test_a_message_is_signed_with_both_secrets_while_one_replaces_the_other(office: PostOffice) -> None:
    secrets = after_rotation((WebhookSecret(secret=SECRET),), OTHER_SECRET, now=office.now)
    await office.enter(webhook_secrets=secrets)
    await office.tell()
    await office.deliver()
    (request,) = office.hook.requests
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(request.body, request.headers)


async def test_an_email_arrives_with_text_and_html(office: PostOffice) -> None:
    await office.enter(email="jana@example.org", language="cs")
    await office.tell(amount="1234.50", remittance_information="<b>Nájem</b>\r\nBcc: all@example.org")
    assert await office.deliver() == 1

    (email,) = office.mailbox.emails
    message = await office.message()
    assert message["status"] == "delivered"
    assert office.mailbox.recipients == ["jana@example.org"]
    assert email["Subject"] == "Na váš účet přišly peníze"
    assert parseaddr(email["From"]) == ("Bank", "no-reply@bank.example")
    assert email["To"] == "jana@example.org"
    assert email["Message-ID"] == f"<{message['message_id']}@bank.example>"
    assert email["Auto-Submitted"] == "auto-generated"
    assert email["Bcc"] is None
    plain, html = (email.get_body(preferencelist=(kind,)) for kind in ("plain", "html"))
    assert plain is not None
    assert html is not None
    assert "1\N{NO-BREAK SPACE}234,50\N{NO-BREAK SPACE}EUR připsáno na účet A" in plain.get_content()
    assert "<b>Nájem</b> Bcc: all@example.org" in plain.get_content()
    assert "&lt;b&gt;Nájem&lt;/b&gt;" in html.get_content()


async def test_failures_are_retried_after_growing_waits_until_the_message_is_dead(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        refused_port = unused.getsockname()[1]
    answers: list[str | int] = [500, 302, 404, HANG, HANG_UP, "503 Busy", 429, 502]
    office.hook.answers.extend(answers)
    errors = []
    for ceiling in RETRY_CEILINGS[: len(answers)]:
        assert await office.deliver() == 1
        message = await office.message()
        assert (message["status"], message["not_before"]) == ("waiting", office.now + ceiling)
        errors.append(message["last_error"])
        office.now += ceiling - SECOND
        assert await office.deliver() == 0, "not before it is due"
        office.now += SECOND
    assert errors[:3] == ["HTTP 500", "HTTP 302", "HTTP 404"]
    assert errors[3] == f"no answer within {WEBHOOK_TIMEOUT_SECONDS} s"
    assert "disconnected" in errors[4]
    assert errors[5:] == ["HTTP 503", "HTTP 429", "HTTP 502"]

    # Nobody listens there any more; he has moved meanwhile.
    await office.enter(webhook_url=f"http://127.0.0.1:{refused_port}/hook")
    assert await office.deliver() == 1
    assert "onnect" in (await office.message())["last_error"]
    office.now += RETRY_CEILINGS[-1]
    assert await office.deliver() == 1
    message = await office.message()
    assert (message["status"], message["attempts"]) == ("dead", MOST_ATTEMPTS)
    assert message["address"] == f"http://127.0.0.1:{refused_port}/hook"
    office.now += dt.timedelta(days=30)
    assert await office.deliver() == 0
    assert len(office.hook.requests) == len(answers)
    assert {request.headers["webhook-id"] for request in office.hook.requests} == {str(message["message_id"])}
    assert office.counted("dead_total", channel="webhook") == 1


async def test_a_dead_message_that_is_replayed_comes_under_the_same_id_and_has_all_attempts_before_it(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    office.hook.answers.extend([500] * 2)
    deliverer = office.deliverer(most_attempts=1)
    assert await deliverer.deliver_due() == 1
    dead = await office.message()
    assert (dead["status"], dead["last_error"]) == ("dead", "HTTP 500")

    office.now += dt.timedelta(days=3)
    await PostgresMessages(office.database).replay(
        office.tenant, str(dead["message_id"]), by="operator", reason="it is mended", now=office.now
    )
    assert await office.deliver() == 1
    waiting = await office.message()
    assert (waiting["status"], waiting["attempts"], waiting["not_before"]) == ("waiting", 1, office.now + RETRY_CEILINGS[0])
    office.now += RETRY_CEILINGS[0]
    assert await office.deliver() == 1
    assert (await office.message())["status"] == "delivered"
    assert len({request.headers["webhook-id"] for request in office.hook.requests}) == 1
    assert len({request.body for request in office.hook.requests}) == 1
    assert len(office.hook.requests) == 3


async def test_preferences_that_can_not_be_read_stop_no_other_message(office: PostOffice) -> None:
    await office.enter("broken", accounts=("A",), email="broken@example.org")
    await office.enter("jana", accounts=("A",))
    await office.tell()
    await office.rows.execute(
        """UPDATE notification.preference
              SET wishes = jsonb_set(wishes, '{quiet_hours}', '{"start": "22:00", "end": "06:00", "time_zone": "Gone/Zone"}')
            WHERE tenant = %s AND customer_id = 'broken'""",
        [office.tenant],
    )
    assert await office.deliver() == 1
    assert [(row["customer_id"], row["status"]) for row in await office.messages()] == [("broken", "waiting"), ("jana", "delivered")]


async def test_a_receiver_that_asks_for_time_gets_it(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    office.hook.answers.append("503 Busy\r\nRetry-After: 3600")
    await office.deliver()
    assert (await office.message())["not_before"] == office.now + dt.timedelta(hours=1)


async def test_an_endpoint_that_is_gone_gets_nothing_more_until_it_is_set_again(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    await office.tell()
    office.hook.answers.append(410)
    first = office.deliverer(at_once=1)
    assert await first.deliver_due() == 1
    assert await first.deliver_due() == 1, "the other message is dead without an attempt"
    assert len(office.hook.requests) == 1
    assert [(row["status"], row["last_error"]) for row in await office.messages()] == [
        ("dead", "HTTP 410"),
        ("dead", "the customer is not reached by webhook any more"),
    ]
    known = await PostgresNotificationPreferences(office.database).get(office.tenant, "jana")
    assert known is not None
    assert known.webhook_gone
    await office.tell()
    assert len(await office.messages()) == 2, "no message is made for it"

    await office.enter()
    await office.tell()
    assert await office.deliver() == 1
    assert len(office.hook.requests) == 2


async def test_an_endpoint_that_has_changed_meanwhile_is_not_the_one_that_is_gone(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    office.hook.answers.append(HANG)
    delivering = asyncio.create_task(office.deliverer(senders={Channel.WEBHOOK: _Gone(office)}).deliver_due())
    await asyncio.wait_for(delivering, 10)
    known = await PostgresNotificationPreferences(office.database).get(office.tenant, "jana")
    assert known is not None
    assert not known.webhook_gone


class _Gone:
    """A real sender, during whose attempt the customer moves."""

    def __init__(self, office: PostOffice) -> None:
        self._office = office

    async def send(self, message: object, *, now: dt.datetime) -> object:
        office = self._office
        office.hook.answers.clear()
        office.hook.answers.append(410)
        result = await office.webhooks.send(message, now=now)  # type: ignore[arg-type]
        await office.enter(webhook_url=f"{office.hook.url}/new")
        return result


async def test_quiet_hours_that_began_after_the_message_was_stored_are_kept_and_cost_no_attempt(office: PostOffice) -> None:
    office.now = dt.datetime(2027, 1, 10, 20, 59, tzinfo=dt.UTC)
    night = QuietHours(start=dt.time(22), end=dt.time(6), time_zone="Europe/Prague")
    await office.enter(quiet_hours=night)
    await office.tell()
    office.now = dt.datetime(2027, 1, 10, 21, 0, tzinfo=dt.UTC)
    assert await office.deliver() == 1
    message = await office.message()
    assert (message["status"], message["attempts"]) == ("waiting", 0)
    assert message["not_before"] == dt.datetime(2027, 1, 11, 5, tzinfo=dt.UTC)
    assert office.hook.requests == []
    assert office.counted("postponed_total", channel="webhook") == 1
    office.now = dt.datetime(2027, 1, 11, 5, tzinfo=dt.UTC)
    assert await office.deliver() == 1
    assert (await office.message())["status"] == "delivered"


async def test_the_webhook_of_a_killed_deliverer_comes_again_with_the_same_id(office: PostOffice, postgres_url: str) -> None:
    await office.enter()
    await office.tell()
    await _killed_between_delivery_and_mark(office, postgres_url)
    assert (await office.message())["status"] == "waiting"
    assert await office.deliver() == 0, "until the lease ends it is the other's"
    office.now = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=6)
    assert await office.deliver() == 1
    first, second = office.hook.requests
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    message = await office.message()
    assert (message["status"], message["attempts"]) == ("delivered", 2)


async def test_the_email_of_a_killed_deliverer_comes_again_with_the_same_message_id(office: PostOffice, postgres_url: str) -> None:
    await office.enter(email="jana@example.org")
    await office.tell()
    await _killed_between_delivery_and_mark(office, postgres_url)
    office.now = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=6)
    assert await office.deliver() == 1
    first, second = office.mailbox.emails
    assert first["Message-ID"] == second["Message-ID"]


async def _killed_between_delivery_and_mark(office: PostOffice, postgres_url: str) -> None:
    """A deliverer in a process of its own is killed when the other side has the message, and the database doesn't know yet."""
    script = Path(__file__).with_name("deliverer_process.py")
    command = [sys.executable, str(script), postgres_url, str(office.mailbox.port)]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    assert process.stdout is not None
    async with asyncio.timeout(60):
        assert await process.stdout.readline() == b"delivered\n"
    process.send_signal(signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL


async def test_a_hanging_endpoint_holds_nobody_else_up(office: PostOffice) -> None:
    async with Hook.open() as hanging, WebhookSender(allow_private=True, timeout_seconds=60) as patient:
        hanging.hangs = True
        await office.enter("slow", accounts=("S",), webhook_url=hanging.url)
        await office.enter("quick", accounts=("Q",))
        await office.apply(*(office.event(creditor="S") for _ in range(50)))
        await office.apply(*(office.event(creditor="Q") for _ in range(20)))
        deliverer = office.deliverer(senders={Channel.WEBHOOK: patient}, at_once=8, per_endpoint=4, pause_seconds=0.05)
        running = asyncio.create_task(deliverer.run())
        await until(lambda: len(office.hook.requests) >= 20)
        assert len(hanging.requests) == 4, "no more at a time than an endpoint has room for"
        statuses = [(row["customer_id"], row["status"]) for row in await office.messages()]
        assert statuses.count(("slow", "waiting")) == 50
        deliverer.stop()
        hanging.hangs = False
        hanging.released.set()
        await asyncio.wait_for(running, 30)


async def test_an_endpoint_that_fails_is_tried_with_one_message_at_a_time(office: PostOffice) -> None:
    await office.enter()
    await office.apply(*(office.event(creditor="A") for _ in range(20)))
    office.hook.answers.extend([500] * 5)
    assert await office.deliver() == 4
    assert await office.deliver() == 1
    assert await office.deliver() == 1, "the sixth is taken"
    assert await office.deliver() == 4
    assert [row["status"] for row in await office.messages()].count("delivered") == 5


async def test_deliverers_that_work_at_the_same_time_deliver_each_message_once(office: PostOffice) -> None:
    await office.enter()
    await office.apply(*(office.event(creditor="A") for _ in range(60)))
    # Patient: an attempt that a busy machine cut off would rightly be made again.
    async with WebhookSender(allow_private=True, timeout_seconds=60) as patient:
        senders = {Channel.WEBHOOK: patient}
        deliverers = [office.deliverer(senders=senders, per_endpoint=8, pause_seconds=0.05) for _ in range(4)]
        running = [asyncio.create_task(deliverer.run()) for deliverer in deliverers]
        await until(lambda: len(office.hook.requests) >= 60)
        for deliverer in deliverers:
            deliverer.stop()
        await asyncio.gather(*running)
    ids = [request.headers["webhook-id"] for request in office.hook.requests]
    assert len(ids) == len(set(ids)) == 60
    assert {row["status"] for row in await office.messages()} == {"delivered"}


async def test_a_stopped_deliverer_ends_what_it_has_begun(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    office.hook.hangs = True
    async with WebhookSender(allow_private=True, timeout_seconds=60) as patient:
        deliverer = office.deliverer(senders={Channel.WEBHOOK: patient})
        running = asyncio.create_task(deliverer.run())
        await asyncio.wait_for(office.hook.arrived.wait(), 10)
        deliverer.stop()
        office.hook.released.set()
        # The receiver hangs up without an answer: a failure, and noted as such before the deliverer ends.
        await asyncio.wait_for(running, 10)
    assert (await office.message())["last_error"] is not None


async def test_emails_wait_for_an_smtp_server_and_are_counted(office: PostOffice) -> None:
    await office.enter(email="jana@example.org", webhook_url=office.hook.url)
    await office.tell()
    registry = CollectorRegistry()
    deliverer = office.deliverer(senders={Channel.WEBHOOK: office.webhooks}, registry=registry, pause_seconds=0.05)
    running = asyncio.create_task(deliverer.run())
    await until(lambda: bool(office.hook.requests) and registry.get_sample_value("casaflow_notification_emails_waiting") == 1)
    deliverer.stop()
    await running
    assert [(row["channel"], row["attempts"]) for row in await office.messages()] == [("email", 0), ("webhook", 1)]
    assert await office.deliver() == 1
    assert len(office.mailbox.emails) == 1


async def test_a_delivery_whose_mark_meets_a_database_that_is_away_is_marked_when_it_is_back(office: PostOffice) -> None:
    await office.enter()
    await office.tell()
    queue = _AwayOnce(office.database)
    deliverer = office.deliverer(pause_seconds=0.01)
    deliverer._queue = queue
    assert await deliverer.deliver_due() == 1
    assert queue.failures == 1
    assert (await office.message())["status"] == "delivered"
    assert len(office.hook.requests) == 1


class _AwayOnce(PostgresMessageQueue):
    """The real queue, whose first mark goes to a server that isn't there."""

    failures = 0

    async def delivered(self, message: object, *, now: dt.datetime) -> None:
        if not self.failures:
            self.failures += 1
            nowhere = Database.open("postgresql://nobody@127.0.0.1:1/none", pool_size=1)
            try:
                await PostgresMessageQueue(nowhere).delivered(message, now=now)  # type: ignore[arg-type]
            finally:
                await nowhere.close()
        await super().delivered(message, now=now)  # type: ignore[arg-type]


async def test_a_claim_reads_little_of_a_long_queue_of_one_endpoint(office: PostOffice, postgres_url: str) -> None:
    await office.enter("slow", accounts=("S",), webhook_url="http://127.0.0.2:1/hook")
    await office.enter("quick", accounts=("Q",))
    await office.rows.execute(
        """INSERT INTO notification.message (message_id, tenant, event_id, transaction_id, customer_id, channel, kind, endpoint, address,
                                             subject, body, not_before, created_at)
           SELECT gen_random_uuid(), %(tenant)s, gen_random_uuid(), gen_random_uuid(), 'slow', 'webhook', 'credit', '127.0.0.2:1', 'x', 's',
                  'b', %(now)s, %(now)s FROM generate_series(1, 20000)""",
        {"tenant": office.tenant, "now": office.now},
    )
    await office.rows.execute("ANALYZE notification.message")
    await office.tell(creditor="Q")
    # One connection, so that it is known whose counters are to be written.
    alone = Database.open(postgres_url, pool_size=1, role=APPLICATION_ROLE)
    try:
        before = await _rows_read(alone)
        queue = PostgresMessageQueue(alone)
        claimed = await queue.claim(now=office.now, lease=SECOND, at_most=8, per_endpoint=4, rooms={})
        read = await _rows_read(alone) - before
    finally:
        await alone.close()
    assert sorted(message.customer_id for message in claimed) == ["quick", "slow", "slow", "slow", "slow"]
    assert 5 <= read < 1000


async def _rows_read(database: Database) -> int:
    async def work(connection: AsyncConnection) -> int:
        await connection.execute(text("SELECT pg_stat_force_next_flush()"))
        await connection.commit()
        found = await connection.execute(
            text("SELECT seq_tup_read + idx_tup_fetch FROM pg_stat_user_tables WHERE relid = CAST('notification.message' AS regclass)")
        )
        return int(found.scalar_one())

    return await database.run(work)
