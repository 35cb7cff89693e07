"""`casaflow up`, `status` and `down` on real servers."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.settings import ALL_GROUPS
from infra.stack import control
from infra.stack.ports import DEFAULT_PORTS, PortReservations
from infra.stack.postgres import _ROOT_STATE
from tests.integration.stack.conftest import PARTS, Beginning, Home, _running, balance, deposit, wait_until

_DESIGNED_KEYS = {"api", "api_key", "temporal_address", "temporal_ui", "postgres_dsn", "kafka_bootstrap_servers", "metrics", "pids"}
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root's servers run as somebody else")


def test_stacks_that_start_at_the_same_moment_get_ports_of_their_own(beginning: Beginning) -> None:
    assert [code for code, _ in beginning.answers] == [0, 0, 0], beginning.answers
    chosen = [json.loads(home.places.ports_file.read_text()) for home in (beginning.first, beginning.second)]
    ports = [port for of_one in chosen for port in of_one.values()]
    assert len(set(ports)) == len(ports) == 2 * len(DEFAULT_PORTS)
    for line in beginning.answers[2][1].splitlines():
        if "ready after" in line:
            print(line)  # noqa: T201  the figures are for whoever runs this on a quiet machine
    print(f"two first starts at the same moment: {beginning.seconds:.1f} s")  # noqa: T201


def test_up_twice_at_the_same_moment_starts_one_stack(beginning: Beginning) -> None:
    answers = beginning.answers[:2]
    assert all("healthy" in output and f"{beginning.first.stack()['pids']['kafka']}" in output for _, output in answers), answers
    home = str(beginning.first.path)
    environments = [_environment(process) for process in psutil.process_iter() if "infra.stack.supervisor" in _command_line(process)]
    assert [environment.get("CASAFLOW_HOME") for environment in environments].count(home) == 1


def test_stack_json_has_the_keys_of_the_design_and_only_its_owner_reads_it(first: Home) -> None:
    stack = first.stack()
    assert set(stack) == _DESIGNED_KEYS
    assert set(stack["pids"]) == {"api", "worker", "postgres", "temporal", "kafka", "relay", "consumers"}
    assert set(stack["pids"]["consumers"]) == set(ALL_GROUPS)
    assert stack["api"].startswith("http://")
    assert stack["temporal_ui"].startswith("http://")
    assert stack["postgres_dsn"].startswith("postgresql://")
    assert re.fullmatch(r"[^:]+:\d+", stack["temporal_address"])
    assert re.fullmatch(r"[^:]+:\d+", stack["kafka_bootstrap_servers"])
    for path in (first.places.stack_file, first.places.state_file, first.places.key_file, first.path / "postgres" / "password"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_every_pid_of_stack_json_is_the_process_that_it_says(first: Home) -> None:
    pids = first.pids()
    assert set(pids) == set(PARTS)
    marks = {
        "postgres": "postgres -D",
        "temporal": "server start-dev",
        "kafka": "kafka.Kafka",
        "worker": "-m worker",
        "api": "-m worker api",
        "relay": "-m infra.relay",
        "consumers": f"-m consumers {' '.join(ALL_GROUPS)}",
    }
    supervisor = first.supervisor().pid
    for name, pid in pids.items():
        process = psutil.Process(pid)
        assert marks[name] in " ".join(process.cmdline())
        assert process.ppid() == supervisor
        # What comes after the posting yields to it.
        assert (process.nice() > psutil.Process(supervisor).nice()) == (name in {"relay", "consumers"})


def test_nobody_else_can_look_into_logs_topics_and_workflows(first: Home) -> None:
    for name in ("logs", "kafka", "temporal"):
        assert stat.S_IMODE((first.path / name).stat().st_mode) == 0o700, name


def test_status_shows_every_part_with_its_address_and_pid(first: Home) -> None:
    shown = first.casaflow("status")
    assert shown.returncode == 0, shown.stderr
    stack, pids = first.stack(), first.pids()
    lines = {name: next(line for line in shown.stdout.splitlines() if line.startswith(name)) for name in PARTS}
    for name, line in lines.items():
        assert re.search(rf"\bhealthy\b.* {pids[name]}\b", line), line
    assert stack["api"] in lines["api"]
    assert stack["temporal_address"] in lines["temporal"]
    assert stack["temporal_ui"] in lines["temporal"]
    assert stack["kafka_bootstrap_servers"] in lines["kafka"]


def test_status_as_json_has_the_same_without_secrets(first: Home) -> None:
    shown = first.casaflow("status", "--json")
    assert shown.returncode == 0, shown.stderr
    content = json.loads(shown.stdout)
    stack = first.stack()
    assert content["healthy"] is True
    assert {part["name"]: (part["health"], part["pid"]) for part in content["parts"]} == {
        name: ("healthy", pid) for name, pid in first.pids().items()
    }
    assert set(content["stack"]) == _DESIGNED_KEYS - {"api_key"} | {"views"}
    password = (first.path / "postgres" / "password").read_text().strip()
    assert password in stack["postgres_dsn"]
    assert password not in shown.stdout
    assert stack["api_key"] not in shown.stdout


def test_a_second_up_finds_the_first(first: Home) -> None:
    before = first.stack()
    again = first.casaflow("up", "--detach", "--json")
    assert again.returncode == 0, again.stderr
    assert "is running already" in again.stderr
    assert json.loads(again.stdout)["healthy"] is True
    assert first.stack() == before
    foreground = first.casaflow("up")
    assert foreground.returncode == 0
    assert first.stack() == before


def test_starting_says_nothing_that_is_no_concern_of_the_user(beginning: Beginning) -> None:
    for _, output in beginning.answers:
        assert "Warning" not in output
        assert "Traceback" not in output


def test_no_mode_outside_the_home_is_changed(beginning: Beginning, first: Home) -> None:
    assert {path: path.stat().st_mode for path in beginning.modes} == beginning.modes


@as_root
def test_as_root_data_under_a_closed_folder_lies_where_the_server_reaches_it(first: Home) -> None:
    server = psutil.Process(first.pids()["postgres"])
    assert server.username() == "nobody"
    inside, outside = first.data_folders()
    assert not (inside / "data").exists()
    assert outside.parent == _ROOT_STATE
    assert (outside / "home").read_text().strip() == str(first.path)
    assert stat.S_IMODE((outside / "data").stat().st_mode) == 0o700
    assert (outside / "data").stat().st_uid == server.uids().real


def test_state_survives_down_and_up_and_addresses_stay(first: Home) -> None:
    deposit(first.stack(), "alice", "12.50")
    shown = first.casaflow("balance", "alice", "--json")
    assert shown.returncode == 0, shown.stderr
    before, known = first.stack(), first.processes()
    assert len(known) > len(PARTS)
    first.down()
    assert first.left(known) == []
    assert not first.places.stack_file.exists()
    stopped = first.casaflow("status")
    assert stopped.returncode == 1
    assert "healthy" not in stopped.stdout
    assert first.casaflow("down").returncode == 0

    started = first.up()
    print(started.stderr.splitlines()[-1])  # noqa: T201  how long a later start takes
    after = first.stack()
    assert {**after, "pids": None} == {**before, "pids": None}
    assert not set(first.pids().values()) & {process.pid for process in known}
    assert balance(after, "alice") == "12.50"
    again = json.loads(first.casaflow("balance", "alice", "--json").stdout)
    assert {**again, "as_of": None} == {**json.loads(shown.stdout), "as_of": None}
    deposit(after, "alice", "0.50")
    assert balance(after, "alice") == "13.00"


@pytest.fixture
def outside(beginning: Beginning, tmp_path: Path) -> Iterator[Home]:
    """A third home, with the first one's servers, started while all default ports are in use."""
    home = Home(tmp_path / "outside", settings={**_servers_of(_running(beginning.first)), "CASAFLOW_API_PORT": str(_free_port())})
    with contextlib.ExitStack() as held:
        # One that another stack has reserved is in use too, though its server may be away for the moment.
        reservations = held.enter_context(PortReservations())
        for port in DEFAULT_PORTS.values():
            if reservations.take(port):
                listener = held.enter_context(socket.socket())
                listener.bind(("127.0.0.1", port))
                listener.listen()
        try:
            home.up()
            yield home
        finally:
            home.remove()


def test_servers_from_outside_replace_the_embedded_ones(beginning: Beginning, outside: Home) -> None:
    first, stack = beginning.first, outside.stack()
    others = set(first.pids().values())
    # Ports in use are replaced, and the wanted one is taken.
    chosen = json.loads(outside.places.ports_file.read_text())
    assert not set(chosen.values()) & {*DEFAULT_PORTS.values()}
    assert stack["api"] == f"http://127.0.0.1:{outside.settings['CASAFLOW_API_PORT']}"
    assert set(outside.pids()) == {"worker", "api", "relay", "consumers"}
    assert stack["postgres_dsn"] == first.stack()["postgres_dsn"]
    assert stack["temporal_address"] == first.stack()["temporal_address"]
    assert stack["temporal_ui"] is None
    shown = outside.casaflow("status")
    assert shown.returncode == 0
    for name in ("postgres", "temporal", "kafka"):
        assert re.search(rf"^{name} +outside", shown.stdout, re.MULTILINE), shown.stdout
    password = (first.path / "postgres" / "password").read_text().strip()
    assert password not in shown.stdout
    deposit(stack, "bob", "7.00")
    assert balance(stack, "bob") == "7.00"
    known = outside.processes()
    outside.down()
    assert outside.left(known) == []
    assert not any((outside.path / name).exists() for name in ("postgres", "temporal", "kafka"))
    assert first.is_healthy()
    assert set(first.pids().values()) == others


@pytest.mark.slow
@pytest.mark.parametrize("name", ["CASAFLOW_POSTGRES_URL", "CASAFLOW_TEMPORAL_ADDRESS", "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS"])
def test_each_server_from_outside_replaces_its_embedded_one(first: Home, tmp_path: Path, name: str) -> None:
    servers = _servers_of(first)
    home = Home(tmp_path / "outside", settings={name: servers[name], "CASAFLOW_TASK_QUEUE": servers["CASAFLOW_TASK_QUEUE"]})
    part = name.split("_")[1].lower()
    try:
        home.up()
        assert set(home.pids()) == set(PARTS) - {part}
        deposit(home.stack(), "carol", "3.00")
        assert balance(home.stack(), "carol") == "3.00"
    finally:
        home.remove()
    assert first.is_healthy()


def test_a_server_from_outside_that_does_not_answer_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    home = Home(
        tmp_path / "unreachable",
        settings={
            "CASAFLOW_POSTGRES_URL": f"postgresql://me:secret@127.0.0.1:{_free_port()}/nothing",
            "CASAFLOW_TEMPORAL_ADDRESS": f"127.0.0.1:{_free_port()}",
            "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{_free_port()}",
        },
    )
    failed = home.casaflow("up", "--detach")
    assert failed.returncode == 1
    assert "a server can't be prepared" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert "secret" not in failed.stderr
    assert home.left() == []


def test_status_of_a_stack_that_is_only_starting_says_so(stopped: Home) -> None:
    home = stopped
    starting = home.start("up", "--detach")
    try:
        wait_until(lambda: control.is_running(home.path) and bool(control.part_states(home.path)), "the first part is there")
        shown = home.casaflow("status")
        assert shown.returncode == 1, shown.stdout
        assert shown.stderr == ""
        assert re.search(r"^(postgres|temporal|kafka) +(waiting|starting)", shown.stdout, re.MULTILINE), shown.stdout
        known = home.processes()
    finally:
        home.down()
    assert starting.wait(60) == 1
    assert home.left(known) == []


def _servers_of(home: Home) -> dict[str, str]:
    """The settings that point at another home's servers; with a task queue of its own, so that their workers don't meet."""
    stack = home.stack()
    return {
        "CASAFLOW_POSTGRES_URL": stack["postgres_dsn"],
        "CASAFLOW_TEMPORAL_ADDRESS": stack["temporal_address"],
        "CASAFLOW_KAFKA_BOOTSTRAP_SERVERS": stack["kafka_bootstrap_servers"],
        "CASAFLOW_TASK_QUEUE": "transactions-of-another-home",
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command_line(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


def _environment(process: psutil.Process) -> dict[str, str]:
    try:
        return process.environ()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return {}
