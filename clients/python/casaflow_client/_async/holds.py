"""Holds: set money aside, take it, release it."""

from __future__ import annotations

from uuid import UUID, uuid4

from casaflow_client import models
from casaflow_client._async.transport import AsyncTransport
from casaflow_client.requests import Body, body_of, preferring, query, uuid_segment


class AsyncHolds(AsyncTransport):
    """What concerns holds."""

    async def authorise_hold(self, hold: models.HoldRequest | Body) -> models.Hold:
        """Set money aside; the same id never holds twice. Without an id it gets one here. A refusal is an outcome: see ``status``."""
        body = body_of(hold) or {}
        body.setdefault("hold_id", str(uuid4()))
        return await self._ask("POST", "/v1/holds", models.Hold, body=body)

    async def hold(self, hold_id: str | UUID) -> models.Hold:
        """A hold as it stands.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._ask("GET", _path(hold_id), models.Hold)

    async def holds(
        self,
        *,
        account_id: str | None = None,
        status: str | None = None,
        order: str | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> models.Holds:
        """One page of holds, the newest first unless said otherwise."""
        parameters = query(account_id=account_id, status=status, order=order, limit=limit, cursor=cursor)
        return await self._ask("GET", "/v1/holds", models.Holds, parameters=parameters)

    async def capture_hold(
        self, hold_id: str | UUID, capture: models.CaptureRequest | Body, *, wait_seconds: float = 0
    ) -> models.Transaction:
        """Take what is held, or a part of it, by a transaction of its own. Without an id it gets one here.

        Raises:
            ConflictError: the id is in use with other content.
        """
        body = body_of(capture) or {}
        body.setdefault("transaction_id", str(uuid4()))
        return await self._ask("POST", f"{_path(hold_id)}/capture", models.Transaction, body=body, headers=preferring(wait_seconds))

    async def void_hold(self, hold_id: str | UUID) -> models.Hold:
        """Release what a hold still holds.

        Raises:
            ConflictError: it was captured or has expired.
        """
        return await self._ask("POST", f"{_path(hold_id)}/void", models.Hold)


def _path(hold_id: str | UUID) -> str:
    return f"/v1/holds/{uuid_segment(hold_id, field='hold_id')}"
