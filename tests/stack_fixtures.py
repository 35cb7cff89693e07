"""The real stack for tests: started once for a test run, in a folder of its own, on free ports, and stopped at the end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from infra.settings import Settings

_START_SECONDS = 400
"""A first start on a fresh machine also fetches Kafka's jars."""


@dataclass(frozen=True)
class RunningStack:
    """Where the parts of the stack under test are; `pids` as they were at its start."""

    home: Path | None
    api: str
    api_key: str
    temporal_address: str
    temporal_ui: str
    postgres_dsn: str
    kafka_bootstrap_servers: str
    pids: dict[str, Any] = field(default_factory=dict)

    @property
    def temporal_settings(self) -> Settings:
        """By which a test talks to this stack's Temporal, with the keys of its payloads where it has some."""
        return Settings(temporal_address=self.temporal_address, home=self.home or Path("/nonexistent"))

    def environment(self) -> dict[str, str]:
        """The environment in which the command line finds this stack."""
        assert self.home is not None, "this test needs a stack with a home of its own"
        return {**os.environ, "CASAFLOW_HOME": str(self.home)}

    def casaflow(self, *arguments: str, timeout_seconds: float = 300) -> subprocess.CompletedProcess[str]:
        """Run `casaflow` as a user would."""
        return run_casaflow(*arguments, environment=self.environment(), timeout_seconds=timeout_seconds)


def run_casaflow(*arguments: str, environment: dict[str, str], timeout_seconds: float) -> subprocess.CompletedProcess[str]:
    """Run the console script of this environment, without standard input."""
    command = [str(Path(sys.executable).with_name("casaflow")), *arguments]
    return subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_seconds, check=False
    )


def _read(path: Path, home: Path | None) -> RunningStack:
    content = json.loads(path.read_text())
    known = {name: content[name] for name in RunningStack.__dataclass_fields__ if name in content}
    return RunningStack(**{**known, "home": home})


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """The whole stack. ``CASAFLOW_TEST_STACK=<path of a stack.json>`` uses one that runs already."""
    given = os.environ.get("CASAFLOW_TEST_STACK")
    if given:
        path = Path(given)
        yield _read(path, path.parent if path.parent.name.startswith(".casaflow") else None)
        return
    home = tmp_path_factory.mktemp("casaflow home with spaces")
    environment = {**os.environ, "CASAFLOW_HOME": str(home)}
    started = run_casaflow("up", "--detach", environment=environment, timeout_seconds=_START_SECONDS)
    try:
        assert started.returncode == 0, f"casaflow up failed:\n{started.stdout}\n{started.stderr}"
        yield _read(home / "stack.json", home)
    finally:
        stopped = run_casaflow("down", environment=environment, timeout_seconds=120)
    assert stopped.returncode == 0, f"casaflow down failed:\n{stopped.stdout}\n{stopped.stderr}"


@pytest.fixture(scope="session")
def migrated_database(stack: RunningStack) -> Iterator[str]:
    """The name of a database that is migrated and empty, and that nobody is connected to: one that others are copied from."""
    from infra.postgres.migrate import upgrade  # noqa: PLC0415  unit tests load this plugin too, and need no driver

    with _database(stack, "template0") as name:
        upgrade(_url(stack, name))
        yield name


@pytest.fixture(scope="module")
def postgres_url(stack: RunningStack, migrated_database: str) -> Iterator[str]:
    """A fresh, migrated database for one test module on the stack's PostgreSQL; dropped afterwards."""
    with _database(stack, migrated_database) as name:
        with psycopg.connect(_url(stack, name), autocommit=True) as connection:
            # A copy has the rights in the database, but not those on it: see migration 0006.
            connection.execute(sql.SQL("REVOKE CREATE, TEMPORARY ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name)))
        yield _url(stack, name)


def _url(stack: RunningStack, database: str) -> str:
    base, _, _ = stack.postgres_dsn.rpartition("/")
    return f"{base}/{database}"


@contextmanager
def _database(stack: RunningStack, template: str) -> Iterator[str]:
    name = f"test_{uuid.uuid4().hex[:12]}"
    copy = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template))
    with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
        connection.execute(copy)
    try:
        yield name
    finally:
        with psycopg.connect(stack.postgres_dsn, autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
