"""The ratios of a run, and what is printed: JSON for programs, tables for people."""

from __future__ import annotations

import json
import platform
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from bench.events.cases import LOAD_PER_SECOND, Apply, Lag, Publish, Relay
from bench.events.place import ALL_GROUPS
from bench.rounds import Rounds
from bench.tables import circumstances, console, table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.events.cases import Figures

GOALS: Final = {"publish_vs_plain": "at least 0.5"}
"""By key, the goals of the design; of the others the figure is stated."""
_PRINTED_WIDTH: Final = 130


@dataclass(kw_only=True)
class Report(Rounds):
    """What a run found."""

    server: dict[str, str]
    """PostgreSQL's settings, and the machine."""
    events: int
    """Of each measurement but the lag's."""

    @property
    def versions(self) -> dict[str, str]:
        """What took part, besides PostgreSQL."""
        parts = ("casaflow", "aiokafka", "psycopg", "pydantic")
        return {"python": platform.python_version(), **{part: version(part) for part in parts}}


def told(medians: Mapping[str, Figures]) -> dict[str, float | dict[str, Any]]:
    """Rates, ratios and lags by their keys; those that a filtered run can't tell are left out.

    Args:
        medians: of the figures of each case, by the case's name.
    """
    found: dict[str, float | dict[str, Any]] = {}
    if publish := medians.get(Publish().name):
        found["publish_per_s"] = round(publish["events_per_second"], 1)
        found["publish_vs_plain"] = round(publish["events_per_second"] / publish["plain_events_per_second"], 3)
        # In CPU time of the publishing process, which other work on the machine disturbs less than rates; more is better, as above.
        found["publish_vs_plain_cpu"] = round(publish["plain_cpu_ms"] / publish["cpu_ms"], 3)
    if relay := medians.get(Relay().name):
        found["relay_per_s"] = round(relay["events_per_second"], 1)
    applied = {group: medians[name] for group in ALL_GROUPS if (name := Apply(group).name) in medians}
    if applied:
        found["apply_per_s"] = {group: round(of["events_per_second"], 1) for group, of in applied.items()}
        found["apply_vs_plain"] = {
            group: round(of["events_per_second"] / of["plain_events_per_second"], 3) for group, of in applied.items()
        }
    if lag := medians.get(Lag.name):
        found["lag_ms"] = {group: {p: round(lag[f"{group}_{p}_ms"], 1) for p in ("p50", "p99")} for group in ALL_GROUPS}
    return found


def as_json(report: Report) -> str:
    """What a run tells, then everything that it comes from."""
    content = told(report.medians) | {
        "events": report.events,
        "load_events_per_s": LOAD_PER_SECOND,
        **circumstances(report, server=report.server, versions=report.versions),
    }
    return json.dumps(content, indent=1)


def show(report: Report) -> None:
    """Print the tables."""
    screen = console(printed_width=_PRINTED_WIDTH)
    found = report.medians
    rates = table("case", "events per second", "lowest", "highest", "plain aiokafka", "ratio", "goal")
    for name, figures in found.items():
        if "events_per_second" not in figures:
            continue
        of_rounds = [of_round["events_per_second"] for of_round in report.rounds[name]]
        plain = figures.get("plain_events_per_second")
        rates.add_row(
            name,
            f"{figures['events_per_second']:,.0f}",
            f"{min(of_rounds):,.0f}",
            f"{max(of_rounds):,.0f}",
            f"{plain:,.0f}" if plain else "",
            f"{figures['events_per_second'] / plain:.2f}" if plain else "",
            GOALS.get(f"{name}_vs_plain", ""),
        )
    screen.print(rates)
    if lag := found.get(Lag.name):
        lags = table(f"lag at {LOAD_PER_SECOND} events per second, all groups", "p50 ms", "p99 ms")
        for group in ALL_GROUPS:
            lags.add_row(group, f"{lag[f'{group}_p50_ms']:,.0f}", f"{lag[f'{group}_p99_ms']:,.0f}")
        screen.print()
        screen.print(lags)
    facts = ", ".join(f"{name} {value}" for name, value in {"events": report.events, **report.server, **report.versions}.items())
    screen.print(f"\n{facts}", highlight=False)
