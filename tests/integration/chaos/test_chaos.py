"""`casaflow chaos` on a real stack of its own: what it kills comes back, what it proves is so, and what is not so it names."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from infra.stack.model import Health
from tests.integration.stack.conftest import Home, home_of_its_own, wait_until

pytestmark = pytest.mark.slow
"""The stack starts in half a minute, and a killed part needs some seconds to come back."""

_RUN_SECONDS = 1_200


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A stack that no other test uses: at the end of a run all of it is proven."""
    with home_of_its_own(tmp_path_factory.mktemp("chaos")) as home:
        yield home


def chaos(home: Home, *arguments: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, report, and what was said."""
    done = home.casaflow("chaos", "--json", "--per-second", "5", *arguments, seconds=_RUN_SECONDS)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_a_killed_worker_is_got_over_and_everything_is_proven(home: Home, tmp_path: Path) -> None:
    worker = home.pids()["worker"]
    page, picture = tmp_path / "report.html", tmp_path / "timeline.svg"
    code, report, said = chaos(home, "--faults", "worker", "--seconds", "3", "--seed", "7", "--report", str(page), "--plot", str(picture))
    assert code == 0, said
    assert report["proven"]
    assert report["seed"] == 7
    (fault,) = report["faults"]
    assert fault["struck"] == [{"part": "worker", "pid": worker, "at_seconds": fault["begin_seconds"]}]
    assert f"worker: SIGKILL to process {worker}" in said
    assert home.pids()["worker"] != worker
    assert 0 < fault["first_finish_seconds"] < fault["end_seconds"] - fault["begin_seconds"] + 1
    assert fault["back_after_seconds"] > 0
    titles = {found["title"]: found["counted"] for found in report["proof"]["statements"]}
    submitted = int(titles["Every submitted transaction has its outcome"].split()[0])
    assert submitted > 20
    assert sum(report["timeline"]) == submitted
    assert titles["The same id again is answered the same"] == f"{submitted} submitted once more"
    assert [finding["proven"] for finding in report["proof"]["check"]["findings"]] == [True] * 6
    assert "<svg" in page.read_text()
    assert "All of it is proven" in page.read_text()
    assert picture.read_text().startswith("<?xml")


def test_every_fault_is_got_over(home: Home) -> None:
    code, report, said = chaos(home, "--faults", "all", "--seconds", "5", "--freeze-seconds", "2")
    assert code == 0, said
    kinds = ("api", "worker", "relay", "consumers", "postgres", "temporal", "kafka")
    servers = ("postgres", "temporal", "kafka")
    names = [*kinds, *(f"{kind}-freeze" for kind in kinds), *(f"{server}-restart" for server in servers), "random"]
    assert [fault["fault"] for fault in report["faults"]] == names
    assert all(fault["struck"] and fault["problem"] is None for fault in report["faults"])
    assert home.is_healthy()


def test_ctrl_c_in_the_middle_of_a_freeze_leaves_the_system_running(home: Home, tmp_path: Path) -> None:
    output = tmp_path / "output"
    running = home.start(
        "chaos", "--faults", "postgres-freeze", "--freeze-seconds", "600", "--seconds", "1", "--per-second", "5", output=output
    )
    try:
        postgres = home.pids()["postgres"]
        wait_until(lambda: "SIGSTOP" in output.read_text() or running.poll() is not None, "PostgreSQL stands frozen")
        assert psutil.Process(postgres).status() == psutil.STATUS_STOPPED, output.read_text()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    assert home.pids()["postgres"] == postgres
    frozen = [each for each in (psutil.Process(postgres), *psutil.Process(postgres).children()) if each.status() == psutil.STATUS_STOPPED]
    assert frozen == []
    assert "interrupted; nothing was proven." in output.read_text()
    assert "nothing of it stands frozen or ended" in output.read_text()
    assert "Traceback" not in output.read_text()
    assert home.casaflow("check").returncode == 0


def test_a_described_system_is_hurt_as_its_description_says(home: Home, tmp_path: Path) -> None:
    description = described(home, tmp_path)
    file = tmp_path / "system.json"
    file.write_text(json.dumps({**description, "test_system": False}))
    code, _, said = chaos(home, "--system", str(file), "--faults", "api")
    assert (code, "test_system should be True; it is False" in said) == (2, True), said
    file.write_text(json.dumps(description))
    api = home.pids()["api"]
    code, report, said = chaos(home, "--system", str(file), "--faults", "api,kafka-freeze", "--seconds", "2", "--freeze-seconds", "1")
    assert code == 0, said
    assert report["system"] == "described"
    assert [fault["fault"] for fault in report["faults"]] == ["api", "kafka-freeze"]
    assert report["faults"][0]["struck"][0]["pid"] == api
    assert report["faults"][0]["errors"], "clients saw that the only API was away"


def described(home: Home, folder: Path) -> dict[str, Any]:
    """The stack as its owner could describe it; its supervisor starts the API again, and a command writes its pid file anew."""
    stack, pids = home.stack(), home.pids()
    kinds = {"api": "api", "worker": "worker", "postgres": "postgres", "temporal": "temporal", "kafka": "kafka", "consumers": "consumer"}
    files = {name: folder / f"{name}.pid" for name in kinds}
    for name, file in files.items():
        file.write_text(f"{pids[name]}\n")
    script = folder / "start.py"
    script.write_text(f"""
import json, os, pathlib, time
stack, file, old = pathlib.Path({str(home.places.stack_file)!r}), pathlib.Path({str(files["api"])!r}), {pids["api"]}
while (pid := json.loads(stack.read_text())["pids"]["api"]) in (None, old): time.sleep(0.1)
file.write_text(str(pid))
""")
    port = stack["api"].rpartition(":")[2]
    return {
        "test_system": True,
        "name": "described",
        "apis": [stack["api"]],
        "api_key": stack["api_key"],
        "postgres_dsn": stack["postgres_dsn"],
        "temporal_address": stack["temporal_address"],
        "kafka_bootstrap_servers": stack["kafka_bootstrap_servers"],
        "parts": [
            {
                "name": name,
                "kind": kind,
                "pid_file": str(files[name]),
                "start": [sys.executable, str(script)] if name == "api" else None,
                "promote": None,
                **({"address": f"127.0.0.1:{port}"} if name == "api" else {}),
                **({"groups": ["audit", "mis"]} if kind == "consumer" else {}),
            }
            for name, kind in kinds.items()
        ],
    }


def test_a_stack_with_a_server_that_is_not_its_own_is_not_hurt(home: Home) -> None:
    state = home.places.read_state()
    assert state is not None
    for part in state.parts:
        if part.name == "kafka":
            part.health, part.pid = Health.OUTSIDE, None
    kept = home.places.state_file.read_bytes()
    home.places.write_model(home.places.state_file, state)
    try:
        code, _, said = chaos(home, "--faults", "api")
    finally:
        home.places.state_file.write_bytes(kept)
    assert (code, "kafka is not the stack's own server" in said) == (2, True), said


def test_an_entry_that_is_missing_is_named_and_the_exit_code_is_1(home: Home) -> None:
    """Last in this file: the ledger is not whole any more after it."""
    running = subprocess.Popen(
        [
            *(str(Path(sys.executable).with_name("casaflow")), "chaos", "--faults", "consumers-freeze", "--seconds", "4"),
            *("--freeze-seconds", "0.5", "--per-second", "5"),
        ],
        env=home.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd="/",
    )
    before = set(entries(home))
    found: list[str] = []

    def posted() -> bool:
        # Not one of the opening deposits, without which later debits would be refused.
        found[:] = sorted(set(entries(home)) - before)
        return len(found) > 15 or running.poll() is not None

    wait_until(posted, "credits are posted")
    with psycopg.connect(home.stack()["postgres_dsn"], autocommit=True) as connection:
        connection.execute("SET session_replication_role = replica")
        (row,) = connection.execute(
            "DELETE FROM offline_entry WHERE transaction_id = %s AND amount < 1000 RETURNING account_id", [found[-1]]
        ).fetchall() or [("",)]
    out, err = running.communicate(timeout=_RUN_SECONDS)
    assert running.returncode == 1, f"{out}\n{err}"
    assert f"transaction {found[-1]} has no credit of" in err
    assert f"minor units on account {row[0]}" in err
    assert f"account {row[0]} has a balance of" in err
    assert "truth " in err
    assert "NOT all of it is proven" in out


def entries(home: Home) -> list[str]:
    with psycopg.connect(home.stack()["postgres_dsn"], autocommit=True) as connection:
        rows = connection.execute(
            "SELECT transaction_id FROM offline_entry WHERE account_id LIKE 'chaos-%' AND amount < 1000 ORDER BY posted_at"
        ).fetchall()
    return [str(row[0]) for row in rows]
