"""What each channel does with servers that encrypt, ask for a log-in, refuse, or lead where they must not."""

from __future__ import annotations

import asyncio
import dataclasses
import datetime as dt
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

from infra.notifications.smtp import Security, SmtpAccess, SmtpSender
from infra.notifications.webhooks import WebhookSender
from ledger.deliveries import DeliveryOutcome
from ledger.notifications import WebhookSecret
from tests.integration.notifications.receivers import Hook, Mailbox
from tests.unit.ledger.test_deliveries import due
from tests.unit.ledger.test_notifications import SECRET, preferences
from tests.unit.temporal.certificates import Authority

NOW = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)
EMAIL = due(channel="email", address="jana@example.org", subject="Předmět", body="Text\n", body_html="<p>Text</p>")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def served(authority: Authority) -> ssl.SSLContext:
    files = authority.issue("server", hosts=("localhost",))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(files.cert, files.key)
    return context


def smtp(mailbox: Mailbox, security: Security, authorities: Path | None = None, **fields: Any) -> SmtpSender:
    access = SmtpAccess(
        host="localhost",
        port=mailbox.port,
        sender="no-reply@bank.example",
        security=security,
        certificate_authorities=authorities,
        timeout_seconds=5,
    )
    return SmtpSender(dataclasses.replace(access, **fields))


async def test_an_email_goes_over_starttls_with_a_log_in(authority: Authority, served: ssl.SSLContext) -> None:
    async with Mailbox.open(tls=served, login=True) as mailbox:
        result = await smtp(mailbox, "starttls", authority.file, username="casaflow", password="hush").send(EMAIL, now=NOW)
    assert result.outcome is DeliveryOutcome.DELIVERED
    assert (mailbox.encrypted, len(mailbox.logins)) == ([True], 1)
    assert mailbox.emails[0]["Subject"] == "Předmět"
    assert mailbox.emails[0]["Date"] == "Mon, 02 Mar 2026 09:30:00 +0000"


async def test_an_email_goes_over_tls_from_the_first_byte(authority: Authority, served: ssl.SSLContext) -> None:
    async with Mailbox.open(tls=served, implicit=True) as mailbox:
        result = await smtp(mailbox, "tls", authority.file).send(EMAIL, now=NOW)
    assert (result.outcome, len(mailbox.emails)) == (DeliveryOutcome.DELIVERED, 1)


async def test_a_server_with_an_unknown_certificate_gets_nothing(served: ssl.SSLContext) -> None:
    async with Mailbox.open(tls=served) as mailbox, Mailbox.open(tls=served, implicit=True) as other:
        results = [await smtp(mailbox, "starttls").send(EMAIL, now=NOW), await smtp(other, "tls").send(EMAIL, now=NOW)]
    assert [result.outcome for result in results] == [DeliveryOutcome.FAILED] * 2
    assert mailbox.emails + other.emails == []


async def test_nothing_goes_unencrypted_where_starttls_was_asked_for(authority: Authority) -> None:
    async with Mailbox.open() as mailbox:
        result = await smtp(mailbox, "starttls", authority.file).send(EMAIL, now=NOW)
    assert (result.outcome, mailbox.emails) == (DeliveryOutcome.FAILED, [])


async def test_a_refused_log_in_is_no_reason_to_give_a_message_up(authority: Authority, served: ssl.SSLContext) -> None:
    async with Mailbox.open(tls=served, login=True) as mailbox:
        sender = smtp(mailbox, "starttls", authority.file, username="casaflow", password="wrong")
        result = await sender.send(EMAIL, now=NOW)
    assert result.outcome is DeliveryOutcome.FAILED
    assert "535" in result.detail
    assert "wrong" not in result.detail
    assert "hush" not in repr(smtp(mailbox, "none", password="hush")._access)


@pytest.mark.parametrize(
    ("answers", "outcome"),
    [
        ({"refuse_recipient": "550 5.1.1 no such user"}, DeliveryOutcome.REFUSED),
        ({"refuse_recipient": "450 4.2.1 greylisted"}, DeliveryOutcome.FAILED),
        ({"refuse_content": "554 5.6.0 not wanted"}, DeliveryOutcome.REFUSED),
        ({"refuse_content": "452 4.3.1 no room"}, DeliveryOutcome.FAILED),
    ],
)
async def test_a_refusal_for_good_is_told_from_one_for_now(answers: dict[str, str], outcome: DeliveryOutcome) -> None:
    async with Mailbox.open() as mailbox:
        for name, answer in answers.items():
            setattr(mailbox, name, answer)
        result = await smtp(mailbox, "none").send(EMAIL, now=NOW)
    assert result.outcome is outcome
    assert result.detail.startswith("SMTP ")
    assert next(iter(answers.values())).split(" ", 1)[1] in result.detail


async def test_a_server_that_says_nothing_is_left_after_a_while() -> None:
    released = asyncio.Event()

    async def say_nothing(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    sender = smtp(Mailbox(port=server.sockets[0].getsockname()[1]), "none", timeout_seconds=0.2)
    result = await asyncio.wait_for(sender.send(EMAIL, now=NOW), 10)
    released.set()
    server.close()
    assert (result.outcome, result.detail) == (DeliveryOutcome.FAILED, "no answer within 0.2 s")


async def test_a_server_that_is_away_is_tried_again() -> None:
    async with Mailbox.open() as mailbox:
        sender = smtp(mailbox, "none")
    assert (await sender.send(EMAIL, now=NOW)).outcome is DeliveryOutcome.FAILED


@pytest.mark.parametrize("subject", ["a\r\nBcc: all@example.org", "a\nb", "a\rb"])
def test_a_line_break_never_gets_into_a_header(subject: str) -> None:
    sender = SmtpSender(SmtpAccess(host="localhost", sender="Bank <no-reply@bank.example>", security="none"))
    with pytest.raises(ValueError, match="may not contain"):
        sender.email(EMAIL.model_copy(update={"subject": subject}), now=NOW)
    with pytest.raises(ValueError, match=r".+"):
        sender.email(EMAIL.model_copy(update={"address": f"jana@example.org{subject[1:]}"}), now=NOW)


@pytest.mark.parametrize("sender", ["", "Bank", "Bank <>", "bank"])
def test_a_sender_that_is_no_address_is_refused_at_the_start(sender: str) -> None:
    with pytest.raises(ValueError, match="address"):
        SmtpSender(SmtpAccess(host="localhost", sender=sender))


def to(url: str) -> Any:
    return due(address=url, body="{}", preferences=preferences(webhook_url=url, webhook_secrets=(WebhookSecret(secret=SECRET),)))


async def test_a_webhook_goes_over_tls_and_its_certificate_is_checked_for_the_name(authority: Authority, served: ssl.SSLContext) -> None:
    trusting = ssl.create_default_context(cafile=str(authority.file))
    async with Hook.open(tls=served) as hook, WebhookSender(allow_private=True, timeout_seconds=5, tls=trusting) as sender:
        result = await sender.send(to(f"https://localhost:{hook.port}/hook?a=b"), now=NOW)
        # The same address, by a name that the certificate doesn't have.
        unnamed = await sender.send(to(f"https://127.0.0.1:{hook.port}/hook"), now=NOW)
    assert result.outcome is DeliveryOutcome.DELIVERED
    assert (hook.requests[0].path, hook.requests[0].headers["host"]) == ("/hook?a=b", f"localhost:{hook.port}")
    assert unnamed.outcome is DeliveryOutcome.FAILED
    assert "CERTIFICATE_VERIFY_FAILED" in unnamed.detail
    assert len(hook.requests) == 1


async def test_an_endpoint_with_an_unknown_certificate_gets_nothing(served: ssl.SSLContext) -> None:
    async with Hook.open(tls=served) as hook, WebhookSender(allow_private=True, timeout_seconds=5) as sender:
        result = await sender.send(to(f"https://localhost:{hook.port}/hook"), now=NOW)
    assert (result.outcome, hook.requests) == (DeliveryOutcome.FAILED, [])


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "2130706433", "0x7f.1", "[::ffff:127.0.0.1]", "127.1"])  # noqa: S104
async def test_no_webhook_goes_to_this_machine_by_whatever_name(authority: Authority, served: ssl.SSLContext, host: str) -> None:
    trusting = ssl.create_default_context(cafile=str(authority.file))
    trusting.check_hostname = False
    async with Hook.open(tls=served) as hook, WebhookSender(allow_private=False, timeout_seconds=5, tls=trusting) as sender:
        result = await sender.send(to(f"https://{host}:{hook.port}/hook"), now=NOW)
    assert (result.outcome, hook.requests) == (DeliveryOutcome.REFUSED, [])
    assert "not public" in result.detail


async def test_a_host_of_which_one_address_is_private_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name service is somebody else's; what it answers is given here."""

    async def both(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(socket.AF_INET, 1, 6, "", ("8.8.8.8", 443)), (socket.AF_INET, 1, 6, "", ("10.0.0.1", 443))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", both)
    async with WebhookSender(allow_private=False, timeout_seconds=5) as sender:
        result = await sender.send(to("https://example.org/hook"), now=NOW)
    assert result.outcome is DeliveryOutcome.REFUSED


async def test_a_redirect_is_not_followed(authority: Authority) -> None:
    async with Hook.open() as inner, Hook.open() as hook, WebhookSender(allow_private=True, timeout_seconds=5) as sender:
        hook.answers.append(f"307 There\r\nLocation: {inner.url}")
        result = await sender.send(to(hook.url), now=NOW)
    assert (result.outcome, result.detail, inner.requests) == (DeliveryOutcome.FAILED, "HTTP 307", [])


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Hook.open() as proxy, Hook.open() as hook:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        async with WebhookSender(allow_private=True, timeout_seconds=5) as sender:
            assert (await sender.send(to(hook.url), now=NOW)).outcome is DeliveryOutcome.DELIVERED
    assert proxy.requests == []


async def test_plain_http_is_refused_without_the_setting() -> None:
    async with Hook.open() as hook, WebhookSender(allow_private=False, timeout_seconds=5) as sender:
        result = await sender.send(to(hook.url), now=NOW)
    assert (result.outcome, hook.requests) == (DeliveryOutcome.REFUSED, [])


async def test_a_host_without_an_address_is_tried_again() -> None:
    async with WebhookSender(allow_private=False, timeout_seconds=5) as sender:
        result = await sender.send(to("https://no-such-host.invalid/hook"), now=NOW)
    assert result.outcome is DeliveryOutcome.FAILED
