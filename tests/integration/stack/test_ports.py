from __future__ import annotations

import json
import socket
from pathlib import Path

from infra.stack.ports import DEFAULT_PORTS, PortReservations, choose


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_wanted_port_comes_before_the_remembered_one(tmp_path: Path) -> None:
    remembered = {name: _free_port() for name in DEFAULT_PORTS}
    (tmp_path / "ports.json").write_text(json.dumps(remembered))
    wanted = _free_port()
    with PortReservations(tmp_path / "ports") as reservations:
        chosen = choose(tmp_path / "ports.json", {"api": wanted}, reservations)
    assert chosen == {**remembered, "api": wanted}
    with PortReservations(tmp_path / "ports") as reservations:
        assert choose(tmp_path / "ports.json", {}, reservations) == chosen


def test_a_remembered_port_in_use_is_replaced_by_a_free_one(tmp_path: Path) -> None:
    remembered = {name: _free_port() for name in DEFAULT_PORTS}
    (tmp_path / "ports.json").write_text(json.dumps(remembered))
    with socket.socket() as listener, PortReservations(tmp_path / "ports") as reservations:
        listener.bind(("127.0.0.1", remembered["kafka"]))
        listener.listen()
        chosen = choose(tmp_path / "ports.json", {}, reservations)
    assert chosen["kafka"] != remembered["kafka"]
    assert {**chosen, "kafka": None} == {**remembered, "kafka": None}


def test_a_chosen_port_is_nobody_elses_before_its_server_listens(tmp_path: Path) -> None:
    with PortReservations(tmp_path / "ports") as one, PortReservations(tmp_path / "ports") as other:
        mine = choose(tmp_path / "mine.json", {}, one)
        theirs = choose(tmp_path / "theirs.json", {}, other)
        assert not set(mine.values()) & set(theirs.values())
    with PortReservations(tmp_path / "ports") as again:
        assert choose(tmp_path / "mine.json", {}, again) == mine
