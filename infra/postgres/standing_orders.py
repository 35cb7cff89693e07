"""The register of standing orders, who changed them, and what was done on their due dates."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import text

from infra.postgres.json import from_jsonb, to_jsonb
from ledger.errors import NotFoundError, StandingOrderConflictError
from ledger.money import Money
from ledger.refusals import Refusal
from ledger.requests import AccountRef
from ledger.results import TransactionStatus
from ledger.standing_orders import OnRefusal, OrderRun, OrderSchedule, OrderStatus, RunKey, StandingOrder, after_change, dues_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.postgres.database import Database
    from ledger.results import TransactionResult
    from ledger.standing_orders import OrderChange

_COLUMNS: Final = (
    "tenant, CAST(order_id AS text) AS order_id, debtor, debtor_currency, creditor, creditor_currency, amount, currency, reference, "
    "remittance_information, schedule, on_refusal, fingerprint, created_by, created_at, status, version, not_before"
)
_INSERT: Final = text("""
    INSERT INTO standing_order (tenant, order_id, debtor, debtor_currency, creditor, creditor_currency, amount, currency, reference,
                                remittance_information, schedule, on_refusal, fingerprint, created_by, created_at, status, version,
                                next_due_at)
    VALUES (:tenant, CAST(:order_id AS uuid), :debtor, :debtor_currency, :creditor, :creditor_currency, :amount, :currency, :reference,
            :remittance_information, CAST(:schedule AS jsonb), CAST(:on_refusal AS jsonb), :fingerprint, :created_by, :created_at, :status,
            :version, :next_due_at)
    ON CONFLICT DO NOTHING
""")
_FIND: Final = text(f"SELECT {_COLUMNS} FROM standing_order WHERE tenant = :tenant AND order_id = CAST(:order_id AS uuid)")  # noqa: S608
_LOCK: Final = text(f"{_FIND.text} FOR UPDATE")
_PAGE: Final = text(f"""
    SELECT {_COLUMNS} FROM standing_order
     WHERE tenant = :tenant AND (created_at, order_id) > (:created_at, CAST(:order_id AS uuid))
     ORDER BY created_at, standing_order.order_id
     LIMIT :at_most
""")  # noqa: S608
_CHANGE: Final = text("""
    UPDATE standing_order SET status = :status, version = :version, not_before = :not_before, next_due_at = :next_due_at
     WHERE tenant = :tenant AND order_id = CAST(:order_id AS uuid)
""")
_NOTE_CHANGE: Final = text("""
    INSERT INTO standing_order_change (tenant, order_id, version, action, by, at, reason)
    VALUES (:tenant, CAST(:order_id AS uuid), :version, :action, :by, :at, :reason)
""")
_START_RUN: Final = text("""
    INSERT INTO standing_order_run (tenant, order_id, due_date, attempt, transaction_id, started_at)
    VALUES (:tenant, CAST(:order_id AS uuid), :due_date, :attempt, CAST(:transaction_id AS uuid), :started_at)
    ON CONFLICT DO NOTHING
""")
_FINISH_RUN: Final = text("""
    UPDATE standing_order_run SET outcome = :outcome, reason = CAST(:reason AS jsonb), finished_at = :finished_at
     WHERE tenant = :tenant AND order_id = CAST(:order_id AS uuid) AND due_date = :due_date AND attempt = :attempt AND outcome IS NULL
""")
_RUN_COLUMNS: Final = (
    "tenant, CAST(order_id AS text) AS order_id, due_date, attempt, CAST(transaction_id AS text) AS transaction_id, started_at, outcome, "
    "reason, finished_at"
)
_FIND_RUN: Final = text(f"""
    SELECT {_RUN_COLUMNS} FROM standing_order_run
     WHERE tenant = :tenant AND order_id = CAST(:order_id AS uuid) AND due_date = :due_date AND attempt = :attempt
""")  # noqa: S608
_RUNS: Final = text(f"""
    SELECT {_RUN_COLUMNS} FROM standing_order_run
     WHERE tenant = :tenant AND order_id = CAST(:order_id AS uuid) AND due_date >= :since
     ORDER BY due_date DESC, attempt DESC
     LIMIT :at_most
""")  # noqa: S608
_SCHEDULED: Final = text("""
    UPDATE standing_order SET scheduled_version = :version, next_due_at = :next_due_at
     WHERE tenant = :tenant AND order_id = CAST(:order_id AS uuid) AND version = :version
""")
# Two indexes have these: a Schedule that isn't as the register says, and a due date that passed without a run.
_IN_NEED: Final = text("""
    SELECT tenant, CAST(order_id AS text) AS order_id FROM standing_order WHERE scheduled_version IS DISTINCT FROM version
    UNION
    SELECT tenant, CAST(order_id AS text) AS order_id FROM standing_order WHERE status = 'active' AND next_due_at < :overdue
    LIMIT :at_most
""")
_RUNNING: Final = text("""
    SELECT tenant, CAST(order_id AS text) AS order_id FROM standing_order
     WHERE status IN ('active', 'paused') AND (tenant, order_id) > (:tenant, CAST(:order_id AS uuid))
     ORDER BY tenant, standing_order.order_id
     LIMIT :at_most
""")
_FIRST_ID: Final = "00000000-0000-0000-0000-000000000000"
_LONG_AGO: Final = dt.datetime.min.replace(tzinfo=dt.UTC)


class PostgresStandingOrders:
    """Standing orders of all tenants."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, order: StandingOrder) -> tuple[StandingOrder, bool]:
        """Enter an order into the register, or find it there with the same content.

        Returns:
            The order as it is now, and whether this call entered it.

        Raises:
            StandingOrderConflictError: the id was used before with other content.
            UnavailableError: the database did not answer; create it again.
        """
        key = {"tenant": order.tenant, "order_id": order.order_id}
        values = {
            **order.model_dump(
                include={"tenant", "order_id", "reference", "remittance_information", "created_by", "created_at", "version"}
            ),
            "debtor": order.debtor.account_id,
            "debtor_currency": order.debtor.currency,
            "creditor": order.creditor.account_id,
            "creditor_currency": order.creditor.currency,
            "amount": order.amount.minor_units,
            "currency": order.amount.currency,
            "schedule": to_jsonb(order.schedule),
            "on_refusal": to_jsonb(order.on_refusal),
            "fingerprint": order.fingerprint,
            "status": order.status.value,
            "next_due_at": _next_due_at(order, _LONG_AGO),
        }
        change = {**key, "version": order.version, "action": "create", "by": order.created_by, "at": order.created_at, "reason": None}

        async def work(connection: AsyncConnection) -> tuple[StandingOrder, bool]:
            if (await connection.execute(_INSERT, values)).rowcount:
                await connection.execute(_NOTE_CHANGE, change)
                return order, True
            found = (await connection.execute(_FIND, key)).mappings().one()
            if found["fingerprint"] != order.fingerprint:
                raise StandingOrderConflictError(order_id=order.order_id)
            return _order(dict(found)), False

        return await self._database.run(work)

    async def get(self, tenant: str, order_id: str) -> StandingOrder | None:
        """The order, or None.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> StandingOrder | None:
            found = (await connection.execute(_FIND, {"tenant": tenant, "order_id": order_id})).mappings().one_or_none()
            return _order(dict(found)) if found is not None else None

        return await self._database.run_statement(work)

    async def page(self, tenant: str, *, after: tuple[dt.datetime, str] | None, at_most: int) -> tuple[StandingOrder, ...]:
        """Orders of a tenant, the oldest first.

        Args:
            tenant: whose they are.
            after: creation time and id of the last order of the page before; None: the first page.
            at_most: orders of the page.

        Raises:
            UnavailableError: the database did not answer.
        """
        created_at, order_id = after or (_LONG_AGO, _FIRST_ID)
        values = {"tenant": tenant, "created_at": created_at, "order_id": order_id, "at_most": at_most}

        async def work(connection: AsyncConnection) -> tuple[StandingOrder, ...]:
            return tuple(_order(dict(row)) for row in (await connection.execute(_PAGE, values)).mappings())

        return await self._database.run_statement(work)

    async def change(
        self, tenant: str, order_id: str, change: OrderChange, *, by: str, now: dt.datetime, reason: str | None = None
    ) -> StandingOrder:
        """Pause, resume or end an order, and note who did it. A change that is so already is no change.

        Raises:
            NotFoundError: the tenant has no such order.
            StandingOrderEndedError: it has ended otherwise.
            UnavailableError: the outcome is unknown; change it again.
        """
        key = {"tenant": tenant, "order_id": order_id}

        async def work(connection: AsyncConnection) -> StandingOrder:
            found = (await connection.execute(_LOCK, key)).mappings().one_or_none()
            if found is None:
                raise NotFoundError(kind="standing order", identifier=order_id)
            order = _order(dict(found))
            after = after_change(order, change, now=now)
            if after is order:
                return order
            values = {"status": after.status.value, "not_before": after.not_before, "next_due_at": _next_due_at(after, now)}
            await connection.execute(_CHANGE, {**key, "version": after.version, **values})
            note = {"version": after.version, "action": change.value, "by": by, "at": now, "reason": reason}
            await connection.execute(_NOTE_CHANGE, {**key, **note})
            return after

        return await self._database.run(work)

    async def start_run(self, key: RunKey, *, now: dt.datetime) -> OrderRun:
        """Note that an attempt begins, or find it noted, with its outcome if it has one.

        Raises:
            UnavailableError: the database did not answer.
        """
        values = key.model_dump()

        async def work(connection: AsyncConnection) -> OrderRun:
            await connection.execute(_START_RUN, {**values, "transaction_id": key.transaction_id, "started_at": now})
            return _run(dict((await connection.execute(_FIND_RUN, values)).mappings().one()))

        return await self._database.run(work)

    async def finish_run(self, key: RunKey, result: TransactionResult, *, now: dt.datetime) -> None:
        """Note an attempt's outcome; the first one stands.

        Raises:
            UnavailableError: the database did not answer.
        """
        reason = to_jsonb(result.reason) if result.reason is not None else None
        values = {**key.model_dump(), "outcome": result.status.value, "reason": reason, "finished_at": now}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_FINISH_RUN, values)

        await self._database.run(work)

    async def runs(self, tenant: str, order_id: str, *, at_most: int, since: dt.date = dt.date.min) -> tuple[OrderRun, ...]:
        """Attempts at the due dates from `since` on, the latest first.

        Raises:
            UnavailableError: the database did not answer.
        """
        values = {"tenant": tenant, "order_id": order_id, "since": since, "at_most": at_most}

        async def work(connection: AsyncConnection) -> tuple[OrderRun, ...]:
            return tuple(_run(dict(row)) for row in (await connection.execute(_RUNS, values)).mappings())

        return await self._database.run_statement(work)

    async def scheduled(self, order: StandingOrder, *, next_due_at: dt.datetime | None) -> None:
        """Note that Temporal's Schedule is as this version of the order says.

        Raises:
            UnavailableError: the database did not answer.
        """
        key = {"tenant": order.tenant, "order_id": order.order_id}

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_SCHEDULED, {**key, "version": order.version, "next_due_at": next_due_at})

        await self._database.run(work)

    async def in_need(self, *, overdue: dt.datetime, at_most: int) -> Sequence[tuple[str, str]]:
        """Tenant and id of orders whose Schedule isn't as the register says, or that were due before `overdue` and were not carried out.

        Raises:
            UnavailableError: the database did not answer.
        """

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
            return [(row.tenant, row.order_id) for row in await connection.execute(_IN_NEED, {"overdue": overdue, "at_most": at_most})]

        return await self._database.run_statement(work)

    async def running(self, *, after: tuple[str, str] | None, at_most: int) -> Sequence[tuple[str, str]]:
        """Tenant and id of the orders that have a Schedule, active and paused ones, in order; those after `after`.

        Raises:
            UnavailableError: the database did not answer.
        """
        tenant, order_id = after or ("", _FIRST_ID)

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
            values = {"tenant": tenant, "order_id": order_id, "at_most": at_most}
            return [(row.tenant, row.order_id) for row in await connection.execute(_RUNNING, values)]

        return await self._database.run_statement(work)


def _next_due_at(order: StandingOrder, now: dt.datetime) -> dt.datetime | None:
    if order.status is not OrderStatus.ACTIVE:
        return None
    return next((due.at for due in dues_after(order, now, at_most=1)), None)


def _order(row: Mapping[str, Any]) -> StandingOrder:
    names = ("tenant", "order_id", "reference", "remittance_information", "created_by", "created_at", "version", "not_before")
    return StandingOrder(
        **{name: row[name] for name in names},
        debtor=AccountRef(account_id=row["debtor"], currency=row["debtor_currency"]),
        creditor=AccountRef(account_id=row["creditor"], currency=row["creditor_currency"]),
        amount=Money(minor_units=row["amount"], currency=row["currency"]),
        schedule=from_jsonb(OrderSchedule, row["schedule"]),
        on_refusal=from_jsonb(OnRefusal, row["on_refusal"]),
        status=OrderStatus(row["status"]),
    )


def _run(row: Mapping[str, Any]) -> OrderRun:
    return OrderRun(
        key=RunKey(**{name: row[name] for name in ("tenant", "order_id", "due_date", "attempt")}),
        outcome=TransactionStatus(row["outcome"]) if row["outcome"] is not None else None,
        refusal=from_jsonb(Refusal, row["reason"]),
        **{name: row[name] for name in ("transaction_id", "started_at", "finished_at")},
    )
