"""The PostgreSQL that everything runs on: which one, whether it is durable, and databases of the benchmark's own on it."""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import psycopg
from psycopg import sql
from sqlalchemy.engine import make_url

from infra.settings import Settings
from infra.stack.control import read_stack_info

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN: Final = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers", "max_wal_size")
_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")
PREFIX: Final = "casaflow_bench_"


class BenchError(Exception):
    """The benchmark can't run, or its figures would mean nothing; the message says why."""


def server_url() -> str:
    """The PostgreSQL that ``CASAFLOW_POSTGRES_URL`` names, or that of the running stack.

    Raises:
        BenchError: there is neither.
    """
    settings = Settings()
    if settings.postgres_url is not None:
        return settings.postgres_url.get_secret_value()
    info = read_stack_info(settings.home)
    if info is None:
        message = "nothing runs: start the stack with `casaflow up --detach`, or set CASAFLOW_POSTGRES_URL"
        raise BenchError(message)
    return info.postgres_dsn


def server_settings(url: str) -> dict[str, str]:
    """What the server says of itself, and the cores of this machine.

    Raises:
        BenchError: it isn't durable, so what it is compared with would be as fast as memory.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        found = {name: _show(connection, name) for name in _SHOWN}
    lax = [f"{name} = {found[name]}" for name in _DURABLE if found[name] != "on"]
    if lax:
        message = f"the server is not durable ({', '.join(lax)}): a commit there says nothing"
        raise BenchError(message)
    return {**found, "cores": str(os.cpu_count()), "load_average": f"{os.getloadavg()[0]:.2f}"}


def _show(connection: psycopg.Connection, name: str) -> str:
    row = connection.execute("SELECT current_setting(%s)", [name]).fetchone()
    return str(row[0]) if row else ""


def database_url(url: str, name: str) -> str:
    """The URL of another database on the same server."""
    return make_url(url).set(database=name).render_as_string(hide_password=False)


@contextmanager
def own_database(url: str, *, template: str | None = None) -> Iterator[str]:
    """A database that is dropped at the end; the name of it.

    Args:
        url: of any database on the server, with a role that may create databases.
        template: name of the database that it starts as a copy of; nobody may be connected to that.
    """
    name = f"{PREFIX}{uuid.uuid4().hex[:8]}"
    create = sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name))
    if template is not None:
        # By files, and not through the WAL: that is quick, and begins each round with a checkpoint.
        create += sql.SQL(" TEMPLATE {} STRATEGY FILE_COPY").format(sql.Identifier(template))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(create)
        try:
            yield name
        finally:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
