"""The group mis: totals per hour, added to in the database transaction that stores the events' ids. See ``docs/decisions/0030-mis.md``."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final, NamedTuple

from sqlalchemy import text

from infra.postgres.json import to_jsonb
from ledger.charts import CURRENCY, ENTRY_DIMENSIONS, MAX_ROWS, TRANSACTION_DIMENSIONS, ChartRow
from ledger.errors import InvalidInputError
from ledger.events import HOLD_TYPES
from ledger.mis import COUNTED_TYPES, totals_of
from ledger.money import Money
from ledger.rules import TIME_ZONE_RULE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import RowMapping
    from sqlalchemy.ext.asyncio import AsyncConnection

    from infra.kafka.received import ReceivedEvent
    from infra.postgres.database import Database
    from ledger.charts import ChartRequest
    from ledger.mis import Key, Total

# The rows are inserted in the order of the array.
_ADD_TRANSACTIONS: Final = text("""
    INSERT INTO mis.transaction_total AS t (tenant, hour, currency, kind, outcome, reason, band, transactions, amount)
    SELECT n.tenant, n.hour, n.currency, n.kind, n.outcome, n.reason, n.band, n.number, n.amount
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (tenant text, hour timestamptz, currency text, kind text, outcome text,
           reason text, band text, number bigint, amount numeric)
        ON CONFLICT (tenant, hour, currency, kind, outcome, reason, band)
        DO UPDATE SET transactions = t.transactions + excluded.transactions, amount = t.amount + excluded.amount
""")
_ADD_ENTRIES: Final = text("""
    INSERT INTO mis.entry_total AS t (tenant, hour, currency, kind, leg, band, balance_band, entries, amount)
    SELECT n.tenant, n.hour, n.currency, n.kind, n.leg, n.band, n.balance_band, n.number, n.amount
      FROM jsonb_to_recordset(CAST(:rows AS jsonb)) AS n (tenant text, hour timestamptz, currency text, kind text, leg text,
           band text, balance_band text, number bigint, amount numeric)
        ON CONFLICT (tenant, hour, currency, kind, leg, band, balance_band)
        DO UPDATE SET entries = t.entries + excluded.entries, amount = t.amount + excluded.amount
""")
_TIME_ZONE_IS_KNOWN: Final = text("SELECT time_zone_is_known(:time_zone)")
_CHART: Final = """
    SELECT date_trunc(:per, hour, :time_zone) AS at{dimensions}, sum({column}) AS number, sum(amount) AS amount
      FROM {table}
     WHERE tenant = :tenant AND hour >= :since AND hour < :until
     GROUP BY at{dimensions}
     ORDER BY at{dimensions}
     LIMIT :at_most
"""


class MisEffects:
    """Implements :class:`infra.postgres.consumption.EventHandler`."""

    schema: ClassVar[str] = "mis"
    handled_types: ClassVar[frozenset[str]] = COUNTED_TYPES
    ignored_types: ClassVar[frozenset[str]] = HOLD_TYPES
    """A hold moves no money; its capture has a debit of its own."""

    async def apply(self, connection: AsyncConnection, events: Sequence[ReceivedEvent]) -> None:
        """See :meth:`infra.postgres.consumption.EventHandler.apply`."""
        totals = totals_of((event.type, event.data) for event in events)
        if totals.transactions:
            await connection.execute(_ADD_TRANSACTIONS, {"rows": _rows(totals.transactions)})
        if totals.entries:
            await connection.execute(_ADD_ENTRIES, {"rows": _rows(totals.entries)})


def _rows(totals: Mapping[Key, Total]) -> str:
    # Sorted, so that two members that add to the same rows never wait for each other in a circle.
    return to_jsonb([{**key._asdict(), "number": total.number, "amount": str(total.amount)} for key, total in sorted(totals.items())])


class _Table(NamedTuple):
    """One of the tables of totals."""

    name: str
    column: str
    """The one that says how many."""
    dimensions: tuple[str, ...]


_TRANSACTIONS: Final = _Table("mis.transaction_total", "transactions", TRANSACTION_DIMENSIONS)
_ENTRIES: Final = _Table("mis.entry_total", "entries", ENTRY_DIMENSIONS)


class PostgresMis:
    """Reads the totals."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def transactions(self, tenant: str, request: ChartRequest) -> list[ChartRow]:
        """The tenant's finished transactions, by time and then by dimensions; hours and days in which none finished have no row.

        Raises:
            InvalidInputError: the database does not know the time zone, or there are more than :data:`ledger.charts.MAX_ROWS` rows.
            UnavailableError: the database did not answer.
        """
        return await self._chart(_TRANSACTIONS, tenant, request)

    async def entries(self, tenant: str, request: ChartRequest) -> list[ChartRow]:
        """The tenant's posted legs, as :meth:`transactions`.

        Raises:
            As :meth:`transactions`.
        """
        return await self._chart(_ENTRIES, tenant, request)

    async def _chart(self, table: _Table, tenant: str, request: ChartRequest) -> list[ChartRow]:
        by = [name for name in table.dimensions if name in request.by]
        dimensions = "".join(f", {name}" for name in by)  # names of columns, and constants of the ledger
        query = text(_CHART.format(table=table.name, column=table.column, dimensions=dimensions))
        values = {
            "tenant": tenant,
            "since": request.since,
            "until": request.until,
            "per": request.per.value,
            "time_zone": request.time_zone.key,
            "at_most": MAX_ROWS + 1,
        }

        async def work(connection: AsyncConnection) -> list[RowMapping] | None:
            if not (await connection.execute(_TIME_ZONE_IS_KNOWN, {"time_zone": request.time_zone.key})).scalar_one():
                return None
            return list((await connection.execute(query, values)).mappings())

        found = await self._database.run(work)
        if found is None:
            raise InvalidInputError(field="time_zone", value=request.time_zone.key, rule=TIME_ZONE_RULE)
        if len(found) > MAX_ROWS:
            rule = f"must be fewer dimensions, or the period shorter: there are more than {MAX_ROWS} rows"
            raise InvalidInputError(field="by", value=",".join(by), rule=rule)
        return [_row(row, by, request) for row in found]


def _row(row: RowMapping, by: Sequence[str], request: ChartRequest) -> ChartRow:
    dimensions = {name: str(row[name]) for name in by}
    amount = Money(minor_units=int(row["amount"]), currency=dimensions[CURRENCY]) if CURRENCY in dimensions else None
    return ChartRow(at=row["at"].astimezone(request.time_zone), dimensions=dimensions, number=int(row["number"]), amount=amount)
