"""What else the API tells: messages to customers, totals, rates, types of events, and how the process is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from uuid import UUID

from casaflow_client import models
from casaflow_client._async.transport import AsyncTransport
from casaflow_client.requests import Body, query, segment, uuid_segment

Instant = dt.datetime | str


class AsyncReports(AsyncTransport):
    """Reports, and what customers are told."""

    async def notification_preferences(self, customer_id: str) -> models.Preferences:
        """What a customer is told, and how.

        Raises:
            NotFoundError: nothing was ever said about this customer.
        """
        return await self._ask("GET", _preferences_path(customer_id), models.Preferences)

    async def set_notification_preferences(self, customer_id: str, preferences: models.PreferencesRequest | Body) -> models.Preferences:
        """Say what a customer is told from now on."""
        return await self._ask("PUT", _preferences_path(customer_id), models.Preferences, body=preferences)

    async def disable_notification_preferences(self, customer_id: str) -> models.Preferences:
        """Tell a customer nothing more."""
        return await self._ask("DELETE", _preferences_path(customer_id), models.Preferences)

    async def notifications(
        self, *, customer_id: str | None = None, status: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> models.Messages:
        """One page of messages to customers."""
        parameters = query(customer_id=customer_id, status=status, limit=limit, cursor=cursor)
        return await self._ask("GET", "/v1/notifications", models.Messages, parameters=parameters)

    async def replay_notification(self, message_id: str | UUID, reason: str) -> models.Message:
        """Have a dead message sent again."""
        path = f"/v1/notifications/{uuid_segment(message_id, field='message_id')}/replay"
        return await self._ask("POST", path, models.Message, body={"reason": reason})

    async def transaction_chart(
        self,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        per: str | None = None,
        by: Sequence[str] | str | None = None,
        time_zone: str | None = None,
    ) -> models.TransactionChart:
        """How many transactions ended, and how much they instructed, per hour or day."""
        parameters = query(from_=since, to=until, per=per, by=by, time_zone=time_zone)
        return await self._ask("GET", "/v1/mis/transactions", models.TransactionChart, parameters=parameters)

    async def entry_chart(
        self,
        *,
        since: Instant | None = None,
        until: Instant | None = None,
        per: str | None = None,
        by: Sequence[str] | str | None = None,
        time_zone: str | None = None,
    ) -> models.EntryChart:
        """How many entries were posted, and how much they moved, per hour or day."""
        parameters = query(from_=since, to=until, per=per, by=by, time_zone=time_zone)
        return await self._ask("GET", "/v1/mis/entries", models.EntryChart, parameters=parameters)

    async def rate(self, base: str, quote: str, *, date: dt.date | str | None = None) -> models.Rate:
        """What the exchange rate service would use.

        Raises:
            NotFoundError: there is no rate.
        """
        return await self._ask("GET", "/v1/rates", models.Rate, parameters=query(base=base, quote=quote, date=date))

    async def event_types(self) -> models.EventTypes:
        """The types of events that are published, with their schemas."""
        return await self._ask("GET", "/v1/event-types", models.EventTypes)

    async def system(self) -> models.System:
        """What an operator looks at first: the pace, what waits for somebody, the outbox, the consumer groups, the parts."""
        return await self._ask("GET", "/v1/system", models.System)

    async def attention(self) -> models.Attention:
        """The transactions that are parked, or wait for an approval or for their day."""
        return await self._ask("GET", "/v1/system/attention", models.Attention)

    async def kill_worker(self) -> models.StackPart:
        """Kill one worker process of an embedded stack, which is started again; there it is tried that nothing is lost.

        Raises:
            NotFoundError: this is not the API of an embedded stack.
        """
        return await self._ask("POST", "/v1/system/workers/kill", models.StackPart, once=True)

    async def readiness(self) -> models.Readiness:
        """How the process and the parts behind it are.

        Raises:
            UnavailableError: one of them does not answer.
        """
        return await self._ask("GET", "/readyz", models.Readiness)


def _preferences_path(customer_id: str) -> str:
    return f"/v1/customers/{segment(customer_id, field='customer_id')}/notifications"
