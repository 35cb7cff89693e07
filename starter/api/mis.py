"""Management information: totals per hour or day, of what the group mis has applied."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from fastapi import APIRouter, Query

from ledger.charts import ENTRY_DIMENSIONS, TRANSACTION_DIMENSIONS, ChartRequest
from starter.api.models.mis import (
    EntryChartQuery,
    EntryChartView,
    TransactionChartQuery,
    TransactionChartView,
    entry_chart,
    transaction_chart,
)
from starter.api.services import ReadsMis, UsesServices
from starter.standing_orders import zone_of

router = APIRouter(prefix="/v1/mis", tags=["management information"])


@router.get("/transactions", response_model_exclude_unset=True)
async def read_transactions(
    query: Annotated[TransactionChartQuery, Query()], services: UsesServices, principal: ReadsMis
) -> TransactionChartView:
    """How many of the tenant's transactions ended, and how much they instructed. A transaction is counted seconds after it has ended."""
    request = _request(query, TRANSACTION_DIMENSIONS)
    return transaction_chart(request, await services.mis.transactions(principal.tenant, request))


@router.get("/entries", response_model_exclude_unset=True)
async def read_entries(query: Annotated[EntryChartQuery, Query()], services: UsesServices, principal: ReadsMis) -> EntryChartView:
    """How many entries were posted on the tenant's accounts, and how much they moved. An entry is counted seconds after it was posted."""
    request = _request(query, ENTRY_DIMENSIONS)
    return entry_chart(request, await services.mis.entries(principal.tenant, request))


def _request(query: TransactionChartQuery | EntryChartQuery, dimensions: tuple[str, ...]) -> ChartRequest:
    return ChartRequest.parse(
        since=query.since,
        until=query.until,
        per=query.per,
        by=query.by,
        dimensions=dimensions,
        time_zone=zone_of(query.time_zone, field="time_zone"),
        now=dt.datetime.now(dt.UTC),
    )
