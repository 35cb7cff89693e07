"""Standing orders: create, list, look up, pause, resume, cancel."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from http import HTTPStatus
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator, Field, WithJsonSchema

from ledger.calendars import DayShift, Holidays
from ledger.ids import key_standing_order_id, parse_account_id, parse_transaction_id
from ledger.money import Money
from ledger.requests import MAX_REMITTANCE_LENGTH
from ledger.standing_orders import (
    DEFAULT_TIME,
    Frequency,
    OnRefusal,
    OrderChange,
    OrderRun,
    OrderSchedule,
    OrderStatus,
    RefusalRule,
    StandingOrder,
    dues_after,
)
from starter.api.answers import LOCATION, answer
from starter.api.models.fields import (
    AccountId,
    Amount,
    Answer,
    CalendarDate,
    Currency,
    DecimalText,
    Reference,
    RemittanceInformation,
    StrictBody,
    Text,
    Uuid,
    WholeNumber,
)
from starter.api.models.transactions import ReasonView
from starter.api.services import ReadsTransactions, UsesServices, WritesStandingOrders
from starter.api.transactions import IdempotencyKey, bound_id, check_key
from starter.standing_orders import MAX_PAGE_ORDERS, zone_of

router = APIRouter(prefix="/v1/standing-orders", tags=["standing orders"])

_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)
_NEXT_SHOWN: Final = 5
_NOT_FOUND: Final = answer(404, "The tenant has no such standing order.")
_ENDED: Final = answer(409, "The standing order has ended (`standing-order-ended`).")


def _local_time(value: object) -> dt.time:
    # pydantic would take numbers too, as seconds since midnight.
    if not isinstance(value, str) or not _TIME.fullmatch(value):
        message = "must be a local time to the minute, such as 06:00"
        raise ValueError(message)
    return dt.time.fromisoformat(value)


LocalTime = Annotated[
    dt.time,
    BeforeValidator(_local_time),
    WithJsonSchema({"type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "examples": ["06:00"]}),
]


class ScheduleBody(StrictBody):
    """When a standing order is due."""

    frequency: Frequency
    day: WholeNumber | None = None
    """Of a week (1: Monday), or of a month; in a shorter month it is the last one. Unless given, the start date's."""
    time: LocalTime | None = None
    """Local time in `time_zone`; 06:00 unless given."""
    time_zone: str
    """IANA name."""
    start_date: CalendarDate = Field(examples=["2030-01-31"])
    end_date: CalendarDate | None = None
    count: WholeNumber | None = None
    """Due dates at most."""
    calendar: DayShift = DayShift.NONE
    """Where a date goes that is no business day."""
    holidays: Holidays = Holidays.TARGET2


class OrderRetryBody(StrictBody):
    """Try a refused transaction again."""

    retry_until: WholeNumber
    """Hours from the first attempt on."""
    every: WholeNumber = 1
    """Hours between two attempts."""


class StandingOrderBody(StrictBody):
    """A new standing order."""

    order_id: Uuid | None = None
    debtor: AccountId
    creditor: AccountId
    amount: Amount
    currency: Currency
    reference: Reference | None = None
    remittance_information: RemittanceInformation | None = None
    schedule: ScheduleBody
    on_refusal: Literal["skip", "stop"] | OrderRetryBody = "skip"


class ChangeBody(StrictBody):
    """Why a standing order is changed; recorded with who changes it."""

    reason: Annotated[Text, Field(min_length=1, max_length=MAX_REMITTANCE_LENGTH)] | None = None


class OrdersQuery(StrictBody):
    """Which standing orders."""

    limit: int = Field(default=100, ge=1, le=MAX_PAGE_ORDERS, description="Orders of a page at most.")
    cursor: str | None = Field(default=None, description="`next_cursor` of the page before.")


class ScheduleView(Answer):
    """When a standing order is due."""

    frequency: Frequency
    day: int | None
    time: str
    time_zone: str
    start_date: dt.date
    end_date: dt.date | None
    count: int | None
    calendar: DayShift
    holidays: Holidays


class RetryView(Answer):
    """How a refused transaction is tried again; hours."""

    retry_until: int
    every: int


class DueView(Answer):
    """A due date to come."""

    due_date: dt.date
    at: dt.datetime


class RunView(Answer):
    """One attempt at one due date."""

    due_date: dt.date
    attempt: int
    transaction_id: str
    outcome: str | None
    """Null until it is known."""
    reason: ReasonView | None
    started_at: dt.datetime
    finished_at: dt.datetime | None

    @classmethod
    def of(cls, run: OrderRun) -> RunView:
        """The API's form of `run`."""
        return cls(
            due_date=run.key.due_date,
            attempt=run.key.attempt,
            reason=ReasonView.of(run.refusal),
            **run.model_dump(include={"transaction_id", "outcome", "started_at", "finished_at"}),
        )


class StandingOrderView(Answer):
    """A standing order as it stands."""

    order_id: str
    status: OrderStatus
    debtor: str
    creditor: str
    amount: DecimalText
    currency: str
    reference: str | None
    remittance_information: str | None
    schedule: ScheduleView
    on_refusal: Literal["skip", "stop"] | RetryView
    next_due: list[DueView]
    """The next due dates, a few of them; none while it is paused, and after its end."""
    created_by: str
    created_at: dt.datetime
    runs: list[RunView] | None = None
    """What was done, the latest first; where one order was looked up."""

    @classmethod
    def of(cls, order: StandingOrder, runs: tuple[OrderRun, ...] | None = None) -> StandingOrderView:
        """The API's form of `order`."""
        coming = dues_after(order, dt.datetime.now(dt.UTC), at_most=_NEXT_SHOWN) if order.status is OrderStatus.ACTIVE else ()
        names = {"order_id", "status", "reference", "remittance_information", "created_by", "created_at"}
        return cls(
            **order.model_dump(include=names),
            debtor=order.debtor.account_id,
            creditor=order.creditor.account_id,
            amount=order.amount.decimal_string,
            currency=order.amount.currency,
            schedule=ScheduleView(**order.schedule.model_dump(exclude={"time"}), time=order.schedule.time.isoformat("minutes")),
            on_refusal=_refusal_view(order.on_refusal),
            next_due=[DueView(due_date=due.date, at=due.at) for due in coming],
            runs=[RunView.of(run) for run in runs] if runs is not None else None,
        )


class StandingOrdersView(Answer):
    """A page of standing orders, the oldest first."""

    orders: list[StandingOrderView]
    next_cursor: str | None
    """Of the next page; null when there are no more orders now."""


def _refusal_view(on_refusal: OnRefusal) -> Literal["skip", "stop"] | RetryView:
    if on_refusal.rule is RefusalRule.RETRY and on_refusal.retry_until_hours is not None:
        return RetryView(retry_until=on_refusal.retry_until_hours, every=on_refusal.every_hours or 1)
    return "stop" if on_refusal.rule is RefusalRule.STOP else "skip"


@router.post(
    "",
    status_code=HTTPStatus.CREATED,
    responses={
        200: {"model": StandingOrderView, "description": "It was entered before, with the same content.", "headers": LOCATION},
        201: {"description": "It is entered, and carried out from now on.", "headers": LOCATION},
        409: {"description": "The order_id was used before with other content (`standing-order-conflict`)."},
    },
)
async def create(
    body: StandingOrderBody,
    response: Response,
    services: UsesServices,
    principal: WritesStandingOrders,
    idempotency_key: IdempotencyKey = None,
) -> StandingOrderView:
    """Have the same amount transferred on each due date. What a due date comes to is a transaction of its own, with its own id."""
    check_key(idempotency_key)
    given = parse_transaction_id(body.order_id, field="order_id") if body.order_id is not None else None
    if given is None and idempotency_key is not None:
        given = key_standing_order_id(principal.tenant, principal.name, idempotency_key)
    zone_of(body.schedule.time_zone, field="schedule.time_zone")
    amount = Money.parse(body.amount, body.currency)
    desk = services.standing_orders
    debtor, creditor = await desk.sides(
        principal.tenant, parse_account_id(body.debtor, field="debtor"), parse_account_id(body.creditor, field="creditor"), amount
    )
    content = {"standing_order": body.model_dump(mode="json")}
    order = StandingOrder(
        tenant=principal.tenant,
        order_id=await bound_id(given or str(uuid.uuid4()), content, services, principal, idempotency_key),
        debtor=debtor,
        creditor=creditor,
        amount=amount,
        reference=body.reference,
        remittance_information=body.remittance_information,
        schedule=OrderSchedule(**body.schedule.model_dump(exclude={"time"}), time=body.schedule.time or DEFAULT_TIME),
        on_refusal=_on_refusal(body),
        created_by=principal.name,
        created_at=dt.datetime.now(dt.UTC),
    )
    entered, is_new = await desk.create(order)
    response.status_code = HTTPStatus.CREATED if is_new else HTTPStatus.OK
    response.headers["Location"] = f"/v1/standing-orders/{entered.order_id}"
    return StandingOrderView.of(entered)


@router.get("")
async def list_orders(query: Annotated[OrdersQuery, Query()], services: UsesServices, principal: ReadsTransactions) -> StandingOrdersView:
    """The tenant's standing orders, the oldest first."""
    page = await services.standing_orders.page(principal.tenant, cursor=query.cursor, limit=query.limit)
    return StandingOrdersView(orders=[StandingOrderView.of(order) for order in page.orders], next_cursor=page.next_cursor)


@router.get("/{order_id}", responses=_NOT_FOUND)
async def read_order(order_id: str, services: UsesServices, principal: ReadsTransactions) -> StandingOrderView:
    """A standing order as it stands, with what was done on its last due dates."""
    order, runs = await services.standing_orders.look_up(principal.tenant, parse_transaction_id(order_id, field="order_id"))
    return StandingOrderView.of(order, runs)


@router.post("/{order_id}/pause", responses=_NOT_FOUND | _ENDED)
async def pause(
    order_id: str, services: UsesServices, principal: WritesStandingOrders, body: ChangeBody | None = None
) -> StandingOrderView:
    """Let due dates pass without doing anything, until the order is resumed."""
    return await _change(order_id, OrderChange.PAUSE, services, principal, body)


@router.post("/{order_id}/resume", responses=_NOT_FOUND | _ENDED)
async def resume(
    order_id: str, services: UsesServices, principal: WritesStandingOrders, body: ChangeBody | None = None
) -> StandingOrderView:
    """Carry the order out from now on. What was due during the pause is not made up for."""
    return await _change(order_id, OrderChange.RESUME, services, principal, body)


@router.post("/{order_id}/cancel", responses=_NOT_FOUND | _ENDED)
async def cancel(
    order_id: str, services: UsesServices, principal: WritesStandingOrders, body: ChangeBody | None = None
) -> StandingOrderView:
    """End the order for good. A transaction that it has started goes on."""
    return await _change(order_id, OrderChange.CANCEL, services, principal, body)


async def _change(
    order_id: str, change: OrderChange, services: UsesServices, principal: WritesStandingOrders, body: ChangeBody | None
) -> StandingOrderView:
    identifier = parse_transaction_id(order_id, field="order_id")
    reason = body.reason if body is not None else None
    changed = await services.standing_orders.change(principal.tenant, identifier, change, by=principal.name, reason=reason)
    return StandingOrderView.of(changed)


def _on_refusal(body: StandingOrderBody) -> OnRefusal:
    rule = body.on_refusal
    if isinstance(rule, OrderRetryBody):
        return OnRefusal(rule=RefusalRule.RETRY, retry_until_hours=rule.retry_until, every_hours=rule.every)
    return OnRefusal(rule=RefusalRule(rule))
