"""Which descriptions name a system that may be hurt, and which process a part is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import InvalidInputError
from starter.chaos.description import DescribedPart, read_description
from starter.chaos.system import Kind

DESCRIPTION: dict[str, Any] = {
    "test_system": True,
    "name": "cluster",
    "apis": ["http://127.0.0.1:8080", "http://[::1]:8081"],
    "api_key": "casaflow_secret",
    "postgres_dsn": "postgresql://casaflow:hunter2@127.0.0.1:5432,localhost:5433/casaflow?target_session_attrs=read-write",
    "temporal_address": "127.0.0.1:7233",
    "kafka_bootstrap_servers": "127.0.0.1:9092,127.0.0.1:9093",
    "parts": [
        {"name": "kafka-1", "kind": "kafka", "pid_file": "/run/kafka-1.pid", "start": ["/bin/start", "kafka-1"], "promote": None},
        {"name": "pg-2", "kind": "standby", "pid_file": "/run/pg-2.pid", "start": None, "promote": ["/bin/promote"]},
    ],
}


def read(tmp_path: Path, changes: dict[str, Any], *, confirmed: str | None = None) -> Any:
    file = tmp_path / "system.json"
    file.write_text(json.dumps({**DESCRIPTION, **changes}))
    return read_description(file, confirmed=confirmed)


def part(**changes: Any) -> dict[str, Any]:
    return {"name": "kafka-1", "kind": "kafka", "pid_file": "/run/kafka-1.pid", "start": None, **changes}


def test_a_described_test_system_on_this_machine_is_taken(tmp_path: Path) -> None:
    system = read(tmp_path, {}).system()
    assert [(each.name, each.kind, each.start, each.promote) for each in system.parts] == [
        ("kafka-1", Kind.KAFKA, ("/bin/start", "kafka-1"), None),
        ("pg-2", Kind.STANDBY, None, ("/bin/promote",)),
    ]
    assert (system.name, system.api_key) == ("cluster", "casaflow_secret")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"test_system": False}, r"test_system should be True; it is False"),
        ({"test_system": "true"}, r"test_system should be True; it is 'true'"),
        ({"name": "the bank"}, r"name string should match pattern .*; it is 'the bank'"),
        ({"apis": ["127.0.0.1:8080"]}, r"apis must be URLs such as http://127.0.0.1:8080, and '127.0.0.1:8080' is none"),
        ({"apis": []}, r"apis tuple should have at least 1 item"),
        ({"postgres_dsn": "mysql://hunter2"}, r"postgres_dsn must be a libpq URL such as .*; it is '…'"),
        ({"temporal_address": "127.0.0.1"}, r"temporal_address .*; it is '127.0.0.1'"),
        ({"kafka_bootstrap_servers": "127.0.0.1"}, r"kafka_bootstrap_servers .*; it is '127.0.0.1'"),
        ({"api_key": 12}, r"api_key should be a valid string; it is '…'"),
        ({"apikey": "casaflow_secret"}, r"apikey is no field of a description; it is '…'"),
        ({"parts": []}, r"parts tuple should have at least 1 item"),
        ({"parts": [part(), part()]}, r"parts must have a name each, and 'kafka-1' is that of two"),
        ({"parts": [part(kind="redis")]}, r"parts.0.kind should be 'api', .*; it is 'redis'"),
        ({"parts": [part(pid_file="kafka-1.pid")]}, r"parts.0.pid_file must be an absolute path; it is 'kafka-1.pid'"),
        ({"parts": [part(start=[])]}, r"parts.0.start tuple should have at least 1 item"),
        ({"parts": [part(start="start kafka")]}, r"parts.0.start should be a valid .*; it is 'start kafka'"),
        (
            {"parts": [part(promote=["/bin/promote"])]},
            r"parts.0 has a command `promote`, which only a standby can have, and is of kind kafka",
        ),
        ({"parts": [part(groups=["audit"])]}, r"parts.0 has `groups`, which only a consumer can have, and is of kind kafka"),
        ({"parts": [{"name": "kafka-1", "kind": "kafka", "start": None}]}, r"parts.0.pid_file must be given"),
    ],
)
def test_a_field_that_breaks_a_rule_is_named_with_its_value_and_the_rule_and_no_secret(
    tmp_path: Path, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidInputError, match=complaint) as refused:
        read(tmp_path, changes)
    assert "hunter2" not in str(refused.value)
    assert "casaflow_secret" not in str(refused.value)


def test_without_the_word_that_it_is_one_no_system_is_a_test_system(tmp_path: Path) -> None:
    file = tmp_path / "system.json"
    file.write_text(json.dumps({name: value for name, value in DESCRIPTION.items() if name != "test_system"}))
    with pytest.raises(InvalidInputError, match="test_system must be given"):
        read_description(file, confirmed="cluster")
    file.write_text('{"api_key": "casaflow_secret"')
    with pytest.raises(InvalidInputError, match="--system must be JSON; it is '…'"):
        read_description(file, confirmed=None)
    with pytest.raises(InvalidInputError, match="--system must be a file that can be read"):
        read_description(tmp_path / "none.json", confirmed=None)


@pytest.mark.parametrize(
    ("changes", "far"),
    [
        ({"apis": ["http://127.0.0.1:8080", "https://bank.example"]}, "bank.example"),
        ({"postgres_dsn": "postgresql://127.0.0.1,db.bank.example/casaflow"}, "db.bank.example"),
        ({"postgres_dsn": "postgresql://localhost/casaflow?hostaddr=10.0.0.1"}, "10.0.0.1"),
        ({"temporal_address": "10.1.2.3:7233"}, "10.1.2.3"),
        ({"kafka_bootstrap_servers": "127.0.0.1:9092,kafka:9092"}, "kafka"),
        ({"parts": [part(address="10.0.0.9:9092")]}, "10.0.0.9"),
    ],
)
def test_an_address_elsewhere_needs_the_systems_name_once_more(tmp_path: Path, changes: dict[str, Any], far: str) -> None:
    with pytest.raises(InvalidInputError, match=rf"--yes-this-is-a-test-system cluster .*; it is '{far}'"):
        read(tmp_path, changes)
    with pytest.raises(InvalidInputError, match="must repeat the name in the description, 'cluster'; it is 'other'"):
        read(tmp_path, changes, confirmed="other")
    assert read(tmp_path, changes, confirmed="cluster").name == "cluster"


def test_a_socket_of_this_machine_is_no_address_elsewhere(tmp_path: Path) -> None:
    assert read(tmp_path, {"postgres_dsn": "postgresql:///casaflow?host=/run/postgresql"}).name == "cluster"


@contextmanager
def sleeping(*marks: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process with these words in its command line."""
    running = subprocess.Popen([sys.executable, "-c", "import time; print(flush=True); time.sleep(600)", *marks], stdout=subprocess.PIPE)
    assert running.stdout is not None
    running.stdout.readline()
    try:
        yield running
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def described(pid_file: Path, **changes: Any) -> DescribedPart:
    return DescribedPart(name="kafka-1", kind=Kind.KAFKA, pid_file=pid_file, start=None, **changes)


def test_the_process_of_a_pid_file_is_the_part_only_if_it_is_of_its_kind_and_older_than_the_file(tmp_path: Path) -> None:
    file = tmp_path / "kafka-1.pid"
    assert described(file).find() is None
    with sleeping("kafka.Kafka") as running:
        file.write_text(f"{running.pid}\nmore lines, as PostgreSQL writes them\n")
        found = described(file).find()
        assert found is not None
        assert found.pid == running.pid
        assert described(file, command="zookeeper").find() is None
        # The file is of another process, which had this pid before.
        os.utime(file, times=(1_000_000, 1_000_000))
        assert described(file).find() is None
    file.write_text(f"{running.pid}\n")
    assert described(file).find() is None
    for content in ("", "none\n", "1\n", f"{os.getpid()}\n"):
        file.write_text(content)
        assert described(file, command="p").find() is None
