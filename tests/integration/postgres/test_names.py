"""Ids and texts that would be SQL, formats or JSON if anything read them as such."""

from __future__ import annotations

import pytest

from infra.postgres.api_keys import PostgresApiKeys
from ledger.accounts import AccountStatus
from ledger.errors import CasaflowError, NotFoundError
from tests.integration.postgres.bank import Bank

NAMES = (
    "100%",
    "%s %(tenant)s %%",
    ":tenant",
    "o'brien",
    '"quoted"',
    "'; DROP TABLE account; --",
    "{a,b}",
    "\\",
    "$1 $$",
    "NULL",
    "účet-žluť",
    "a/b",
    " ",
)


@pytest.mark.parametrize("name", NAMES)
async def test_a_strange_name_is_only_a_name(bank: Bank, name: str) -> None:
    plain = await bank.open("plain", funds=1000)
    account = await bank.open(name, funds=1000)
    debit = bank.transfer(account, plain, 100, reference=name, remittance_information=name, metadata={name: name}, submitted_by=name)
    legs = await bank.post_transfer(debit)
    assert [leg.posted for leg in legs] == [True, True]
    assert await bank.post_transfer(debit) == legs
    record = await bank.transactions.get(bank.tenant, debit.request.transaction_id)
    assert record is not None
    assert (record.request, record.result.legs) == (debit.request, tuple(legs))
    assert len(await bank.outbox.unpublished(bank.tenant, debit.request.transaction_id)) == 3
    await bank.set_status(account, AccountStatus.FROZEN)
    assert set(await bank.accounts.get_many(bank.tenant, [name, "plain", f"{name}x"])) == {name, "plain"}
    assert ((await bank.balance(account)).ledger, (await bank.balance(plain)).ledger) == (900, 1100)
    plain_account = await bank.accounts.get(bank.tenant, plain)
    assert plain_account is not None
    assert plain_account.status is AccountStatus.ACTIVE
    with pytest.raises(NotFoundError):
        await bank.close(f"{name}x")


@pytest.mark.parametrize("name", NAMES)
async def test_a_strange_tenant_or_principal_is_only_a_name(bank: Bank, name: str) -> None:
    other = Bank(url=bank.url, database=bank.database, rows=bank.rows, tenant=f"{bank.tenant}{name}")
    mine, theirs = await bank.open("same", funds=5), await other.open("same", funds=7)
    assert ((await bank.balance(mine)).ledger, (await other.balance(theirs)).ledger) == (5, 7)
    keys = PostgresApiKeys(bank.database)
    _, plaintext = await keys.create(other.tenant, name, [name])
    principal = await keys.authenticate(plaintext)
    assert principal is not None
    assert (principal.tenant, principal.name, principal.scopes) == (other.tenant, name, (name,))
    claimed = await bank.transactions.claim_idempotency_key(
        tenant=other.tenant, principal=name, key=name, request_hash=name, transaction_id="0b8f0f6e-5d8e-4a53-9f0a-3f2d1c5b7a90"
    )
    assert claimed == "0b8f0f6e-5d8e-4a53-9f0a-3f2d1c5b7a90"


async def test_a_character_that_the_database_cannot_store_is_an_error_and_writes_nothing(bank: Bank) -> None:
    account = await bank.open(funds=1000)
    for fields in ({"reference": "a\x00b"}, {"metadata": {"a": "\x00"}}):
        posting = bank.withdrawal(account, 5, **fields)
        with pytest.raises(CasaflowError):
            await bank.post(posting)
        assert await bank.nothing_is_written_of(posting.request.transaction_id)
    assert (await bank.balance(account)).ledger == 1000
