"""A second PostgreSQL cluster, for what roles and transaction ids mean only across clusters."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from infra.stack.model import StackHome
from infra.stack.postgres import DATABASE, EmbeddedPostgres

_PROGRAM_SECONDS = 120


@dataclass(frozen=True)
class Cluster:
    """A running server of the test's own."""

    server: EmbeddedPostgres
    port: int

    def url(self, database: str = DATABASE) -> str:
        return self.server.dsn(self.port, database)

    def create_database(self, name: str) -> str:
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's own programs."""
        path = self.server._binaries() / program
        return subprocess.run(
            [str(path), *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_PROGRAM_SECONDS, check=False
        )


def _wait_until_ready(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _PROGRAM_SECONDS
    while True:
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        except psycopg.OperationalError:
            assert process.poll() is None and time.monotonic() < deadline, "the server did not start"  # noqa: PT018
            time.sleep(0.1)
        else:
            return


@contextmanager
def running_cluster() -> Iterator[Cluster]:
    """Initialise a cluster in a folder of its own, start it on a free port, and stop and remove it at the end."""
    home = Path(tempfile.mkdtemp(prefix="casaflow-cluster-"))
    home.chmod(0o755)  # as root the server runs as a user of its own, who must be able to come in
    server = EmbeddedPostgres(StackHome(home))
    try:
        server.prepare()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        command = server.command(port)
        command.log.parent.mkdir()
        owner = command.owner
        with command.log.open("wb") as log:
            process = subprocess.Popen(
                [*command.arguments, "-c", "fsync=off"],  # nobody will want its data after a power cut
                cwd=command.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=owner.uid if owner else None,
                group=owner.gid if owner else None,
                extra_groups=[] if owner else None,
            )
        try:
            _wait_until_ready(process, server.dsn(port, "postgres"))
            yield Cluster(server, port)
        finally:
            process.send_signal(signal.SIGQUIT)
            process.wait(timeout=60)
    finally:
        data = server._data_folder()
        if data.parent.parent != home:
            shutil.rmtree(data.parent)
        shutil.rmtree(home)
