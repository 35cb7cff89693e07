"""Keys as a serving process knows them, and what is written of their use."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from infra.postgres.api_keys import PostgresApiKeys
from infra.postgres.known_keys import KnownKeys
from ledger.errors import MissingScopeError, NotFoundError
from ledger.keys import KeyNotValidError
from ledger.principals import Actor
from tests.integration.postgres.bank import Bank

LONG = 3_600.0
HOUR = dt.timedelta(hours=1)


@pytest.fixture
def keys(bank: Bank) -> PostgresApiKeys:
    return PostgresApiKeys(bank.database)


@pytest.fixture
def actor(bank: Bank) -> Actor:
    return Actor(tenant=bank.tenant, name="chief", key_id="k", address="192.0.2.7")


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


async def test_a_known_key_is_not_looked_up_again(bank: Bank, keys: PostgresApiKeys) -> None:
    key_id, plaintext = await keys.create(bank.tenant, "teller")
    known, looking = KnownKeys(keys, seconds=LONG), KnownKeys(keys, seconds=0)
    assert await known.authenticate(plaintext) == await looking.authenticate(plaintext)
    await keys.revoke(key_id)
    assert await known.authenticate(plaintext) is not None  # within the bound
    assert await looking.authenticate(plaintext) is None  # which is none here
    known.forget(key_id)
    assert await known.authenticate(plaintext) is None


async def test_a_wrong_secret_gains_nothing_from_a_known_key(bank: Bank, keys: PostgresApiKeys) -> None:
    _, plaintext = await keys.create(bank.tenant, "teller")
    known = KnownKeys(keys, seconds=LONG)
    assert await known.authenticate(plaintext) is not None
    wrong = plaintext[:-1] + ("A" if plaintext[-1] != "A" else "B")
    assert await known.authenticate(wrong) is None
    assert len(known._known) == 1  # guesses fill nothing


async def test_a_key_ends_when_it_expires_although_it_is_known(bank: Bank, keys: PostgresApiKeys) -> None:
    _, plaintext = await keys.create(bank.tenant, "guest", expires_at=_now() + dt.timedelta(seconds=3))
    known = KnownKeys(keys, seconds=LONG)
    assert await known.authenticate(plaintext) is not None
    async with asyncio.timeout(60):
        while await known.authenticate(plaintext) is not None:  # noqa: ASYNC110  a clock tells nobody
            await asyncio.sleep(0.05)
    assert await keys.authenticate(plaintext) is None


async def test_the_last_use_is_written_in_the_background_and_at_most_once_a_minute(bank: Bank, keys: PostgresApiKeys) -> None:
    key_id, plaintext = await keys.create(bank.tenant, "teller")
    unused, _ = await keys.create(bank.tenant, "idle")
    known = KnownKeys(keys, seconds=LONG)
    for _ in range(3):
        await known.authenticate(plaintext)
    assert (await keys.get(key_id)).last_used_at is None  # not on the way of a request
    await known.note_use()
    first = (await keys.get(key_id)).last_used_at
    assert first is not None
    await known.authenticate(plaintext)
    await known.note_use()
    assert (await keys.get(key_id)).last_used_at == first
    await keys.note_use({key_id: first + dt.timedelta(seconds=61)})
    assert (await keys.get(key_id)).last_used_at == first + dt.timedelta(seconds=61)
    assert (await keys.get(unused)).last_used_at is None


async def test_a_rotated_key_is_valid_beside_its_successor_until_the_overlap_ends(bank: Bank, keys: PostgresApiKeys, actor: Actor) -> None:
    key_id, old = await keys.create(bank.tenant, "teller", ["read", "holds:write"], expires_at=_now() + 24 * HOUR)
    made = await keys.rotate(key_id, overlap=HOUR, expires_at=None, actor=actor)
    first, second = await keys.authenticate(old), await keys.authenticate(made.plaintext)
    assert first is not None
    assert second is not None
    assert (first.tenant, first.name, first.scopes) == (second.tenant, second.name, second.scopes)
    before, after = await keys.get(key_id), await keys.get(made.key_id)
    assert before.expires_at is not None
    assert before.expires_at < _now() + 2 * HOUR  # and no longer the day that it had
    assert after.expires_at is not None
    assert after.expires_at > _now() + 20 * HOUR  # as long as the old one was made to
    assert (after.rotated_from, after.created_by) == (key_id, "chief")
    at_once = await keys.rotate(made.key_id, overlap=dt.timedelta(0), expires_at=None, actor=actor)
    assert await keys.authenticate(made.plaintext) is None
    assert await keys.authenticate(at_once.plaintext) is not None
    with pytest.raises(KeyNotValidError):
        await keys.rotate(made.key_id, overlap=HOUR, expires_at=None, actor=actor)


async def test_an_overlap_never_lengthens_a_key(bank: Bank, keys: PostgresApiKeys, actor: Actor) -> None:
    key_id, _ = await keys.create(bank.tenant, "teller", expires_at=_now() + HOUR)
    before = (await keys.get(key_id)).expires_at
    await keys.rotate(key_id, overlap=48 * HOUR, expires_at=None, actor=actor)
    assert (await keys.get(key_id)).expires_at == before


async def test_a_key_is_its_tenants_and_its_secret_goes_to_nobody_who_may_do_less(bank: Bank, keys: PostgresApiKeys, actor: Actor) -> None:
    key_id, plaintext = await keys.create(bank.tenant, "chief")
    for other in (f"{bank.tenant}-x", ""):
        with pytest.raises(NotFoundError):
            await keys.get(key_id, tenant=other)
        with pytest.raises(NotFoundError):
            await keys.revoke(key_id, tenant=other, actor=actor)
        with pytest.raises(NotFoundError):
            await keys.rotate(key_id, overlap=HOUR, expires_at=None, actor=actor, tenant=other)
    with pytest.raises(MissingScopeError):
        await keys.rotate(key_id, overlap=HOUR, expires_at=None, actor=actor, tenant=bank.tenant, giver=("admin",))
    assert await keys.authenticate(plaintext) is not None
    assert (await keys.get(key_id)).expires_at is None


async def test_what_was_done_to_keys_is_recorded_once_and_without_secrets(bank: Bank, keys: PostgresApiKeys, actor: Actor) -> None:
    key_id, first = await keys.create(bank.tenant, "teller", ["read"], actor=actor)
    made = await keys.rotate(key_id, overlap=HOUR, expires_at=None, actor=actor)
    for _ in range(2):
        await keys.revoke(key_id, actor=actor)
    rows = await bank.select("SELECT *, CAST(a AS text) AS everything FROM administrative_act a WHERE tenant = %(tenant)s ORDER BY at")
    assert [(row["action"], row["subject"]) for row in rows] == [
        ("key.created", f"key {key_id}"),
        ("key.rotated", f"key {made.key_id}"),
        ("key.revoked", f"key {key_id}"),
    ]
    assert {(row["by"], row["key_id"], row["address"]) for row in rows} == {("chief", "k", "192.0.2.7")}
    assert rows[1]["detail"]["rotated_from"] == key_id
    for plaintext in (first, made.plaintext):
        secret = plaintext[-43:]
        assert not any(secret in row["everything"] for row in rows)
