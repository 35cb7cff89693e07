"""Real servers on loopback that take what is delivered: an SMTP server, and an HTTP receiver with good and bad days."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from typing import Any, Self

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

HANG = "hang"
"""An answer that never comes."""
HANG_UP = "hang up"
"""The connection ends without an answer."""


@dataclass
class Mailbox:
    """What an SMTP server has taken, and what it says to recipients and contents instead of taking them."""

    port: int = 0
    emails: list[EmailMessage] = field(default_factory=list)
    recipients: list[str] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)
    logins: list[str] = field(default_factory=list)
    refuse_recipient: str | None = None
    refuse_content: str | None = None

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name and arguments
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if self.refuse_recipient is not None:
            return self.refuse_recipient
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, _server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802  as above
        if self.refuse_content is not None:
            return self.refuse_content
        assert isinstance(envelope.content, bytes)
        email = message_from_bytes(envelope.content, policy=SMTP_POLICY)
        assert isinstance(email, EmailMessage)
        self.emails.append(email)
        self.recipients.extend(envelope.rcpt_tos)
        self.encrypted.append(session.ssl is not None)
        return "250 OK"

    def authenticate(self, _server: SMTP, _session: Session, _envelope: Envelope, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        success = (data.login, data.password) == (b"casaflow", b"hush")
        if success:
            self.logins.append(mechanism)
        return AuthResult(success=success, handled=success)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, *, tls: ssl.SSLContext | None = None, implicit: bool = False, login: bool = False) -> AsyncIterator[Self]:
        """An SMTP server: plain; with `tls` one that insists on STARTTLS, or `implicit`, one that speaks it from the first byte."""
        mailbox = cls()
        starttls = tls if not implicit else None

        def session() -> SMTP:
            return SMTP(
                mailbox,
                hostname="localhost",
                tls_context=starttls,
                require_starttls=starttls is not None,
                auth_required=login,
                auth_require_tls=starttls is not None,
                authenticator=mailbox.authenticate if login else None,
            )

        server = await asyncio.get_running_loop().create_server(session, "127.0.0.1", 0, ssl=tls if implicit else None)
        mailbox.port = server.sockets[0].getsockname()[1]
        try:
            yield mailbox
        finally:
            server.close()


@dataclass(frozen=True)
class Request:
    """What came in."""

    path: str
    headers: dict[str, str]
    """Names in lower case."""
    body: str


@dataclass
class Hook:
    """An HTTP receiver. It answers as it is told to, in turn, and with 204 afterwards."""

    port: int = 0
    requests: list[Request] = field(default_factory=list)
    answers: deque[str | int] = field(default_factory=deque)
    """Statuses, whole heads (``503 Busy\\r\\nRetry-After: 60``), or one of the constants above."""
    hangs: bool = False
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hook"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
            body = (await reader.readexactly(int(headers.get("content-length", 0)))).decode()
            self.requests.append(Request(head[0].split(" ")[1], headers, body))
            self.arrived.set()
            answer = HANG if self.hangs else self.answers.popleft() if self.answers else 204
            if answer == HANG:
                await self.released.wait()
            elif answer != HANG_UP:
                status = answer if isinstance(answer, str) else f"{answer} Status"
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        writer.close()

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Self]:
        hook = cls()
        server = await asyncio.start_server(hook._serve, "127.0.0.1", 0, ssl=tls)
        hook.port = server.sockets[0].getsockname()[1]
        try:
            yield hook
        finally:
            hook.released.set()
            server.close()
