"""Parts, and the supervisor, that are killed or can't start."""

from __future__ import annotations

import asyncio
import fcntl
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.kafka.connection import KafkaConnection
from infra.settings import ALL_GROUPS
from infra.stack import control
from infra.stack.answering import group_has
from infra.stack.model import Health, StackHome
from infra.stack.postgres import EmbeddedPostgres
from tests.integration.stack.conftest import Home, balance, deposit, described, kill, wait_until


def _last_line_before_death(home: Home, part: str) -> str:
    lines = home.log(part.replace(" ", "-")).splitlines()
    return lines[-1] if lines else ""


@pytest.mark.parametrize(
    "part", ["worker", "api", "relay", "consumers", pytest.param("kafka", marks=pytest.mark.slow), "postgres", "temporal"]
)
def test_a_part_that_dies_is_reported_with_the_end_of_its_log_and_started_again(second: Home, part: str) -> None:
    pids, before = second.pids(), second.part(part)
    said, last_line = len(second.log("supervisor")), _last_line_before_death(second, part)
    kill(pids[part])

    wait_until(lambda: second.part(part).restarts > before.restarts and second.is_healthy(), f"{part} is healthy again")
    after = second.pids()
    assert after[part] != pids[part]
    if part == "consumers":
        # Kafka keeps the members of the one that was killed until their session has timed out: those don't count.
        servers = KafkaConnection(second.stack()["kafka_bootstrap_servers"])
        for group in ALL_GROUPS:
            assert asyncio.run(group_has(servers, group, [after[part]])), group
    assert psutil.Process(after[part]).ppid() == second.supervisor().pid
    assert {name: pid for name, pid in after.items() if name != part} == {name: pid for name, pid in pids.items() if name != part}
    report = second.log("supervisor")[said:]
    assert f"{part} died with signal SIGKILL; it is started again" in report
    if last_line:
        assert last_line in report.partition("The end of ")[2]
    shown = second.casaflow("status")
    assert shown.returncode == 0, shown.stdout
    assert re.search(rf"^{part} +healthy .*restarted {before.restarts + 1} x", shown.stdout, re.MULTILINE), shown.stdout


def test_what_was_killed_works_again(second: Home) -> None:
    deposit(second.stack(), "dora", "5.00")
    assert balance(second.stack(), "dora") == "5.00"
    # What the killed parts had begun is finished by those that took their place; the audit group has each event once.
    proven = second.casaflow("check")
    assert proven.returncode == 0, f"{proven.stdout}\n{proven.stderr}"


def test_a_part_that_can_not_start_again_is_shown_as_failed_until_it_can(second: Home) -> None:
    log = second.places.log_file("consumers")
    kept = log.with_name("kept")
    log.rename(kept)
    # Where its log should be is a folder: the process can't be started.
    log.mkdir()
    try:
        kill(second.pids()["consumers"])
        wait_until(lambda: second.part("consumers").health is Health.FAILED, "the part has failed")
        assert second.part("consumers").pid is None
        assert "consumers" not in second.pids()
        shown = second.casaflow("status")
        assert shown.returncode == 1
        assert re.search(r"^consumers +failed .*can't be started: \[Errno 21\] Is a directory", shown.stdout, re.MULTILINE), shown.stdout
    finally:
        log.rmdir()
        kept.rename(log)
    wait_until(second.is_healthy, "the part is started once it can be")


def test_after_a_killed_supervisor_status_says_so_and_the_next_up_starts_anew(second: Home) -> None:
    deposit(second.stack(), "eva", "9.00")
    known = second.processes()
    kill(second.supervisor())
    shown = second.casaflow("status")
    assert shown.returncode == 1
    assert not re.search(r"\bhealthy\b", shown.stdout), shown.stdout
    # Depending on how far the parts have come with ending by themselves.
    assert "nothing runs in" in shown.stderr or "left over by a supervisor that was killed" in shown.stdout

    second.up()
    assert described(known) == []
    assert second.is_healthy()
    assert balance(second.stack(), "eva") == "9.00"


def test_after_a_killed_supervisor_down_leaves_nothing(second: Home) -> None:
    known = second.processes()
    kill(second.supervisor())
    second.down()
    assert second.left(known) == []
    assert not second.places.stack_file.exists()
    assert second.casaflow("status").returncode == 1


@pytest.mark.slow
def test_down_ends_what_a_killed_supervisor_has_left_even_if_it_does_not_end_by_itself(second: Home) -> None:
    known = second.processes()
    # A stopped process doesn't react when its parent dies.
    psutil.Process(second.pids()["api"]).suspend()
    kill(second.supervisor())
    wait_until(lambda: not control.is_running(second.path), "the supervisor is gone")
    shown = second.casaflow("status")
    assert shown.returncode == 1
    assert re.search(r"^api +failed .*left over by a supervisor that was killed; run `casaflow down`", shown.stdout, re.MULTILINE), (
        shown.stdout
    )
    second.down()
    assert second.left(known) == []


def test_ctrl_c_on_a_foreground_up_stops_everything(stopped: Home, tmp_path: Path) -> None:
    output = tmp_path / "output"
    foreground = stopped.start("up", output=output)
    try:
        wait_until(lambda: "Ctrl-C stops everything" in output.read_text() or foreground.poll() is not None, "it is up")
        assert stopped.is_healthy(), output.read_text()
        assert stopped.supervisor().pid == foreground.pid
        known = stopped.processes()
        foreground.send_signal(signal.SIGINT)
        assert foreground.wait(120) == 0
    finally:
        if foreground.poll() is None:
            foreground.kill()
            foreground.wait()
    assert stopped.left(known) == []
    assert output.read_text().splitlines()[-1] == "stopped"
    assert "Traceback" not in output.read_text()


def test_ctrl_c_while_it_starts_stops_what_has_started(stopped: Home, tmp_path: Path) -> None:
    for arguments in (["up"], ["up", "--detach"]):
        output = tmp_path / "output"
        starting = stopped.start(*arguments, output=output)
        wait_until(lambda: any(part.pid for part in control.part_states(stopped.path)) and control.is_running(stopped.path), "a part runs")
        known = stopped.processes()
        starting.send_signal(signal.SIGINT)
        starting.wait(120)
        wait_until(lambda known=known: stopped.left(known) == [], "nothing is left", seconds=30)  # type: ignore[misc]
        assert "Traceback" not in output.read_text(), output.read_text()


def test_a_part_that_can_not_start_fails_up_with_the_end_of_its_log_and_leaves_nothing(stopped: Home) -> None:
    version = next(folder for folder in stopped.data_folders() if (folder / "data").exists()) / "data" / "PG_VERSION"
    right = version.read_text()
    version.write_text("9\n")
    try:
        for arguments in (["up", "--detach"], ["up"]):
            failed = stopped.casaflow(*arguments)
            assert failed.returncode == 1
            assert "postgres died with exit code 1 while it started. The end of postgres.log" in failed.stderr
            assert "database files are incompatible with server" in failed.stderr
            assert "Traceback" not in failed.stderr
            assert stopped.left() == []
            assert not stopped.places.stack_file.exists()
    finally:
        version.write_text(right)


@pytest.mark.slow
def test_what_was_up_before_the_part_that_fails_is_stopped(stopped: Home) -> None:
    log = stopped.places.log_file("api")
    kept = log.with_name("kept")
    log.rename(kept)
    log.mkdir()
    try:
        failed = stopped.casaflow("up", "--detach")
    finally:
        log.rmdir()
        kept.rename(log)
    assert failed.returncode == 1
    assert "api can't be started: [Errno 21] Is a directory" in failed.stderr
    assert "kafka is ready" in failed.stderr
    assert stopped.left() == []
    assert "stopped" in failed.stderr


@pytest.mark.slow
def test_a_stop_does_not_wait_for_a_download(tmp_path: Path) -> None:
    home = Home(tmp_path / "downloading", settings={"XDG_CACHE_HOME": str(tmp_path / "cache")})
    (tmp_path / "cache" / "casaflow").mkdir(parents=True)
    # Another process of this user, which fetches the jars over a very slow line.
    with (tmp_path / "cache" / "casaflow" / "kafka-jars.lock").open("w") as fetching:
        fcntl.flock(fetching, fcntl.LOCK_EX)
        starting = home.start("up", "--detach")
        wait_until(lambda: any((folder / "data").exists() for folder in home.data_folders()), "PostgreSQL is prepared")
        known = home.processes()
        home.down()
        assert home.left(known) == []
        assert starting.wait(60) == 1
    home.remove()


# ---- PostgreSQL's data ----
@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may enter; pytest's own are closed."""
    folder = Path("/var/tmp") / f"casaflow-test-{os.getpid()}-{time.monotonic_ns()}"  # noqa: S108
    folder.mkdir()
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")


def test_a_first_start_that_was_cut_off_is_begun_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "cut off")
    starting = home.start("up", "--detach")

    def half_done() -> bool:
        return any(path.parent != path for folder in home.data_folders() for path in folder.glob("*/PG_VERSION"))

    wait_until(half_done, "initdb has begun")
    supervisor = home.supervisor()
    kill(supervisor)
    kill(starting.pid)
    starting.wait()
    wait_until(lambda: home.left([supervisor]) == [], "initdb has ended with its supervisor", seconds=30)
    assert not any((folder / "data").exists() for folder in home.data_folders()), "initdb was done before it could be cut off"
    EmbeddedPostgres(StackHome(home.path)).prepare()
    data = next(folder / "data" for folder in home.data_folders() if (folder / "data").exists())
    assert (data / "global" / "pg_control").exists()
    assert not data.with_name("data.partial").exists()
    control_data = subprocess.run(
        [EmbeddedPostgres(StackHome(home.path))._binaries() / "pg_controldata", data], check=True, capture_output=True, text=True
    )
    assert re.search(r"Database cluster state: +shut down", control_data.stdout)
    home.remove()


@as_root
def test_data_stays_where_it_is_when_folders_above_the_home_are_closed_or_opened(
    open_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.stack.postgres._ROOT_STATE", open_folder / "state")
    home = open_folder / "above" / "home"
    EmbeddedPostgres(StackHome(home)).prepare()
    data = home / "postgres" / "data"
    assert data.exists()
    home.parent.chmod(0o700)
    with pytest.raises(Exception, match="can't enter"):
        EmbeddedPostgres(StackHome(home)).prepare()
    # A copy of the binaries may be there, when this checkout is closed to the server's user; data must not.
    assert not list((open_folder / "state").glob("*/data"))
    home.parent.chmod(0o755)
    EmbeddedPostgres(StackHome(home)).prepare()

    closed = open_folder / "closed" / "home"
    closed.mkdir(parents=True)
    closed.parent.chmod(0o700)
    EmbeddedPostgres(StackHome(closed)).prepare()
    (outside,) = (open_folder / "state").glob("*/data")
    closed.parent.chmod(0o755)
    assert EmbeddedPostgres(StackHome(closed))._data_folder() == outside
    EmbeddedPostgres(StackHome(closed)).prepare()
    assert not (closed / "postgres" / "data").exists()


@as_root
@pytest.mark.parametrize("home_mode", [0o700, 0o755])
def test_roots_umask_does_not_lock_the_server_out(open_folder: Path, monkeypatch: pytest.MonkeyPatch, home_mode: int) -> None:
    monkeypatch.setattr("infra.stack.postgres._ROOT_STATE", open_folder / "state")
    home = open_folder / "home"
    home.mkdir()
    home.chmod(home_mode)
    before = os.umask(0o077)
    try:
        EmbeddedPostgres(StackHome(home)).prepare()
    finally:
        os.umask(before)
    where = home / "postgres" if home_mode == 0o755 else open_folder / "state"
    assert list(where.rglob("pg_control"))
    assert home.stat().st_mode & 0o777 == home_mode
