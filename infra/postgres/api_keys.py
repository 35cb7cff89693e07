"""API keys: made once, shown once, stored hashed, bound to a tenant and a principal."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from sqlalchemy import text

from infra.postgres.administrative_acts import record_act
from infra.postgres.database import Database
from ledger.errors import NotFoundError
from ledger.keys import ApiKey, KeyNotValidError, MadeKey, check_may_give, successor_expiry
from ledger.principals import Principal
from ledger.scopes import Scope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from sqlalchemy import TextClause
    from sqlalchemy.ext.asyncio import AsyncConnection

    from ledger.principals import Actor

Answer = TypeVar("Answer")

_PLAINTEXT: Final = re.compile(r"casaflow_(?P<key_id>[0-9a-f]{16})_(?P<secret>[A-Za-z0-9_-]{43})", re.ASCII)
_KEY_ID: Final = re.compile(r"[0-9a-f]{16}", re.ASCII)
_COLUMNS: Final = "key_id, tenant, principal, scopes, created_at, created_by, expires_at, revoked_at, last_used_at, rotated_from"
_INSERT = text(f"""
    INSERT INTO api_key (key_id, tenant, principal, scopes, secret_hash, expires_at, created_by, rotated_from)
    VALUES (:key_id, :tenant, :principal, CAST(:scopes AS text[]), :secret_hash, :expires_at, :created_by, :rotated_from)
    RETURNING {_COLUMNS}
""")  # noqa: S608  the columns are a constant of this module, here and below
_FIND = text("""
    SELECT key_id, tenant, principal, scopes, secret_hash, expires_at FROM api_key
     WHERE key_id = :key_id AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > clock_timestamp())
""")
_GET = text(f"SELECT {_COLUMNS} FROM api_key WHERE key_id = :key_id AND tenant = coalesce(:tenant, tenant)")  # noqa: S608
_LOCK = text(f"{_GET.text} FOR UPDATE")
_PAGE = text(f"""
    SELECT {_COLUMNS} FROM api_key
     WHERE tenant = coalesce(:tenant, tenant) AND (created_at, key_id) < (:created_at, :key_id)
     ORDER BY created_at DESC, key_id DESC LIMIT :at_most
""")  # noqa: S608
_REVOKE = text("UPDATE api_key SET revoked_at = clock_timestamp() WHERE key_id = :key_id")
_EXPIRE = text("UPDATE api_key SET expires_at = least(expires_at, :expires_at) WHERE key_id = :key_id")
# Of several processes that saw a key, one writes, and at most once a minute. Sorted, so that nobody waits in a circle.
_USED = text("""
    UPDATE api_key k SET last_used_at = u.used_at
      FROM unnest(CAST(:key_ids AS text[]), CAST(:used_at AS timestamptz[])) AS u (key_id, used_at)
     WHERE k.key_id IN (SELECT l.key_id FROM api_key l WHERE l.key_id = ANY (CAST(:key_ids AS text[])) ORDER BY l.key_id FOR NO KEY UPDATE)
       AND k.key_id = u.key_id AND (k.last_used_at IS NULL OR k.last_used_at < u.used_at - interval '1 minute')
""")
_FROM_THE_NEWEST: Final = (dt.datetime(9999, 12, 31, tzinfo=dt.UTC), "")


@dataclass(frozen=True)
class FoundKey:
    """What the database says of a valid key."""

    principal: Principal
    expires_at: dt.datetime | None


class PostgresApiKeys:
    """The table of keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self,
        tenant: str,
        principal: str,
        scopes: Sequence[str] = (Scope.ALL,),
        *,
        expires_at: dt.datetime | None = None,
        actor: Actor | None = None,
    ) -> MadeKey:
        """Make a key.

        Args:
            tenant: whose it is.
            principal: the name that its transactions are recorded under.
            scopes: what it may do.
            expires_at: when it ends by itself; None: never.
            actor: who makes it, who is recorded; None: a stack that starts, or a test.

        Raises:
            UnavailableError: the database did not answer.
        """
        values = {
            "tenant": tenant,
            "principal": principal,
            "scopes": list(map(str, scopes)),
            "expires_at": expires_at,
            "rotated_from": None,
        }

        async def work(connection: AsyncConnection) -> MadeKey:
            return await _make(connection, values, "key.created", actor)

        return await self._database.run(work)

    async def rotate(
        self,
        key_id: str,
        *,
        overlap: dt.timedelta,
        expires_at: dt.datetime | None,
        actor: Actor,
        tenant: str | None = None,
        giver: Sequence[str] | None = None,
    ) -> MadeKey:
        """Make a key for the same principal in the place of this one, which stays valid for the overlap and no longer.

        Args:
            key_id: the key that ends.
            overlap: how long both are valid.
            expires_at: of the new one; None: it lasts as long as this one was made to.
            actor: who does it.
            tenant: whose key it has to be; None: anybody's.
            giver: scopes of who gets the new secret, which have to contain the key's; None: an administrator of the servers.

        Raises:
            NotFoundError: the tenant has no such key.
            KeyNotValidError: it is revoked, or has expired.
            MissingScopeError: the key may do more than the giver.
            UnavailableError: the outcome is unknown; look at the keys.
        """

        async def work(connection: AsyncConnection) -> MadeKey:
            key = _found(await _one(connection, _LOCK, key_id, tenant), key_id)
            now = dt.datetime.now(dt.UTC)
            if giver is not None:
                check_may_give(giver, key.scopes)
            if key.state(now) != "valid":
                raise KeyNotValidError(key_id=key_id, state=key.state(now))
            await connection.execute(_EXPIRE, {"key_id": key_id, "expires_at": now + overlap})
            values = {
                "tenant": key.tenant,
                "principal": key.principal,
                "scopes": list(key.scopes),
                "expires_at": expires_at or successor_expiry(key, now=now),
                "rotated_from": key_id,
            }
            return await _make(connection, values, "key.rotated", actor)

        return await self._database.run(work)

    async def revoke(self, key_id: str, *, actor: Actor | None = None, tenant: str | None = None) -> ApiKey:
        """Make a key worthless. Revoking twice changes nothing.

        Raises:
            NotFoundError: the tenant has no such key; without a tenant: there is no such key.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> ApiKey:
            key = _found(await _one(connection, _LOCK, key_id, tenant), key_id)
            if key.revoked_at is not None:
                return key
            await connection.execute(_REVOKE, {"key_id": key_id})
            if actor is not None:
                detail = {"principal": key.principal, "scopes": key.scopes}
                await record_act(connection, actor, "key.revoked", f"key {key_id}", tenant=key.tenant, detail=detail)
            return _found(await _one(connection, _GET, key_id, tenant), key_id)

        return await self._database.run(work)

    async def get(self, key_id: str, *, tenant: str | None = None) -> ApiKey:
        """A key, without its secret.

        Raises:
            NotFoundError: the tenant has no such key.
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> ApiKey:
            return _found(await _one(connection, _GET, key_id, tenant), key_id)

        return await self._database.run_statement(work)

    async def page(self, tenant: str | None, *, after: tuple[dt.datetime, str] | None, at_most: int) -> list[ApiKey]:
        """Keys, the newest first: those that are revoked or have expired, too.

        Args:
            tenant: whose; None: all.
            after: creation and id of the last one of the page before.
            at_most: how many.

        Raises:
            UnavailableError: the database did not answer.
        """
        created_at, key_id = after or _FROM_THE_NEWEST
        values = {"tenant": tenant, "created_at": created_at, "key_id": key_id, "at_most": at_most}

        async def work(connection: AsyncConnection) -> list[ApiKey]:
            return [ApiKey.model_validate(dict(row)) for row in (await connection.execute(_PAGE, values)).mappings()]

        return await self._database.run_statement(work)

    async def authenticate(self, plaintext: str) -> Principal | None:
        """Whose key this is; None when it is malformed, unknown, wrong, revoked or expired.

        Raises:
            UnavailableError: the database did not answer.
        """
        found = await self.find(plaintext)
        return found.principal if found is not None else None

    async def find(self, plaintext: str) -> FoundKey | None:
        """As :meth:`authenticate`, and until when the key is valid.

        Raises:
            UnavailableError: the database did not answer.
        """
        parts = _PLAINTEXT.fullmatch(plaintext)
        if parts is None:
            return None

        async def work(connection: AsyncConnection) -> FoundKey | None:
            row = (await connection.execute(_FIND, {"key_id": parts["key_id"]})).mappings().one_or_none()
            if row is None or not hmac.compare_digest(bytes(row["secret_hash"]), _hash(parts["secret"])):
                return None
            principal = Principal(tenant=row["tenant"], name=row["principal"], scopes=tuple(row["scopes"]), key_id=row["key_id"])
            return FoundKey(principal, row["expires_at"])

        return await self._database.run_statement(work)

    async def note_use(self, used: Mapping[str, dt.datetime]) -> None:
        """Write when keys were last used; one that was noted within the last minute is left out.

        Raises:
            UnavailableError: the database did not answer; nothing is lost but these instants.
        """
        ordered = sorted(used.items())
        values = {"key_ids": [key_id for key_id, _ in ordered], "used_at": [at for _, at in ordered]}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_USED, values)

        await self._database.run_statement(work)


async def _make(connection: AsyncConnection, values: Mapping[str, object], action: str, actor: Actor | None) -> MadeKey:
    key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
    created_by = actor.name if actor is not None else None
    row = await connection.execute(_INSERT, {**values, "key_id": key_id, "secret_hash": _hash(secret), "created_by": created_by})
    key = ApiKey.model_validate(dict(row.mappings().one()))
    if actor is not None:
        detail = key.model_dump(mode="json", include={"principal", "scopes", "expires_at", "rotated_from"})
        await record_act(connection, actor, action, f"key {key_id}", tenant=key.tenant, detail=detail)
    return MadeKey(key_id, f"casaflow_{key_id}_{secret}")


async def _one(connection: AsyncConnection, query: TextClause, key_id: str, tenant: str | None) -> ApiKey | None:
    if not _KEY_ID.fullmatch(key_id):
        return None
    row = (await connection.execute(query, {"key_id": key_id, "tenant": tenant})).mappings().one_or_none()
    return ApiKey.model_validate(dict(row)) if row is not None else None


def _found(key: ApiKey | None, key_id: str) -> ApiKey:
    if key is None:
        raise NotFoundError(kind="API key", identifier=key_id)
    return key


def _hash(secret: str) -> bytes:
    # A slow hash protects guessable passwords; 256 random bits can't be guessed, and every request pays for the hash.
    return hashlib.sha256(secret.encode()).digest()


def create_first_key(dsn: str, tenant: str = "main", principal: str = "casaflow-up") -> str:
    """Make a key with all scopes, for ``casaflow up``; returns its plaintext.

    Raises:
        UnavailableError: the database did not answer.
    """

    async def create(keys: PostgresApiKeys) -> str:
        return (await keys.create(tenant, principal)).plaintext

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
