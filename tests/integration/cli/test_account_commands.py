"""`casaflow account` and `casaflow hold` as a user types them."""

from __future__ import annotations

import datetime as dt
import uuid

import pytest

from tests.integration.api.bank import Bank
from tests.integration.cli.conftest import CommandLine

NEXT_WEEK = (dt.datetime.now(dt.UTC) + dt.timedelta(days=7)).isoformat()


async def test_rules_are_given_changed_and_taken_away(cli: CommandLine) -> None:
    account = f"A{uuid.uuid4().hex[:16]}"
    opened = await cli.run("account", "open", account, "EUR", "--daily-limit", "5.00", "--time-zone", "Europe/Prague", "--json")
    assert (opened.code, opened.json["daily_limit"], opened.json["time_zone"]) == (0, "5.00", "Europe/Prague")
    changed = await cli.run("account", "rules", account, "--daily-limit", "none", "--overdraft-limit", "7.00", "--json")
    assert (changed.code, changed.json["daily_limit"], changed.json["overdraft_limit"]) == (0, None, "7.00")
    shown = await cli.run("account", "rules", account, "--json")
    assert shown.json == changed.json == (await cli.run("account", "show", account, "--json")).json
    in_words = await cli.run("account", "rules", account)
    assert "daily_limit        -\n" in in_words.out


async def test_the_status_changes_step_by_step(cli: CommandLine) -> None:
    account = f"A{uuid.uuid4().hex[:16]}"
    await cli.run("account", "open", account, "EUR")
    for command, status in (
        (("freeze", "--side", "debits"), "debit-frozen"),
        (("freeze",), "frozen"),
        (("unfreeze",), "active"),
        (("dormant",), "dormant"),
        (("reactivate",), "active"),
        (("close",), "closed"),
    ):
        ended = await cli.run("account", command[0], account, *command[1:], "--json")
        assert (ended.code, ended.json["status"]) == (0, status), ended.err
    refused = await cli.run("account", "freeze", account)
    assert (refused.code, refused.out) == (2, "")
    assert f"account {account} is closed" in refused.err


async def test_a_hold_is_authorised_shown_and_voided(cli: CommandLine, bank: Bank) -> None:
    account, hold_id = await bank.open(funds="10.00"), str(uuid.uuid4())
    command = (
        "hold",
        "authorise",
        account,
        "4.00",
        "EUR",
        "--expires-at",
        NEXT_WEEK,
        "--hold-id",
        hold_id,
        "--reference",
        "hotel",
        "--json",
    )
    authorised, again = await cli.run(*command), await cli.run(*command)
    assert (authorised.code, authorised.json["status"], authorised.json["remaining"]) == (0, "open", "4.00")
    assert again.json == authorised.json == (await cli.run("hold", "show", hold_id, "--json")).json
    voided = await cli.run("hold", "void", hold_id, "--json")
    assert (voided.code, voided.json["status"]) == (0, "voided")
    refused = await cli.run("hold", "authorise", account, "11.00", "EUR", "--expires-at", NEXT_WEEK, "--json")
    assert (refused.code, refused.json["status"], refused.json["reason"]["code"]) == (0, "refused", "insufficient-funds")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("account", "rules", "A1", "--time-zone", "Mars"), "no account 'A1'"),
        (("account", "open", "A1", "EUR", "--time-zone", "Mars"), "time_zone must be the name of a time zone in the IANA database"),
        (("account", "open", "A1", "EUR", "--maximum-balance", "0"), "maximum_balance must be greater than zero; it is '0'"),
        (("account", "freeze", "A1", "--side", "left"), "'left' is not one of"),
        (("account", "dormant", "A1"), "no account 'A1'"),
        (("hold", "show", "7"), "hold_id must be a UUID in its 36-character form; it is '7'"),
        (("hold", "void", "6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11"), "no hold '6f1f3a0e-2f0b-5c47-9a52-5b6c1f0d7a11'"),
        (("hold", "authorise", "A1", "1", "EUR"), "Missing option '--expires-at'"),
        (("hold", "authorise", "A1", "1", "EUR", "--expires-at", "soon"), "expires_at must be"),
    ],
)
async def test_bad_input_is_named_and_ends_with_2(cli: CommandLine, arguments: tuple[str, ...], complaint: str) -> None:
    ended = await cli.run(*arguments)
    assert (ended.code, ended.out) == (2, "")
    assert complaint in " ".join(ended.err.replace("\u2502", " ").split())
