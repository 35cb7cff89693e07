"""Messages in words: each kind in each language, amounts, and texts that customers wrote, which stay texts."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.notifications.templates import MessageTemplates, money_text, one_line
from ledger.events import Amount
from ledger.notifications import Channel, Language, Message, MessageContent, MessageEntry, MessageKind
from tests.unit.ledger.builders import NOW

TEMPLATES = MessageTemplates()


def message(kind: MessageKind = MessageKind.CREDIT, *, language: Language = Language.ENGLISH, **fields: Any) -> Message:
    direction = MessageKind.CREDIT if kind is MessageKind.CREDIT else MessageKind.DEBIT
    content: dict[str, Any] = {
        "kind": kind,
        "transaction_id": "0b8f0f6e-5d8e-4a53-9f0a-3f2d1c5b7a90",
        "customer_id": "jana",
        "entries": (MessageEntry(account_id="A", direction=direction, amount=Amount(value="1234.50", currency="EUR")),),
        "counterparties": ("B",),
        "reference": None,
        "remittance_information": None,
        "reverses": None,
        "reason_code": None,
        "finished_at": NOW,
    }
    channel = fields.pop("channel", Channel.EMAIL)
    return Message(
        message_id="0b8f0f6e-5d8e-5a53-9f0a-3f2d1c5b7a90",
        tenant="main",
        event_id="5f0c3a8e-1111-5222-8333-444455556666",
        channel=channel,
        address="jana@example.org",
        language=language,
        content=MessageContent(**{**content, **fields}),
    )


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("kind", MessageKind)
def test_each_kind_has_words_in_each_language(kind: MessageKind, language: Language) -> None:
    words = TEMPLATES.words(
        message(kind, language=language, reference="R1", remittance_information="Rent", reverses="T0", reason_code="insufficient-funds")
    )
    amount = {Language.ENGLISH: "1,234.50\N{NO-BREAK SPACE}EUR", Language.CZECH: "1\N{NO-BREAK SPACE}234,50\N{NO-BREAK SPACE}EUR"}[language]
    assert words.body_html is not None
    assert f'<html lang="{language}">' in words.body_html
    for text in (words.body, words.body_html):
        for part in (amount, " A", ": B", ": R1", ": Rent", ": T0", "2026-03-02 09:30 UTC", "0b8f0f6e-5d8e-4a53-9f0a-3f2d1c5b7a90"):
            assert part in text
        assert "insufficient-funds" not in text, "a code that customers meet has words"
    assert "\n" not in words.subject
    assert words.subject.strip()


def test_no_two_kinds_or_languages_share_a_subject() -> None:
    subjects = {TEMPLATES.words(message(kind, language=language)).subject for kind in MessageKind for language in Language}
    assert len(subjects) == len(MessageKind) * len(Language)


def test_what_is_not_there_is_not_mentioned() -> None:
    body = TEMPLATES.words(message(counterparties=())).body
    assert not any(word in body for word in ("From", "Reference", "Remittance", "Reason", "Takes back", "None"))


def test_an_own_transfer_names_both_accounts() -> None:
    entries = tuple(
        MessageEntry(account_id=account_id, direction=direction, amount=Amount(value="5.00", currency="EUR"))
        for account_id, direction in (("A", MessageKind.DEBIT), ("B", MessageKind.CREDIT))
    )
    body = TEMPLATES.words(message(MessageKind.DEBIT, entries=entries)).body
    assert "debited from account A" in body
    assert "credited to account B" in body


@pytest.mark.parametrize(
    ("value", "currency", "english", "czech"),
    [
        ("1234567.50", "EUR", "1,234,567.50 EUR", "1 234 567,50 EUR"),
        ("999", "JPY", "999 JPY", "999 JPY"),
        ("1000", "JPY", "1,000 JPY", "1 000 JPY"),
        ("0.001", "BHD", "0.001 BHD", "0,001 BHD"),
        ("0.05", "CZK", "0.05 CZK", "0,05 CZK"),
        ("9007199254740993.01", "EUR", "9,007,199,254,740,993.01 EUR", "9 007 199 254 740 993,01 EUR"),
    ],
)
def test_an_amount_has_all_its_decimals_and_no_others(value: str, currency: str, english: str, czech: str) -> None:
    assert money_text(value, currency, Language.ENGLISH).replace("\N{NO-BREAK SPACE}", " ") == english
    assert money_text(value, currency, Language.CZECH).replace("\N{NO-BREAK SPACE}", " ") == czech


@pytest.mark.parametrize("text", ["{{ 7 * 7 }}", "{% for x in y %}", "{{ ''.__class__.__mro__ }}", "{# a #}", "${7*7}"])
def test_what_somebody_wrote_is_no_template(text: str) -> None:
    words = TEMPLATES.words(message(remittance_information=text, reference=text))
    assert text in words.body
    assert "49" not in words.body
    assert words.body_html is not None
    assert text.replace("'", "&#39;") in words.body_html


def test_what_somebody_wrote_is_no_markup_in_html() -> None:
    words = TEMPLATES.words(message(remittance_information='<script>alert(1)</script><img src="x">', counterparties=("<b>",)))
    assert words.body_html is not None
    assert "<script" not in words.body_html
    assert "<img" not in words.body_html
    assert "<b>" not in words.body_html
    assert "&lt;script&gt;" in words.body_html


@given(st.text())
def test_what_somebody_wrote_adds_no_line(text: str) -> None:
    plain = TEMPLATES.words(message(remittance_information="x"))
    words = TEMPLATES.words(message(remittance_information=f"x{text}"))
    assert len(words.body.splitlines()) == len(plain.body.splitlines())
    assert words.subject == plain.subject


@given(st.text())
def test_one_line_is_one_line_of_printable_characters(text: str) -> None:
    assert one_line(text).isprintable()
    assert len(one_line(text).splitlines()) <= 1


def test_a_webhook_has_type_timestamp_and_data_as_they_were_written() -> None:
    words = TEMPLATES.words(message(MessageKind.DEBIT, channel=Channel.WEBHOOK, remittance_information="a\r\n<b>{{ 1 }}</b>"))
    payload = json.loads(words.body)
    assert words.body_html is None
    assert (payload["type"], words.subject) == ("notification.debit", "notification.debit")
    assert dt.datetime.fromisoformat(payload["timestamp"]) == NOW
    assert payload["data"]["entries"] == [{"account_id": "A", "direction": "debit", "amount": {"value": "1234.50", "currency": "EUR"}}]
    assert payload["data"]["remittance_information"] == "a\r\n<b>{{ 1 }}</b>"
    assert "\n" not in words.body


def test_the_banks_own_templates_go_before_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "credit.txt").write_text("Ahoy\n\n{{ entries[0].amount | money }} for {{ customer_id }}\n")
    own = MessageTemplates(tmp_path)
    assert own.words(message())[:2] == ("Ahoy", "1,234.50\N{NO-BREAK SPACE}EUR for jana\n")
    assert own.words(message(MessageKind.DEBIT)) == TEMPLATES.words(message(MessageKind.DEBIT))


@pytest.mark.parametrize(
    "template", ["{{ unknown }}", "{{ entries.__class__ }}", "{{ entries.append(1) }}", "{% if %}", '{% include "../../etc/passwd" %}']
)
def test_a_broken_or_prying_template_is_an_error_and_no_gap_in_a_message(tmp_path: Path, template: str) -> None:
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "credit.txt").write_text(f"Subject\n\n{template}\n")
    with pytest.raises(ValueError, match="template en/credit is broken"):
        MessageTemplates(tmp_path).words(message())
