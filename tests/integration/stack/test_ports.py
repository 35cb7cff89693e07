from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from infra.stack.ports import DEFAULT_PORTS, PortReservations, choose

_TAKES = """
import sys
from infra.stack.ports import PortReservations
with PortReservations() as reservations:
    print(reservations.take(int(sys.argv[1])), flush=True)
    sys.stdin.read()
"""


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_wanted_port_comes_before_the_remembered_one(tmp_path: Path) -> None:
    remembered = {name: _free_port() for name in DEFAULT_PORTS}
    (tmp_path / "ports.json").write_text(json.dumps(remembered))
    wanted = _free_port()
    with PortReservations() as reservations:
        chosen = choose(tmp_path / "ports.json", {"api": wanted}, reservations)
    assert chosen == {**remembered, "api": wanted}
    with PortReservations() as reservations:
        assert choose(tmp_path / "ports.json", {}, reservations) == chosen


def test_a_remembered_port_in_use_is_replaced_by_a_free_one(tmp_path: Path) -> None:
    remembered = {name: _free_port() for name in DEFAULT_PORTS}
    (tmp_path / "ports.json").write_text(json.dumps(remembered))
    with socket.socket() as listener, PortReservations() as reservations:
        listener.bind(("127.0.0.1", remembered["kafka"]))
        listener.listen()
        chosen = choose(tmp_path / "ports.json", {}, reservations)
    assert chosen["kafka"] != remembered["kafka"]
    assert {**chosen, "kafka": None} == {**remembered, "kafka": None}


def test_a_chosen_port_is_nobody_elses_before_its_server_listens(tmp_path: Path) -> None:
    remembered = {name: _free_port() for name in DEFAULT_PORTS}
    for name in ("mine.json", "theirs.json"):
        (tmp_path / name).write_text(json.dumps(remembered))
    with PortReservations() as one, PortReservations() as other:
        mine = choose(tmp_path / "mine.json", {}, one)
        assert mine == remembered
        theirs = choose(tmp_path / "theirs.json", {}, other)
        assert not set(mine.values()) & set(theirs.values())
    with PortReservations() as again:
        assert choose(tmp_path / "mine.json", {}, again) == mine


def test_a_chosen_port_is_not_taken_by_a_stack_with_folders_of_its_own_until_the_chooser_has_ended(tmp_path: Path) -> None:
    port = _free_port()
    command = [sys.executable, "-c", _TAKES, str(port)]
    environment = {**os.environ, "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as chooser:
        assert chooser.stdout is not None
        assert chooser.stdout.readline() == b"True\n"
        with PortReservations() as reservations:
            assert not reservations.take(port)
        chooser.kill()
    with PortReservations() as reservations:
        assert reservations.take(port)
