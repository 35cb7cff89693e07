"""Hands e-mails to an SMTP server."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime, parseaddr
from typing import TYPE_CHECKING, Final, Literal

import aiosmtplib

from ledger.deliveries import DeliveryOutcome, DeliveryResult
from ledger.notifications import is_email_address

if TYPE_CHECKING:
    import datetime as dt
    from pathlib import Path

    from ledger.deliveries import DueMessage

Security = Literal["starttls", "tls", "none"]
DEFAULT_PORTS: Final[dict[Security, int]] = {"starttls": 587, "tls": 465, "none": 25}
_PERMANENT: Final = 500
"""RFC 5321, section 4.2.1: 5yz is a permanent refusal, 4yz asks for another attempt."""


@dataclass(frozen=True, kw_only=True)
class SmtpAccess:
    """Where the SMTP server is, and how to log in."""

    host: str
    sender: str
    """What the header From says: an address, or ``Bank <no-reply@bank.example>``."""
    security: Security = "starttls"
    """``starttls``: refused where the server doesn't offer it. ``tls``: from the first byte. ``none``: readable on the wire."""
    port: int | None = None
    """Unless given, the usual one of `security`."""
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    certificate_authorities: Path | None = None
    """PEM file that the server's certificate is checked against; unless given, the machine's own."""
    timeout_seconds: float = 30.0
    """Of one attempt altogether."""


class SmtpSender:
    """Delivers messages by e-mail. Implements :class:`infra.notifications.deliverer.Sender`."""

    def __init__(self, access: SmtpAccess) -> None:
        """Take the access.

        Raises:
            ValueError: the sender is no address.
            OSError: the file of certificate authorities can't be read.
        """
        self._access = access
        name, address = parseaddr(access.sender)
        if not is_email_address(address):
            message = f"the sender {access.sender!r} must be an e-mail address"
            raise ValueError(message)
        self._sender = Address(display_name=name, addr_spec=address)
        authorities = access.certificate_authorities
        self._tls = ssl.create_default_context(cafile=str(authorities) if authorities is not None else None)

    async def send(self, message: DueMessage, *, now: dt.datetime) -> DeliveryResult:
        """See :meth:`infra.notifications.deliverer.Sender.send`."""
        access = self._access
        try:
            async with asyncio.timeout(access.timeout_seconds):
                await aiosmtplib.send(
                    self.email(message, now=now),
                    sender=self._sender.addr_spec,
                    recipients=[message.address],
                    hostname=access.host,
                    port=access.port or DEFAULT_PORTS[access.security],
                    username=access.username,
                    password=access.password,
                    timeout=None,  # of a step; the whole is bounded
                    use_tls=access.security == "tls",
                    start_tls=access.security == "starttls",
                    tls_context=self._tls if access.security != "none" else None,
                )
        except aiosmtplib.SMTPRecipientsRefused as error:
            refusal = error.recipients[0]
            return _refused(refusal.code, refusal.message)
        except aiosmtplib.SMTPDataError as error:
            return _refused(error.code, error.message)
        except TimeoutError:
            return DeliveryResult.of(DeliveryOutcome.FAILED, f"no answer within {access.timeout_seconds:g} s")
        except (aiosmtplib.SMTPException, OSError) as error:
            # A server that refuses the log-in or the sender does so to all messages: that is for an administrator, and they wait.
            return DeliveryResult.of(DeliveryOutcome.FAILED, f"{type(error).__name__}: {error}")
        return DeliveryResult(outcome=DeliveryOutcome.DELIVERED)

    def email(self, message: DueMessage, *, now: dt.datetime) -> EmailMessage:
        """The e-mail: the same `Message-ID` at each attempt, by which a repeat can be recognised.

        Raises:
            ValueError: a header would have a line break.
        """
        email = EmailMessage(policy=SMTP)
        email["From"] = self._sender
        email["To"] = Address(addr_spec=message.address)
        email["Subject"] = message.subject
        email["Date"] = format_datetime(now)
        email["Message-ID"] = f"<{message.message_id}@{self._sender.domain}>"
        email["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
        email.set_content(message.body)
        if message.body_html is not None:
            email.add_alternative(message.body_html, subtype="html")
        return email


def _refused(code: int, said: str) -> DeliveryResult:
    outcome = DeliveryOutcome.REFUSED if code >= _PERMANENT else DeliveryOutcome.FAILED
    return DeliveryResult.of(outcome, f"SMTP {code}: {said}")
