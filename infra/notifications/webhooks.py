"""Posts webhooks, signed as Standard Webhooks 1.0 says, and never to where only this machine's own network leads."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import hashlib
import hmac
import ipaddress
import socket
import ssl
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, Self

import httpx

from ledger.deliveries import DeliveryOutcome, DeliveryResult, secrets_at
from ledger.errors import InvalidInputError
from ledger.notifications import check_webhook_url, secret_key

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import TracebackType

    from ledger.deliveries import DueMessage

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_MOST_ADDRESSES: Final = 3
"""Of a host that are tried, one after the other, until one takes the connection."""
_SCHEMES: Final = {"https": 443, "http": 80}
_TRANSLATED: Final = ipaddress.ip_network("64:ff9b::/96")
"""RFC 6052: IPv6 addresses that a gateway translates to the IPv4 address in their last 32 bits."""
_LOCALLY_TRANSLATED: Final = ipaddress.ip_network("64:ff9b:1::/48")
"""RFC 8215: the same, within one network."""


class ForbiddenAddressError(Exception):
    """A host leads to an address that webhooks may not go to."""


def signature(secret: str, *, message_id: str, timestamp: int, payload: str) -> str:
    """One signature of the header ``webhook-signature`` (Standard Webhooks 1.0, "Signature scheme").

    Args:
        secret: ``whsec_…``.
        message_id: as in the header ``webhook-id``.
        timestamp: as in the header ``webhook-timestamp``: seconds since 1970.
        payload: the body, to the byte.

    Raises:
        ValueError: the secret is none.
    """
    digest = hmac.new(secret_key(secret), f"{message_id}.{timestamp}.{payload}".encode(), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode('ascii')}"


def is_public(address: IpAddress) -> bool:
    """Whether an address leads out of this network for certain: not to this machine, a private or link-local network, or a group."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if embedded is not None:
            return is_public(embedded)
        if address.teredo is not None or address in _LOCALLY_TRANSLATED:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


class WebhookSender:
    """Delivers messages to customers' endpoints. Implements :class:`infra.notifications.deliverer.Sender`."""

    def __init__(self, *, allow_private: bool, timeout_seconds: float, tls: ssl.SSLContext | None = None) -> None:
        """Prepare.

        Args:
            allow_private: whether messages may go to private addresses, and there by plain http.
            timeout_seconds: of one attempt altogether.
            tls: what the endpoints' certificates are checked with; None: the machine's own authorities.
        """
        self._allow_private = allow_private
        self._timeout_seconds = timeout_seconds
        # No connection is kept: it belongs to an address, and another customer's host may have the same one. No proxy of the environment,
        # and no redirects: both would lead elsewhere than what was checked.
        self._client = httpx.AsyncClient(
            verify=tls if tls is not None else ssl.create_default_context(),
            timeout=timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def __aenter__(self) -> Self:
        """Be closed at the end of a block."""
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def send(self, message: DueMessage, *, now: dt.datetime) -> DeliveryResult:
        """See :meth:`infra.notifications.deliverer.Sender.send`."""
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._send(message, now)
        except TimeoutError:
            return DeliveryResult.of(DeliveryOutcome.FAILED, f"no answer within {self._timeout_seconds:g} s")
        except (ForbiddenAddressError, InvalidInputError) as error:
            return DeliveryResult.of(DeliveryOutcome.REFUSED, str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return DeliveryResult.of(DeliveryOutcome.FAILED, f"{type(error).__name__}: {error}")

    async def _send(self, message: DueMessage, now: dt.datetime) -> DeliveryResult:
        url = httpx.URL(check_webhook_url(message.address, allow_private=self._allow_private))
        timestamp = int(now.timestamp())
        signatures = (
            signature(secret, message_id=message.message_id, timestamp=timestamp, payload=message.body)
            for secret in secrets_at(message.preferences.webhook_secrets, now)
        )
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "User-Agent": "casaflow",
            "webhook-id": message.message_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": " ".join(signatures),
        }
        last_error: httpx.HTTPError | None = None
        for address in (await self._addresses(url))[:_MOST_ADDRESSES]:
            # The connection goes to the address that was checked; the certificate is checked for the name.
            request = self._client.build_request(
                "POST",
                url.copy_with(host=str(address)),
                content=message.body.encode(),
                headers=headers,
                extensions={"sni_hostname": url.host} if url.scheme == "https" else {},
            )
            try:
                response = await self._client.send(request, stream=True)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                last_error = error
                continue
            # The body is not read: nothing in it counts, and it may be endless.
            await response.aclose()
            return _result(response, now)
        raise last_error or httpx.ConnectError("the host has no address")

    async def _addresses(self, url: httpx.URL) -> list[IpAddress]:
        """The addresses of a URL's host, all of them such as webhooks may go to.

        Raises:
            ForbiddenAddressError: one isn't. A host that names several may lead to any of them.
            OSError: the host has no address.
        """
        port = url.port or _SCHEMES[url.scheme]
        found = await asyncio.get_running_loop().getaddrinfo(url.host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(ipaddress.ip_address(str(place[0]).partition("%")[0]) for *_, place in found))
        public = [is_public(address) for address in addresses]
        if not self._allow_private and not all(public):
            message = f"{url.host} leads to an address that is not public"
            raise ForbiddenAddressError(message)
        if url.scheme == "http" and any(public):
            message = f"{url.host} leads to a public address, where plain http would be read by others"
            raise ForbiddenAddressError(message)
        return addresses


def _result(response: httpx.Response, now: dt.datetime) -> DeliveryResult:
    detail = f"HTTP {response.status_code}"
    if response.is_success:
        return DeliveryResult.of(DeliveryOutcome.DELIVERED, detail)
    if response.status_code == HTTPStatus.GONE:
        return DeliveryResult.of(DeliveryOutcome.GONE, detail)
    return DeliveryResult.of(DeliveryOutcome.FAILED, detail, retry_after=_retry_after(response.headers.get_list("Retry-After"), now))


def _retry_after(values: Iterable[str], now: dt.datetime) -> dt.timedelta | None:
    """RFC 9110, section 10.2.3: seconds, or a date. What is neither is no wish."""
    value = next(iter(values), "").strip()
    if value.isascii() and value.isdigit():
        return dt.timedelta(seconds=min(int(value[:12]), 10**9))
    try:
        return max(parsedate_to_datetime(value).astimezone(dt.UTC) - now, dt.timedelta(0))
    except (ValueError, TypeError, OverflowError):
        return None
