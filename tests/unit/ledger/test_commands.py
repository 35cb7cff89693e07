"""A command is obeyed only as the API made it, and by whoever has one of its secrets."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from temporalio.exceptions import ApplicationError

from infra.settings import Settings
from ledger.commands import Command, sign
from ledger.money import Money
from workflows import authority

SECRET, OTHER = b"a" * 32, b"b" * 32
NOW = dt.datetime(2026, 3, 2, 9, 30, 0, 123456, tzinfo=dt.UTC)


def _signed(secret: bytes = SECRET, **fields: Any) -> Command:
    given = {"action": "settle_to", "tenant": "main", "transaction_id": "t", "by": "anna", "at": NOW, "reason": "agreed", "account_id": "C"}
    return sign(secret, **{**given, **fields})


def test_a_signed_command_is_authentic_after_it_has_travelled() -> None:
    command = _signed(amount=Money(minor_units=1250, currency="EUR"), at=NOW.astimezone(dt.timezone(dt.timedelta(hours=2))))
    assert command.is_authentic([SECRET])
    assert Command.model_validate_json(command.model_dump_json()).is_authentic([SECRET])


@pytest.mark.parametrize(
    "altered",
    [
        {"action": "reverse"},
        {"tenant": "other"},
        {"transaction_id": "u"},
        {"by": "boris"},
        {"reason": None},
        {"reason": "agreed "},
        {"at": NOW + dt.timedelta(microseconds=1)},
        {"account_id": "D"},
        {"amount": Money(minor_units=1, currency="EUR")},
        {"signature": ""},
        {"signature": "0" * 64},
        {"signature": "ü"},
    ],
    ids=repr,
)
def test_an_altered_command_is_not_authentic(altered: dict[str, Any]) -> None:
    assert not _signed().model_copy(update=altered).is_authentic([SECRET])


def test_a_command_of_another_secret_is_not_authentic() -> None:
    assert not _signed(OTHER).is_authentic([SECRET])


def test_without_a_secret_nothing_is_authentic() -> None:
    assert not _signed().is_authentic([])
    assert not _signed(b"").is_authentic([])


def test_a_rotated_secret_still_verifies_what_it_has_signed() -> None:
    assert _signed(SECRET).is_authentic([OTHER, SECRET])
    assert _signed(OTHER).is_authentic([OTHER, SECRET])


@pytest.mark.parametrize(
    ("fields", "secrets", "obeyed"),
    [
        ({}, (SECRET,), True),
        ({}, (), False),
        ({}, (OTHER,), False),
        ({"action": "retry"}, (SECRET,), False),
        ({"transaction_id": "u"}, (SECRET,), False),
        ({"tenant": "other"}, (SECRET,), False),
    ],
    ids=repr,
)
def test_a_workflow_obeys_authentic_commands_for_what_it_carries_only(
    fields: dict[str, Any], secrets: tuple[bytes, ...], obeyed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authority._Trusted, "secrets", ())
    authority.trust(secrets)
    command = _signed(**fields)
    if obeyed:
        authority.refuse_unless_authentic(command, action="settle_to", tenant="main", identifier="t")
        return
    with pytest.raises(ApplicationError) as refused:
        authority.refuse_unless_authentic(command, action="settle_to", tenant="main", identifier="t")
    assert (refused.value.type, refused.value.non_retryable) == ("UnauthenticatedCommandError", True)


def test_the_first_of_several_secrets_signs() -> None:
    settings = Settings(command_secrets=SecretStr(f"{SECRET.decode()}, {OTHER.decode()}"))
    assert settings.signing_secrets == (SECRET, OTHER)
    assert Settings(command_secrets=None).signing_secrets == ()


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValidationError, match="32 bytes"):
        Settings(command_secrets=SecretStr("short"))
