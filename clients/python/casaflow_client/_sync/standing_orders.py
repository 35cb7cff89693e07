"""Standing orders: transactions that come again by a calendar."""

from __future__ import annotations

from uuid import UUID, uuid4

from casaflow_client import models
from casaflow_client._sync.transport import Transport
from casaflow_client.requests import Body, body_of, query, uuid_segment


class StandingOrders(Transport):
    """What concerns standing orders."""

    def create_standing_order(self, order: models.StandingOrderRequest | Body) -> models.StandingOrder:
        """Enter a standing order; the same id is entered once. Without an id it gets one here."""
        body = body_of(order) or {}
        body.setdefault("order_id", str(uuid4()))
        return self._ask("POST", "/v1/standing-orders", models.StandingOrder, body=body)

    def standing_orders(self, *, limit: int | None = None, cursor: str | None = None) -> models.StandingOrders:
        """One page of the tenant's standing orders."""
        return self._ask("GET", "/v1/standing-orders", models.StandingOrders, parameters=query(limit=limit, cursor=cursor))

    def standing_order(self, order_id: str | UUID) -> models.StandingOrder:
        """A standing order as it stands, with what was done.

        Raises:
            NotFoundError: there is none with this id.
        """
        return self._ask("GET", _path(order_id), models.StandingOrder)

    def pause_standing_order(self, order_id: str | UUID, reason: str | None = None) -> models.StandingOrder:
        """Stop it until it is resumed."""
        return self._change_order(order_id, "pause", reason)

    def resume_standing_order(self, order_id: str | UUID, reason: str | None = None) -> models.StandingOrder:
        """Let it go on."""
        return self._change_order(order_id, "resume", reason)

    def cancel_standing_order(self, order_id: str | UUID, reason: str | None = None) -> models.StandingOrder:
        """End it for good."""
        return self._change_order(order_id, "cancel", reason)

    def _change_order(self, order_id: str | UUID, change: str, reason: str | None) -> models.StandingOrder:
        body = {} if reason is None else {"reason": reason}
        return self._ask("POST", f"{_path(order_id)}/{change}", models.StandingOrder, body=body)


def _path(order_id: str | UUID) -> str:
    return f"/v1/standing-orders/{uuid_segment(order_id, field='order_id')}"
