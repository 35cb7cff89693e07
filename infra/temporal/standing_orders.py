"""Standing orders as Temporal Schedules, made from the register, and mended from it whenever they are not as it says.

See ``docs/decisions/0016-holds-and-standing-orders.md``.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING, Final

import structlog
from temporalio.client import (
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleBackfill,
    ScheduleCalendarSpec,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleRange,
    ScheduleSpec,
    ScheduleState,
    ScheduleUpdate,
)
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from infra.temporal.client import unavailable
from ledger import visibility
from ledger.errors import CasaflowError, NotFoundError, UnavailableError
from ledger.ids import standing_order_schedule_id
from ledger.standing_orders import OrderChange, OrderKey, OrderStatus, dues_after

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from temporalio.client import Client, ScheduleHandle, ScheduleUpdateInput

    from infra.postgres.standing_orders import PostgresStandingOrders
    from ledger.standing_orders import DueDate, StandingOrder

_log = structlog.get_logger(__name__)

WORKFLOW_TYPE: Final = "StandingOrderWorkflow"
CATCH_UP: Final = dt.timedelta(days=7)
"""What was due while Temporal, the workers or the Schedule were away is made up for, if it isn't older than this."""
DATES_AHEAD: Final = 32
"""Due dates that a Schedule knows in advance. Each run renews it."""
OVERDUE_AFTER: Final = dt.timedelta(minutes=2)
"""A due date that nobody has begun by then was missed: its Schedule is looked at, and the date made up for."""
AT_ONCE: Final = 200
BY_ITSELF: Final = "casaflow"
"""Stands as the principal where an order ends by itself."""

_TENANT: Final = SearchAttributeKey.for_keyword(visibility.TENANT)
_KIND: Final = SearchAttributeKey.for_keyword(visibility.KIND)
_STATUS: Final = SearchAttributeKey.for_keyword(visibility.STATUS)
_CURRENCY: Final = SearchAttributeKey.for_keyword(visibility.CURRENCY)
_ACCOUNTS: Final = SearchAttributeKey.for_keyword_list(visibility.ACCOUNTS)


class StandingOrderKeeper:
    """Keeps each Schedule as the register says. Safe to repeat, and in several processes at once."""

    def __init__(self, orders: PostgresStandingOrders, client: Callable[[], Awaitable[Client]], *, task_queue: str) -> None:
        """Take the register, what gives a client, and the task queue of the workers."""
        self._orders = orders
        self._client = client
        self._task_queue = task_queue

    async def keep(self, tenant: str, order_id: str, *, now: dt.datetime) -> StandingOrder:
        """Make, change or delete an order's Schedule, complete the order when nothing is due any more, and start what was missed.

        Raises:
            NotFoundError: the register has no such order.
            UnavailableError: PostgreSQL or Temporal did not answer; keep it again.
        """
        order = await self._orders.get(tenant, order_id)
        if order is None:
            raise NotFoundError(kind="standing order", identifier=order_id)
        # A server that comes back after an outage asks the Schedule for what was due meanwhile, so that stays in it.
        past = tuple(due for due in dues_after(order, now - CATCH_UP, at_most=AT_ONCE) if due.at <= now)
        missed = await self._missed(order, past)
        ahead = dues_after(order, now, at_most=DATES_AHEAD)
        if order.status is OrderStatus.ACTIVE and not ahead and not missed:
            order = await self._orders.change(tenant, order_id, OrderChange.COMPLETE, by=BY_ITSELF, now=now)
        client = await self._client()
        handle = client.get_schedule_handle(standing_order_schedule_id(tenant, order_id))
        try:
            if order.status in {OrderStatus.ACTIVE, OrderStatus.PAUSED}:
                await self._put(client, handle, order, (*past, *ahead))
            else:
                await _delete(handle)
            if missed:
                # Their runs have the ids that they would have had in time, so what runs already isn't started twice.
                await handle.backfill(*(_backfill(due) for due in missed))
        except RPCError as error:
            raise unavailable(error) from error
        await self._orders.scheduled(order, next_due_at=ahead[0].at if ahead and order.status is OrderStatus.ACTIVE else None)
        return order

    async def reconcile(self, *, now: dt.datetime, whole: bool = False) -> int:
        """Mend the Schedules of orders that need it.

        Args:
            now: by this process's clock.
            whole: also look for Schedules that are missing altogether, which takes a look at all of them.

        Returns:
            How many orders were looked after.

        Raises:
            UnavailableError: PostgreSQL or Temporal did not answer; what was mended stays.
        """
        mended = 0
        if whole:
            mended += await self._make_missing(now)
        for tenant, order_id in await self._orders.in_need(overdue=now - OVERDUE_AFTER, at_most=AT_ONCE):
            mended += await self._mended(tenant, order_id, now)
        return mended

    async def _mended(self, tenant: str, order_id: str, now: dt.datetime) -> int:
        """One that can't be mended is said in the log, and holds up no other."""
        try:
            await self.keep(tenant, order_id, now=now)
        except CasaflowError as error:
            _log.warning("standing-orders.not-mended", tenant=tenant, order_id=order_id, error=str(error))
            return 0
        return 1

    async def keep_up(self, *, every_seconds: float) -> None:
        """Reconcile again and again until cancelled; as a whole at the beginning. What fails is said in the log, and tried in time."""
        whole = True
        while True:
            try:
                mended = await self.reconcile(now=dt.datetime.now(dt.UTC), whole=whole)
                whole = False
                if mended:
                    _log.info("standing-orders.mended", orders=mended)
            except UnavailableError as error:
                _log.warning("standing-orders.not-now", part=error.part, detail=error.detail)
            except CasaflowError as error:
                _log.error("standing-orders.failed", error=str(error))
            await asyncio.sleep(every_seconds)

    async def _missed(self, order: StandingOrder, past: Sequence[DueDate]) -> tuple[DueDate, ...]:
        """Those of the past due dates that were never begun."""
        if order.status is not OrderStatus.ACTIVE or not past:
            return ()
        runs = await self._orders.runs(order.tenant, order.order_id, since=past[0].date, at_most=10 * AT_ONCE)
        begun = {run.key.due_date for run in runs}
        return tuple(due for due in past if due.date not in begun)

    async def _put(self, client: Client, handle: ScheduleHandle, order: StandingOrder, dues: Sequence[DueDate]) -> None:
        schedule = self._schedule(order, dues)
        try:
            await client.create_schedule(handle.id, schedule, search_attributes=_attributes(order, status=order.status.value))
        except ScheduleAlreadyRunningError:

            async def as_the_register_says(_before: ScheduleUpdateInput) -> ScheduleUpdate:
                return ScheduleUpdate(schedule=schedule, search_attributes=_attributes(order, status=order.status.value))

            await handle.update(as_the_register_says)

    def _schedule(self, order: StandingOrder, dues: Sequence[DueDate]) -> Schedule:
        """Every due date by itself, in UTC: neither a server's time zones nor its holidays decide when money moves."""
        identifier = standing_order_schedule_id(order.tenant, order.order_id)
        action = ScheduleActionStartWorkflow(
            WORKFLOW_TYPE,
            OrderKey(tenant=order.tenant, order_id=order.order_id),
            id=identifier,
            task_queue=self._task_queue,
            typed_search_attributes=_attributes(order, status="processing"),
            static_summary=order.summary,
        )
        return Schedule(
            action=action,
            spec=ScheduleSpec(calendars=[_calendar(due) for due in dict.fromkeys(dues)]),
            # Each due date has a transaction of its own: one that is still tried doesn't hold up the next.
            policy=SchedulePolicy(overlap=ScheduleOverlapPolicy.ALLOW_ALL, catchup_window=CATCH_UP, pause_on_failure=False),
            state=ScheduleState(paused=order.status is OrderStatus.PAUSED, note=f"as version {order.version} of the register says"),
        )

    async def _make_missing(self, now: dt.datetime) -> int:
        client = await self._client()
        try:
            there = {listed.id async for listed in await client.list_schedules()}
        except RPCError as error:
            raise unavailable(error) from error
        made = 0
        after: tuple[str, str] | None = None
        while page := await self._orders.running(after=after, at_most=AT_ONCE):
            for tenant, order_id in page:
                if standing_order_schedule_id(tenant, order_id) not in there:
                    made += await self._mended(tenant, order_id, now)
            after = page[-1]
        return made


def _calendar(due: DueDate) -> ScheduleCalendarSpec:
    return ScheduleCalendarSpec(
        year=[ScheduleRange(due.at.year)],
        month=[ScheduleRange(due.at.month)],
        day_of_month=[ScheduleRange(due.at.day)],
        hour=[ScheduleRange(due.at.hour)],
        minute=[ScheduleRange(due.at.minute)],
        second=[ScheduleRange(due.at.second)],
        comment=f"due date {due.date}",
    )


def _backfill(due: DueDate) -> ScheduleBackfill:
    return ScheduleBackfill(start_at=due.at - dt.timedelta(seconds=1), end_at=due.at, overlap=ScheduleOverlapPolicy.ALLOW_ALL)


def _attributes(order: StandingOrder, *, status: str) -> TypedSearchAttributes:
    return TypedSearchAttributes(
        [
            SearchAttributePair(_TENANT, order.tenant),
            SearchAttributePair(_KIND, "standing-order"),
            SearchAttributePair(_STATUS, status),
            SearchAttributePair(_CURRENCY, order.amount.currency),
            SearchAttributePair(_ACCOUNTS, [order.debtor.account_id, order.creditor.account_id]),
        ]
    )


async def _delete(handle: ScheduleHandle) -> None:
    try:
        await handle.delete()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
