"""Requests and ids: what makes two requests the same, and ids that are the same on every retry."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ledger.errors import InvalidInputError
from ledger.ids import entry_transaction_id, event_id, key_transaction_id, parse_account_id, parse_transaction_id, workflow_id
from ledger.requests import TransactionKind, TransactionRequest
from tests.unit.ledger.builders import NOW, TRANSACTION_ID, request


@pytest.mark.parametrize(
    ("debtor", "creditor", "kind"),
    [(None, "B", TransactionKind.DEPOSIT), ("A", None, TransactionKind.WITHDRAWAL), ("A", "B", TransactionKind.TRANSFER)],
)
def test_the_kind_follows_from_the_sides(debtor: str | None, creditor: str | None, kind: TransactionKind) -> None:
    assert request(debtor=debtor, creditor=creditor).kind is kind


@pytest.mark.parametrize(("debtor", "creditor"), [(None, None), ("A", "A")])
def test_a_request_needs_at_least_one_account_and_two_different_ones(debtor: str | None, creditor: str | None) -> None:
    with pytest.raises(ValidationError):
        request(debtor=debtor, creditor=creditor)


@pytest.mark.parametrize(
    "change",
    [
        {"debtor": "C"},
        {"creditor": "C"},
        {"amount": "12.51"},
        {"settlement": "clearing"},
        {"reference": "other"},
        {"remittance_information": "other"},
        {"value_date": dt.date(2026, 3, 3)},
        {"metadata": {"channel": "branch"}},
    ],
)
def test_other_content_has_another_fingerprint(change: dict[str, Any]) -> None:
    same: dict[str, Any] = {"debtor": "A", "creditor": "B"}
    assert request(**same).fingerprint != request(**{**same, **change}).fingerprint


def test_who_submits_and_when_leave_the_fingerprint_as_it_is() -> None:
    later = request(creditor="B", submitted_by="a colleague", submitted_at=NOW + dt.timedelta(days=1))
    assert later.fingerprint == request(creditor="B").fingerprint


def test_a_request_survives_json() -> None:
    asked = request(debtor="A", creditor="B:JPY", value_date=dt.date(2026, 3, 3), metadata={"b": "2", "a": "1"}, reference="INV 7")
    assert TransactionRequest.model_validate_json(asked.model_dump_json()) == asked


@given(parts=st.lists(st.text(), min_size=6, max_size=6))
def test_ids_of_different_things_differ(parts: list[str]) -> None:
    first, second = tuple(parts[:3]), tuple(parts[3:])
    assert (entry_transaction_id(*first) == entry_transaction_id(*second)) == (first == second)
    assert entry_transaction_id(*first) != key_transaction_id(*first)


def test_derived_ids_never_change() -> None:
    """These values are in databases and topics: another value would post or publish again."""
    assert entry_transaction_id("main", "704", "207264") == "3e7736c0-46c4-52cb-8e22-dad9307315ca"
    assert event_id("main", TRANSACTION_ID, "casaflow.casa.debited.v1", "debit") == "76508af0-b7ac-5ed9-9879-24c90e55fbb4"
    assert key_transaction_id("main", "teller", "k-1") == "2950f24c-22fb-5488-a6e6-d8b2aa8bd752"
    assert workflow_id("main", TRANSACTION_ID) == f"transaction-main-{TRANSACTION_ID}"


@pytest.mark.parametrize(
    "value", ["", "not-a-uuid", TRANSACTION_ID[:-1], f"{{{TRANSACTION_ID}}}", TRANSACTION_ID.replace("-", ""), 7, None]
)
def test_a_malformed_transaction_id_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="UUID"):
        parse_transaction_id(value)


def test_a_transaction_id_has_one_spelling() -> None:
    assert parse_transaction_id(TRANSACTION_ID.upper()) == TRANSACTION_ID


@pytest.mark.parametrize("value", ["", "a" * 35, "a b", "a/b", "é", "-a", "a\n", "a\x00", None, 704])
def test_a_malformed_account_id_is_refused(value: object) -> None:
    with pytest.raises(InvalidInputError, match="creditor must be 1 to 34"):
        parse_account_id(value, field="creditor")


@pytest.mark.parametrize("value", ["704", "CZ6508000000192000145399", "a" * 34, "demo.eur-1_x"])
def test_an_iban_and_a_short_number_are_account_ids(value: str) -> None:
    assert parse_account_id(value, field="debtor") == value
