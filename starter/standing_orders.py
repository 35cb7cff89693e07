"""The one way to enter, change and look up standing orders."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from ledger.accounts import AccountKind
from ledger.cursors import cursor_behind, position_of
from ledger.errors import InvalidInputError, NotFoundError, UnknownAccountError
from ledger.requests import AccountRef
from ledger.rules import TIME_ZONE_RULE, parse_time_zone
from ledger.standing_orders import StandingOrder, check_on_refusal, check_schedule

if TYPE_CHECKING:
    from infra.postgres.accounts import PostgresAccounts
    from infra.postgres.standing_orders import PostgresStandingOrders
    from infra.temporal.standing_orders import StandingOrderKeeper
    from ledger.money import Money
    from ledger.standing_orders import OrderChange, OrderRun

MAX_PAGE_ORDERS: Final = 500
_CURSOR_RULE: Final = "must be next_cursor of a page of standing orders, as it was given"
RUNS_SHOWN: Final = 50


@dataclass(frozen=True)
class OrderPage:
    """Some standing orders, the oldest first."""

    orders: tuple[StandingOrder, ...]
    next_cursor: str | None
    """Of the next page; None: there are no more now."""


class StandingOrderDesk:
    """Enters orders into the register, and has their Schedules made."""

    def __init__(self, orders: PostgresStandingOrders, keeper: StandingOrderKeeper, accounts: PostgresAccounts) -> None:
        self._orders = orders
        self._keeper = keeper
        self._accounts = accounts

    async def sides(self, tenant: str, debtor: str, creditor: str, amount: Money) -> tuple[AccountRef, AccountRef]:
        """Debtor and creditor with their currencies.

        Raises:
            UnknownAccountError: one doesn't exist, or is the bank's own.
            InvalidInputError: they are one account, or the amount is in the currency of neither.
        """
        if debtor == creditor:
            raise InvalidInputError(field="creditor", value=creditor, rule="must be another account than debtor")
        found = await self._accounts.get_many(tenant, [debtor, creditor])
        sides: list[AccountRef] = []
        for field, account_id in (("debtor", debtor), ("creditor", creditor)):
            account = found.get(account_id)
            if account is None or account.kind is AccountKind.INTERNAL:
                raise UnknownAccountError(field=field, account_id=account_id)
            sides.append(AccountRef(account_id=account_id, currency=account.currency))
        currencies = {side.currency for side in sides}
        if amount.currency not in currencies:
            rule = f"must be the currency of debtor or creditor ({' or '.join(sorted(currencies))})"
            raise InvalidInputError(field="currency", value=amount.currency, rule=rule)
        return sides[0], sides[1]

    async def create(self, order: StandingOrder) -> tuple[StandingOrder, bool]:
        """Enter an order, or find it entered, and have it carried out from now on.

        Returns:
            The order as it stands, and whether this call entered it.

        Raises:
            InvalidInputError: a field breaks a rule.
            StandingOrderConflictError: the id was used before with other content.
            UnavailableError: a part did not answer; create it again.
        """
        known = await self._orders.get(order.tenant, order.order_id)
        if known is None:  # a repeat may come when the start date has passed
            today = order.created_at.astimezone(zone_of(order.schedule.time_zone, field="schedule.time_zone")).date()
            check_schedule(order.schedule, today=today)
            check_on_refusal(order.on_refusal)
        entered, is_new = await self._orders.create(order)
        # A repeat as well: the first call may have ended between register and Schedule.
        return await self._keeper.keep(entered.tenant, entered.order_id, now=order.created_at), is_new

    async def change(self, tenant: str, order_id: str, change: OrderChange, *, by: str, reason: str | None) -> StandingOrder:
        """Pause, resume or cancel an order.

        Raises:
            NotFoundError: the tenant has no such order.
            StandingOrderEndedError: it has ended otherwise.
            UnavailableError: a part did not answer; change it again.
        """
        now = dt.datetime.now(dt.UTC)
        await self._orders.change(tenant, order_id, change, by=by, now=now, reason=reason)
        return await self._keeper.keep(tenant, order_id, now=now)

    async def look_up(self, tenant: str, order_id: str) -> tuple[StandingOrder, tuple[OrderRun, ...]]:
        """An order with its last attempts, the latest first.

        Raises:
            NotFoundError: the tenant has no such order.
            UnavailableError: PostgreSQL did not answer.
        """
        order = await self._orders.get(tenant, order_id)
        if order is None:
            raise NotFoundError(kind="standing order", identifier=order_id)
        return order, await self._orders.runs(tenant, order_id, at_most=RUNS_SHOWN)

    async def page(self, tenant: str, *, cursor: str | None, limit: int) -> OrderPage:
        """Standing orders of a tenant, the oldest first.

        Raises:
            InvalidInputError: the cursor is none.
            UnavailableError: PostgreSQL did not answer.
        """
        after = position_of(cursor, _CURSOR_RULE) if cursor is not None else None
        found = await self._orders.page(tenant, after=after, at_most=limit + 1)
        orders = found[:limit]
        return OrderPage(orders, cursor_behind(orders[-1].created_at, orders[-1].order_id) if len(found) > limit else None)


def zone_of(name: str, *, field: str) -> ZoneInfo:
    """A time zone by its IANA name.

    Raises:
        InvalidInputError: there is none of this name.
    """
    try:
        return ZoneInfo(parse_time_zone(name, field=field))
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidInputError(field=field, value=name, rule=TIME_ZONE_RULE) from None
