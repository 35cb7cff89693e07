"""Standing orders: transactions that come again by a calendar."""

from __future__ import annotations

from uuid import UUID, uuid4

from casaflow_client import models
from casaflow_client._async.transport import AsyncTransport
from casaflow_client.requests import Body, body_of, query, uuid_segment


class AsyncStandingOrders(AsyncTransport):
    """What concerns standing orders."""

    async def create_standing_order(self, order: models.StandingOrderRequest | Body) -> models.StandingOrder:
        """Enter a standing order; the same id is entered once. Without an id it gets one here."""
        body = body_of(order) or {}
        body.setdefault("order_id", str(uuid4()))
        return await self._ask("POST", "/v1/standing-orders", models.StandingOrder, body=body)

    async def standing_orders(self, *, limit: int | None = None, cursor: str | None = None) -> models.StandingOrders:
        """One page of the tenant's standing orders."""
        return await self._ask("GET", "/v1/standing-orders", models.StandingOrders, parameters=query(limit=limit, cursor=cursor))

    async def standing_order(self, order_id: str | UUID) -> models.StandingOrder:
        """A standing order as it stands, with what was done.

        Raises:
            NotFoundError: there is none with this id.
        """
        return await self._ask("GET", _path(order_id), models.StandingOrder)

    async def pause_standing_order(self, order_id: str | UUID, reason: str | None = None) -> models.StandingOrder:
        """Stop it until it is resumed."""
        return await self._change_order(order_id, "pause", reason)

    async def resume_standing_order(self, order_id: str | UUID, reason: str | None = None) -> models.StandingOrder:
        """Let it go on."""
        return await self._change_order(order_id, "resume", reason)

    async def cancel_standing_order(self, order_id: str | UUID, reason: str | None = None) -> models.StandingOrder:
        """End it for good."""
        return await self._change_order(order_id, "cancel", reason)

    async def _change_order(self, order_id: str | UUID, change: str, reason: str | None) -> models.StandingOrder:
        body = {} if reason is None else {"reason": reason}
        return await self._ask("POST", f"{_path(order_id)}/{change}", models.StandingOrder, body=body)


def _path(order_id: str | UUID) -> str:
    return f"/v1/standing-orders/{uuid_segment(order_id, field='order_id')}"
