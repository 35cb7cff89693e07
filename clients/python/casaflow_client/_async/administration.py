"""A tenant's own keys, and what its administrators did."""

from __future__ import annotations

from casaflow_client import models
from casaflow_client._async.transport import AsyncTransport
from casaflow_client.requests import Body, body_of, query, segment


class AsyncAdministration(AsyncTransport):
    """What concerns the keys of a tenant. A key that is made is shown once; so making one is never repeated, whatever the patience."""

    async def keys(self, *, limit: int | None = None, cursor: str | None = None) -> models.Keys:
        """One page of the tenant's keys, the newest first."""
        return await self._ask("GET", "/v1/keys", models.Keys, parameters=query(limit=limit, cursor=cursor))

    async def key(self, key_id: str) -> models.Key:
        """A key, without its secret.

        Raises:
            NotFoundError: the tenant has none with this id.
        """
        return await self._ask("GET", _path(key_id), models.Key)

    async def create_key(self, key: models.KeyRequest | Body) -> models.MadeKey:
        """Make a key, which may do no more than the one that makes it.

        Raises:
            ForbiddenError: it would.
        """
        return await self._ask("POST", "/v1/keys", models.MadeKey, body=key, once=True)

    async def rotate_key(self, key_id: str, rotation: models.RotationRequest | Body | None = None) -> models.MadeKey:
        """Make a key in the place of another one, which ends after an overlap.

        Raises:
            ConflictError: it is revoked, or has expired.
        """
        return await self._ask("POST", f"{_path(key_id)}/rotate", models.MadeKey, body=body_of(rotation) or {}, once=True)

    async def revoke_key(self, key_id: str) -> models.Key:
        """Make a key worthless."""
        return await self._ask("POST", f"{_path(key_id)}/revoke", models.Key)

    async def administrative_acts(self, *, limit: int | None = None, cursor: str | None = None) -> models.Acts:
        """One page of who did what as an administrator, the newest first."""
        return await self._ask("GET", "/v1/administrative-acts", models.Acts, parameters=query(limit=limit, cursor=cursor))


def _path(key_id: str) -> str:
    return f"/v1/keys/{segment(key_id, field='key_id')}"
