"""Signatures, verified by the reference implementation of Standard Webhooks, and the addresses that webhooks may go to."""

from __future__ import annotations

import datetime as dt
import ipaddress
import time

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook, WebhookVerificationError

from infra.notifications.webhooks import _retry_after, is_public, signature
from tests.unit.ledger.builders import NOW
from tests.unit.ledger.test_notifications import OTHER_SECRET, SECRET


def test_the_example_of_the_specification() -> None:
    payload = '{"test": 2432232314}'
    signed = signature(SECRET, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, payload=payload)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@given(st.text(), st.uuids())
def test_the_reference_implementation_verifies_what_is_signed(payload: str, message_id: object) -> None:
    timestamp = int(time.time())
    signatures = " ".join(
        signature(secret, message_id=str(message_id), timestamp=timestamp, payload=payload) for secret in (OTHER_SECRET, SECRET)
    )
    headers = {"webhook-id": str(message_id), "webhook-timestamp": str(timestamp), "webhook-signature": signatures}
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(payload, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(f"{payload} ", headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(payload, {**headers, "webhook-id": "another"}, json_parse=False)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("2606:4700:4700::1111", True),
        ("127.0.0.1", False),
        ("127.255.0.9", False),
        ("0.0.0.0", False),  # noqa: S104  an address that is examined
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("224.0.0.1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("::1", False),
        ("::", False),
        ("fe80::1", False),
        ("fc00::1", False),
        ("ff02::1", False),
        ("::ffff:127.0.0.1", False),
        ("::ffff:8.8.8.8", True),
        ("64:ff9b::7f00:1", False),
        ("64:ff9b::a9fe:a9fe", False),
        ("64:ff9b::808:808", True),
        ("64:ff9b:1::a00:1", False),
        ("2002:7f00:1::", False),
        ("2002:a00:1::1", False),
        ("2001:0:1::1", False),
        ("2001:db8::1", False),
    ],
)
def test_which_addresses_lead_out_of_this_network(address: str, public: bool) -> None:
    assert is_public(ipaddress.ip_address(address)) is public


@pytest.mark.parametrize(
    ("value", "wished"),
    [
        ("120", dt.timedelta(minutes=2)),
        (" 0 ", dt.timedelta(0)),
        ("9" * 400, dt.timedelta(seconds=10**9)),
        ((NOW + dt.timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT"), dt.timedelta(hours=1)),
        ((NOW - dt.timedelta(hours=1)).strftime("%a, %d %b %Y %H:%M:%S GMT"), dt.timedelta(0)),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("٣", None),
    ],
)
def test_how_long_a_receiver_wants_to_be_left_alone(value: str, wished: dt.timedelta | None) -> None:
    assert _retry_after([value], NOW) == wished
    assert _retry_after([], NOW) is None


def test_a_url_is_read_by_httpx_as_it_is_checked() -> None:
    url = httpx.URL("https://example.org:8443/hook?a=b")
    assert str(url.copy_with(host="2606:4700::1")) == "https://[2606:4700::1]:8443/hook?a=b"
