"""Where the embedded Temporal keeps its state: chosen for a home once, and what the server on PostgreSQL is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.settings import Settings
from infra.stack.control import choose_temporal_store
from infra.stack.lock import locked
from infra.stack.model import SERVER_CONFIGURATION, SQLITE_FILE, StackError, StackHome, TemporalStore
from infra.stack.ports import DEFAULT_PORTS, TEMPORAL_SERVICE_PORTS
from infra.stack.temporal_postgres import HISTORY_SHARDS, server_configuration

_PORTS = DEFAULT_PORTS | TEMPORAL_SERVICE_PORTS


def _started(home: Path, file: str) -> None:
    """As a first start leaves it."""
    (home / "temporal").mkdir()
    (home / "temporal" / file).touch()


def test_what_was_chosen_stays_chosen(tmp_path: Path) -> None:
    assert StackHome(tmp_path).temporal_store is TemporalStore.SQLITE
    settings = Settings(home=tmp_path)
    choose_temporal_store(settings, TemporalStore.POSTGRES)
    assert StackHome(tmp_path).temporal_store is TemporalStore.POSTGRES
    choose_temporal_store(settings, TemporalStore.SQLITE)  # nothing was started yet
    choose_temporal_store(settings, TemporalStore.POSTGRES)
    _started(tmp_path, SERVER_CONFIGURATION)
    choose_temporal_store(settings, TemporalStore.POSTGRES)
    assert StackHome(tmp_path).temporal_store is TemporalStore.POSTGRES


@pytest.mark.parametrize(
    ("chosen", "file", "wanted"),
    [(None, SQLITE_FILE, TemporalStore.POSTGRES), (TemporalStore.POSTGRES, SERVER_CONFIGURATION, TemporalStore.SQLITE)],
)
def test_a_home_with_state_is_not_switched(tmp_path: Path, chosen: TemporalStore | None, file: str, wanted: TemporalStore) -> None:
    """Workflows of transactions in flight would stay behind."""
    settings = Settings(home=tmp_path)
    if chosen is not None:
        choose_temporal_store(settings, chosen)
    _started(tmp_path, file)
    with pytest.raises(StackError, match="nothing moves it"):
        choose_temporal_store(settings, wanted)
    assert StackHome(tmp_path).temporal_store is not wanted


def test_a_stack_that_is_starting_is_not_switched(tmp_path: Path) -> None:
    with locked(StackHome(tmp_path).lock_file), pytest.raises(StackError, match="casaflow down"):
        choose_temporal_store(Settings(home=tmp_path), TemporalStore.POSTGRES)


def test_no_store_is_chosen_for_somebody_elses_temporal(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="CASAFLOW_TEMPORAL_ADDRESS"):
        choose_temporal_store(Settings(home=tmp_path, temporal_address="temporal.bank.example:7233"), TemporalStore.POSTGRES)


def test_a_place_that_this_version_does_not_know_is_not_taken_for_another(tmp_path: Path) -> None:
    StackHome(tmp_path).temporal_store_file.write_text("cassandra\n")
    with pytest.raises(StackError, match="cassandra"):
        StackHome(tmp_path).temporal_store  # noqa: B018  reading it raises


def test_the_server_is_told_all_hosts_and_which_of_them_to_use() -> None:
    told = server_configuration(
        _PORTS, "postgresql://casaflow:p%40ss@127.0.0.1:5433,127.0.0.1:5434/casaflow?target_session_attrs=read-write"
    )
    for name in ("temporal", "temporal_visibility"):
        database = told["persistence"]["datastores"][name]["sql"]
        assert database["connectAddr"] == "127.0.0.1:5433,127.0.0.1:5434"
        assert database["connectAttributes"]["target_session_attrs"] == "read-write"
        assert (database["user"], database["password"], database["databaseName"]) == ("casaflow", "p@ss", name)
    assert told["persistence"]["numHistoryShards"] == HISTORY_SHARDS > 1


def test_no_two_services_share_a_port() -> None:
    told = server_configuration(_PORTS, "postgresql://casaflow:x@127.0.0.1:5433/casaflow")
    ports = [port for service in told["services"].values() for name, port in service["rpc"].items() if name.endswith("Port")]
    assert len(ports) == len(set(ports)) == 9
    assert all(service["rpc"]["bindOnIP"] == "127.0.0.1" for service in told["services"].values())
