"""What the endpoints of management information take and give."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from pydantic import ConfigDict, Field

from ledger.charts import DEFAULT_DIMENSIONS, ENTRY_DIMENSIONS, LONGEST_DAYS, TRANSACTION_DIMENSIONS, Interval
from ledger.events import Amount
from starter.api.models.fields import Answer, StrictBody

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ledger.charts import ChartRequest, ChartRow


class ChartQuery(StrictBody):
    """Which totals; a period is widened to whole hours."""

    since: str | None = Field(
        default=None,
        alias="from",
        description="From the hour of this instant (RFC 3339) on; a day before `to`, by the day 30, unless given.",
    )
    until: str | None = Field(default=None, alias="to", description="To the end of the hour of this instant (RFC 3339); now unless given.")
    per: Interval = Field(
        default=Interval.HOUR, description=f"A row for each; {LONGEST_DAYS[Interval.HOUR]} or {LONGEST_DAYS[Interval.DAY]} days at most."
    )
    time_zone: str = Field(default="UTC", description="IANA name, whole hours away from UTC; days begin at its midnight.")


class TransactionChartQuery(ChartQuery):
    """Which totals of finished transactions."""

    by: str = Field(
        default=DEFAULT_DIMENSIONS,
        description=f"Some of {', '.join(TRANSACTION_DIMENSIONS)}, with commas between them. Without currency there are no amounts.",
    )


class EntryChartQuery(ChartQuery):
    """Which totals of posted legs."""

    by: str = Field(
        default=DEFAULT_DIMENSIONS,
        description=f"Some of {', '.join(ENTRY_DIMENSIONS)}, with commas between them. Without currency there are no amounts.",
    )


class TransactionTotalView(Answer):
    """Transactions that ended in one hour or day; it has the dimensions that were asked for, and no others."""

    at: dt.datetime
    """When the hour or day begins."""
    currency: str | None = None
    """Of the instructed amounts."""
    kind: str | None = None
    outcome: str | None = None
    """completed, rejected or reversed."""
    reason: str | None = None
    """Code of the refusal; null for those that were completed."""
    band: str | None = None
    """Within which powers of ten the instructed amount lies, in major units."""
    transactions: int
    amount: Amount | None = None
    """What was instructed, in all; with the dimension currency only."""


class EntryTotalView(Answer):
    """Legs that were posted in one hour or day; it has the dimensions that were asked for, and no others."""

    at: dt.datetime
    """When the hour or day begins."""
    currency: str | None = None
    """Of the accounts."""
    kind: str | None = None
    """Of their transactions."""
    leg: str | None = None
    direction: str | None = None
    """credit or debit, seen from the account."""
    band: str | None = None
    """Within which powers of ten the amount lies, in major units."""
    balance_band: str | None = None
    """As band, of the account's ledger balance after a debit, or overdrawn; null for credits, which read no balance."""
    entries: int
    amount: Amount | None = None
    """What was posted, in all; with the dimension currency only."""


class _Chart(Answer):
    model_config = ConfigDict(serialize_by_alias=True, validate_by_name=True)

    since: dt.datetime = Field(alias="from")
    """The first hour begins then."""
    until: dt.datetime = Field(alias="to")
    """The last hour ends then."""
    per: Interval
    time_zone: str


class TransactionChartView(_Chart):
    """Totals of finished transactions, by time and then by dimensions. Where nothing was counted there is no row."""

    rows: list[TransactionTotalView]


class EntryChartView(_Chart):
    """Totals of posted legs, by time and then by dimensions. Where nothing was counted there is no row."""

    rows: list[EntryTotalView]


def transaction_chart(request: ChartRequest, rows: Sequence[ChartRow]) -> TransactionChartView:
    """The API's form of a chart of transactions."""
    views = [TransactionTotalView.model_validate(_row(row, "transactions")) for row in rows]
    return TransactionChartView(since=request.since, until=request.until, per=request.per, time_zone=request.time_zone.key, rows=views)


def entry_chart(request: ChartRequest, rows: Sequence[ChartRow]) -> EntryChartView:
    """The API's form of a chart of entries."""
    views = [EntryTotalView.model_validate(_row(row, "entries")) for row in rows]
    return EntryChartView(since=request.since, until=request.until, per=request.per, time_zone=request.time_zone.key, rows=views)


def _row(row: ChartRow, counted: str) -> dict[str, object]:
    """What is not in it is left out of the answer, which is told apart from null."""
    dimensions = {name: value or None for name, value in row.dimensions.items()}
    amount = {} if row.amount is None else {"amount": Amount.of(row.amount)}
    return {"at": row.at, **dimensions, counted: row.number, **amount}
