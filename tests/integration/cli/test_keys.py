"""`casaflow key` and `casaflow admin-log` on a database of the test's own."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import uuid

import pytest

from infra.postgres.api_keys import key_is_valid
from tests.integration.cli.conftest import CommandLine


@pytest.fixture
def command(postgres_url: str) -> CommandLine:
    """With a database, and nothing else: keys need no more."""
    return CommandLine({**os.environ, "CASAFLOW_POSTGRES_URL": postgres_url, "CASAFLOW_HOME": "/nonexistent"})


async def test_keys_are_created_listed_rotated_and_revoked(command: CommandLine, postgres_url: str) -> None:
    tenant, second = f"bank-{uuid.uuid4().hex[:8]}", f"bank-{uuid.uuid4().hex[:8]}"
    own = ("--tenant", tenant)
    made = await command.run(
        "key", "create", "branch 7", *own, "--scope", "read", "--scope", "holds:write", "--expires-in", "90d", "--json"
    )
    assert made.code == 0, made.err
    assert (made.json["principal"], made.json["scopes"]) == ("branch 7", ["read", "holds:write"])
    left = dt.datetime.fromisoformat(made.json["expires_at"]) - dt.datetime.now(dt.UTC)
    assert dt.timedelta(days=89) < left < dt.timedelta(days=90)
    rotated = await command.run("key", "rotate", made.json["key_id"], "--overlap", "24h", "--json")
    assert rotated.code == 0, rotated.err
    other = await command.run("key", "create", "other", "--tenant", second, "--json")
    listed = (await command.run("key", "list", *own, "--json")).json
    assert [(key["key_id"], key["rotated_from"], key["state"]) for key in listed] == [
        (rotated.json["key_id"], made.json["key_id"], "valid"),
        (made.json["key_id"], None, "valid"),
    ]
    assert (await command.run("key", "revoke", made.json["key_id"], "--json")).json["state"] == "revoked"
    shown = (await command.run("key", "show", made.json["key_id"], "--json")).json
    assert (shown["state"], shown["last_used_at"]) == ("revoked", None)
    table = (await command.run("key", "list")).out
    assert all(word in table for word in ("branch 7", "read holds:write", "revoked", "valid", other.json["key_id"]))
    good = [await asyncio.to_thread(key_is_valid, postgres_url, key.json["key"]) for key in (made, rotated, other)]
    assert good == [False, True, True]
    log = await command.run("admin-log", "--json")
    acts = [act for act in log.json if act["tenant"] in {tenant, second}]
    assert [(act["action"], act["tenant"]) for act in reversed(acts)] == [
        ("key.created", tenant),
        ("key.rotated", tenant),
        ("key.created", second),
        ("key.revoked", tenant),
    ]
    assert (await command.run("admin-log", "--tenant", second, "--limit", "1", "--json")).json == [acts[1]]
    assert "key.rotated" in (await command.run("admin-log")).out
    for key in (made, rotated, other):
        assert not any(key.json["key"][-43:] in text for text in (table, log.out))


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (("create", "x", "--scope", "everything"), "scope must be of all, standard, read"),
        (("create", "x", "--expires-in", "soon"), "--expires-in must be a number with s, m, h or d"),
        (("create", "x", "--expires-in", "9999d"), "--expires-in must lie in the future"),
        (("create", "x", "--expires-at", "2001-01-01T00:00:00Z"), "--expires-at must lie in the future"),
        (("create", "x", "--expires-in", "1d", "--expires-at", "2030-01-01T00:00:00Z"), "must not be given together"),
        (("rotate", "0123456789abcdef"), "no API key '0123456789abcdef'"),
        (("rotate", "0123456789abcdef", "--overlap", "31d"), "--overlap must be 0 to 30 days"),
        (("show", "x\x01"), "no API key"),
    ],
)
async def test_what_breaks_a_rule_is_said_and_changes_nothing(command: CommandLine, arguments: tuple[str, ...], rule: str) -> None:
    before = (await command.run("key", "list", "--json")).json
    ended = await command.run("key", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert rule in ended.err
    assert (await command.run("key", "list", "--json")).json == before
