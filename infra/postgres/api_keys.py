"""API keys: made once, shown once, stored hashed, bound to a tenant and a principal."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import text

from infra.postgres.database import Database
from ledger.errors import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

Answer = TypeVar("Answer")

ALL_SCOPES: Final = ("all",)
"""A key with it may do everything for its tenant."""
STANDARD_SCOPE: Final = "standard"
"""Everything but to approve, to decline and to override. Any key of the API may look."""
APPROVING_SCOPE: Final = "transactions:approve"
"""To approve and to decline, and nothing else but to look."""
OVERRIDING_SCOPE: Final = "transactions:override"
"""To have limits and balance not count; beside `standard`, since it is said with a transaction."""
PAYLOADS_SCOPE: Final = "payloads"
"""May have Temporal's payloads decoded, those of all tenants; so `all`, which is of one tenant, doesn't contain it."""
SCOPES: Final = (*ALL_SCOPES, STANDARD_SCOPE, APPROVING_SCOPE, OVERRIDING_SCOPE, PAYLOADS_SCOPE)

_PLAINTEXT: Final = re.compile(r"casaflow_(?P<key_id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_INSERT = text("""
    INSERT INTO api_key (key_id, tenant, principal, scopes, secret_hash)
    VALUES (:key_id, :tenant, :principal, CAST(:scopes AS text[]), :secret_hash)
""")
_FIND = text("SELECT key_id, tenant, principal, scopes, secret_hash FROM api_key WHERE key_id = :key_id AND revoked_at IS NULL")
_REVOKE = text("UPDATE api_key SET revoked_at = coalesce(revoked_at, clock_timestamp()) WHERE key_id = :key_id RETURNING key_id")


@dataclass(frozen=True)
class Principal:
    """Who sent a request: the key's tenant, the name that its transactions are recorded under, and what it may do."""

    tenant: str
    name: str
    scopes: tuple[str, ...]
    key_id: str


class PostgresApiKeys:
    """The table of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, tenant: str, principal: str, scopes: Sequence[str] = ALL_SCOPES) -> tuple[str, str]:
        """Make a key.

        Returns:
            Its id, and its plaintext ``casaflow_<key_id>_<secret>``, which can't be had again.

        Raises:
            UnavailableError: the database did not answer.
        """
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        values = {"key_id": key_id, "tenant": tenant, "principal": principal, "scopes": list(scopes), "secret_hash": _hash(secret)}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_INSERT, values)

        await self._database.run_statement(work)
        return key_id, f"casaflow_{key_id}_{secret}"

    async def revoke(self, key_id: str) -> None:
        """Make a key worthless at once. Revoking twice changes nothing.

        Raises:
            NotFoundError: there is no such key.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> bool:
            return (await connection.execute(_REVOKE, {"key_id": key_id})).scalar_one_or_none() is not None

        if not await self._database.run_statement(work):
            raise NotFoundError(kind="API key", identifier=key_id)

    async def authenticate(self, plaintext: str) -> Principal | None:
        """Whose key this is; None when it is malformed, unknown, wrong or revoked.

        Raises:
            UnavailableError: the database did not answer.
        """
        parts = _PLAINTEXT.fullmatch(plaintext)
        if parts is None:
            return None

        async def work(connection: AsyncConnection) -> Principal | None:
            row = (await connection.execute(_FIND, {"key_id": parts["key_id"]})).mappings().one_or_none()
            if row is None or not hmac.compare_digest(bytes(row["secret_hash"]), _hash(parts["secret"])):
                return None
            return Principal(tenant=row["tenant"], name=row["principal"], scopes=tuple(row["scopes"]), key_id=row["key_id"])

        return await self._database.run_statement(work)


def _hash(secret: str) -> bytes:
    # A slow hash protects guessable passwords; 256 random bits can't be guessed, and every request pays for the hash.
    return hashlib.sha256(secret.encode()).digest()


def create_first_key(dsn: str, tenant: str = "main", principal: str = "casaflow-up") -> str:
    """Make a key with all scopes, for ``casaflow up``; returns its plaintext.

    Raises:
        UnavailableError: the database did not answer.
    """

    async def create(keys: PostgresApiKeys) -> str:
        return (await keys.create(tenant, principal))[1]

    return asyncio.run(_with_keys(dsn, create))


def key_is_valid(dsn: str, plaintext: str) -> bool:
    """Whether the database knows this key.

    Raises:
        UnavailableError: the database did not answer.
    """

    async def authenticate(keys: PostgresApiKeys) -> bool:
        return await keys.authenticate(plaintext) is not None

    return asyncio.run(_with_keys(dsn, authenticate))


async def _with_keys(dsn: str, work: Callable[[PostgresApiKeys], Awaitable[Answer]]) -> Answer:
    database = Database.open(dsn, pool_size=1)
    try:
        return await work(PostgresApiKeys(database))
    finally:
        await database.close()
