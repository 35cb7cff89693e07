"""The report of `casaflow chaos` as a page, and its timeline as a picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, StrictUndefined

from ledger.errors import InvalidInputError
from starter.chaos.faults import Action
from starter.cli.chaos_tables import FAULT_COLUMNS, fault_rows, in_words, verdict
from starter.cli.pictures import as_svg, load_matplotlib

if TYPE_CHECKING:
    from pathlib import Path

    from starter.chaos.report import ChaosReport

_PLOTS: Final = (".svg", ".png")
_REPORTS: Final = (".html", ".json")
_COLOURS: Final = {Action.KILL: "#b3261e", Action.FREEZE: "#336791", Action.RESTART: "#d17a22", Action.STORM: "#7a4ea3"}
_PAGE: Final = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>casaflow chaos: {{ report.system }}</title>
<style>
body { font-family: sans-serif; margin: 2em; }
svg { max-width: 100%; height: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; padding: 0.2em 0.8em; border-bottom: 1px solid #ccc; vertical-align: top; }
</style></head>
<body><h1>casaflow chaos: {{ report.system }}</h1>
<p>{{ words }}</p>
<p><strong>{{ verdict }}</strong></p>
{{ picture | safe }}
<h2>Faults</h2>
<table><thead><tr>{% for name in columns %}<th scope="col">{{ name }}</th>{% endfor %}</tr></thead>
<tbody>{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table>
<h2>What was proven</h2>
<table><tbody>
{% for found in report.proof.statements %}<tr><td>{{ found.title }}</td>
<td>{{ "proven" if found.proven else "NOT PROVEN" }}</td><td>{{ found.counted }}</td></tr>
{% endfor %}{% for found in report.truths %}<tr><td>{{ found.number }} {{ found.title }}</td>
<td>{{ "proven" if found.proven else "NOT PROVEN" }}</td><td>{{ found.counted }}</td></tr>
{% endfor %}</tbody></table>
{% if report.offending %}<h2>What is not as it has to be</h2>
<ul>{% for offender in report.offending %}<li>{{ offender }}</li>{% endfor %}</ul>{% endif %}
</body></html>
"""


def check_targets(report: Path | None, plot: Path | None) -> None:
    """See that the files can be written as asked before anything is hurt.

    Raises:
        InvalidInputError: an ending is unknown, a folder is missing, or matplotlib, which .html, .svg and .png need, isn't installed.
    """
    for field, target, endings in (("--report", report, _REPORTS), ("--plot", plot, _PLOTS)):
        if target is None:
            continue
        if target.suffix not in endings:
            raise InvalidInputError(field=field, value=str(target), rule=f"must end with {' or '.join(endings)}")
        if not target.absolute().parent.is_dir():
            raise InvalidInputError(field=field, value=str(target), rule="must be in a folder that exists")
        if target.suffix != ".json":
            load_matplotlib(field)


def write_report(report: ChaosReport, target: Path) -> None:
    """Write the report as JSON, or as a page that needs nothing else.

    Raises:
        OSError: the file can't be written.
    """
    if target.suffix == ".json":
        target.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        return
    page = Environment(autoescape=True, undefined=StrictUndefined).from_string(_PAGE)
    target.write_text(
        page.render(
            report=report,
            words=in_words(report),
            verdict=verdict(report),
            columns=FAULT_COLUMNS,
            rows=fault_rows(report),
            picture=as_svg(_figure(report)),
        ),
        encoding="utf-8",
    )


def draw(report: ChaosReport, target: Path) -> None:
    """Write the timeline; the file's ending decides the format.

    Raises:
        OSError: the file can't be written.
    """
    _figure(report).savefig(target, dpi=120)


def _figure(report: ChaosReport) -> Any:  # noqa: ANN401  matplotlib's
    """Finished transactions per quarter of a second, each blow a line, and the time that is counted to it shaded."""
    figure = load_matplotlib("--plot").Figure(figsize=(16, 5), layout="constrained")
    axes = figure.subplots()
    places = [number * report.bin_seconds for number in range(len(report.timeline))]
    axes.bar(places, report.timeline, width=report.bin_seconds, align="edge", color="#0b6e4f")
    top = max(report.timeline, default=1)
    for fault in report.faults:
        colour = _COLOURS[fault.action]
        for struck in fault.struck:
            axes.axvline(struck.at_seconds, color=colour, linewidth=1)
        if fault.struck and fault.back_after_seconds is not None:
            axes.axvspan(fault.struck[0].at_seconds, fault.struck[-1].at_seconds + fault.back_after_seconds, color=colour, alpha=0.15)
        axes.text(fault.begin_seconds, top * 1.02, fault.fault, rotation=60, fontsize=8, color=colour)
    axes.set_ylim(0, top * 1.3)
    axes.set_xlabel("seconds since the load began; shaded: until the part did its work again")
    axes.set_ylabel(f"transactions finished in {report.bin_seconds:g} s")
    axes.grid(axis="y", alpha=0.3)
    return figure
