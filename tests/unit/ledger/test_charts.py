"""What a chart may be asked with."""

from __future__ import annotations

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from ledger.charts import TRANSACTION_DIMENSIONS, ChartRequest, Interval
from ledger.errors import InvalidInputError

NOW = dt.datetime(2026, 3, 2, 9, 30, tzinfo=dt.UTC)


def parse(**fields: Any) -> ChartRequest:
    values: dict[str, Any] = {"since": None, "until": None, "per": Interval.HOUR, "by": "currency", "time_zone": ZoneInfo("UTC")}
    return ChartRequest.parse(**{**values, "dimensions": TRANSACTION_DIMENSIONS, "now": NOW, **fields})


def test_a_chart_ends_with_the_hour_that_runs_and_shows_a_day_or_thirty() -> None:
    by_hour, by_day = parse(), parse(per=Interval.DAY)
    assert (by_hour.since, by_hour.until) == (NOW.replace(day=1, hour=10, minute=0), NOW.replace(hour=10, minute=0))
    assert (by_day.since, by_day.until) == (dt.datetime(2026, 1, 31, 10, tzinfo=dt.UTC), NOW.replace(hour=10, minute=0))


def test_a_period_is_widened_to_whole_hours() -> None:
    found = parse(since="2026-03-01T08:59:59.999999Z", until="2026-03-01T11:00:00.000001+01:00")
    assert (found.since.hour, found.until.hour) == (8, 11)
    whole = parse(since="2026-03-01T08:00:00Z", until="2026-03-01T10:00:00Z")
    assert (whole.since.hour, whole.until.hour) == (8, 10)


def test_dimensions_come_in_one_order_and_may_be_none() -> None:
    assert parse(by="band,currency").by == ("currency", "band")
    assert parse(by="").by == ()


@pytest.mark.parametrize("zone", ["Europe/Prague", "America/New_York", "Etc/GMT-14"])
def test_a_day_may_begin_where_an_hour_of_utc_does(zone: str) -> None:
    assert parse(per=Interval.DAY, time_zone=ZoneInfo(zone)).time_zone.key == zone


@pytest.mark.parametrize(
    ("field", "fields"),
    [
        ("from", {"since": "yesterday"}),
        ("to", {"until": "2026-03-01"}),
        ("to", {"since": "2026-03-01T08:00:00Z", "until": "2026-03-01T08:00:00Z"}),
        ("to", {"since": "2026-03-02T08:00:00Z", "until": "2026-03-01T08:00:00Z"}),
        ("to", {"until": "9999-12-31T23:30:00Z"}),
        ("to", {"until": "0001-01-01T00:00:00Z"}),
        ("from", {"since": "2025-11-01T00:00:00Z"}),
        ("from", {"since": "2020-01-01T00:00:00Z", "per": Interval.DAY}),
        ("by", {"by": "customer"}),
        ("by", {"by": "currency,currency"}),
        ("by", {"by": "currency,"}),
        ("by", {"by": "balance_band"}),
        ("time_zone", {"time_zone": ZoneInfo("Asia/Kolkata")}),
        ("time_zone", {"time_zone": ZoneInfo("Asia/Kathmandu")}),
        # Half an hour in winter only.
        ("time_zone", {"time_zone": ZoneInfo("Australia/Lord_Howe"), "since": "2026-03-01T00:00:00Z", "until": "2026-05-01T00:00:00Z"}),
    ],
)
def test_what_breaks_a_rule_is_named(field: str, fields: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError) as refused:
        parse(**fields)
    assert refused.value.field == field
