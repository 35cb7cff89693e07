"""When a run is proven, what it names otherwise, and how it is shown."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import InvalidInputError
from starter.chaos.faults import Action
from starter.chaos.proof import Proof
from starter.chaos.report import Calm, ChaosReport, FaultReport, Struck
from starter.check import CheckReport, Finding, Statement
from starter.cli.chaos_pictures import check_targets, draw, write_report
from starter.cli.chaos_tables import FAULT_COLUMNS, fault_rows, verdict


def fault(**changes: Any) -> FaultReport:
    fields = {
        "round": 1,
        "fault": "worker",
        "action": Action.KILL,
        "struck": (Struck(part="worker", pid=4711, at_seconds=10.5),),
        "begin_seconds": 10.5,
        "end_seconds": 25.0,
        "back_after_seconds": 4.25,
        "longest_gap_seconds": 1.5,
        "first_finish_seconds": 0.125,
        "slowest_seconds": 11.0,
        "finished": 140,
        "errors": {"the API does not answer (ConnectError)": 3, "503": 1},
        "problem": None,
    }
    return FaultReport(**{**fields, **changes})


def check(*offending: str) -> CheckReport:
    finding = Finding(number=1, title="No money appears", counted="2 entries", offending=offending)
    return CheckReport(findings=(finding,), events_published=2, events_applied=2, groups={})


HOLDS = Statement(title="Balances <are> right", counted="8 accounts")


def report(*faults: FaultReport, statements: tuple[Statement, ...] = (HOLDS,), checked: CheckReport | None = None) -> ChaosReport:
    return ChaosReport(
        system="cluster <a>",
        started_at=dt.datetime(2026, 1, 31, tzinfo=dt.UTC),
        seconds=30.0,
        seed=7,
        per_second=10.0,
        accounts=("chaos-1",),
        calm=Calm(seconds=10.0, finished=100, longest_gap_seconds=0.25, p50_seconds=0.05, p99_seconds=None),
        faults=faults,
        bin_seconds=0.25,
        timeline=(1, 0, 3),
        proof=Proof(statements=statements, check=checked),
    )


def test_a_run_is_proven_only_if_each_fault_was_got_over_and_everything_holds() -> None:
    whole = report(fault(), checked=check())
    assert whole.proven
    assert whole.offending == []
    assert verdict(whole) == "All of it is proven: 1 faults, and nothing is lost, doubled or wrong."
    for broken, named in (
        (report(fault(problem="worker was not back within 180 s"), checked=check()), "fault worker: worker was not back within 180 s"),
        (report(fault(first_finish_seconds=None), checked=check()), "fault worker: no transaction was finished after it"),
        (
            report(fault(), statements=(HOLDS, Statement(title="x", counted="1", offending=("transaction t1 …",))), checked=check()),
            "transaction t1 …",
        ),
        (report(fault(), checked=check("entry 12 …")), "truth 1: entry 12 …"),
    ):
        assert not broken.proven
        assert broken.offending == [named]
    assert not report(fault(), checked=None).proven, "nothing was asked, so nothing is proven"


def test_a_row_has_a_cell_for_each_column() -> None:
    storm = fault(
        fault="random",
        struck=tuple(Struck(part="api", pid=pid, at_seconds=1.0) for pid in range(6)),
        back_after_seconds=None,
        problem="gone",
    )
    first, second = fault_rows(report(fault(), storm))
    assert dict(zip(FAULT_COLUMNS, first, strict=True)) == {
        "round": "1",
        "fault": "worker",
        "process": "worker 4711",
        "back after s": "4.2",
        "nothing finished for s": "1.5",
        "first after it s": "0.1",
        "slowest s": "11.0",
        "finished": "140",
        "errors seen": "4",
        "outcome": "work goes on",
    }
    assert second[2] == "api 0, api 1, api 2, api 3, and 2 more"
    assert (second[3], second[-1]) == ("-", "gone")


def test_the_report_is_written_as_json_as_a_page_and_as_a_picture(tmp_path: Path) -> None:
    found = report(fault(), checked=check("entry <12>"))
    targets = [tmp_path / name for name in ("report.json", "report.html", "timeline.svg", "timeline.png")]
    check_targets(targets[0], targets[2])
    check_targets(targets[1], targets[3])
    for target in targets[:2]:
        write_report(found, target)
    for target in targets[2:]:
        draw(found, target)
    written = json.loads(targets[0].read_text())
    assert (written["proven"], written["faults"][0]["errors"]["503"]) == (False, 1)
    page = targets[1].read_text()
    assert "cluster &lt;a&gt;" in page
    assert "truth 1: entry &lt;12&gt;" in page
    assert "<svg" in page
    assert targets[2].read_text().startswith("<?xml")
    assert targets[3].read_bytes().startswith(b"\x89PNG")


def test_a_file_that_can_not_be_written_as_asked_is_refused_beforehand(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"--report must end with .html or .json; it is 'report.pdf'"):
        check_targets(Path("report.pdf"), None)
    with pytest.raises(InvalidInputError, match=r"--plot must end with .svg or .png"):
        check_targets(None, tmp_path / "report.html")
    with pytest.raises(InvalidInputError, match="--plot must be in a folder that exists"):
        check_targets(None, tmp_path / "none" / "timeline.svg")
