"""What customers are told: which messages an event leads to, and what preferences may say."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.decisions import LegName
from ledger.errors import InvalidInputError
from ledger.event_writer import transaction_finished
from ledger.events import TransactionFinishedV1
from ledger.ids import notification_id
from ledger.money import Money
from ledger.notifications import (
    SECRET_OVERLAP,
    Channel,
    MessageKind,
    NotificationPreferences,
    QuietHours,
    WebhookSecret,
    after_rotation,
    check_webhook_url,
    messages_of,
    secret_key,
)
from ledger.refusals import Refusal, RefusalCode
from ledger.results import TransactionResult, TransactionStatus
from tests.unit.ledger.builders import NOW, posted, request

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
EVENT_ID = "5f0c3a8e-1111-5222-8333-444455556666"


def preferences(**fields: Any) -> NotificationPreferences:
    values: dict[str, Any] = {
        "tenant": "main",
        "customer_id": "jana",
        "accounts": ("A",),
        "email": "jana@example.org",
        "since": NOW - dt.timedelta(days=1),
    }
    return NotificationPreferences(**{**values, **fields})


def completed(*, debtor: str | None = None, creditor: str | None = None, amount: str = "12.50", **fields: Any) -> TransactionFinishedV1:
    asked = request(debtor=debtor, creditor=creditor, amount=amount, **fields)
    legs = tuple(
        posted(leg, account_id, asked.amount)
        for leg, account_id in ((LegName.DEBIT, debtor), (LegName.CREDIT, creditor))
        if account_id is not None
    )
    return _event(asked, TransactionResult(transaction_id=asked.transaction_id, status=TransactionStatus.COMPLETED, legs=legs))


def ended(status: TransactionStatus, *, about: str | None, **sides: str) -> TransactionFinishedV1:
    asked = request(**sides)
    reason = Refusal(code=RefusalCode.ACCOUNT_FROZEN, detail="it is frozen", account_id=about)
    return _event(asked, TransactionResult(transaction_id=asked.transaction_id, status=status, legs=(), reason=reason))


def _event(asked: Any, result: TransactionResult) -> TransactionFinishedV1:
    return TransactionFinishedV1.model_validate_json(transaction_finished(asked, result, finished_at=NOW).data)


def told(event: TransactionFinishedV1, wishes: NotificationPreferences) -> list[tuple[Channel, MessageKind]]:
    return [(message.channel, message.content.kind) for message in messages_of(EVENT_ID, event, wishes)]


def test_each_side_hears_of_a_transfer_what_happened_on_its_account() -> None:
    event = completed(debtor="A", creditor="B")
    assert told(event, preferences(accounts=("A",))) == [(Channel.EMAIL, MessageKind.DEBIT)]
    assert told(event, preferences(accounts=("B",))) == [(Channel.EMAIL, MessageKind.CREDIT)]
    assert told(event, preferences(accounts=("C",))) == []


def test_one_message_for_each_channel_where_both_accounts_are_the_customers_own() -> None:
    wishes = preferences(accounts=("A", "B"), webhook_url="https://example.org/hook", webhook_secrets=(WebhookSecret(secret=SECRET),))
    messages = messages_of(EVENT_ID, completed(debtor="A", creditor="B"), wishes)
    assert [message.channel for message in messages] == [Channel.EMAIL, Channel.WEBHOOK]
    assert {message.content.kind for message in messages} == {MessageKind.DEBIT}
    assert [entry.account_id for entry in messages[0].content.entries] == ["A", "B"]
    assert len({message.message_id for message in messages}) == len(messages)
    assert messages == messages_of(EVENT_ID, completed(debtor="A", creditor="B"), wishes)


def test_an_own_transfer_is_told_as_credit_to_who_hears_of_credits_only() -> None:
    wishes = preferences(accounts=("A", "B"), kinds={MessageKind.CREDIT})
    assert told(completed(debtor="A", creditor="B"), wishes) == [(Channel.EMAIL, MessageKind.CREDIT)]


def test_the_id_of_a_message_never_changes() -> None:
    # A change would send everything again that Kafka still has.
    assert notification_id(EVENT_ID, "jana", "email") != notification_id(EVENT_ID, "jana", "webhook")
    assert notification_id(EVENT_ID, "jana", "email") != notification_id(EVENT_ID, "jan", "aemail")
    assert notification_id(EVENT_ID, "jana", "email") == "26f23675-8c7b-5188-8528-f4dc5776bc0b"


def test_a_creditor_does_not_hear_that_a_transfer_to_him_was_rejected() -> None:
    event = ended(TransactionStatus.REJECTED, about="A", debtor="A", creditor="B")
    assert told(event, preferences(accounts=("A",))) == [(Channel.EMAIL, MessageKind.REJECTED)]
    assert told(event, preferences(accounts=("B",))) == []


def test_a_rejected_deposit_is_told_to_its_creditor() -> None:
    assert told(ended(TransactionStatus.REJECTED, about="B", creditor="B"), preferences(accounts=("B",))) == [
        (Channel.EMAIL, MessageKind.REJECTED)
    ]


@pytest.mark.parametrize(("about", "shown"), [("A", "account-frozen"), (None, "account-frozen"), ("B", None)])
def test_the_reason_is_told_unless_it_lies_with_somebody_elses_account(about: str | None, shown: str | None) -> None:
    event = ended(TransactionStatus.REVERSED, about=about, debtor="A", creditor="B")
    (message,) = messages_of(EVENT_ID, event, preferences(accounts=("A",)))
    assert message.content.kind is MessageKind.REVERSED
    assert message.content.reason_code == shown


@pytest.mark.parametrize(("least", "is_told"), [("12.50", True), ("12.51", False), ("1000", False), ("0.01", True)])
def test_smaller_amounts_than_the_customer_wants_to_hear_of_are_not_told(least: str, is_told: bool) -> None:
    wishes = preferences(minimum_amounts={"EUR": least, "CZK": "9999"})
    assert bool(told(completed(creditor="A"), wishes)) is is_told


def test_a_minimum_amount_does_not_keep_a_rejection_back() -> None:
    assert told(ended(TransactionStatus.REJECTED, about="A", debtor="A"), preferences(minimum_amounts={"EUR": "99999"}))


@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_a_minimum_counts_in_decimals_and_not_as_text(amount: int, least: int) -> None:
    wishes = preferences(minimum_amounts={"EUR": Money(minor_units=least, currency="EUR").decimal_string})
    event = completed(creditor="A", amount=Money(minor_units=amount, currency="EUR").decimal_string)
    assert bool(told(event, wishes)) is (amount >= least)


def test_kinds_that_the_customer_does_not_want_are_not_told() -> None:
    wishes = preferences(kinds={MessageKind.DEBIT})
    assert told(completed(creditor="A"), wishes) == []
    assert told(completed(debtor="A"), wishes) == [(Channel.EMAIL, MessageKind.DEBIT)]
    assert told(ended(TransactionStatus.REJECTED, about="A", debtor="A"), wishes) == []
    assert told(ended(TransactionStatus.REVERSED, about="A", debtor="A"), wishes) == []


def test_another_tenants_customer_with_an_account_of_the_same_name_hears_nothing() -> None:
    assert told(completed(creditor="A"), preferences(tenant="bank-2")) == []


def test_what_finished_before_the_customer_was_entered_is_not_told() -> None:
    assert told(completed(creditor="A"), preferences(since=NOW + dt.timedelta(microseconds=1))) == []
    assert told(completed(creditor="A"), preferences(since=NOW)) != []


def test_a_disabled_customer_and_an_endpoint_that_is_gone_hear_nothing() -> None:
    hook: dict[str, Any] = {"webhook_url": "https://example.org/hook", "webhook_secrets": (WebhookSecret(secret=SECRET),)}
    assert told(completed(creditor="A"), preferences(enabled=False, **hook)) == []
    assert told(completed(creditor="A"), preferences(webhook_gone=True, **hook)) == [(Channel.EMAIL, MessageKind.CREDIT)]


@pytest.mark.parametrize(
    "address",
    [
        "jana@example.org\r\nBcc: all@example.org",
        "jana@example.org\n",
        "jana@example.org, other@example.org",
        "Jana <jana@example.org>",
        '"a b"@example.org',
        "jana@[127.0.0.1]",
        "jana@exämple.org",
        "jana",
        "@example.org",
        "a@" + "b" * 64,
        f"{'a' * 250}@b.cz",
    ],
)
def test_an_address_that_could_end_a_header_or_name_others_is_refused(address: str) -> None:
    with pytest.raises(ValidationError, match="plain e-mail address"):
        preferences(email=address)


@given(st.text())
def test_no_address_with_anything_but_printable_ascii_passes(address: str) -> None:
    try:
        kept = preferences(email=address).email
    except ValidationError:
        return
    assert kept is not None
    assert all("!" <= character <= "~" for character in kept)
    assert not set('\r\n <>,;:"\\()[]') & set(kept)


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("http://example.org/", "https"),
        ("ftp://example.org/", "https"),
        ("https:///path", "absolute"),
        ("/hook", "absolute"),
        ("https://example.org:99999/", "absolute"),
        ("https://user:password@example.org/", "user name"),
        ("https://example.org/#part", "fragment"),
        ("https://example.org/a b", "printable"),
        ("https://example.org\\@127.0.0.1/", "printable"),
        ("https://example.org/\r\nX: y", "printable"),
        ("https://exämple.org/", "printable"),
        (f"https://example.org/{'a' * 2000}", "printable"),
    ],
)
def test_a_url_that_could_lead_elsewhere_than_it_says_is_refused(url: str, rule: str) -> None:
    with pytest.raises(InvalidInputError, match=rule):
        check_webhook_url(url, allow_private=False)


def test_plain_http_is_for_private_addresses() -> None:
    assert check_webhook_url("http://127.0.0.1:8000/hook", allow_private=True)
    assert check_webhook_url("https://example.org/hook?a=b", allow_private=False)


def test_a_channel_must_be_given_and_a_webhook_has_a_secret() -> None:
    with pytest.raises(ValidationError, match="e-mail address or a webhook"):
        preferences(email=None)
    with pytest.raises(ValidationError, match="must have a secret"):
        preferences(webhook_url="https://example.org/hook")
    with pytest.raises(ValidationError, match="must have a secret"):
        preferences(webhook_url="https://example.org/hook", webhook_secrets=(WebhookSecret(secret=SECRET, until=NOW),))


@pytest.mark.parametrize("secret", ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_YWJj", "whsec_%%%", f"whsec_{'A' * 88}"])
def test_a_secret_that_is_too_short_too_long_or_none_is_refused(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_ and 24 to 64 bytes"):
        secret_key(secret)


def test_a_secret_shows_up_in_no_text_of_a_model() -> None:
    wishes = preferences(webhook_url="https://example.org/hook", webhook_secrets=(WebhookSecret(secret=SECRET),))
    assert SECRET not in repr(wishes)
    assert SECRET not in str(wishes.webhook_secrets[0])


def test_a_replaced_secret_signs_for_another_day() -> None:
    once = after_rotation((), SECRET, now=NOW)
    twice = after_rotation(once, OTHER_SECRET, now=NOW)
    assert [(known.secret, known.until) for known in twice] == [(OTHER_SECRET, None), (SECRET, NOW + SECRET_OVERLAP)]
    assert after_rotation(twice, OTHER_SECRET, now=NOW) == twice
    assert [known.secret for known in after_rotation(twice, SECRET, now=NOW + SECRET_OVERLAP)] == [SECRET, OTHER_SECRET]


@pytest.mark.parametrize(
    "amounts", [{"EUR": "1.001"}, {"EUR": "-1"}, {"EUR": "0"}, {"XYZ": "1"}, {"EUR": "1e3"}, {"EUR": ""}, {"EUR": 12.5}]
)
def test_a_minimum_amount_is_an_amount_of_its_currency(amounts: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        preferences(minimum_amounts=amounts)


@pytest.mark.parametrize(
    "fields",
    [
        {"start": "22:00", "end": "22:00", "time_zone": "UTC"},
        {"start": "22:00", "end": "06:00", "time_zone": "Nowhere/City"},
        {"start": "22:00", "end": "06:00", "time_zone": "../etc/passwd"},
        {"start": "22:00+01:00", "end": "06:00", "time_zone": "UTC"},
    ],
)
def test_quiet_hours_are_a_part_of_a_day_in_a_known_time_zone(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        QuietHours.model_validate(fields)
