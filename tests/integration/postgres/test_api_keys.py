from __future__ import annotations

import asyncio
import hashlib

import pytest

from infra.postgres.api_keys import PostgresApiKeys, create_first_key, key_is_valid
from ledger.errors import NotFoundError
from ledger.principals import Principal
from tests.integration.postgres.bank import Bank


@pytest.fixture
def keys(bank: Bank) -> PostgresApiKeys:
    return PostgresApiKeys(bank.database)


async def test_a_key_names_its_tenant_its_principal_and_its_scopes(bank: Bank, keys: PostgresApiKeys) -> None:
    key_id, plaintext = await keys.create(bank.tenant, "branch 7", ["read", "post"])
    assert await keys.authenticate(plaintext) == Principal(tenant=bank.tenant, name="branch 7", scopes=("read", "post"), key_id=key_id)
    other_id, other = await keys.create(bank.tenant, "branch 7")
    assert (other_id, other) != (key_id, plaintext)
    found = await keys.authenticate(other)
    assert found is not None
    assert found.scopes == ("all",)


async def test_only_the_hash_of_a_key_is_stored(bank: Bank, keys: PostgresApiKeys) -> None:
    key_id, plaintext = await keys.create(bank.tenant, "teller")
    secret = plaintext.removeprefix(f"casaflow_{key_id}_")
    assert len(secret) == 43
    (row,) = await bank.select("SELECT *, CAST(api_key AS text) AS everything FROM api_key WHERE tenant = %(tenant)s")
    assert row["secret_hash"] == hashlib.sha256(secret.encode()).digest()
    assert secret not in row["everything"]
    assert secret.encode().hex() not in row["everything"]


async def test_a_revoked_key_is_worthless_at_once_and_revoking_twice_changes_nothing(bank: Bank, keys: PostgresApiKeys) -> None:
    key_id, plaintext = await keys.create(bank.tenant, "teller")
    _, other = await keys.create(bank.tenant, "teller")
    await keys.revoke(key_id)
    assert await keys.authenticate(plaintext) is None
    revoked_at = await bank.value("SELECT revoked_at FROM api_key WHERE key_id = %(key_id)s", key_id=key_id)
    await keys.revoke(key_id)
    assert await bank.value("SELECT revoked_at FROM api_key WHERE key_id = %(key_id)s", key_id=key_id) == revoked_at
    assert await keys.authenticate(other) is not None
    with pytest.raises(NotFoundError):
        await keys.revoke("0" * 16)


async def test_a_wrong_unknown_or_malformed_key_is_nobodys(bank: Bank, keys: PostgresApiKeys) -> None:
    key_id, plaintext = await keys.create(bank.tenant, "teller")
    other_id, other = await keys.create(bank.tenant, "other")
    wrong_secret = plaintext[:-1] + ("A" if plaintext[-1] != "A" else "B")
    assert wrong_secret != plaintext
    swapped = f"casaflow_{key_id}_{other.removeprefix(f'casaflow_{other_id}_')}"
    malformed = [
        "",
        "casaflow_",
        plaintext[:-1],
        f"{plaintext}A",
        f"{plaintext}\n",
        f" {plaintext}",
        plaintext.upper(),
        "'; DROP TABLE api_key; --",
    ]
    for nobodys in (wrong_secret, swapped, f"casaflow_{'0' * 16}_{'A' * 43}", f"casaflow_%_{'A' * 43}", "\x00", *malformed):
        assert await keys.authenticate(nobodys) is None
    assert await keys.authenticate(plaintext) is not None


async def test_the_first_key_of_a_stack_is_valid_and_no_other_is(bank: Bank) -> None:
    plaintext = await asyncio.to_thread(create_first_key, bank.url, bank.tenant)
    assert await asyncio.to_thread(key_is_valid, bank.url, plaintext)
    assert not await asyncio.to_thread(key_is_valid, bank.url, f"casaflow_{'0' * 16}_{'A' * 43}")
