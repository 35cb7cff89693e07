"""The standing order service: what is due, what became of it, and what that means for the order."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict
from temporalio import activity

from activities.call import order_call
from ledger.errors import NotFoundError, StandingOrderEndedError
from ledger.requests import TransactionRequest
from ledger.results import TransactionResult, TransactionStatus
from ledger.standing_orders import OnRefusal, OrderChange, OrderKey, OrderStatus, RunKey, StandingOrder, due_by, transaction_of

if TYPE_CHECKING:
    from ledger.ports import OrderKeeper, OrderRegister, TransactionRecords
    from ledger.waits import WaitingRules

BY_ITSELF: Final = "casaflow"
"""Stands as the principal where an order ends by itself."""
_STILL_TRIED: Final = frozenset({OrderStatus.ACTIVE, OrderStatus.COMPLETED})
"""A further attempt may come after the last due date; none comes after a pause or a cancellation."""


class DueInquiry(BaseModel):
    """What is due of an order?"""

    model_config = ConfigDict(frozen=True)

    key: OrderKey
    at: AwareDatetime
    """When the Schedule meant it to be."""
    again: RunKey | None = None
    """The attempt that is to follow a refused one; None: the first of the last due date at `at`."""


class DueTransaction(BaseModel):
    """A due transaction, or why there is none."""

    model_config = ConfigDict(frozen=True)

    run: RunKey | None = None
    """None: nothing is to be done."""
    request: TransactionRequest | None = None
    on_refusal: OnRefusal = OnRefusal()
    why: str = ""
    """Why nothing is to be done."""


class RunReport(BaseModel):
    """How an attempt ended."""

    model_config = ConfigDict(frozen=True)

    run: RunKey
    result: TransactionResult
    stops: bool = False
    """Whether the order ends with it, as its rule on refusals says."""


class StandingOrderActivities:
    """Works on the register. Every method is safe to repeat with the same argument."""

    def __init__(
        self, orders: OrderRegister, keeper: OrderKeeper, transactions: TransactionRecords, rules: WaitingRules, *, links_transfers: bool
    ) -> None:
        """Take what it works with.

        Args:
            orders: the register.
            keeper: of the Schedules.
            transactions: as they are recorded.
            rules: of the bank, on what has to wait for an approval.
            links_transfers: whether a transfer that may posts its legs together, as the API has it.
        """
        self._links_transfers = links_transfers
        self._orders = orders
        self._keeper = keeper
        self._transactions = transactions
        self._rules = rules

    @activity.defn(name="standing_order.due")
    async def due(self, inquiry: DueInquiry) -> DueTransaction:
        """The transaction that is due, noted as begun; or why none is.

        Raises:
            ApplicationError: UnavailableError, retryable; NotFoundError, not retryable.
        """
        key = inquiry.key
        with order_call(key.tenant, key.order_id):
            order = await self._orders.get(key.tenant, key.order_id)
            if order is None:
                raise NotFoundError(kind="standing order", identifier=key.order_id)
            allowed = frozenset({OrderStatus.ACTIVE}) if inquiry.again is None else _STILL_TRIED
            if order.status not in allowed:
                return DueTransaction(why=f"the order is {order.status}")
            run = inquiry.again or _last_due(order, inquiry.at)
            if run is None:
                return DueTransaction(why="nothing was due by then")
            now = dt.datetime.now(dt.UTC)
            begun = await self._orders.start_run(run, now=now)
            if begun.outcome is not None:
                return DueTransaction(why=f"due date {run.due_date} has ended before, as {begun.outcome}")
            request = self._rules.applied_to(transaction_of(order, run, now=now))
            if self._links_transfers and request.may_be_linked:
                request = request.model_copy(update={"linked": True})
            return DueTransaction(run=run, request=request, on_refusal=order.on_refusal)

    @activity.defn(name="standing_order.outcome")
    async def outcome(self, run: RunKey) -> TransactionResult | None:
        """The result of an attempt's transaction, once it is final; None until then.

        Raises:
            ApplicationError: UnavailableError, retryable.
        """
        with order_call(run.tenant, run.order_id):
            record = await self._transactions.get(run.tenant, run.transaction_id)
            return record.result if record is not None and record.result.final else None

    @activity.defn(name="standing_order.record")
    async def record(self, report: RunReport) -> None:
        """Note how an attempt ended, and end the order if it stops with it.

        Raises:
            ApplicationError: UnavailableError, retryable.
        """
        run, result = report.run, report.result
        with order_call(run.tenant, run.order_id):
            now = dt.datetime.now(dt.UTC)
            await self._orders.finish_run(run, result, now=now)
            if not report.stops or result.status is TransactionStatus.COMPLETED:
                return
            reason = f"due date {run.due_date}: {result.reason.code if result.reason is not None else result.status}"
            try:
                await self._orders.change(run.tenant, run.order_id, OrderChange.STOP, by=BY_ITSELF, now=now, reason=reason)
            except StandingOrderEndedError:
                return  # it was cancelled meanwhile, or this was its last due date

    @activity.defn(name="standing_order.keep")
    async def keep(self, key: OrderKey) -> OrderStatus:
        """Bring the order's Schedule in line with the register: further due dates, or none any more. Answers how the order stands.

        Raises:
            ApplicationError: UnavailableError, retryable; NotFoundError, not retryable.
        """
        with order_call(key.tenant, key.order_id):
            order = await self._keeper.keep(key.tenant, key.order_id, now=dt.datetime.now(dt.UTC))
            return order.status


def _last_due(order: StandingOrder, at: dt.datetime) -> RunKey | None:
    due = due_by(order, at)
    return RunKey(tenant=order.tenant, order_id=order.order_id, due_date=due.date) if due is not None else None
