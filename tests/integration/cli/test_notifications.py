"""`casaflow notification` on the running stack."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

from tests.integration.api.bank import Bank
from tests.integration.api.test_notifications import _kill, _told
from tests.integration.cli.conftest import CommandLine
from tests.stack_fixtures import RunningStack


async def test_preferences_are_set_from_a_file_shown_and_disabled(cli: CommandLine, bank: Bank, tmp_path: Path) -> None:
    customer = f"customer-{uuid.uuid4().hex[:8]}"
    wishes = tmp_path / "wishes.json"
    wishes.write_text(json.dumps({"accounts": [await bank.open()], "webhook": {"url": "https://example.org/hook"}, "kinds": ["debit"]}))
    given = await cli.run("notification", "preferences", customer, "--set", str(wishes))
    assert given.code == 0, given.err
    assert "whsec_" in given.out
    shown = await cli.run("notification", "preferences", customer)
    assert "webhook_url" in shown.out
    assert "whsec_" not in shown.out
    ended = await cli.run("notification", "preferences", customer, "--disable", "--json")
    assert (ended.code, ended.json["enabled"]) == (0, False)


async def test_dead_messages_are_listed_and_replayed(cli: CommandLine, bank: Bank, stack: RunningStack, tmp_path: Path) -> None:
    customer, account_id = f"customer-{uuid.uuid4().hex[:8]}", await bank.open()
    wishes = tmp_path / "wishes.json"
    wishes.write_text(json.dumps({"accounts": [account_id], "email": "jana@example.org"}))
    assert (await cli.run("notification", "preferences", customer, "--set", str(wishes))).code == 0
    await _told(stack, bank.tenant, account_id, number=2)
    first = (await cli.run("notification", "list", "--customer", customer, "--limit", "1", "--json")).json
    message_id = first["notifications"][0]["message_id"]
    assert first["next_cursor"] is not None
    await _kill(stack, message_id)
    listed = await cli.run("notification", "list", "--customer", customer, "--status", "dead")
    assert listed.out == f"{message_id}  dead  email  credit  {customer}  10  HTTP 500\n"
    replayed = await cli.run("notification", "replay", message_id, "--reason", "mended", "--json")
    assert (replayed.code, replayed.json["status"]) == (0, "waiting")
    again = await cli.run("notification", "replay", message_id, "--reason", "mended")
    assert (again.code, "only a dead one" in again.err) == (2, True)


async def test_bad_input_is_named(cli: CommandLine, tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    for arguments, word in (
        (("preferences", "jana", "--set", str(broken)), "--set"),
        (("preferences", "jana", "--set", str(tmp_path / "missing")), "--set"),
        (("preferences", "jana", "--set", str(broken), "--disable"), "--disable"),
        (("preferences", "../accounts"), "customer_id"),
        (("replay", "no-uuid", "--reason", "x"), "message_id"),
    ):
        refused = await cli.run("notification", *arguments)
        assert (refused.code, word in refused.err) == (2, True), refused.err
