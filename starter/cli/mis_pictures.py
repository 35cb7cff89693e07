"""Pictures of totals: bars over time, one colour for each combination of dimensions. Needs matplotlib, which the wheel does not bring."""

from __future__ import annotations

import datetime as dt
import html
from typing import TYPE_CHECKING, Any, Final

from ledger.errors import InvalidInputError
from starter.cli.mis import dimensions_of
from starter.cli.pictures import as_svg, load_matplotlib

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_ENDINGS: Final = {".png", ".html"}
_DAYS: Final = {"hour": 1 / 24, "day": 1.0}
"""Width of a bar."""
_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<style>body{{font-family:sans-serif;margin:2em}}svg{{max-width:100%;height:auto}}</style></head>
<body><h1>{title}</h1>
{picture}
</body></html>
"""


def check_target(target: Path) -> None:
    """See that a picture can be drawn before anything is asked.

    Raises:
        InvalidInputError: the file's ending is none of .png and .html, or matplotlib isn't installed.
    """
    if target.suffix not in _ENDINGS:
        raise InvalidInputError(field="plot", value=str(target), rule="must end with .png or .html")
    load_matplotlib("plot")


def draw(counted: str, chart: dict[str, Any], target: Path) -> None:
    """Write a PNG, or a page that needs nothing else: how many over time and, below, the amounts of each currency.

    Args:
        counted: ``transactions`` or ``entries``.
        chart: as the API answered.
        target: the file; its ending decides the format.

    Raises:
        InvalidInputError: matplotlib isn't installed.
        OSError: the file can't be written.
    """
    title = f"{counted.capitalize()} per {chart['per']}, {chart['time_zone']}"
    rows = chart["rows"]
    currencies = sorted({row["currency"] for row in rows if "amount" in row})
    figure = load_matplotlib("plot").Figure(figsize=(12, 4 * (1 + len(currencies))), layout="constrained")
    figure.suptitle(title)
    axes = figure.subplots(1 + len(currencies), 1, squeeze=False, sharex=True)[:, 0]
    _bars(axes[0], chart, rows, lambda row: float(row[counted]))
    axes[0].set_ylabel(counted)
    for currency, below in zip(currencies, axes[1:], strict=True):
        of_currency = [row for row in rows if row["currency"] == currency]
        _bars(below, chart, of_currency, lambda row: float(row["amount"]["value"]))  # for the eye only
        below.set_ylabel(currency)
    if target.suffix == ".png":
        figure.savefig(target, dpi=120)
        return
    target.write_text(_PAGE.format(title=html.escape(title), picture=as_svg(figure)), encoding="utf-8")


def _bars(axes: Any, chart: dict[str, Any], rows: list[dict[str, Any]], height_of: Callable[[dict[str, Any]], float]) -> None:  # noqa: ANN401
    """Stack the rows of each hour or day."""
    names = dimensions_of(rows)
    series: dict[str, dict[dt.datetime, float]] = {}
    for row in rows:
        # In the chart's own time, without its offset: matplotlib would show UTC.
        at = dt.datetime.fromisoformat(row["at"]).replace(tzinfo=None)
        own = series.setdefault(" ".join(row[name] for name in names if row[name]), {})
        own[at] = own.get(at, 0.0) + height_of(row)
    bottoms: dict[dt.datetime, float] = {}
    for label, heights in sorted(series.items()):
        places = sorted(heights)
        tops = [heights[at] for at in places]
        axes.bar(
            places, tops, width=_DAYS[chart["per"]] * 0.9, align="edge", bottom=[bottoms.get(at, 0.0) for at in places], label=label or None
        )
        for at in places:
            bottoms[at] = bottoms.get(at, 0.0) + heights[at]
    axes.grid(axis="y", alpha=0.3)
    if any(series):
        axes.legend(fontsize=7, loc="upper left")
