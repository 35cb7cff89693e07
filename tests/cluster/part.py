"""Starts one part of a cluster, as whoever looks after a machine would: ``python tests/cluster/part.py start SPECIFICATION``.

The part goes on by itself, and its pid file names it. A PostgreSQL that finds its peer promoted becomes that one's new standby, and
``promote`` makes a standby the primary. It is a script, so that whatever breaks the parts of a cluster can start them again without knowing
what they are.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psycopg

from infra.stack.model import write_private

_READY_SECONDS = 60.0
_POLL_SECONDS = 0.1
_IN_STEP = "SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum') AND state = 'streaming'"


def start(specification: dict[str, Any]) -> None:
    """Start the part, and return once it is there; a PostgreSQL once it answers."""
    postgres = specification.get("postgres")
    if postgres is not None and _must_follow(postgres):
        _copy_of_peer(postgres)
    with Path(specification["log"]).open("ab") as log:
        process = subprocess.Popen(
            specification["arguments"],
            cwd=specification["folder"],
            env={**os.environ, **specification["environment"]},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=specification["uid"],
            group=specification["gid"],
            extra_groups=None if specification["uid"] is None else [],
        )
    write_private(Path(specification["pid_file"]), f"{process.pid}\n")
    if postgres is not None:
        _wait_until_it_answers(postgres["dsn"], process)
        if _is_standby(postgres["dsn"]):
            _keep_in_step(postgres["peer"])


def promote(specification: dict[str, Any]) -> None:
    """Make the standby the primary. It waits for no standby of its own, until it has one."""
    with psycopg.connect(specification["postgres"]["dsn"], autocommit=True) as connection:
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute("SELECT pg_promote(wait => true, wait_seconds => 60)")
    _swap_kinds(Path(specification["description"]), specification["name"])


def _must_follow(postgres: dict[str, Any]) -> bool:
    """Whether the data is missing, or is that of a primary whose place another has taken."""
    data = Path(postgres["data"])
    if not (data / "PG_VERSION").exists():
        return True
    if (data / "standby.signal").exists():
        return False
    try:
        return not _is_standby(postgres["peer"])
    except psycopg.OperationalError:
        return False


def _is_standby(dsn: str) -> bool:
    with psycopg.connect(dsn, autocommit=True, connect_timeout=2) as connection:
        row = connection.execute("SELECT pg_is_in_recovery()").fetchone()
    assert row is not None
    return bool(row[0])


def _copy_of_peer(postgres: dict[str, Any]) -> None:
    data = Path(postgres["data"])
    shutil.rmtree(data, ignore_errors=True)
    data.mkdir(mode=0o700)
    if postgres["uid"] is not None:
        os.chown(data, postgres["uid"], postgres["gid"])
    program = str(Path(postgres["programs"]) / "pg_basebackup")
    subprocess.run(
        [program, "--dbname", postgres["peer"], "--pgdata", str(data), "--write-recovery-conf", "--checkpoint=fast", "--wal-method=stream"],
        cwd="/",
        stdin=subprocess.DEVNULL,
        user=postgres["uid"],
        group=postgres["gid"],
        extra_groups=None if postgres["uid"] is None else [],
        check=True,
    )


def _wait_until_it_answers(dsn: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while True:
        try:
            with psycopg.connect(dsn, connect_timeout=2):
                return
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                message = f"the server does not answer: {error}"
                raise SystemExit(message) from None
            time.sleep(_POLL_SECONDS)


def _keep_in_step(primary: str) -> None:
    """Have the primary wait for its standby from now on; it returns once the standby is one that it waits for."""
    deadline = time.monotonic() + _READY_SECONDS
    with psycopg.connect(primary, autocommit=True) as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        connection.execute("SELECT pg_reload_conf()")
        while True:
            row = connection.execute(_IN_STEP).fetchone()
            if row is not None and row[0] == 1:
                return
            if time.monotonic() > deadline:
                message = "the standby is not in step with its primary"
                raise SystemExit(message)
            time.sleep(_POLL_SECONDS)


def _swap_kinds(description: Path, primary: str) -> None:
    """Say who is who in what describes the cluster to others."""
    content = json.loads(description.read_text())
    for part in content["parts"]:
        if part["kind"] in {"postgres", "standby"}:
            part["kind"] = "postgres" if part["name"] == primary else "standby"
    write_private(description, json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    {"start": start, "promote": promote}[sys.argv[1]](json.loads(Path(sys.argv[2]).read_text()))
