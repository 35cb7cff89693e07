"""The main job, as a newcomer runs it: `casaflow demo` starts the stack in an empty folder, and proves every balance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from starter.demo import SAMPLE
from starter.entries import summarise
from tests.stack_fixtures import run_casaflow

DEMO_SECONDS = 900
COMMAND_SECONDS = 300
CONVERSIONS = 20
OPENING_DEPOSITS = 6


class Newcomer:
    """Somebody with an empty folder and a command line."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environment = {**os.environ, "CASAFLOW_HOME": str(home)}

    def runs(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        """Run a command that must succeed; its standard output."""
        done = run_casaflow(*arguments, environment=self.environment, timeout_seconds=seconds)
        assert done.returncode == 0, f"casaflow {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def demo(self) -> dict[str, Any]:
        shown: dict[str, Any] = json.loads(self.runs("demo", "--json", seconds=DEMO_SECONDS))
        return shown

    def balances(self) -> dict[str, Any]:
        accounts = [*summarise(SAMPLE).accounts, "demo-eur", "demo-jpy", "demo-frozen"]
        stack = json.loads((self.home / "stack.json").read_text())
        headers = {"Authorization": f"Bearer {stack['api_key']}"}
        with httpx.Client(base_url=stack["api"], headers=headers, timeout=COMMAND_SECONDS, trust_env=False) as api:
            answers = {account: api.get(f"/v1/accounts/{account}/balance").raise_for_status().json() for account in accounts}
        return {account: {name: value for name, value in answer.items() if name != "as_of"} for account, answer in answers.items()}


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Newcomer]:
    somebody = Newcomer(tmp_path_factory.mktemp("demo"))
    yield somebody
    run_casaflow("down", environment=somebody.environment, timeout_seconds=COMMAND_SECONDS)


@pytest.fixture(scope="module")
def first(newcomer: Newcomer) -> dict[str, Any]:
    return newcomer.demo()


def test_the_demo_runs_more_than_a_thousand_real_entries_and_proves_every_balance(first: dict[str, Any]) -> None:
    sample = summarise(SAMPLE)
    assert sample.entries > 1_000
    assert first["proven"] is True
    assert first["entries"]["statuses"] == {"completed": sample.entries}
    assert first["entries"]["already_posted"] == 0
    assert first["entries"]["balances"] == {"compared": len(sample.accounts), "equal": len(sample.accounts), "different": []}
    assert any(history.overdraft_needed.minor_units > 0 for history in sample.accounts.values())


def test_it_converts_and_refuses(first: dict[str, Any]) -> None:
    assert first["conversions"]["statuses"] == {"completed": CONVERSIONS}
    assert all(transfer["rate"]["source"].startswith("ECB") for transfer in first["conversions"]["transfers"])
    assert first["refusals"]["reasons"] == {"insufficient-funds": 1, "account-frozen": 1}
    assert first["refusals"]["statuses"] == {"rejected": 2}


def test_it_proves_the_six_truths_and_that_the_audit_group_applied_what_was_published(first: dict[str, Any]) -> None:
    check = first["check"]
    assert [finding["number"] for finding in check["findings"] if finding["proven"]] == [1, 2, 3, 4, 5, 6]
    transactions = first["entries"]["transactions"] + CONVERSIONS + OPENING_DEPOSITS + 2
    assert check["events_published"] == check["events_applied"]
    assert check["events_published"] > 2 * transactions - 2


def test_it_links_one_workflow_of_each_outcome(first: dict[str, Any]) -> None:
    assert {"completed", "rejected"} <= set(first["links"])
    assert all(link.startswith(first["stack"]["temporal_ui"]) for link in first["links"].values())


def test_a_second_demo_and_a_restart_change_no_balance_and_leave_nothing_running(newcomer: Newcomer, first: dict[str, Any]) -> None:
    before = newcomer.balances()
    second = newcomer.demo()
    assert second["proven"] is True
    assert second["entries"]["already_posted"] == second["entries"]["transactions"] == first["entries"]["transactions"]
    assert second["check"]["events_published"] == first["check"]["events_published"]
    pids = json.loads((newcomer.home / "stack.json").read_text())["pids"]
    newcomer.runs("down")
    newcomer.runs("up", "--detach")
    assert newcomer.balances() == before
    report = json.loads(newcomer.runs("check", "--json"))
    assert report["proven"] is True
    assert report["events_applied"] == first["check"]["events_applied"]
    pids_after = json.loads((newcomer.home / "stack.json").read_text())["pids"]
    newcomer.runs("down")
    everything = [*_flat(pids), *_flat(pids_after)]
    assert everything
    assert not [pid for pid in everything if _is_running(pid)]


def _flat(pids: dict[str, Any]) -> list[int]:
    return [pids["api"], pids["postgres"], pids["temporal"], pids["kafka"], *pids["worker"], *pids["consumers"].values()]


def _is_running(pid: int) -> bool:
    try:
        return "casaflow" in " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return False
